//! `kill`: the keeper is killed again and again while jobs come in, and started again at once.
//!
//! Everything is the real thing: a local chain with the contracts, worker agents, clients that submit by the command line, and
//! one keeper. SIGKILL comes at drawn moments: at any time, right after something that the keeper logged (so that it falls into
//! the middle of a round, of an exit, of an offer), and into a restart. What is counted at the end is what the chain holds,
//! what jobs left behind when they ran, and the keeper's log of what it sent; never what the keeper says of itself.

mod agents;
pub(crate) mod failpoints;
mod figures;
mod keeper;
mod moment;
mod sight;
mod stage;
mod submitting;
mod tally;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::{
    agents::Agents,
    figures::Figures,
    keeper::Keeper,
    moment::Moment,
    sight::Sight,
    stage::Stage,
    submitting::{Pace, Submitting},
};

/// How often a kill of the keeper is followed by one of a worker's agent.
const AGENT_SHARE: f64 = 0.15;
/// After how many kills it is told how far it is.
const TELL_EVERY: u32 = 20;
/// How long nothing may change on chain before what is open counts as stuck. An attempt whose agent died is over after its
/// time (30 s) and a grace (60 s); the next attempt may need as long.
const STUCK_AFTER: Duration = Duration::from_secs(240);

/// How often the keeper is killed, and how much is to be done meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How often the keeper is killed
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// How many jobs are submitted meanwhile
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// Worker agents
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=12))]
    workers: u8,
    /// Stop killing and submitting after so many minutes, however far it is
    #[arg(long)]
    minutes: Option<u64>,
    /// What the moments are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// What the harness or the keeper does wrong on purpose: this must be noticed
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Keep the processes' logs in this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What can be done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The keeper forgets at each start what it has sent
    ForgetIntents,
    /// Nobody starts the keeper again after the last kill
    NoRestart,
}

/// Kills, and counts what was lost.
///
/// # Errors
/// Fails where the programs cannot be started or the chain does not answer: then nothing was tried.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    println!("kill: {} kills across {} jobs, {} workers, seed {seed}", args.kills, args.jobs, args.workers);
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let figures = runtime.block_on(kill_again_and_again(args, seed))?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    let is_noticed = match args.sabotage {
        None => return Ok(if figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }),
        Some(Sabotage::ForgetIntents) => figures.tally.unrecorded > 0,
        Some(Sabotage::NoRestart) => figures.tally.stuck > 0,
    };
    if !is_noticed {
        eprintln!("error: what was done wrong on purpose was not noticed: this test notices nothing");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn kill_again_and_again(args: &Args, seed: u64) -> Result<Figures> {
    let stage = Arc::new(Stage::set(args.workers, false).await?);
    let sight = Sight::open(&stage);
    let mut keeper = Keeper::start(&stage, sight.seen.clone(), args.sabotage).await?;
    let mut agents = Agents::hire(&stage, args.workers, keeper.listen()).await?;
    let pace = Pace::new(args.jobs, args.kills);
    let submitting = Submitting::begin(&stage, &pace, sight.seen.clone());
    let mut run = Run {
        args,
        rng: StdRng::seed_from_u64(seed),
        figures: Figures::new(Some(seed), args.sabotage),
        began: Instant::now(),
    };
    let result = run.kill(&mut keeper, &mut agents, &pace, &submitting, &sight).await;
    let ended = async {
        result?;
        pace.kills_are_over();
        let acknowledged = submitting.finish().await?;
        sight.until_all_is_over(acknowledged.len(), STUCK_AFTER).await?;
        if args.sabotage == Some(Sabotage::ForgetIntents) {
            // Whatever was sent was sent before this start.
            keeper.kill().await?;
            keeper.start_again()?;
            keeper.until_ready().await?;
        }
        keeper.stop().await?;
        run.figures.tally = tally::count(&stage, &acknowledged, &agents).await?;
        run.figures.chain_rss_mb = stage.chain_rss_mb();
        run.figures.took = run.began.elapsed();
        Ok(run.figures)
    };
    let ended = ended.await;
    if let Some(folder) = &args.logs {
        stage.keep_logs(folder)?;
    }
    ended
}

/// One run of the test.
struct Run<'a> {
    args: &'a Args,
    rng: StdRng,
    figures: Figures,
    began: Instant,
}

impl Run<'_> {
    async fn kill(
        &mut self,
        keeper: &mut Keeper,
        agents: &mut Agents,
        pace: &Pace,
        submitting: &Submitting,
        sight: &Sight,
    ) -> Result<()> {
        for kill in 0..self.args.kills {
            if self.args.minutes.is_some_and(|minutes| self.began.elapsed() > Duration::from_secs(60 * minutes)) {
                pace.stop();
                break;
            }
            let is_last = kill + 1 == self.args.kills;
            let moment = Moment::draw(&mut self.rng);
            if !moment.is_in_restart() {
                let recovery = keeper.until_working().await?;
                // The first start follows no kill, and workers were registered since.
                if kill > 0 {
                    self.figures.recovered(recovery);
                }
                pace.wait_for(kill, submitting).await;
            }
            moment.wait_for(keeper).await;
            keeper.kill().await?;
            self.figures.killed(moment.name());
            if is_last && self.args.sabotage == Some(Sabotage::NoRestart) {
                return Ok(());
            }
            keeper.start_again()?;
            if self.rng.random_bool(AGENT_SHARE) {
                agents.kill_one(&mut self.rng).await?;
                self.figures.agents_killed += 1;
            }
            if kill % TELL_EVERY == TELL_EVERY - 1 {
                println!("{}", self.figures.progress(kill + 1, *sight.seen.borrow(), self.began.elapsed()));
            }
        }
        self.figures.recovered(keeper.until_working().await?);
        Ok(())
    }
}
