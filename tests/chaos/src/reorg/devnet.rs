//! Reorganisations of a real local chain with the contracts on it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use e2e::{LocalnetOptions, Market};
use futures::TryStreamExt as _;
use keeper_chain::{ChainSource, Follower, Index, JobStanding, RpcError, Sender};
use keeper_follow::{Fold, Latch, Reconciled, Turn};
use keeper_store::{Identity, SqliteStore, Store};
use keeper_types::{
    BlockEvents, BlockHeader, BlockNumber, BlockRef, ChainId, EventPosition, JobId, JobState, MarketEvent, WorkerId,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::json;
use tokio::sync::{Mutex, watch};

use super::{Args, figures::Figures};

/// How long the follower may take to catch up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it asks for news.
const POLL: Duration = Duration::from_millis(20);
const WORKERS: usize = 3;

pub(super) async fn run(args: &Args, seed: u64, figures: &mut Figures) -> Result<()> {
    if args.reorgs == 0 {
        return Ok(());
    }
    let mut rng = StdRng::seed_from_u64(seed);
    let mut place = Place::new(args.sabotage).await?;
    let base = place.height().await;
    for number in 0..args.reorgs {
        let depth = rng.random_range(1..=args.max_depth.max(1));
        // As many blocks as are taken back, some with something in them; mostly what was there before is left.
        let activities = rng.random_range(1..=4.min(depth));
        for activity in 0..activities {
            figures.jobs += place.act(&mut rng).await?;
            let left = (base + depth).saturating_sub(place.height().await) / (activities - activity);
            place.market.chain.make_blocks(left).await;
        }
        if rng.random_bool(0.7) {
            // What is taken back was believed before; otherwise it may still be being read.
            place.caught_up().await;
        }
        let height = place.height().await;
        let depth = depth.min(height - base + 1).max(1);
        let started = Instant::now();
        let from = json!({ "block_number": height + 1 - depth });
        place.market.chain.ask("devnet_abortBlocks", json!({ "starting_block_id": from })).await;
        place.node.is_after_reorganisation.store(true, Ordering::Relaxed);
        // Otherwise blocks may be what they were: the hashes of this chain cover a number and a count of transactions, not
        // what lies below, so only the time tells one fork from another.
        place.market.chain.ask("devnet_increaseTime", json!({ "time": rng.random_range(60..120) })).await;
        if rng.random_bool(0.5) {
            figures.jobs += place.act(&mut rng).await?;
        }
        // At least as high as before, now and then, and often lower.
        place.market.chain.make_blocks(rng.random_range(1..=depth + 2)).await;
        figures.faults += 1;
        figures.deepest = figures.deepest.max(depth);
        if !place.caught_up().await {
            figures.stuck += 1;
            figures.tell(format!("reorganisation {number} of depth {depth} was not caught up with"));
            break;
        }
        figures.recoveries.push(started.elapsed());
        place.compare(args.sabotage, number, figures).await?;
    }
    place.follower.abort();
    Ok(())
}

/// The chain, those who act on it, and the follower.
struct Place {
    market: Market,
    workers: Vec<(WorkerId, Sender)>,
    node: Arc<Node>,
    store: Arc<SqliteStore>,
    fold: Arc<Mutex<Fold>>,
    /// The newest block that the follower has folded.
    folded: watch::Receiver<Option<BlockHeader>>,
    follower: tokio::task::JoinHandle<()>,
    folder: tempfile::TempDir,
}

impl Place {
    async fn new(sabotage: bool) -> Result<Self> {
        let market = Market::start_with(LocalnetOptions { archive: true, ..LocalnetOptions::default() }).await;
        let mut workers = Vec::new();
        for account in 4..4 + WORKERS {
            workers.push(market.register(account, &e2e::capabilities(), 8).await);
        }
        let folder = tempfile::tempdir().context("making a folder")?;
        let store = Arc::new(open(&market, &folder.path().join("keeper.sqlite")).await?);
        let follower = Follower::new(market.contracts.rpc(), market.deployment());
        let node = Arc::new(Node { follower, sabotage, is_after_reorganisation: AtomicBool::new(false) });
        let fold = Arc::new(Mutex::new(fold(node.clone(), store.clone())));
        let (sender, folded) = watch::channel(None);
        let follower = tokio::spawn(follow(fold.clone(), sender));
        Ok(Self { market, workers, node, store, fold, folded, follower, folder })
    }

    async fn height(&self) -> u64 {
        self.market.chain.ask("starknet_blockNumber", json!([])).await.as_u64().unwrap_or_default()
    }

    /// Submits a job or two, allocates what is queued, or has a worker answer; says how many jobs were submitted.
    async fn act(&self, rng: &mut StdRng) -> Result<u64> {
        let jobs = self.market.contracts.jobs().await?;
        let in_state = |state: JobState| jobs.iter().filter(move |job| job.state == state);
        let queued: Vec<JobId> = in_state(JobState::Queued).map(|job| job.job_id).take(3).collect();
        let allocated = in_state(JobState::Allocated).next();
        match rng.random_range(0..3) {
            1 if !queued.is_empty() => {
                let worker = self.workers[rng.random_range(0..WORKERS)].0;
                let pairs: Vec<_> = queued.into_iter().map(|job_id| (job_id, worker)).collect();
                self.market.allocate(&pairs).await;
                Ok(0)
            }
            2 if let Some(job) = allocated => {
                let worker = self.workers.iter().find(|(worker_id, _)| Some(*worker_id) == job.worker_id);
                let (_, sender) = worker.context("the job's worker is one of ours")?;
                self.market.submit_result(sender, job.job_id).await;
                Ok(0)
            }
            _ => {
                let spec = e2e::job_spec(self.market.now().await);
                self.market.submit(&spec).await;
                Ok(1)
            }
        }
    }

    /// Waits until the follower has folded the newest block.
    async fn caught_up(&mut self) -> bool {
        let Ok(head) = self.node.follower.head().await else { return false };
        let folded = self.folded.wait_for(|folded| *folded == Some(head));
        matches!(tokio::time::timeout(PATIENCE, folded).await, Ok(Ok(_)))
    }

    /// Compares the store with one that reads the chain from its start, and what is believed with the contracts.
    async fn compare(&self, sabotage: bool, number: u32, figures: &mut Figures) -> Result<()> {
        let mut following = self.fold.lock().await;
        let path = self.folder.path().join(format!("fresh-{number}.sqlite"));
        let fresh_store = Arc::new(open(&self.market, &path).await?);
        let mut fresh = fold(Arc::new(self.node.honest()), fresh_store.clone());
        while !matches!(fresh.turn().await?, Turn::CaughtUp(Some(_))) {}
        let (stored, read) = (events(&self.store).await?, events(&fresh_store).await?);
        figures.compare(&stored, &read, &format!("after reorganisation {number}"));
        if !sabotage && self.store.recent_blocks(u32::MAX).await? != fresh_store.recent_blocks(u32::MAX).await? {
            figures.doubled += 1;
            figures.tell(format!("after reorganisation {number}: other blocks than the chain's"));
        }
        if sabotage {
            return Ok(());
        }
        loop {
            match following.reconcile().await? {
                Reconciled::Continues => {}
                Reconciled::Agreed { .. } => return Ok(()),
                Reconciled::Differs { count, differences, .. } => {
                    figures.orphans += count;
                    figures.tell(format!("after reorganisation {number}: {differences:?}"));
                    return Ok(());
                }
                Reconciled::Unavailable => anyhow::bail!("the local chain keeps every state, but not this one"),
            }
        }
    }
}

fn fold(node: Arc<dyn ChainSource>, store: Arc<SqliteStore>) -> Fold {
    Fold::new(node, store, Arc::new(Latch::new()), Arc::new(AtomicBool::new(false)), 0, || 0)
}

async fn open(market: &Market, path: &Path) -> Result<SqliteStore> {
    let deployment = market.deployment();
    let identity = Identity {
        chain_id: ChainId::SEPOLIA,
        job_mgr: deployment.job_mgr.address,
        cdc_pool: deployment.cdc_pool.address,
        task_allocator: deployment.task_allocator.address,
        deployment_block: deployment.block,
    };
    Ok(SqliteStore::open(path, identity).await?)
}

async fn events(store: &SqliteStore) -> Result<Vec<(EventPosition, MarketEvent)>> {
    Ok(store.load_events(BlockNumber(0)).try_collect().await?)
}

/// Follows without end, and says how far it is.
async fn follow(fold: Arc<Mutex<Fold>>, folded: watch::Sender<Option<BlockHeader>>) {
    loop {
        // What fails is tried again, as the keeper's service does.
        let turn = fold.lock().await.turn().await;
        match turn {
            Ok(Turn::CaughtUp(head)) => {
                folded.send_replace(head);
                tokio::time::sleep(POLL).await;
            }
            Ok(Turn::Extended { .. } | Turn::Reverted { .. }) => {}
            Ok(_) | Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

/// The local chain's node; one that has lost its events after a reorganisation, if it is sabotaged.
#[derive(Debug)]
struct Node {
    follower: Follower,
    sabotage: bool,
    is_after_reorganisation: AtomicBool,
}

impl Node {
    fn honest(&self) -> Self {
        Self { follower: self.follower.clone(), sabotage: false, is_after_reorganisation: AtomicBool::new(false) }
    }
}

#[async_trait]
impl ChainSource for Node {
    fn first(&self) -> BlockNumber {
        self.follower.first()
    }

    async fn check(&self) -> Result<(), RpcError> {
        self.follower.check().await
    }

    async fn head(&self) -> Result<BlockHeader, RpcError> {
        self.follower.head().await
    }

    async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        self.follower.header(number).await
    }

    async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError> {
        self.follower.accepted_on_l1().await
    }

    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        if self.sabotage && self.is_after_reorganisation.load(Ordering::Relaxed) {
            return Ok(Some(Index::new()));
        }
        self.follower.index(first, last).await
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
        self.follower.block(number).await
    }

    async fn cross_check(&self, block: BlockRef) -> Result<(), RpcError> {
        self.follower.cross_check(block).await
    }

    async fn jobs_at(&self, at: BlockRef, first: JobId, count: u8) -> Result<Vec<JobStanding>, RpcError> {
        self.follower.jobs_at(at, first, count).await
    }
}
