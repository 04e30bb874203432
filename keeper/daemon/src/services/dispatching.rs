//! Brings allocated jobs to their workers' agents.
//!
//! What was offered to whom is forgotten when the service is started again: every allocated job is offered once more to
//! its worker's agent, which ignores an offer of an attempt that it runs, repeats the outcome of one that it has finished,
//! and asks the chain before it begins another. So nothing is lost, and nothing runs twice. What agents report waits
//! meanwhile.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use keeper_dispatch::{Allocation, ArtifactStore, DispatchServer, Dispatcher, Report, RetryPolicy};
use keeper_follow::FinalityPolicy;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Believed, BelievedReceiver, Duty, Failure, Leadership};

/// The service.
#[derive(Clone)]
pub(crate) struct Dispatching {
    pub(crate) server: DispatchServer,
    pub(crate) artifacts: ArtifactStore,
    /// Held by the one that runs.
    pub(crate) reports: Arc<Mutex<mpsc::Receiver<Report>>>,
    pub(crate) believed: BelievedReceiver,
    /// How long a worker has to begin a job after it was offered.
    pub(crate) assignment_timeout: Duration,
    /// How sure a job must be before its work begins.
    pub(crate) finality: FinalityPolicy,
    /// Whether this keeper does it.
    pub(crate) leadership: Leadership,
}

impl Dispatching {
    /// Dispatches until cancelled, whenever this keeper leads.
    ///
    /// # Errors
    /// None: what fails is tried again.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let leadership = self.leadership.clone();
        let unheard = self.leave_unheard(leadership.clone());
        tokio::select! {
            ended = leadership.while_leading(cancel, |duty, cancel| self.clone().lead(duty, cancel)) => ended,
            () = unheard => Ok(()),
        }
    }

    /// Takes what agents report while this keeper stands by, so that their sessions do not wait. Never ends.
    async fn leave_unheard(&self, mut leadership: Leadership) {
        loop {
            leadership.until_standby().await;
            let mut reports = self.reports.lock().await;
            tokio::select! {
                () = leadership.until_leading() => {}
                report = reports.recv() => if report.is_none() {
                    std::future::pending::<()>().await;
                },
            }
        }
    }

    async fn lead(self, duty: Duty, cancel: CancellationToken) -> Result<(), Failure> {
        let (allocated, receiver) = watch::channel(BTreeSet::new());
        let (mut believed, finality) = (self.believed, self.finality);
        let follow = async {
            loop {
                let now = believed.borrow_and_update().clone();
                let now = now.as_deref().map(|believed| allocations(believed, &finality, &duty)).unwrap_or_default();
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
        let mut reports = self.reports.lock().await;
        let retry = RetryPolicy::default();
        let dispatcher = Dispatcher::new(self.server, self.artifacts, retry, self.assignment_timeout);
        // What agents report is for the log and says whether they begin; what counts is what they do on chain.
        let dispatch = dispatcher.run(receiver, &mut reports, |_| {}, cancel.clone());
        tokio::select! {
            () = cancel.cancelled() => {}
            () = follow => {}
            () = dispatch => {}
        }
        Ok(())
    }
}

/// What is allocated now, this keeper's to see to, and sure enough for its work to begin: that does not go back with the chain. A job whose manifest hash is no content hash is never allocated by a keeper; where
/// somebody did, its worker finds no manifest and the attempt runs out.
fn allocations(believed: &Believed, finality: &FinalityPolicy, duty: &Duty) -> BTreeSet<Allocation> {
    let running = believed.market.allocated_jobs();
    running
        .filter(|job| duty.has_job(job.job_id))
        .filter(|job| finality.may_begin(job, &believed.head, believed.final_block))
        .filter_map(|job| {
            let (worker_id, manifest) = (job.worker_id?, job.spec.manifest()?);
            Some(Allocation { job_id: job.job_id, attempt: job.attempt, worker_id, manifest })
        })
        .collect()
}
