//! One fault, as often as is wanted.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use e2e::Fault;
use keeper_chain::{Contracts, Follower, Network, PoolSettings, Rpc, Sender, Step};
use keeper_types::{Felt, JobId};
use rand::{Rng as _, rngs::StdRng};
use tokio::time::timeout;

use super::{
    figures::Row,
    ledger::Ledger,
    reading::{Followed, Record},
    stage::{Events, Stage},
};

/// Rounds, each with a connection of its own, after which a fault is given up that does not happen.
const MOST_ROUNDS: u32 = 600;
/// What is asked through one connection, at most.
const MOST_TURNS: u32 = 8;
/// How long one thing may take; more is no answer.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long an endpoint may take for one request.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often receipts are looked for.
const POLL: Duration = Duration::from_millis(20);
/// Every so many rounds the chain is reorganised.
const REORGANISE_EVERY: u32 = 5;
/// Recorded blocks that are read once more.
const READ_AGAIN: u32 = 12;
/// What a slow endpoint takes longer.
const SLOWNESS: Duration = Duration::from_millis(400);

/// One fault's trial.
pub(super) struct Trial<'a> {
    pub(super) stage: &'a mut Stage,
    pub(super) rng: &'a mut StdRng,
    pub(super) row: Row,
    pub(super) sabotage: bool,
}

/// The keeper's side of it: what it connects with, and through that.
struct Keeper {
    rpc: Rpc,
    contracts: Contracts,
    follower: Follower,
    client: Sender,
}

impl Trial<'_> {
    /// One of the endpoints lies, another one every round.
    ///
    /// # Errors
    /// Fails where the fault cannot be made to happen, or the store fails.
    pub(super) async fn lie(mut self, fault: Fault, injections: u64) -> Result<Row> {
        let record = Record::new(self.stage).await?;
        let mut ledger = Ledger::default();
        let before = self.injected();
        for round in 1.. {
            if self.injected() - before >= injections {
                break;
            }
            if round > MOST_ROUNDS {
                bail!("{} happened {} times in {MOST_ROUNDS} rounds", fault.name(), self.injected() - before);
            }
            let bad = if self.sabotage { 0 } else { self.rng.random_range(0..3) };
            let share = self.rng.random_range(50..=100);
            // What an endpoint says of its network is asked first.
            if fault == Fault::WrongChain {
                self.stage.proxies[bad].lie(fault, share).await;
            }
            let keeper = self.connect().await?;
            self.stage.proxies[bad].lie(fault, share).await;
            for turn in 0..MOST_TURNS {
                let so_far = self.injected();
                let writes = turn == 0 || fault == Fault::Vanished;
                self.turn(&keeper, &record, &mut ledger, writes, false).await?;
                if self.injected() == so_far && turn > 0 {
                    // It is left alone by now.
                    break;
                }
            }
            if round % REORGANISE_EVERY == 0 {
                self.reorganise(&keeper, &record, &mut ledger).await?;
            }
            self.stage.proxies[bad].be_honest();
        }
        self.row.faults = self.injected() - before;
        self.finish(&record, &mut ledger).await?;
        Ok(self.row)
    }

    /// All are honest, and one is slow.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(super) async fn slow(mut self, turns: u64) -> Result<Row> {
        let record = Record::new(self.stage).await?;
        let mut ledger = Ledger::default();
        let keeper = self.connect().await?;
        self.stage.proxies[0].be_slow(SLOWNESS);
        for turn in 0..turns {
            self.turn(&keeper, &record, &mut ledger, turn % 4 == 0, false).await?;
        }
        self.stage.proxies[0].be_slow(Duration::ZERO);
        self.finish(&record, &mut ledger).await?;
        Ok(self.row)
    }

    fn injected(&self) -> u64 {
        self.stage.proxies.iter().map(e2e::LyingProxy::injected).sum()
    }

    async fn connect(&self) -> Result<Keeper> {
        let mut settings = PoolSettings::default();
        settings.timeout = TIMEOUT;
        if self.sabotage {
            settings = settings.believing_the_first();
        }
        let urls: Vec<_> = self.stage.proxies.iter().map(|proxy| proxy.rpc_url().parse()).collect::<Result<_, _>>()?;
        let rpc = Rpc::connect_all(Network::Devnet, &urls, settings).await.context("two endpoints are honest")?;
        let deployment = self.stage.market.deployment();
        let credentials = self.stage.market.chain.account(3).credentials();
        Ok(Keeper {
            contracts: Contracts::new(&rpc, deployment),
            follower: Follower::new(&rpc, deployment),
            client: Sender::new(&rpc, &credentials, POLL),
            rpc,
        })
    }

    /// Asks and does a little of everything, and compares it with the chain.
    async fn turn(
        &mut self,
        keeper: &Keeper,
        record: &Record,
        ledger: &mut Ledger,
        writes: bool,
        is_reorganised: bool,
    ) -> Result<()> {
        if writes {
            self.submit(keeper, ledger).await;
        }
        let checked = self.asked("the network", keeper.rpc.check()).await.is_some();
        self.row.right += u64::from(checked);
        self.follow(keeper, record, is_reorganised).await;
        self.read_again(keeper, record).await?;
        let truth = &self.stage.market;
        let client = truth.client.address();
        let head = truth_of(self.stage.truth().head().await);
        self.compare("the newest block", keeper.follower.head(), head).await;
        let nonce = truth_of(self.stage.market.client.nonce().await);
        self.compare("the nonce", keeper.client.nonce(), nonce).await;
        let balance = truth_of(self.stage.market.client.balance().await);
        self.compare("the balance", keeper.client.balance(), balance).await;
        let job = truth_of(self.stage.market.contracts.job(JobId(1)).await);
        self.compare("a job", keeper.contracts.job(JobId(1)), job).await;
        let worker = truth_of(self.stage.market.contracts.worker_of(client).await);
        self.compare("a worker", keeper.contracts.worker_of(client), worker).await;
        Ok(())
    }

    /// Submits a job.
    async fn submit(&mut self, keeper: &Keeper, ledger: &mut Ledger) {
        let manifest = Felt::from(self.rng.random::<u128>());
        let spec = self.stage.job(manifest).await;
        let submitted = self.asked("a submission", keeper.contracts.submit_jobs(&keeper.client, &[spec])).await;
        self.row.jobs += 1;
        self.row.right += u64::from(submitted.is_some());
        ledger.note(manifest, submitted.map(|(_, receipt)| receipt.block.number));
    }

    /// Follows the chain; nobody may see a reorganisation that there was not.
    async fn follow(&mut self, keeper: &Keeper, record: &Record, is_reorganised: bool) {
        let Some(followed) = self.asked("the events", record.follow(&keeper.follower)).await else { return };
        if followed == Followed::RolledBack && !is_reorganised {
            self.row.wrong += 1;
            self.row.tell("a reorganisation was seen that there was not");
        } else {
            self.row.right += 1;
        }
    }

    /// Reads the last recorded blocks once more.
    async fn read_again(&mut self, keeper: &Keeper, record: &Record) -> Result<()> {
        let Some(from) = record.before(READ_AGAIN).await? else { return Ok(()) };
        let header = self.stage.truth().header(from.number).await;
        if !truth_of(header.map(|header| header == Some(from))) {
            return Ok(());
        }
        let truth = self.stage.events_after(Some(from)).await;
        let read = async {
            match keeper.follower.step(Some(from)).await? {
                Step::Extended { blocks, .. } => Ok(blocks.into_iter().flat_map(|block| block.events).collect()),
                // An answer too, and a wrong one where there is more.
                Step::UpToDate | Step::Reorganised => Ok::<Events, keeper_chain::RpcError>(Vec::new()),
            }
        };
        self.compare("the last events", read, truth).await;
        Ok(())
    }

    /// Asks for something that is known.
    async fn compare<T, E>(&mut self, what: &str, asking: impl Future<Output = Result<T, E>>, truth: T)
    where
        T: PartialEq + fmt::Debug,
        E: fmt::Display,
    {
        let Some(told) = self.asked(what, asking).await else { return };
        if told == truth {
            self.row.right += 1;
        } else {
            self.row.wrong += 1;
            self.row
                .tell(format!("{what} is {truth:?}, and was told as {told:?}").chars().take(300).collect::<String>());
        }
    }

    /// Asks, for as long as is reasonable. What is not answered is no harm, and not right either.
    async fn asked<T, E: fmt::Display>(&mut self, what: &str, asking: impl Future<Output = Result<T, E>>) -> Option<T> {
        self.row.asked += 1;
        let (before, began) = (self.injected(), Instant::now());
        let answer = timeout(PATIENCE, asking).await;
        if self.injected() > before {
            self.row.recoveries.push(began.elapsed());
        }
        match answer {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => self.row.tell(format!("{what} was not told: {error:#}")),
            Err(_) => self.row.tell(format!("{what} was not told in {} s", PATIENCE.as_secs())),
        }
        None
    }

    /// Takes blocks back, which all endpoints say and everybody must see.
    ///
    /// The local chain's hashes say a block's number and how many transactions it has, and nothing else. So that those in
    /// their place have other hashes, each has a transaction where there was none, and none where there was one.
    async fn reorganise(&mut self, keeper: &Keeper, record: &Record, ledger: &mut Ledger) -> Result<()> {
        let blocks = self.rng.random_range(1..=3);
        let (from, counts) = self.stage.abort(blocks).await;
        ledger.aborted(from);
        for count in counts {
            if count == 0 {
                let spec = self.stage.job(Felt::from(self.rng.random::<u128>())).await;
                self.stage.market.submit(&spec).await;
            } else {
                self.stage.market.chain.make_blocks(1).await;
            }
        }
        self.turn(keeper, record, ledger, true, true).await?;
        self.turn(keeper, record, ledger, false, true).await
    }

    /// With honest endpoints everything goes on, and all that was recorded is true.
    async fn finish(&mut self, record: &Record, ledger: &mut Ledger) -> Result<()> {
        let keeper = self.connect().await?;
        let spec = self.stage.job(Felt::from(self.rng.random::<u128>())).await;
        let submitted = timeout(PATIENCE, keeper.contracts.submit_jobs(&keeper.client, &[spec])).await;
        if !matches!(submitted, Ok(Ok(_))) {
            self.row.stuck += 1;
            self.row.tell(format!("with honest endpoints too, the account cannot send: {submitted:?}"));
        }
        for _ in 0..2 {
            record.follow(&keeper.follower).await?;
        }
        let (recorded, truth) = (record.events().await?, self.stage.events_after(None).await);
        let absent: Vec<_> = truth.iter().filter(|event| !recorded.contains(event)).collect();
        let invented: Vec<_> = recorded.iter().filter(|event| !truth.contains(event)).collect();
        for (what, (position, event)) in
            absent.iter().map(|event| ("not recorded", event)).chain(invented.iter().map(|event| ("not there", event)))
        {
            self.row.tell(
                format!("{what}: {} in block {}, {event:?}", event.name(), position.block)
                    .chars()
                    .take(300)
                    .collect::<String>(),
            );
        }
        let (missing, invented) = (absent.len() as u64, invented.len() as u64);
        let twice = (recorded.len() as u64).saturating_sub(truth.len() as u64 - missing + invented);
        self.row.lost += missing;
        self.row.doubled += invented + twice;
        if missing + invented + twice > 0 {
            self.row.tell(format!(
                "of {} events {missing} are not recorded, and {} that there are not",
                truth.len(),
                invented + twice
            ));
        }
        ledger.check(&self.stage.submitted().await, &mut self.row);
        Ok(())
    }
}

/// What the chain itself says.
fn truth_of<T, E: fmt::Debug>(answer: Result<T, E>) -> T {
    answer.expect("the chain answers")
}
