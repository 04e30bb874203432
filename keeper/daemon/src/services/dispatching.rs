//! Brings allocated jobs to their workers' agents.

use std::collections::BTreeSet;

use anyhow::Result;
use keeper_dispatch::{Allocation, Dispatcher, Report};
use keeper_types::JobState;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Believed, BelievedReceiver};

/// The service.
pub(crate) struct Dispatching {
    pub(crate) dispatcher: Dispatcher,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) believed: BelievedReceiver,
}

impl Dispatching {
    /// Dispatches until cancelled.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<()> {
        let (allocated, receiver) = watch::channel(BTreeSet::new());
        let mut believed = self.believed;
        let follow = async {
            loop {
                let now = believed.borrow_and_update().as_deref().map(allocations).unwrap_or_default();
                allocated.send_if_modified(|before| {
                    let news = *before != now;
                    *before = now;
                    news
                });
                if believed.changed().await.is_err() {
                    return;
                }
            }
        };
        // What agents report is for the log; what counts is what they do on chain.
        let dispatch = self.dispatcher.run(receiver, self.reports, |_| {}, cancel.clone());
        tokio::select! {
            () = cancel.cancelled() => {}
            () = follow => {}
            () = dispatch => {}
        }
        Ok(())
    }
}

/// What is allocated now. A job whose manifest hash is no content hash is never allocated by a keeper; where
/// somebody did, its worker finds no manifest and the attempt runs out.
fn allocations(believed: &Believed) -> BTreeSet<Allocation> {
    let running = believed.market.jobs.values().filter(|job| job.state == JobState::Allocated);
    running
        .filter_map(|job| {
            let (worker_id, manifest) = (job.worker_id?, job.spec.manifest()?);
            Some(Allocation { job_id: job.job_id, attempt: job.attempt, worker_id, manifest })
        })
        .collect()
}
