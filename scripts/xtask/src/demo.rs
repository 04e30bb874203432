//! `cargo xtask demo`: the whole product at work, as the processes that a deployment has.
//!
//! A local chain, the contracts, one keeper and some workers are started, a stream of jobs is submitted, and
//! each job is shown as it settles. Every action is a call of the `keeper` program that a user could make.

mod jobs;
mod keeper;
mod money;
mod processes;
mod report;
mod stop;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use self::{
    jobs::Submitted,
    keeper::{Actor, Chain, JobRow, Keeper, Network},
    money::strk,
    processes::Processes,
    report::Report,
    stop::Stop,
};
use crate::{
    failure::OrHint as _,
    process::capture,
    repo::Repo,
    setup::{self, Programs},
};

/// How often the jobs' states are asked for.
const POLL: Duration = Duration::from_millis(500);
/// How long the chain and the keeper may take until they are ready.
const START_LIMIT: Duration = Duration::from_secs(120);
/// The time allowed for all jobs to settle: some for the start, and some for each job.
const SETTLE_LIMIT: Duration = Duration::from_secs(180);
const SETTLE_LIMIT_PER_JOB: Duration = Duration::from_secs(10);
/// How long paying out may take once all jobs have ended.
const PAY_LIMIT: Duration = Duration::from_secs(60);
/// A block a second: what a person can follow, and close to the public network's pace.
const BLOCK_TIME_S: &str = "1";

/// What is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop when all jobs have settled, in place of waiting for Ctrl-C
    #[arg(long)]
    once: bool,
    /// Number of jobs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: u32,
    /// Number of workers
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=100))]
    workers: u8,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Port of the local chain; 0 takes a free one
    #[arg(long, default_value_t = 5050)]
    port: u16,
    /// What the keeper is told that the local chain is
    #[arg(long, value_enum, default_value = "devnet")]
    network: Network,
}

/// Shows the product; succeeds only where every job settled and the money adds up.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let programs = setup::programs(repo)?;
    let folder = run_folder(repo)?;
    println!("logs and data: {}", folder.display());
    let report = show(programs, &folder, args, &Stop::on_signals()?)?;
    report.verdict().map(|()| ExitCode::SUCCESS)
}

/// Runs everything in `folder`. All processes have stopped when this returns, however it does.
fn show(programs: Programs, folder: &Path, args: &Args, stop: &Stop) -> Result<Report> {
    let started = Instant::now();
    let mut processes = Processes::new(folder.join("logs"))?;
    let chain = start_chain(&mut processes, &programs, args)?;
    let keeper = Keeper::new(programs.keeper, folder, args.network, chain)?;
    start_market(&mut processes, &keeper, args.workers, stop)?;
    let (sender, submitted) = mpsc::channel();
    let watched = thread::scope(|scope| {
        let manifests = folder.join("manifests");
        scope.spawn({
            let keeper = &keeper;
            move || jobs::submit(keeper, &manifests, args.jobs, stop, &sender)
        });
        // Moved in, so that whoever submits hears when nobody watches any more.
        watch(&keeper, &mut processes, submitted, args.jobs, stop)
    })?;
    pay_out(&keeper, &mut processes, stop)?;
    let report = Report::new(&keeper.status()?, &watched.jobs, &watched.rows, started.elapsed())?;
    print!("{}", report.table());
    if let Some(file) = &args.json {
        fs::write(file, report.json()?).or_hint(format!("writing {}", file.display()), "is the folder there?")?;
        println!("figures: {}", file.display());
    }
    println!("logs: {}", processes.logs().display());
    if !args.once {
        println!("\neverything keeps running until Ctrl-C; look around in another terminal:");
        println!("  {}", keeper.typed(&["job", "list"]));
        println!("  {}", keeper.typed(&["job", "explain", "1"]));
        while !stop.is_requested() {
            processes.check()?;
            thread::sleep(POLL);
        }
    }
    Ok(report)
}

/// Takes the client's refunds out, and waits until the keeper has paid the workers.
fn pay_out(keeper: &Keeper, processes: &mut Processes, stop: &Stop) -> Result<()> {
    let asked = Instant::now();
    if keeper.status()?.money.owed_fri != "0" {
        keeper.withdraw(Actor::Client)?;
    }
    // What is left over shows in the report.
    while keeper.status()?.money.owed_fri != "0" && asked.elapsed() < PAY_LIMIT {
        stop.check()?;
        processes.check()?;
        thread::sleep(POLL);
    }
    Ok(())
}

/// A new folder for this run's logs and data.
fn run_folder(repo: &Repo) -> Result<PathBuf> {
    let name = capture(Command::new("date").args(["-u", "+%Y%m%d-%H%M%S"]), "`date` is needed to name the folder")?;
    let folder = repo.target().join("demo").join(name.trim());
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    Ok(folder)
}

/// Starts the local chain.
fn start_chain(processes: &mut Processes, programs: &Programs, args: &Args) -> Result<Chain> {
    let accounts = Actor::count(args.workers).to_string();
    let port = args.port.to_string();
    let mut localnet = Command::new(&programs.localnet);
    localnet.args(["--port", &port, "--accounts", &accounts, "--block-time", BLOCK_TIME_S, "--stop-with-stdin"]);
    localnet.stdin(Stdio::piped());
    let ready = processes.start("localnet", &mut localnet, START_LIMIT)?;
    let chain: Chain = serde_json::from_value(ready).context("reading the chain's first line")?;
    println!("chain        {}, a block every {BLOCK_TIME_S} s", chain.rpc_url);
    Ok(chain)
}

/// Deploys the contracts and starts the keeper and the workers.
fn start_market(processes: &mut Processes, keeper: &Keeper, workers: u8, stop: &Stop) -> Result<()> {
    keeper.deploy()?;
    println!("contracts    deployed, {}", keeper.deployment().display());
    let ready = processes.start("keeper", &mut keeper.run_command(), START_LIMIT)?;
    let listen = ready["listen"].as_str().context("the keeper's first line names no address")?.to_owned();
    println!("keeper       {listen}");
    for number in 1..=workers {
        stop.check()?;
        let worker_id = keeper.register_worker(number)?;
        let name = format!("worker-{number}");
        processes.start(&name, &mut keeper.worker_command(number, &listen), START_LIMIT)?;
        println!("worker       {worker_id} connected");
    }
    Ok(())
}

/// The jobs that were submitted, and how they were last seen.
#[derive(Default)]
struct Watched {
    jobs: BTreeMap<u64, Submitted>,
    rows: BTreeMap<u64, JobRow>,
}

impl Watched {
    /// Takes in what has been submitted meanwhile.
    fn take(&mut self, submitted: &mpsc::Receiver<Result<(u64, Submitted)>>) -> Result<()> {
        while let Ok(news) = submitted.try_recv() {
            let (job_id, job) = news?;
            self.jobs.insert(job_id, job);
        }
        Ok(())
    }

    /// Shows the jobs that have come to their end since the last look.
    fn show(&mut self, keeper: &Keeper) -> Result<()> {
        let rows = keeper.jobs()?;
        let ours = rows.into_iter().filter(|row| self.jobs.contains_key(&row.job_id));
        let is_shown = |row: &JobRow| self.rows.get(&row.job_id).is_some_and(JobRow::is_final);
        let (ended, open): (Vec<JobRow>, Vec<JobRow>) = ours.filter(|row| !is_shown(row)).partition(JobRow::is_final);
        if !ended.is_empty() {
            let allocated_ms = keeper.status()?.allocated_at_ms();
            for row in &ended {
                show_job(row, &self.jobs[&row.job_id], allocated_ms.get(&row.job_id).copied());
            }
        }
        self.rows.extend(ended.into_iter().chain(open).map(|row| (row.job_id, row)));
        Ok(())
    }

    fn ended(&self) -> usize {
        self.rows.values().filter(|row| row.is_final()).count()
    }
}

/// Shows each job as it reaches its end; returns them all when the last of `count` has, or when time is up.
#[expect(clippy::needless_pass_by_value, reason = "dropped at the end, which tells whoever submits to stop")]
fn watch(
    keeper: &Keeper,
    processes: &mut Processes,
    submitted: mpsc::Receiver<Result<(u64, Submitted)>>,
    count: u32,
    stop: &Stop,
) -> Result<Watched> {
    println!(
        "\n{:>6}  {:<10} {:>6} {:>8} {:>14} {:>12} {:>10}",
        "job", "state", "worker", "attempt", "paid STRK", "allocated in", "ended in"
    );
    let limit = SETTLE_LIMIT + SETTLE_LIMIT_PER_JOB * count;
    let started = Instant::now();
    let mut watched = Watched::default();
    loop {
        stop.check()?;
        processes.check()?;
        watched.take(&submitted)?;
        watched.show(keeper)?;
        if watched.ended() == count as usize {
            return Ok(watched);
        }
        if started.elapsed() > limit {
            println!("time is up after {} s", limit.as_secs());
            return Ok(watched);
        }
        thread::sleep(POLL);
    }
}

fn show_job(row: &JobRow, submitted: &Submitted, allocated_at_ms: Option<u64>) {
    let allocated = allocated_at_ms
        .map_or_else(|| "-".to_owned(), |at| format!("{} ms", at.saturating_sub(submitted.submitted_at_ms)));
    let paid = row.paid_fri.as_deref().map_or_else(|| "-".to_owned(), strk);
    let ended = format!("{:.1} s", submitted.since.elapsed().as_secs_f32());
    println!(
        "{:>6}  {:<10} {:>6} {:>8} {paid:>14} {allocated:>12} {ended:>10}",
        row.job_id,
        row.state,
        row.worker_id.map_or_else(|| "-".to_owned(), |id| id.to_string()),
        row.attempt,
    );
}

#[cfg(test)]
mod tests;
