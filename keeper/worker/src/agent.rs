//! The run loop.
//!
//! ```text
//!   keeper <--> link ---- offers, withdrawals ---> agent --- spawns ---> job: check, run, publish, submit
//!                 ^                                  |                    |
//!                 +------------- reports ------------+--------------------+
//! ```
//!
//! There is a link for each keeper that the agent was told of, and any of them may offer. A link keeps a session up and
//! survives its loss; jobs know nothing of sessions. The agent owns what is known of each attempt, so that one which is
//! offered again, by another keeper or by one that connected anew, is not run again.

mod commitments;
mod job;
mod link;
mod runs;
mod terms;
mod watching;

use std::{
    collections::HashMap,
    fmt,
    future::pending,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use keeper_dispatch::{
    AgentIdentity, AgentMessage, ArtifactStore, Connector, Outcome, ProfileLine, ProofSigner, RefusalCode, RetryPolicy,
};
use keeper_types::{Attempt, JobId};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{Executor, ProfileSource, WorkerChain, gpus::GpuPool, workspace::Workspaces};
use commitments::{Commitments, reveal};
use job::{Context, Ending, Job};
use link::{Incoming, Link};
use runs::{Known, Runs};

/// Reports that may wait for a session.
const REPORTS: usize = 1_024;
/// Offers that may wait for the agent.
const OFFERS: usize = 64;
/// How long cancelled jobs may take to end and to be given up on chain, at a shutdown.
const GIVE_UP_TIMEOUT: Duration = Duration::from_secs(30);

/// How an agent works.
#[derive(Clone, Debug)]
pub struct AgentConfig {
    /// For whom it speaks, and to whom.
    pub identity: AgentIdentity,
    /// Jobs at a time, as registered.
    pub slots: u8,
    /// GPUs of this machine, as registered.
    pub gpus: u8,
    /// The folder that jobs run below.
    pub workspaces: PathBuf,
    /// The folder for results that may not be shown yet.
    pub commitments: PathBuf,
    /// How often the chain is asked whether a result may be shown.
    pub reveal_poll: Duration,
    /// How often it is looked at what the worker is.
    pub profile_poll: Duration,
    /// When to connect again; waits are shortened at random by up to a half.
    pub reconnect: RetryPolicy,
    /// When to ask the chain, or the artifact store, again.
    pub retry: RetryPolicy,
    /// How long the keeper may be silent before the session counts as lost.
    pub silence_limit: Duration,
    /// How long running jobs may go on after the agent was told to stop.
    pub shutdown_grace: Duration,
}

impl AgentConfig {
    /// The usual patience, for a worker of one slot without GPUs.
    pub fn new(identity: AgentIdentity, workspaces: PathBuf) -> Self {
        Self {
            identity,
            slots: 1,
            gpus: 0,
            commitments: workspaces.join("commitments"),
            workspaces,
            reveal_poll: Duration::from_secs(5),
            profile_poll: Duration::from_secs(30),
            // A keeper that is started again is back within a fraction of a second, and nothing is placed without sessions.
            reconnect: RetryPolicy { first: Duration::from_millis(250), longest: Duration::from_secs(60) },
            retry: RetryPolicy { first: Duration::from_secs(1), longest: Duration::from_secs(30) },
            silence_limit: Duration::from_secs(15),
            shutdown_grace: Duration::from_secs(30),
        }
    }
}

/// A keeper beside the first.
#[derive(Clone)]
pub struct OtherKeeper {
    /// Reaches it.
    pub connector: Arc<dyn Connector>,
    /// What it calls itself: see [`AgentIdentity::audience`].
    pub audience: String,
}

impl fmt::Debug for OtherKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherKeeper").field("audience", &self.audience).finish_non_exhaustive()
    }
}

/// What an agent works with.
#[derive(Clone)]
pub struct AgentParts {
    /// The chain.
    pub chain: Arc<dyn WorkerChain>,
    /// Signs proofs of account.
    pub signer: Arc<dyn ProofSigner>,
    /// Reaches the keeper.
    pub connector: Arc<dyn Connector>,
    /// Keepers beside that one. The agent keeps a session with each, so that whichever comes to lead has it already.
    pub others: Vec<OtherKeeper>,
    /// Says what the worker is.
    pub profile: Arc<dyn ProfileSource>,
    /// Where outputs go.
    pub artifacts: ArtifactStore,
    /// Runs jobs.
    pub executor: Arc<dyn Executor>,
}

impl fmt::Debug for AgentParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentParts").field("artifacts", &self.artifacts).finish_non_exhaustive()
    }
}

/// Why an agent cannot work.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The folder for jobs cannot be used.
    #[error("cannot use {} for jobs: {source}", path.display())]
    Workspaces {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs what its worker is given.
#[derive(Debug)]
pub struct Agent {
    config: AgentConfig,
    parts: AgentParts,
}

impl Agent {
    /// An agent that does nothing yet.
    pub fn new(config: AgentConfig, parts: AgentParts) -> Self {
        Self { config, parts }
    }

    /// Works until `cancel` is cancelled. Then no more offers are taken, what runs may finish within
    /// [`AgentConfig::shutdown_grace`], and what has not is cancelled and given up on chain.
    ///
    /// # Errors
    /// Fails where the folder for jobs cannot be used. A keeper or a chain that cannot be reached is waited for.
    pub async fn run(self, cancel: CancellationToken) -> Result<(), AgentError> {
        let Self { config, parts } = self;
        let workspaces = Workspaces::open(&config.workspaces, config.identity.worker_id)
            .await
            .map_err(|source| AgentError::Workspaces { path: config.workspaces.clone(), source })?;
        let unusable = |source| AgentError::Workspaces { path: config.commitments.clone(), source };
        let (worker_id, cdc_pool) = (config.identity.worker_id, config.identity.cdc_pool);
        let commitments = Commitments::open(&config.commitments, worker_id, cdc_pool).map_err(unusable)?;
        let committed = commitments.waiting().map_err(unusable)?;
        let profile = watching::look(&parts.profile).await.unwrap_or_default();
        info!(profile = %ProfileLine(&profile), "what keepers are told of the worker");
        let (profile, profiles) = watch::channel(profile);
        tokio::spawn(watching::follow(Arc::clone(&parts.profile), config.profile_poll, profile));
        let (offers, incoming) = mpsc::channel(OFFERS);
        let first = OtherKeeper { connector: parts.connector, audience: config.identity.audience.clone() };
        let (mut outgoing, mut links) = (Vec::new(), JoinSet::new());
        let disconnect = CancellationToken::new();
        for OtherKeeper { connector, audience } in std::iter::once(first).chain(parts.others) {
            let (reports, waiting) = mpsc::channel(REPORTS);
            outgoing.push(reports);
            let link = Link {
                connector,
                signer: Arc::clone(&parts.signer),
                identity: AgentIdentity { audience, ..config.identity.clone() },
                profile: profiles.clone(),
                reconnect: config.reconnect,
                silence_limit: config.silence_limit,
                offers: offers.clone(),
                reports: waiting,
            };
            links.spawn(link.run(disconnect.clone()));
        }
        drop(offers);
        let context = Arc::new(Context {
            worker_id: config.identity.worker_id,
            chain: parts.chain,
            profile: parts.profile,
            artifacts: parts.artifacts,
            executor: parts.executor,
            workspaces,
            commitments,
            gpus: GpuPool::new(config.gpus),
            retry: config.retry,
            reports: Reports(outgoing),
            shutdown: CancellationToken::new(),
        });
        let slots = Arc::new(Semaphore::new(usize::from(config.slots)));
        let mut owner = Owner {
            context,
            slots,
            runs: Runs::default(),
            jobs: JoinSet::new(),
            keys: HashMap::new(),
            doubts: JoinSet::new(),
            reveals: JoinSet::new(),
            reveal_poll: config.reveal_poll,
        };
        committed.into_iter().for_each(|key| owner.reveal(key));
        owner.run(incoming, cancel, config.shutdown_grace).await;
        disconnect.cancel();
        while let Some(linked) = links.join_next().await {
            if let Err(error) = linked {
                error!(%error, "a session ended badly");
            }
        }
        Ok(())
    }
}

/// Where reports go: to each keeper. One that finds no room is dropped: the chain tells what became of a job.
#[derive(Clone, Debug)]
struct Reports(Vec<mpsc::Sender<AgentMessage>>);

impl Reports {
    fn send(&self, report: AgentMessage) {
        let copies = std::iter::repeat_n(report, self.0.len());
        let taken = self.0.iter().zip(copies).map(|(keeper, report)| keeper.try_send(report).is_ok());
        // A keeper that is gone for long is not waited for where another listens.
        if !taken.fold(false, |any, taken| any | taken) {
            warn!("too many reports wait for a session; dropped one");
        }
    }

    fn refuse(&self, (job_id, attempt): Key, code: RefusalCode, reason: String) {
        warn!(%job_id, %attempt, %code, reason, "refused an offer");
        self.send(AgentMessage::Refused { job_id, attempt, code, reason });
    }
}

type Key = (JobId, Attempt);

/// The one owner of what is known of attempts.
struct Owner {
    context: Arc<Context>,
    slots: Arc<Semaphore>,
    runs: Runs,
    jobs: JoinSet<Ending>,
    keys: HashMap<Id, Key>,
    /// Offers of what has ended on chain, which is asked about; those that are to be run again come back.
    doubts: JoinSet<Option<(Key, Bytes)>>,
    /// Results that wait to be shown. They are left where they are at a shutdown, for the agent that comes next.
    reveals: JoinSet<()>,
    reveal_poll: Duration,
}

impl Owner {
    async fn run(mut self, mut incoming: mpsc::Receiver<Incoming>, cancel: CancellationToken, grace: Duration) {
        let mut drain: Option<Instant> = None;
        loop {
            if drain.is_some() && self.jobs.is_empty() {
                return;
            }
            let overdue = async {
                match drain {
                    Some(deadline) => sleep_until(deadline).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = cancel.cancelled(), if drain.is_none() => {
                    info!(running = self.jobs.len(), "shutting down");
                    drain = Some(Instant::now() + grace);
                }
                () = overdue => {
                    if self.context.shutdown.is_cancelled() {
                        warn!(running = self.jobs.len(), "left jobs behind that did not end");
                        return;
                    }
                    self.context.shutdown.cancel();
                    drain = Some(Instant::now() + GIVE_UP_TIMEOUT);
                }
                Some(ended) = self.jobs.join_next_with_id() => self.ended(ended),
                Some(Ok(Some((key, manifest)))) = self.doubts.join_next() => {
                    self.begin_anew(key, manifest, drain.is_some());
                }
                Some(message) = incoming.recv() => match message {
                    Incoming::Offer { job_id, attempt, manifest } => {
                        self.offered((job_id, attempt), manifest, drain.is_some());
                    }
                    Incoming::Withdraw { job_id, attempt } => self.withdrawn((job_id, attempt)),
                },
            }
        }
    }

    fn offered(&mut self, key: Key, manifest: Bytes, draining: bool) {
        let (job_id, attempt) = key;
        match self.runs.get(key) {
            Some(Known::Live { has_begun, .. }) => {
                debug!(%job_id, %attempt, "offered again while it runs");
                // A keeper that was away does not know that it runs.
                if has_begun.load(Ordering::Relaxed) {
                    self.context.reports.send(AgentMessage::Started { job_id, attempt });
                }
                return;
            }
            Some(Known::Finished(outcome)) if outcome.is_on_chain() => {
                return self.doubt(key, manifest, outcome.clone());
            }
            Some(Known::Finished(outcome)) => return self.report_finished(key, outcome.clone()),
            None => {}
        }
        if draining {
            let reason = "the agent is going down".to_owned();
            return self.context.reports.refuse(key, RefusalCode::ShuttingDown, reason);
        }
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return self.context.reports.refuse(key, RefusalCode::Busy, "every slot is in use".to_owned());
        };
        let stop = self.context.shutdown.child_token();
        let (has_begun, context) = (Arc::new(AtomicBool::new(false)), Arc::clone(&self.context));
        let begun = Arc::clone(&has_begun);
        let job = Job { job_id, attempt, manifest, stop: stop.clone(), has_begun, context };
        let task = self.jobs.spawn(async move {
            let ending = job.run().await;
            drop(slot);
            ending
        });
        self.keys.insert(task.id(), key);
        self.runs.start(key, stop, begun);
    }

    /// What was said on chain is not there any more where a block was taken back, or a local chain began anew: then the
    /// attempt is run as if it had never been.
    fn doubt(&mut self, key: Key, manifest: Bytes, outcome: Outcome) {
        let context = Arc::clone(&self.context);
        self.doubts.spawn(async move {
            let (job_id, attempt) = key;
            if matches!(context.is_ours(job_id, attempt).await, Ok(true)) {
                return Some((key, manifest));
            }
            context.reports.send(AgentMessage::Finished { job_id, attempt, outcome });
            None
        });
    }

    fn begin_anew(&mut self, key: Key, manifest: Bytes, draining: bool) {
        // Offered twice at once, it was begun by the other.
        if matches!(self.runs.get(key), Some(Known::Finished(_))) {
            let (job_id, attempt) = key;
            warn!(%job_id, %attempt, "what this attempt ended with is not on the chain any more; it is run again");
            self.runs.forget(key);
        }
        self.offered(key, manifest, draining);
    }

    /// A keeper cannot stop a job: only the chain can say that it is no longer this worker's.
    fn withdrawn(&self, key: Key) {
        let Some(Known::Live { stop, .. }) = self.runs.get(key) else { return };
        let (context, stop) = (Arc::clone(&self.context), stop.clone());
        tokio::spawn(async move {
            let (job_id, attempt) = key;
            match context.is_ours(job_id, attempt).await {
                Ok(true) => warn!(%job_id, %attempt, "a keeper withdrew a job that is still allocated; it goes on"),
                Ok(false) => stop.cancel(),
                Err(error) => debug!(%job_id, %attempt, %error, "cannot check a withdrawal; the job goes on"),
            }
        });
    }

    fn ended(&mut self, ended: Result<(Id, Ending), JoinError>) {
        let (id, ending) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                error!(%error, "running a job failed badly");
                (error.id(), Ending::Finished(Outcome::Failed { reason: "the agent failed".to_owned() }))
            }
        };
        let Some(key) = self.keys.remove(&id) else { return };
        match ending {
            Ending::Refused { code, reason } => {
                self.runs.forget(key);
                self.context.reports.refuse(key, code, reason);
            }
            Ending::Unwanted => self.runs.forget(key),
            Ending::Finished(outcome) => {
                if matches!(outcome, Outcome::Committed { .. }) {
                    self.reveal(key);
                }
                self.runs.finish(key, outcome.clone());
                self.report_finished(key, outcome);
            }
        }
    }

    /// Shows a result as soon as it may be shown.
    fn reveal(&mut self, key: Key) {
        let (context, commitments) = (Arc::clone(&self.context), self.context.commitments.clone());
        // Those that have ended are not kept.
        while self.reveals.try_join_next().is_some() {}
        self.reveals.spawn(reveal(context, commitments, key, self.reveal_poll));
    }

    fn report_finished(&self, (job_id, attempt): Key, outcome: Outcome) {
        self.context.reports.send(AgentMessage::Finished { job_id, attempt, outcome });
    }
}
