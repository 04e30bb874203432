//! A session, from the welcome to its end.

use std::future::pending;

use keeper_types::AgentProfile;
use tokio::{
    sync::mpsc,
    time::{Duration, Instant, MissedTickBehavior, interval_at, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{
    Report, ReportKind, ServerChannel, ServerConfig, SessionEnd, registry::Registration, round_trip::RoundTrip,
};
use crate::{AgentMessage, ProfileLine, RejectionCode, ServerMessage, TransportError, check_profile};

/// How long a last word may take to be sent.
const LAST_WORD: Duration = Duration::from_secs(1);
/// A profile is taken in this often at most: each may be news to everything that follows the sessions.
const PROFILE_INTERVAL: Duration = Duration::from_secs(1);

/// Tells the other end why the session ends, as far as it still listens.
pub(super) async fn reject(channel: &mut ServerChannel, code: RejectionCode, reason: String) -> SessionEnd {
    let rejected = ServerMessage::Rejected { code, reason: reason.clone() };
    let last_word = async {
        // The session ends either way.
        let _ = channel.send(&rejected).await;
        channel.close().await;
    };
    let _ = timeout(LAST_WORD, last_word).await;
    SessionEnd::Rejected { code, reason }
}

/// Runs the session that `registration` stands for. It is entered before the welcome is sent, so that an agent
/// that was welcomed can be offered jobs.
pub(super) async fn run(
    mut channel: ServerChannel,
    mut registration: Registration,
    config: &ServerConfig,
    reports: &mpsc::Sender<Report>,
    shutdown: &CancellationToken,
) -> SessionEnd {
    let replaced = registration.replaced.clone();
    let welcome = ServerMessage::Welcome { worker_id: registration.worker_id };
    if let Err(end) = send(&mut channel, &welcome, config).await {
        return end;
    }
    let mut heard = Instant::now();
    let mut agent = Agent::default();
    // The round trip is known as soon as there is a session.
    if let Err(end) = ping(&mut channel, &mut agent, config).await {
        return end;
    }
    let mut pings = interval_at(Instant::now() + config.ping_interval, config.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let went_out = tokio::select! {
            () = shutdown.cancelled() => {
                return reject(&mut channel, RejectionCode::ShuttingDown, "the keeper is going down".to_owned()).await;
            }
            () = replaced.cancelled() => {
                let reason = "another agent of the same worker connected: run one agent per worker".to_owned();
                return reject(&mut channel, RejectionCode::Replaced, reason).await;
            }
            () = sleep_until(heard + config.silence_limit) => {
                let reason = format!("no word for {} s", config.silence_limit.as_secs());
                return reject(&mut channel, RejectionCode::Silent, reason).await;
            }
            _ = pings.tick() => ping(&mut channel, &mut agent, config).await,
            Some(message) = registration.outbox.recv() => send(&mut channel, &message, config).await,
            profile = agent.profiles.due() => {
                take_in(&registration, profile);
                Ok(())
            }
            incoming = channel.recv() => {
                heard = Instant::now();
                let message = match incoming {
                    Ok(Some(message)) => message,
                    Ok(None) => return SessionEnd::Closed,
                    Err(error) => return end_of(&mut channel, error).await,
                };
                match agent.heard(&registration, message, heard) {
                    Ok(Some(report)) => pass_on(reports, report, shutdown).await,
                    Ok(None) => {}
                    Err(reason) => return reject(&mut channel, RejectionCode::Malformed, reason).await,
                }
                Ok(())
            }
        };
        if let Err(end) = went_out {
            return end;
        }
    }
}

async fn ping(channel: &mut ServerChannel, agent: &mut Agent, config: &ServerConfig) -> Result<(), SessionEnd> {
    let token = rand::random();
    agent.round_trip.ping(token, Instant::now());
    send(channel, &ServerMessage::Ping { token }, config).await
}

async fn send(channel: &mut ServerChannel, message: &ServerMessage, config: &ServerConfig) -> Result<(), SessionEnd> {
    match timeout(config.silence_limit, channel.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(end_of(channel, error).await),
        Err(_) => Err(SessionEnd::Broken("the agent does not take what it is sent".to_owned())),
    }
}

async fn end_of(channel: &mut ServerChannel, error: TransportError) -> SessionEnd {
    match error {
        TransportError::Malformed(_) | TransportError::TooLarge { .. } => {
            reject(channel, RejectionCode::Malformed, error.to_string()).await
        }
        error => SessionEnd::Broken(error.to_string()),
    }
}

/// What a session keeps in mind of its agent.
#[derive(Default)]
struct Agent {
    round_trip: RoundTrip,
    profiles: Profiles,
}

impl Agent {
    /// Takes in what the agent said; what it said about a job is for others.
    fn heard(
        &mut self,
        registration: &Registration,
        message: AgentMessage,
        now: Instant,
    ) -> Result<Option<Report>, String> {
        let (job_id, attempt, kind) = match message {
            AgentMessage::Accepted { job_id, attempt } => (job_id, attempt, ReportKind::Accepted),
            AgentMessage::Refused { job_id, attempt, code, reason } => {
                (job_id, attempt, ReportKind::Refused { code, reason })
            }
            AgentMessage::Started { job_id, attempt } => (job_id, attempt, ReportKind::Started),
            AgentMessage::Finished { job_id, attempt, outcome } => (job_id, attempt, ReportKind::Finished(outcome)),
            AgentMessage::Profile { profile } => {
                check_profile(&profile).map_err(|error| error.to_string())?;
                self.profiles.put(profile);
                return Ok(None);
            }
            AgentMessage::Pong { token } => {
                if let Some(latency_ms) = self.round_trip.pong(token, now) {
                    debug!(latency_ms, "measured the round trip");
                    registration.update(|agent| {
                        agent.latency_ms = Some(latency_ms);
                        true
                    });
                }
                return Ok(None);
            }
            AgentMessage::Hello { .. } | AgentMessage::Proof { .. } => {
                return Err("the handshake is over".to_owned());
            }
        };
        let Registration { worker_id, session, .. } = *registration;
        Ok(Some(Report { worker_id, session, job_id, attempt, kind }))
    }
}

/// The latest profile that is not taken in yet.
#[derive(Default)]
struct Profiles {
    latest: Option<AgentProfile>,
    /// When the one before was taken in.
    taken: Option<Instant>,
}

impl Profiles {
    /// Takes the place of one that still waits.
    fn put(&mut self, profile: AgentProfile) {
        self.latest = Some(profile);
    }

    /// The latest profile, once it may be taken in. May be dropped while it waits.
    async fn due(&mut self) -> AgentProfile {
        if self.latest.is_some()
            && let Some(taken) = self.taken
        {
            sleep_until(taken + PROFILE_INTERVAL).await;
        }
        match self.latest.take() {
            Some(profile) => {
                self.taken = Some(Instant::now());
                profile
            }
            None => pending().await,
        }
    }
}

fn take_in(registration: &Registration, profile: AgentProfile) {
    registration.update(|agent| {
        let is_news = agent.profile != profile;
        if is_news {
            info!(profile = %ProfileLine(&profile), "the worker is no longer what it was");
            agent.profile = profile;
        }
        is_news
    });
}

/// Waits where the daemon is slow, so that a worker that talks too much slows down only itself.
async fn pass_on(reports: &mpsc::Sender<Report>, report: Report, shutdown: &CancellationToken) {
    if let Some(Err(mpsc::error::SendError(report))) = shutdown.run_until_cancelled(reports.send(report)).await {
        warn!(job_id = %report.job_id, attempt = %report.attempt, "nobody listens to what agents report");
    }
}
