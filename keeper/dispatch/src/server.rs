//! The keeper's side: accepts agents, keeps a session per worker, sends offers and passes on what agents report.

mod handshake;
mod listener;
mod registry;
mod round_trip;
mod session;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension, Router,
    extract::{ConnectInfo, State, ws::WebSocketUpgrade},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use keeper_types::{Address, AgentView, Attempt, ChainId, JobId, WorkerId};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{Instrument as _, debug, info, info_span};

use crate::{
    AgentMessage, Authenticator, Channel, Outcome, ProfileLine, RefusalCode, RejectionCode, ServerMessage, Transport,
    transport::{ServerSocket, size_limited},
};
pub use listener::BoundedListener;
use listener::Peer;
use registry::Registry;

/// Where agents connect.
pub(crate) const SESSION_PATH: &str = "/v1/session";

/// A session's end in the keeper.
type ServerChannel = Channel<ServerMessage, AgentMessage>;

/// The sessions there are, by worker.
pub type Sessions = BTreeMap<WorkerId, AgentSession>;

/// A worker's session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSession {
    /// Its number, which changes when the agent connects anew.
    pub id: SessionId,
    /// What is known of the agent by now.
    pub agent: AgentView,
}

/// A session, numbered in the order in which they came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u64);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a keeper is to agents, and what it bears with.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// What agents know the keeper as: the URL that they connect to, as [`session_url`](crate::session_url) writes it.
    /// Bound by their proofs.
    pub audience: String,
    /// The chain.
    pub chain_id: ChainId,
    /// The worker registry.
    pub cdc_pool: Address,
    /// How long an agent may take to prove who it is.
    pub challenge_ttl: Duration,
    /// How long checking a proof on chain may take.
    pub verify_timeout: Duration,
    /// How often an agent is asked whether it is still there.
    pub ping_interval: Duration,
    /// How long an agent may be silent.
    pub silence_limit: Duration,
    /// Sessions at a time.
    pub max_sessions: usize,
    /// Connections at a time that have not proved who they are.
    pub max_handshakes: usize,
}

impl ServerConfig {
    /// The usual limits, for a keeper that agents know as `audience`.
    pub fn new(audience: impl Into<String>, chain_id: ChainId, cdc_pool: Address) -> Self {
        Self {
            audience: audience.into(),
            chain_id,
            cdc_pool,
            challenge_ttl: Duration::from_secs(20),
            verify_timeout: Duration::from_secs(20),
            ping_interval: PING_INTERVAL,
            silence_limit: Duration::from_secs(15),
            max_sessions: 4_096,
            max_handshakes: 64,
        }
    }

    /// The same, where an agent may be silent for so long. It is asked three times meanwhile whether it is still there, and
    /// every five seconds at least: the round trip is measured by that.
    #[must_use]
    pub fn with_silence_limit(self, silence_limit: Duration) -> Self {
        Self { silence_limit, ping_interval: (silence_limit / 3).min(PING_INTERVAL), ..self }
    }
}

/// What an agent said about a job. Hearsay: the chain tells what became of the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Who said it.
    pub worker_id: WorkerId,
    /// In which session.
    pub session: SessionId,
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// What was said.
    pub kind: ReportKind,
}

/// What an agent can say about a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReportKind {
    /// It will run the job.
    Accepted,
    /// It will not run the job.
    Refused {
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
    },
    /// The job runs.
    Started,
    /// The job ran.
    Finished(Outcome),
}

/// Why an offer was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The worker's agent is not connected.
    #[error("worker {0} is not connected")]
    Offline(WorkerId),
    /// The agent does not keep up with what it is sent.
    #[error("worker {0} does not keep up with its offers")]
    Congested(WorkerId),
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// The agent left.
    Closed,
    /// The connection was lost.
    Broken(String),
    /// The keeper ended it.
    Rejected {
        /// Why, for programs.
        code: RejectionCode,
        /// Why, for people.
        reason: String,
    },
}

/// Accepts agents. A handle: clones are the same server.
#[derive(Clone)]
pub struct DispatchServer {
    inner: Arc<Inner>,
}

struct Inner {
    config: ServerConfig,
    authenticator: Arc<dyn Authenticator>,
    registry: Registry,
    handshakes: Arc<Semaphore>,
    reports: mpsc::Sender<Report>,
    shutdown: CancellationToken,
    tasks: TaskTracker,
}

/// How often agents are asked whether they are still there, at least.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// Reports that may wait for the daemon.
const REPORTS: usize = 1_024;
/// How long sessions may take to end, one and all.
const LAST_WORDS: Duration = Duration::from_secs(3);

impl DispatchServer {
    /// A server without sessions, and what its agents will report.
    pub fn new(config: ServerConfig, authenticator: Arc<dyn Authenticator>) -> (Self, mpsc::Receiver<Report>) {
        let (reports, received) = mpsc::channel(REPORTS);
        let inner = Inner {
            registry: Registry::new(config.max_sessions),
            handshakes: Arc::new(Semaphore::new(config.max_handshakes)),
            config,
            authenticator,
            reports,
            shutdown: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        (Self { inner: Arc::new(inner) }, received)
    }

    /// The routes: `GET /v1/session` for agents, `GET /live` for whoever asks whether the keeper runs.
    pub fn router(&self) -> Router {
        Router::new().route("/live", get(live)).route(SESSION_PATH, get(upgrade)).with_state(self.clone())
    }

    /// Serves [`Self::router`] and nothing else on `listener` until cancelled; then takes no more connections and ends
    /// every session, telling its agent why. That takes a few seconds at most, whatever agents and strangers do.
    ///
    /// # Errors
    /// Fails where the listener does.
    pub async fn serve(&self, listener: TcpListener, cancel: CancellationToken) -> io::Result<()> {
        let connections = self.inner.config.max_sessions.saturating_add(self.inner.config.max_handshakes);
        let listener = BoundedListener::new(listener, connections, self.inner.config.challenge_ttl);
        let service = self.router().into_make_service_with_connect_info::<Peer>();
        let sessions = self.inner.shutdown.clone();
        let cancelled = cancel.clone().cancelled_owned();
        let serving = axum::serve(listener, service).with_graceful_shutdown(cancelled).into_future();
        let ended = async {
            cancel.cancelled().await;
            sessions.cancel();
            // Sessions have a last word. Strangers, who may hold a connection for longer, are not waited for.
            let _ = timeout(LAST_WORDS, self.shutdown()).await;
        };
        tokio::select! {
            served = serving => {
                let _ = timeout(LAST_WORDS, self.shutdown()).await;
                served
            }
            () = ended => Ok(()),
        }
    }

    /// Ends every session and waits until all have ended.
    pub async fn shutdown(&self) {
        self.inner.shutdown.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// Runs a session over `transport`, from the challenge to its end.
    pub async fn accept(&self, transport: Box<dyn Transport>) -> SessionEnd {
        let mut channel = ServerChannel::new(transport);
        match Arc::clone(&self.inner.handshakes).try_acquire_owned() {
            Ok(permit) => self.run_session(channel, permit).await,
            Err(_) => {
                let reason = "too many agents are connecting at once: try again later".to_owned();
                session::reject(&mut channel, RejectionCode::Overloaded, reason).await
            }
        }
    }

    async fn run_session(&self, mut channel: ServerChannel, handshaking: OwnedSemaphorePermit) -> SessionEnd {
        let inner = &self.inner;
        let proved = tokio::select! {
            proved = handshake::run(&mut channel, &inner.config, &*inner.authenticator) => proved,
            () = inner.shutdown.cancelled() => {
                Err(handshake::Failure::reject(RejectionCode::ShuttingDown, "the keeper is going down"))
            }
        };
        drop(handshaking);
        let registered = proved.and_then(|handshake::Proved { worker_id, profile }| {
            let overloaded = || handshake::Failure::reject(RejectionCode::Overloaded, "the keeper has no room left");
            let line = ProfileLine(&profile).to_string();
            Ok((inner.registry.register(worker_id, profile).ok_or_else(overloaded)?, line))
        });
        let (registration, profile) = match registered {
            Ok(registered) => registered,
            Err(handshake::Failure::Ended(end)) => return end,
            Err(handshake::Failure::Rejected { code, reason }) => {
                return session::reject(&mut channel, code, reason).await;
            }
        };
        let span = info_span!("session", worker_id = %registration.worker_id, session = %registration.session);
        async {
            info!(profile, "the worker's agent connected");
            let end = session::run(channel, registration, &inner.config, &inner.reports, &inner.shutdown).await;
            info!(?end, "the worker's agent disconnected");
            end
        }
        .instrument(span)
        .await
    }

    /// The workers whose agents are connected.
    pub fn online(&self) -> BTreeSet<WorkerId> {
        self.inner.registry.sessions().borrow().keys().copied().collect()
    }

    /// Says whose agents have not begun what they were offered in these sessions; all others have.
    pub(crate) fn stalled(&self, stalled: &BTreeSet<(WorkerId, SessionId)>) {
        self.inner.registry.stalled(stalled);
    }

    /// The sessions, and word of every change.
    pub fn sessions(&self) -> watch::Receiver<Sessions> {
        self.inner.registry.sessions()
    }

    /// Offers a job to the worker that it is allocated to.
    ///
    /// # Errors
    /// Fails where the worker is not connected or does not keep up; nothing was sent then.
    pub fn offer(
        &self,
        worker_id: WorkerId,
        job_id: JobId,
        attempt: Attempt,
        manifest: Bytes,
    ) -> Result<SessionId, OfferError> {
        self.inner.registry.send(worker_id, ServerMessage::Offer { job_id, attempt, manifest })
    }

    /// Tells the worker that a job which it was offered is no longer allocated to it.
    ///
    /// # Errors
    /// Fails where the worker is not connected or does not keep up; nothing was sent then.
    pub fn withdraw(&self, worker_id: WorkerId, job_id: JobId, attempt: Attempt) -> Result<SessionId, OfferError> {
        self.inner.registry.send(worker_id, ServerMessage::Withdraw { job_id, attempt })
    }
}

impl fmt::Debug for DispatchServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DispatchServer").field("config", &self.inner.config).finish_non_exhaustive()
    }
}

async fn live() -> &'static str {
    "live\n"
}

async fn upgrade(
    State(server): State<DispatchServer>,
    peer: Option<Extension<ConnectInfo<Peer>>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    if server.inner.shutdown.is_cancelled() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    // Before the upgrade, so that a refused connection costs nothing but this answer.
    let Ok(permit) = Arc::clone(&server.inner.handshakes).try_acquire_owned() else {
        debug!("too many unproved connections");
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let address = peer.map(|Extension(ConnectInfo(peer))| peer.admit());
    size_limited(upgrade).on_upgrade(async move |socket| {
        let channel = ServerChannel::new(Box::new(ServerSocket(socket)));
        let tasks = server.inner.tasks.clone();
        let end = tasks.track_future(server.run_session(channel, permit)).await;
        log_end(address, &end);
    })
}

fn log_end(address: Option<SocketAddr>, end: &SessionEnd) {
    match (address, end) {
        (Some(address), SessionEnd::Rejected { code, reason }) => info!(%address, %code, reason, "ended a session"),
        (address, end) => debug!(?address, ?end, "a session ended"),
    }
}
