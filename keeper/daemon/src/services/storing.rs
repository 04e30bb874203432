//! Watches whether the database can be written to.
//!
//! The keeper writes when blocks come; in between nothing would show that the disk has gone. The service has no state.

use std::{sync::Arc, time::Duration};

use keeper_store::Store;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Failure, Health};

/// How often it is tried.
pub(super) const INTERVAL: Duration = Duration::from_secs(5);

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Storing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) health: Arc<Health>,
}

impl Storing {
    /// Watches until cancelled.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        cancel.run_until_cancelled(self.watch()).await.unwrap_or(Ok(()))
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
}
