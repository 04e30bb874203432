//! Watches whether the database can be written to, and has it forget what is over and old.
//!
//! The keeper writes when blocks come; in between nothing would show that the disk has gone. The service has no state.

use std::{sync::Arc, time::Duration};

use keeper_store::{Store, StoreError};
use keeper_types::{JobId, Market};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{BelievedReceiver, Failure, Health, now_ms};

/// How often it is tried.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);
/// How often what is old is looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3_600);
/// Rows of each kind that are forgotten at a time, so that nobody waits long for the lock.
const AT_A_TIME: u32 = 1_000;
const DAY_MS: u64 = 86_400_000;

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Storing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Arc<Health>,
    pub(crate) believed: BelievedReceiver,
    /// How long what is over is kept; 0 for ever.
    pub(crate) history_days: u32,
}

impl Storing {
    /// Watches until cancelled.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let working = async { tokio::try_join!(self.watch(), self.forget()).map(|_| ()) };
        cancel.run_until_cancelled(working).await.unwrap_or(Ok(()))
    }

    async fn watch(&self) -> Result<(), Failure> {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A transaction that takes the write lock and commits nothing.
            self.store.save_explanations(&[]).await?;
            self.health.stored();
        }
    }

    async fn forget(&self) -> Result<(), Failure> {
        let mut believed = self.believed.clone();
        // What is over is known once the keeper has caught up. Where it never does, it ends.
        believed.wait_for(Option::is_some).await.ok();
        let mut ticks = interval(FORGET_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let below = believed.borrow().as_ref().map_or(JobId(0), |believed| first_open(&believed.market));
            let rows = forget_before(&*self.store, self.history_days, below, now_ms()).await?;
            if rows > 0 {
                tracing::info!(rows, days = self.history_days, "forgot what is over and old");
            }
        }
    }
}

async fn forget_before(store: &dyn Store, days: u32, below: JobId, now_ms: u64) -> Result<u64, StoreError> {
    if days == 0 {
        return Ok(0);
    }
    let before_ms = now_ms.saturating_sub(u64::from(days) * DAY_MS);
    let mut forgotten = 0;
    loop {
        match store.forget_history(before_ms, below, AT_A_TIME).await? {
            0 => return Ok(forgotten),
            rows => forgotten += rows,
        }
    }
}

/// The first job that is not over; every one below it is.
fn first_open(market: &Market) -> JobId {
    let open = market.open_jobs().next().map(|job| job.job_id);
    let after_all = || market.jobs.keys().next_back().map_or(JobId(0), |last| JobId(last.0.saturating_add(1)));
    open.unwrap_or_else(after_all)
}

#[cfg(test)]
mod tests {
    use keeper_store::{SqliteStore, conformance};

    use super::*;

    #[tokio::test]
    async fn what_is_older_than_so_many_days_goes_however_much_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("keeper.sqlite"), conformance::identity()).await.unwrap();
        let count = 2 * u64::from(AT_A_TIME) + 1;
        let explained: Vec<_> = (0..count).map(|job_id| conformance::explanation(job_id, None, 12)).collect();
        let written_ms = explained[0].time_ms;
        store.save_explanations(&explained).await.unwrap();
        let below = JobId(count - 1);
        assert_eq!(forget_before(&store, 0, below, u64::MAX).await.unwrap(), 0, "for ever");
        assert_eq!(forget_before(&store, 2, below, written_ms + 2 * DAY_MS).await.unwrap(), 0, "not older");
        assert_eq!(forget_before(&store, 2, below, written_ms + 2 * DAY_MS + 1).await.unwrap(), count - 1);
        assert!(store.explanation(below).await.unwrap().is_some(), "the job is not over");
    }

    #[test]
    fn nothing_is_over_where_nothing_is_known() {
        assert_eq!(first_open(&Market::default()), JobId(0));
    }
}
