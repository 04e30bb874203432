//! `keepers`: several keepers on one database, of which one after the other is stopped, killed or cut off.
//!
//! Everything is the real thing: a PostgreSQL server, a local chain with the contracts, keepers as processes, two of them with
//! the same account, worker agents, and clients that submit by the command line. Where the machine allows it each keeper has a
//! network of its own, so that it can be cut off from the chain, from the database, or from both, and knows as little of it as
//! it would in a data centre. Most faults hit the keeper that leads. What is counted at the end is what the chain holds, what
//! jobs left behind when they ran, the accounts' nonces, and the log of what was sent; never what a keeper says of itself.

mod fault;
mod figures;
mod member;
mod network;
mod telling;
mod waste;
mod watching;

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use keeper_store::{PostgresStore, Store as _, conformance::Server};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{net::TcpStream, time::sleep};

use self::{
    fault::{Fault, Target},
    figures::Figures,
    member::Member,
    network::Place,
    waste::Sent,
    watching::Watching,
};
use crate::kill::{
    STUCK_AFTER,
    agents::Agents,
    sight::Sight,
    stage::{FIRST_WORKER, KEEPER, Stage},
    submitting::{Pace, Submitting},
    tally,
};

/// After how many faults it is told how far it is.
const TELL_EVERY: u32 = 10;
/// How long anything may take that others wait for, far more than it needs.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long keepers may take to share out shards evenly before the next fault comes all the same.
const SHARED_OUT: Duration = Duration::from_secs(12);

/// How many keepers there are, and what is done to them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Keepers on one database; the first and the third have the same account, the others their own
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    keepers: u8,
    /// Shards that the market is dealt out into, so that several keepers lead at once
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    shards: u8,
    /// How many jobs are submitted meanwhile
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    jobs: u32,
    /// How often a keeper is stopped, killed or cut off
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..))]
    faults: u32,
    /// Worker agents
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=8))]
    workers: u8,
    /// Fail where no keeper is at work again so many seconds after a fault of the one that led
    #[arg(long, value_name = "SECONDS")]
    within: Option<u64>,
    /// The share of transactions that may be wasted, in percent; in a short run one of them is more than one
    #[arg(long, value_name = "PERCENT", default_value_t = 1)]
    most_wasted: u32,
    /// Do without networks of their own: keepers are stopped and killed, not cut off
    #[arg(long)]
    signals_only: bool,
    /// What faults are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Have no keeper ask whether another is at work: this must be noticed. Nothing else is done to them
    #[arg(long)]
    sabotage: bool,
    /// Keep the processes' logs in this folder; where the test fails they are kept in any case
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Carries what comes to `listen` on to `to`, for as long as the process lives; says so once it listens.
///
/// # Errors
/// Fails where it cannot listen.
pub(crate) fn relay(listen: SocketAddr, to: SocketAddr) -> Result<ExitCode> {
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    runtime.block_on(async {
        let (address, relaying) = network::relay(listen, move || TcpStream::connect(to)).await?;
        println!("{address}");
        relaying.await.context("the relay ended")?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Runs it, and counts what went wrong.
///
/// # Errors
/// Fails where the programs cannot be started, there are no network namespaces, or the chain does not answer: then nothing
/// was tried.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    println!(
        "keepers: {} keepers, {} shards, {} faults across {} jobs, {} workers, seed {seed}",
        args.keepers, args.shards, args.faults, args.jobs, args.workers
    );
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let figures = runtime.block_on(try_them(args, seed))?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.sabotage && !figures.is_wasteful() {
        eprintln!("error: what was done wrong on purpose was not noticed: this test notices nothing");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if args.sabotage || figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_them(args: &Args, seed: u64) -> Result<Figures> {
    let stage = Arc::new(Stage::set_for(args.workers, args.keepers - 1, false).await?);
    // However it ends, what the processes said is kept where it was asked for. What happens once in many runs may not happen
    // again, so it is kept too where something is to be looked into.
    let ended = try_on(&stage, args, seed).await;
    let is_clean = ended.as_ref().is_ok_and(|figures| args.sabotage || figures.is_clean());
    let found = (!is_clean).then(|| std::env::temp_dir().join(format!("chaos-keepers-{seed}")));
    if let Some(folder) = args.logs.clone().or(found) {
        stage.keep_logs(&folder)?;
        println!("the processes' logs are in {}", folder.display());
    }
    ended
}

async fn try_on(stage: &Arc<Stage>, args: &Args, seed: u64) -> Result<Figures> {
    let server = Server::start(&[]).context("starting PostgreSQL")?;
    let url = server.create_database().await;
    let mut members = members(stage, args, &url.to_string()).await?;
    for member in &mut members {
        member.start()?;
        // One posts the bond of an account that two have.
        member.until_ready().await?;
    }
    let accounts: BTreeSet<usize> = members.iter().map(|member| member.account).collect();
    let before = nonces(stage, &accounts).await?;
    let store = Arc::new(PostgresStore::open_read_only(&url).await?);
    let watching = Watching::begin(Arc::clone(&store), args.shards);
    let sight = Sight::open(stage);
    let listen: Vec<String> = members.iter().map(|member| member.place.listen.clone()).collect();
    let listen: Vec<&str> = listen.iter().map(String::as_str).collect();
    let agents = Agents::hire(stage, args.workers, &listen).await?;
    let pace = Pace::new(args.jobs, args.faults);
    let submitting = Submitting::begin(stage, &pace, sight.seen.clone());
    let figures = Figures::new(args, seed);
    let rng = StdRng::seed_from_u64(seed);
    let mut run = Run { args, rng, figures, began: Instant::now(), members, watching, sight };
    if !args.sabotage {
        run.hit_again_and_again(&pace, &submitting).await?;
    }
    pace.kills_are_over();
    let acknowledged = submitting.finish().await?;
    let Run { mut figures, began, mut members, watching, sight, .. } = run;
    sight.until_all_is_over(acknowledged.len(), STUCK_AFTER).await?;
    // Keepers that stand by find out what became of what they had sent.
    let waiting = Instant::now();
    while !store.open_intents().await?.is_empty() && waiting.elapsed() < PATIENCE {
        sleep(LOOK_EVERY).await;
    }
    if !args.sabotage {
        // The last that was killed may not listen yet.
        for member in &mut members {
            member.until_ready().await?;
        }
        telling::until_it_is_told_who_leads(stage, &members, &watching, &url.to_string(), accounts.len()).await?;
        figures.recomputed = telling::recompute_rounds(stage, args.shards).await?;
    }
    for member in &mut members {
        // What was done wrong may have ended some.
        let stopped = member.stop().await;
        if !args.sabotage {
            stopped?;
        }
    }
    let after = nonces(stage, &accounts).await?;
    figures.takeovers = watching.led.borrow().takeovers;
    figures.sent = Sent::count(stage, &*store, &accounts, after - before).await?;
    figures.tally = tally::count(stage, &*store, &acknowledged, &agents).await?;
    figures.took = began.elapsed();
    Ok(figures)
}

/// The keepers, which do not run yet.
async fn members(stage: &Arc<Stage>, args: &Args, database: &str) -> Result<Vec<Member>> {
    let folder = database.split_once("host=").context("the server listens in a folder")?.1;
    let socket = network::socket_in(Path::new(folder));
    let name = database.split('?').next().and_then(|url| url.rsplit('/').next()).context("the database has a name")?;
    let admin = stage.chain.sender(1).await;
    let sabotage = args.sabotage.then(|| keeper_failpoints::Sabotage::NoLeases.name());
    let mut members = Vec::new();
    for number in 1..=args.keepers {
        let account = match number {
            1 => KEEPER,
            // Two have one account, so that one takes over what the other has signed. Without leases that could not be told
            // from what is done wrong on purpose.
            3 if !args.sabotage => KEEPER,
            _ => FIRST_WORKER + usize::from(args.workers) + usize::from(number) - 2,
        };
        if account != KEEPER {
            let address = stage.chain.account(account).address;
            stage.contracts.add_keeper(&admin, address).await.context("admitting a keeper")?;
        }
        let place = if args.signals_only {
            Place::beside(stage.chain.rpc_url(), database)?
        } else {
            Place::apart(number, stage.chain.rpc_url(), &socket, name).await?
        };
        members.push(Member::new(stage, place, account, number, args.shards, sabotage));
    }
    Ok(members)
}

/// The nonces of accounts, all together.
async fn nonces(stage: &Stage, accounts: &BTreeSet<usize>) -> Result<u64> {
    let mut sum = 0;
    for account in accounts {
        sum += stage.chain.sender(*account).await.nonce().await?;
    }
    Ok(sum)
}

/// One run of the test.
struct Run<'a> {
    args: &'a Args,
    rng: StdRng,
    figures: Figures,
    began: Instant,
    members: Vec<Member>,
    watching: Watching,
    sight: Sight,
}

impl Run<'_> {
    async fn hit_again_and_again(&mut self, pace: &Pace, submitting: &Submitting) -> Result<()> {
        for number in 0..self.args.faults {
            pace.wait_for(number, submitting).await;
            let (fault, target) = Fault::draw(&mut self.rng, !self.args.signals_only);
            self.until_several_lead().await;
            let leader = self.leader().await?;
            let idle = |place: &usize| self.led_by(*place).is_empty();
            let standing_by: Vec<usize> = (0..self.members.len()).filter(idle).collect();
            let others: Vec<usize> = match standing_by.is_empty() {
                true => (0..self.members.len()).filter(|place| *place != leader).collect(),
                false => standing_by,
            };
            let other = others[self.rng.random_range(0..others.len())];
            if target == (Target::Leader { sends: true }) {
                self.members[leader].until_it_sends().await;
            }
            let place = if target == Target::Another { other } else { leader };
            self.members[place].revive()?;
            self.hit(fault, place).await.with_context(|| format!("fault {number}, {}", fault.name()))?;
            if number % TELL_EVERY == TELL_EVERY - 1 {
                let seen = *self.sight.seen.borrow();
                println!("{}", self.figures.progress(number + 1, seen, self.began.elapsed()));
            }
        }
        Ok(())
    }

    /// Where there are several shards, gives keepers some time to share them out: what is to be hit is several that lead.
    async fn until_several_lead(&self) {
        let accounts: BTreeSet<usize> = self.members.iter().map(|member| member.account).collect();
        let began = Instant::now();
        while self.args.shards > 1
            && !self.watching.led.borrow().is_even(accounts.len())
            && began.elapsed() < SHARED_OUT
        {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until every shard is led; returns one of the keepers that lead.
    async fn leader(&mut self) -> Result<usize> {
        let began = Instant::now();
        loop {
            let led = self.watching.led.borrow().clone();
            let place = |leader: &str| self.members.iter().position(|member| member.name() == leader);
            let leaders: Option<BTreeSet<usize>> = led.leaders().map(|leader| place(leader?)).collect();
            if let Some(leaders) = leaders {
                let leaders: Vec<usize> = leaders.into_iter().collect();
                // Where one leads nothing is drawn.
                let drawn = if leaders.len() > 1 { self.rng.random_range(0..leaders.len()) } else { 0 };
                return Ok(leaders[drawn]);
            }
            ensure!(began.elapsed() < PATIENCE, "nobody leads");
            sleep(LOOK_EVERY).await;
        }
    }

    /// The shards that a keeper leads.
    fn led_by(&self, place: usize) -> Vec<usize> {
        self.watching.led.borrow().led_by(self.members[place].name())
    }

    /// Does it to a keeper, takes it back in time, and waits until all that it led is led and a keeper is at work.
    async fn hit(&mut self, fault: Fault, target: usize) -> Result<()> {
        let led = self.led_by(target);
        let is_leader = !led.is_empty();
        self.begin(fault, target).await?;
        self.figures.hit(fault.name(), is_leader);
        let began = Instant::now();
        let mut healed = (fault == Fault::Kill).then_some(began);
        let mut is_working = !is_leader;
        while healed.is_none() || !is_working {
            if healed.is_none() && began.elapsed() >= fault.time() {
                self.take_back(fault, target).await?;
                healed = Some(Instant::now());
            }
            if !is_working && self.is_at_work(target, &led, began, healed) {
                self.figures.recovered(began.elapsed());
                is_working = true;
            }
            ensure!(began.elapsed() < PATIENCE, "no keeper is at work {} s after it", PATIENCE.as_secs());
            sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    async fn begin(&mut self, fault: Fault, target: usize) -> Result<()> {
        let member = &mut self.members[target];
        match fault {
            Fault::Stop(_) => member.signal("-STOP").await,
            Fault::Kill => {
                member.kill().await?;
                member.start()
            }
            Fault::Cut(..) | Fault::CutOff(_) => {
                fault.cables().into_iter().try_for_each(|cable| member.place.set_cable(cable, false))
            }
        }
    }

    async fn take_back(&mut self, fault: Fault, target: usize) -> Result<()> {
        let member = &self.members[target];
        match fault {
            Fault::Stop(_) => member.signal("-CONT").await,
            Fault::Kill => Ok(()),
            Fault::Cut(..) | Fault::CutOff(_) => {
                fault.cables().into_iter().try_for_each(|cable| member.place.set_cable(cable, true))
            }
        }
    }

    /// Whether each shard that was hit is led, and since then a keeper has applied a round or no job waits. The one that was
    /// hit counts from when it was over: what it had, and had sent, before is no news.
    fn is_at_work(&self, target: usize, hit: &[usize], began: Instant, healed: Option<Instant>) -> bool {
        let since = |place: usize| if place == target { healed } else { Some(began) };
        let led = self.watching.led.borrow();
        let taken = hit.iter().map(|shard| {
            let (leader, taken) = led.leader_of(*shard)?;
            let place = self.members.iter().position(|member| member.name() == leader)?;
            Some(taken.max(since(place)?))
        });
        let Some(taken) = taken.collect::<Option<Vec<Instant>>>() else { return false };
        let taken = taken.into_iter().max().unwrap_or(began);
        let has_applied = |(place, member): (usize, &Member)| {
            since(place).is_some_and(|since| member.applied().is_some_and(|applied| applied > since.max(taken)))
        };
        self.sight.seen.borrow().queued == 0 || self.members.iter().enumerate().any(has_applied)
    }
}
