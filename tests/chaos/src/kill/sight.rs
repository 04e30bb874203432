//! What the chain says, read by the harness itself while it goes on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Result;
use keeper_chain::{Follower, Step};
use keeper_types::{BlockHeader, JobState, Market};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::stage::Stage;

/// How often the chain is asked.
const POLL: Duration = Duration::from_millis(200);

/// How many jobs are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) submitted: usize,
    pub(crate) queued: usize,
    pub(crate) settled: usize,
    /// Not in a final state.
    pub(crate) open: usize,
    /// Events so far: it stands still where nothing happens.
    pub(crate) events: usize,
}

impl Seen {
    fn of(market: &Market, events: usize) -> Self {
        let count = |wanted: fn(JobState) -> bool| market.jobs.values().filter(|job| wanted(job.state)).count();
        Self {
            submitted: market.jobs.len(),
            queued: count(|state| state == JobState::Queued),
            settled: count(|state| state == JobState::Settled),
            open: count(|state| !state.is_final()),
            events,
        }
    }
}

/// A reader of the chain.
pub(crate) struct Sight {
    pub(crate) seen: watch::Receiver<Seen>,
    reading: JoinHandle<Result<()>>,
}

impl Sight {
    /// Reads on until it is dropped.
    pub(crate) fn open(stage: &Arc<Stage>) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        Self { seen, reading: tokio::spawn(read(Arc::clone(stage), tell)) }
    }

    /// Waits until this many jobs are seen and none is open, or nothing has happened for `patience`.
    pub(crate) async fn until_all_is_over(mut self, jobs: usize, patience: Duration) -> Result<()> {
        let (mut last, mut since) = (*self.seen.borrow(), Instant::now());
        loop {
            if self.reading.is_finished() {
                return (&mut self.reading).await?;
            }
            let now = *self.seen.borrow();
            if now != last {
                (last, since) = (now, Instant::now());
            }
            if (now.open == 0 && now.submitted >= jobs) || since.elapsed() > patience {
                return Ok(());
            }
            sleep(POLL).await;
        }
    }
}

impl Drop for Sight {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(stage: Arc<Stage>, tell: watch::Sender<Seen>) -> Result<()> {
    let follower = Follower::new(stage.contracts.rpc(), stage.contracts.deployment());
    let (mut market, mut cursor, mut events) = (Market::default(), None::<BlockHeader>, 0);
    loop {
        match follower.step(cursor).await {
            Ok(Step::Extended { blocks, .. }) => {
                for (position, event) in blocks.iter().flat_map(|block| &block.events) {
                    market.apply(event, position)?;
                    events += 1;
                }
                cursor = blocks.last().map(|block| block.header).or(cursor);
                tell.send_replace(Seen::of(&market, events));
            }
            Ok(Step::UpToDate) => sleep(POLL).await,
            // Only blocks without jobs in them are ever taken away here.
            Ok(Step::Reorganised) => (market, cursor, events) = (Market::default(), None, 0),
            // The node is busy; the next look will do.
            Err(_) => sleep(POLL).await,
        }
    }
}
