//! Decides what is offered to whom, and does it.
//!
//! [`Ledger`] is the decision, without a clock or a connection: from what is allocated and who is connected it
//! says what to send. [`Dispatcher`] feeds it and carries its actions out.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use keeper_types::{Attempt, ContentHash, JobId, MAX_MANIFEST_BYTES, WorkerId};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::{ArtifactStore, DispatchServer, RefusalCode, Report, ReportKind, SessionId, Sessions};

/// A job that the market holds allocated, and what its worker is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Allocation {
    /// The job.
    pub job_id: JobId,
    /// The attempt that is allocated.
    pub attempt: Attempt,
    /// The worker that it is allocated to.
    pub worker_id: WorkerId,
    /// The manifest, in the artifact store.
    pub manifest: ContentHash,
}

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Offer the job in this session.
    Offer {
        /// The job, its worker and its manifest.
        allocation: Allocation,
        /// The worker's session.
        session: SessionId,
    },
    /// Tell the worker that the job is no longer its own.
    Withdraw {
        /// The worker.
        worker_id: WorkerId,
        /// The job.
        job_id: JobId,
        /// The attempt that was offered.
        attempt: Attempt,
    },
}

/// When an offer that did not take is made again: after `first`, then twice as long each time, up to `longest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The first wait.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { first: Duration::from_secs(2), longest: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// The wait after this many failures before.
    pub fn wait(self, failures: u32) -> Duration {
        self.first.saturating_mul(2_u32.saturating_pow(failures)).min(self.longest)
    }
}

/// How long a worker has to begin an attempt after it was offered, unless told otherwise.
pub const ASSIGNMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// What was offered, and how that went. Each attempt is offered once per session, and again only where the agent
/// refused for a reason that passes, where the offer could not be sent, or where it has not begun for too long.
#[derive(Clone, Debug)]
pub struct Ledger {
    offers: BTreeMap<(JobId, Attempt), Offered>,
    retry: RetryPolicy,
    assignment_timeout: Duration,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(RetryPolicy::default(), ASSIGNMENT_TIMEOUT)
    }
}

#[derive(Clone, Debug)]
struct Offered {
    worker_id: WorkerId,
    session: SessionId,
    failures: u32,
    /// When it was offered first in the session.
    since: Instant,
    /// Since when an answer to the last offer is waited for.
    asked: Instant,
    has_begun: bool,
    state: OfferState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OfferState {
    Sent,
    Waiting { until: Instant },
    Refused,
}

impl Ledger {
    /// A ledger that has offered nothing. A worker that has not begun an attempt so long after it was offered is
    /// [stalled](Self::stalled).
    pub fn new(retry: RetryPolicy, assignment_timeout: Duration) -> Self {
        Self { offers: BTreeMap::new(), retry, assignment_timeout }
    }

    /// Workers with a session in which they were offered an attempt for too long without beginning it, whatever they said:
    /// their assignments have timed out. Of the attempts the first is named.
    pub fn stalled(&self, now: Instant) -> BTreeMap<(WorkerId, SessionId), (JobId, Attempt)> {
        let overdue =
            self.offers.iter().filter(|(_, offered)| !offered.has_begun && self.is_overdue(offered.since, now));
        let mut stalled = BTreeMap::new();
        for (key, offered) in overdue {
            stalled.entry((offered.worker_id, offered.session)).or_insert(*key);
        }
        stalled
    }

    fn is_overdue(&self, since: Instant, now: Instant) -> bool {
        since + self.assignment_timeout <= now
    }

    /// The worker runs the attempt, or has run it.
    pub fn begun(&mut self, job_id: JobId, attempt: Attempt, session: SessionId) {
        let offered = self.offers.get_mut(&(job_id, attempt)).filter(|offered| offered.session == session);
        if let Some(offered) = offered {
            offered.has_begun = true;
        }
    }

    /// What is to be sent now; taken to be sent unless [`Self::failed`] says otherwise.
    pub fn plan(&mut self, allocated: &BTreeSet<Allocation>, sessions: &Sessions, now: Instant) -> Vec<Action> {
        let live: BTreeMap<_, _> = allocated.iter().map(|one| ((one.job_id, one.attempt), one.worker_id)).collect();
        let mut actions = Vec::new();
        self.offers.retain(|(job_id, attempt), offered| {
            let is_live = live.get(&(*job_id, *attempt)) == Some(&offered.worker_id);
            let connected = sessions.get(&offered.worker_id).is_some_and(|session| session.id == offered.session);
            if !is_live && connected && offered.state == OfferState::Sent {
                let (worker_id, job_id, attempt) = (offered.worker_id, *job_id, *attempt);
                actions.push(Action::Withdraw { worker_id, job_id, attempt });
            }
            // In another session it is offered anew.
            is_live && connected
        });
        for allocation in allocated {
            let Some(session) = sessions.get(&allocation.worker_id) else { continue };
            if self.is_due(allocation, session.id, now) {
                self.record(allocation, session.id, now);
                actions.push(Action::Offer { allocation: *allocation, session: session.id });
            }
        }
        actions
    }

    fn is_due(&self, allocation: &Allocation, session: SessionId, now: Instant) -> bool {
        match self.offers.get(&(allocation.job_id, allocation.attempt)) {
            Some(offered) if offered.session == session => match offered.state {
                // Words get lost between two programs; an agent knows what it was offered.
                OfferState::Sent => !offered.has_begun && self.is_overdue(offered.asked, now),
                OfferState::Refused => false,
                OfferState::Waiting { until } => until <= now,
            },
            _ => true,
        }
    }

    fn record(&mut self, allocation: &Allocation, session: SessionId, now: Instant) {
        let (worker_id, state) = (allocation.worker_id, OfferState::Sent);
        let fresh = Offered { worker_id, session, failures: 0, since: now, asked: now, has_begun: false, state };
        let offered = self.offers.entry((allocation.job_id, allocation.attempt)).or_insert_with(|| fresh.clone());
        if offered.session == session {
            (offered.state, offered.asked) = (OfferState::Sent, now);
        } else {
            *offered = fresh;
        }
    }

    /// The agent refused. Words from an older session, or about what it was not offered, change nothing.
    pub fn refused(&mut self, job_id: JobId, attempt: Attempt, session: SessionId, code: RefusalCode, now: Instant) {
        if code.is_transient() {
            self.failed(job_id, attempt, session, now);
        } else if let Some(offered) = self.sent(job_id, attempt, session) {
            offered.state = OfferState::Refused;
        }
    }

    /// The offer was not sent, or did not take: it is due again after a while. Returns how often that happened.
    pub fn failed(&mut self, job_id: JobId, attempt: Attempt, session: SessionId, now: Instant) -> u32 {
        let retry = self.retry;
        self.sent(job_id, attempt, session).map_or(0, |offered| {
            offered.state = OfferState::Waiting { until: now + retry.wait(offered.failures) };
            offered.failures = offered.failures.saturating_add(1);
            offered.failures
        })
    }

    fn sent(&mut self, job_id: JobId, attempt: Attempt, session: SessionId) -> Option<&mut Offered> {
        let offered = self.offers.get_mut(&(job_id, attempt))?;
        (offered.session == session && offered.state == OfferState::Sent).then_some(offered)
    }

    /// When an offer becomes due, or a worker stalled, without anything else happening after `now`.
    pub fn next_due(&self, now: Instant) -> Option<Instant> {
        let due = |offered: &Offered| {
            let stalls = Some(offered.since + self.assignment_timeout).filter(|at| !offered.has_begun && *at > now);
            let again = match offered.state {
                OfferState::Waiting { until } => Some(until),
                OfferState::Sent => Some(offered.asked + self.assignment_timeout).filter(|_| !offered.has_begun),
                OfferState::Refused => None,
            };
            stalls.into_iter().chain(again).min()
        };
        self.offers.values().filter_map(due).min()
    }
}

/// Sees to it that every allocated job reaches its worker.
#[derive(Debug)]
pub struct Dispatcher {
    server: DispatchServer,
    artifacts: ArtifactStore,
    ledger: Ledger,
    /// Whose assignments have timed out, as it was said last.
    stalled: BTreeSet<(WorkerId, SessionId)>,
}

/// Who does not dispatch any more does not know who begins what.
impl Drop for Dispatcher {
    fn drop(&mut self) {
        self.server.stalled(&BTreeSet::new());
    }
}

impl Dispatcher {
    /// Sends through `server` the manifests that `artifacts` holds. Workers that have not begun an attempt so long after it
    /// was offered are marked in the server's sessions until they have.
    pub fn new(
        server: DispatchServer,
        artifacts: ArtifactStore,
        retry: RetryPolicy,
        assignment_timeout: Duration,
    ) -> Self {
        Self { server, artifacts, ledger: Ledger::new(retry, assignment_timeout), stalled: BTreeSet::new() }
    }

    /// Follows what is allocated, who is connected and what agents report, until cancelled or until one of the
    /// two channels is closed. `on_report` sees every report. A dispatcher that takes another's place offers everything
    /// once more; agents know what they were offered.
    pub async fn run(
        mut self,
        mut allocated: watch::Receiver<BTreeSet<Allocation>>,
        reports: &mut mpsc::Receiver<Report>,
        mut on_report: impl FnMut(&Report) + Send,
        cancel: CancellationToken,
    ) {
        let mut sessions = self.server.sessions();
        loop {
            let wanted = allocated.borrow_and_update().clone();
            let now = Instant::now();
            let actions = self.ledger.plan(&wanted, &sessions.borrow_and_update(), now);
            self.mark_stalled(now);
            for action in actions {
                self.act(action).await;
            }
            let due = self.ledger.next_due(now);
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = allocated.changed() => if changed.is_err() { return },
                changed = sessions.changed() => if changed.is_err() { return },
                report = reports.recv() => match report {
                    Some(report) => {
                        self.note(&report);
                        on_report(&report);
                    }
                    None => return,
                },
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
    }

    fn mark_stalled(&mut self, now: Instant) {
        let stalled = self.ledger.stalled(now);
        for ((worker_id, session), (job_id, attempt)) in &stalled {
            if !self.stalled.contains(&(*worker_id, *session)) {
                warn!(%job_id, %attempt, %worker_id, %session, "the worker has not begun the job; it gets no other until it has");
            }
        }
        self.stalled = stalled.into_keys().collect();
        self.server.stalled(&self.stalled);
    }

    async fn act(&mut self, action: Action) {
        match action {
            Action::Offer { allocation, session } => self.offer(&allocation, session).await,
            Action::Withdraw { worker_id, job_id, attempt } => {
                // An agent that misses this finds out on chain.
                match self.server.withdraw(worker_id, job_id, attempt) {
                    Ok(_) => debug!(%job_id, %attempt, %worker_id, "the job is no longer allocated"),
                    Err(error) => debug!(%job_id, %attempt, %worker_id, %error, "could not withdraw the job"),
                }
            }
        }
    }

    async fn offer(&mut self, allocation: &Allocation, session: SessionId) {
        let Allocation { job_id, attempt, worker_id, manifest } = *allocation;
        let reason = match self.artifacts.get(manifest, MAX_MANIFEST_BYTES as u64).await {
            Ok(bytes) => match self.server.offer(worker_id, job_id, attempt, bytes) {
                Ok(_) => {
                    info!(%job_id, %attempt, %worker_id, %session, "offered the job");
                    return;
                }
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        // Said once aloud; the tries that follow say the same.
        if self.ledger.failed(job_id, attempt, session, Instant::now()) <= 1 {
            warn!(%job_id, %attempt, %worker_id, reason, "cannot offer the job yet");
        } else {
            debug!(%job_id, %attempt, %worker_id, reason, "still cannot offer the job");
        }
    }

    fn note(&mut self, report: &Report) {
        let Report { worker_id, session, job_id, attempt, kind } = report;
        match kind {
            ReportKind::Accepted => debug!(%job_id, %attempt, %worker_id, "the worker accepted"),
            ReportKind::Started => {
                info!(%job_id, %attempt, %worker_id, "the job runs");
                self.ledger.begun(*job_id, *attempt, *session);
            }
            ReportKind::Finished(outcome) => {
                info!(%job_id, %attempt, %worker_id, ?outcome, "the job ran");
                self.ledger.begun(*job_id, *attempt, *session);
            }
            ReportKind::Refused { code, reason } => {
                warn!(%job_id, %attempt, %worker_id, %code, reason, "the worker refused");
                self.ledger.refused(*job_id, *attempt, *session, *code, Instant::now());
            }
        }
    }
}

#[cfg(test)]
mod tests;
