//! When the chain gave which job away, by this program's own reading.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use keeper_chain::{Follower, Step};
use keeper_types::{BlockHeader, JobId, MarketEvent, TxHash};
use tokio::{sync::watch, time::sleep};

use super::{Scene, load::Submission};

/// How often the chain is asked: what is measured is late by as much at most.
const POLL: Duration = Duration::from_millis(50);
/// How often it is looked whether all is done.
const LOOK: Duration = Duration::from_secs(1);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// The jobs that each transaction submitted.
    pub(crate) submitted: BTreeMap<TxHash, Vec<JobId>>,
    /// When each job was first seen to be allocated.
    pub(crate) allocated: BTreeMap<JobId, Instant>,
    /// When the transaction of each submission was first seen in a block.
    pub(crate) included: BTreeMap<TxHash, Instant>,
    /// When each block was first seen.
    pub(crate) blocks: Vec<Instant>,
    /// Items of each round.
    pub(crate) rounds: Vec<u32>,
    /// Items that a contract skipped.
    pub(crate) skipped: u64,
    /// Attempts that were allocated twice.
    pub(crate) doubled: u64,
}

/// A reader of the chain.
pub(crate) struct Watching {
    seen: watch::Receiver<Seen>,
}

impl Watching {
    /// Begins with the newest block.
    pub(crate) async fn begin(scene: &Arc<Scene>) -> Self {
        let rpc = scene.connection().await;
        let follower = Follower::new(&rpc, scene.contracts.deployment());
        let cursor = follower.head().await.expect("the newest block");
        let (tell, seen) = watch::channel(Seen::default());
        tokio::spawn(read(follower, cursor, tell));
        Self { seen }
    }

    /// Waits until every job is allocated, or none has been for `patience`.
    pub(crate) async fn until_allocated(mut self, submissions: &[Submission], patience: Duration) -> Seen {
        let wanted: usize = submissions.iter().map(|submission| submission.jobs).sum();
        let mut last = (0, Instant::now());
        loop {
            let now = submissions.iter().map(|submission| self.seen.borrow().waits_of(submission).len()).sum();
            if now != last.0 {
                last = (now, Instant::now());
            }
            if now >= wanted || last.1.elapsed() > patience {
                return self.seen.borrow_and_update().clone();
            }
            sleep(LOOK).await;
        }
    }
}

async fn read(follower: Follower, mut cursor: BlockHeader, tell: watch::Sender<Seen>) {
    loop {
        match follower.step(Some(cursor)).await {
            Ok(Step::Extended { blocks, .. }) => {
                let at = Instant::now();
                cursor = blocks.last().map_or(cursor, |block| block.header);
                let events = blocks.iter().flat_map(|block| &block.events);
                tell.send_modify(|seen| {
                    seen.blocks.push(at);
                    events.for_each(|(position, event)| seen.take(position.tx_hash, event, at));
                });
            }
            Ok(Step::Reorganised) => return,
            Ok(Step::UpToDate) | Err(_) => sleep(POLL).await,
        }
    }
}

impl Seen {
    /// How long each job of a submission waited that is allocated.
    pub(crate) fn waits_of(&self, submission: &Submission) -> Vec<Duration> {
        let jobs = self.submitted.get(&submission.tx_hash).into_iter().flatten();
        jobs.filter_map(|job_id| self.allocated.get(job_id)).map(|at| at.duration_since(submission.at)).collect()
    }

    fn take(&mut self, tx_hash: TxHash, event: &MarketEvent, at: Instant) {
        match event {
            MarketEvent::JobSubmitted { job_id, .. } => {
                self.included.entry(tx_hash).or_insert(at);
                self.submitted.entry(tx_hash).or_default().push(*job_id);
            }
            MarketEvent::JobsAllocated { items } => {
                for item in items {
                    self.doubled += u64::from(self.allocated.insert(item.job_id, at).is_some());
                }
            }
            MarketEvent::RoundApplied { allocated, .. } => self.rounds.push(*allocated),
            MarketEvent::AllocationSkipped { .. } => self.skipped += 1,
            _ => {}
        }
    }
}
