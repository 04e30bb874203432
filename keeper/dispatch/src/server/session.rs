//! A session, from the welcome to its end.

use tokio::{
    sync::mpsc,
    time::{Duration, Instant, MissedTickBehavior, interval, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Report, ReportKind, ServerChannel, ServerConfig, SessionEnd, registry::Registration};
use crate::{AgentMessage, RejectionCode, ServerMessage, TransportError};

/// How long a last word may take to be sent.
const LAST_WORD: Duration = Duration::from_secs(1);

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
    let mut pings = interval(config.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = Instant::now();
    let replaced = registration.replaced.clone();
    let welcome = ServerMessage::Welcome { worker_id: registration.worker_id };
    if let Err(end) = send(&mut channel, &welcome, config).await {
        return end;
    }
    loop {
        let outgoing = tokio::select! {
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
            _ = pings.tick() => Some(ServerMessage::Ping),
            message = registration.outbox.recv() => message,
            incoming = channel.recv() => {
                heard = Instant::now();
                match incoming {
                    Ok(Some(message)) => match report(&registration, message) {
                        Ok(Some(report)) => pass_on(reports, report).await,
                        Ok(None) => {}
                        Err(reason) => return reject(&mut channel, RejectionCode::Malformed, reason.to_owned()).await,
                    },
                    Ok(None) => return SessionEnd::Closed,
                    Err(error) => return end_of(&mut channel, error).await,
                }
                None
            }
        };
        if let Some(message) = outgoing
            && let Err(end) = send(&mut channel, &message, config).await
        {
            return end;
        }
    }
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

fn report(registration: &Registration, message: AgentMessage) -> Result<Option<Report>, &'static str> {
    let (job_id, attempt, kind) = match message {
        AgentMessage::Accepted { job_id, attempt } => (job_id, attempt, ReportKind::Accepted),
        AgentMessage::Refused { job_id, attempt, code, reason } => {
            (job_id, attempt, ReportKind::Refused { code, reason })
        }
        AgentMessage::Started { job_id, attempt } => (job_id, attempt, ReportKind::Started),
        AgentMessage::Finished { job_id, attempt, outcome } => (job_id, attempt, ReportKind::Finished(outcome)),
        AgentMessage::Pong => return Ok(None),
        AgentMessage::Hello { .. } | AgentMessage::Proof { .. } => return Err("the handshake is over"),
    };
    let Registration { worker_id, session, .. } = *registration;
    Ok(Some(Report { worker_id, session, job_id, attempt, kind }))
}

/// Waits where the daemon is slow, so that a worker that talks too much slows down only itself.
async fn pass_on(reports: &mpsc::Sender<Report>, report: Report) {
    if let Err(mpsc::error::SendError(report)) = reports.send(report).await {
        warn!(job_id = %report.job_id, attempt = %report.attempt, "nobody listens to what agents report");
    }
}
