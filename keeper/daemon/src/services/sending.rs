//! Sends what the other services submit, and sees to it that it lands or is known not to.
//!
//! Everything that the service knows is in the intent log: started again, it resends what is open and finds out what became
//! of what an earlier run was sending. Told to stop, it goes on for some seconds with what somebody still waits for.

use std::sync::Arc;

use keeper_chain::lane::Lane;
use tokio_util::sync::CancellationToken;

use super::{DRAIN_LIMIT, Failure, Health};

/// The service.
#[derive(Clone)]
pub(crate) struct Sending {
    /// One for each account.
    pub(crate) lanes: Vec<Lane>,
    pub(crate) health: Arc<Health>,
}

impl Sending {
    /// Sends until cancelled.
    ///
    /// # Errors
    /// Fails where the store does.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let lanes = self.lanes.iter().map(|lane| self.run_lane(lane, &cancel));
        futures::future::try_join_all(lanes).await?;
        Ok(())
    }

    async fn run_lane(&self, lane: &Lane, cancel: &CancellationToken) -> Result<(), Failure> {
        let mut status = lane.status();
        let telling = async {
            loop {
                let now = status.borrow_and_update().clone();
                self.health.sending(lane.address(), &now);
                if status.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            ended = lane.run(cancel.cancelled(), DRAIN_LIMIT) => Ok(ended?),
            () = telling => Ok(()),
        }
    }
}
