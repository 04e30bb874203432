//! Keeps a session with a keeper.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use keeper_dispatch::{
    AgentChannel, AgentIdentity, AgentMessage, Channel, Connector, ProofSigner, RejectionCode, RetryPolicy,
    ServerMessage, SessionError, authenticate,
};
use keeper_types::{AgentProfile, Attempt, JobId};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

/// How long what is left to say may take to be said at the end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a keeper said that concerns jobs.
#[derive(Debug)]
pub(super) enum Incoming {
    Offer { job_id: JobId, attempt: Attempt, manifest: Bytes },
    Withdraw { job_id: JobId, attempt: Attempt },
}

pub(super) struct Link {
    pub(super) connector: Arc<dyn Connector>,
    pub(super) signer: Arc<dyn ProofSigner>,
    pub(super) identity: AgentIdentity,
    pub(super) profile: watch::Receiver<AgentProfile>,
    pub(super) reconnect: RetryPolicy,
    pub(super) silence_limit: Duration,
    pub(super) offers: mpsc::Sender<Incoming>,
    pub(super) reports: mpsc::Receiver<AgentMessage>,
}

impl Link {
    /// Connects, again and again, until cancelled; then says what is left to say.
    pub(super) async fn run(mut self, cancel: CancellationToken) {
        let mut failures = 0;
        while !cancel.is_cancelled() {
            let connected = tokio::select! {
                connected = self.connect() => connected,
                () = cancel.cancelled() => return,
            };
            let ended = match connected {
                Ok(channel) => {
                    info!(keeper = self.connector.target(), "connected to the keeper");
                    failures = 0;
                    self.converse(channel, &cancel).await
                }
                Err(error) => Err(error),
            };
            match ended {
                Ok(()) => return,
                // Two agents of one worker would push each other out without end.
                Err(SessionError::Rejected { code: RejectionCode::Replaced, reason }) => {
                    warn!(reason, "lost the session to another agent of this worker");
                    failures = u32::MAX;
                }
                Err(error) if failures == 0 => {
                    warn!(%error, keeper = self.connector.target(), "no session; will connect again");
                }
                Err(error) => debug!(%error, failures, "still no session"),
            }
            let wait = self.reconnect.wait(failures).mul_f64(rand::random_range(0.5..=1.0));
            failures = failures.saturating_add(1);
            tokio::select! {
                () = sleep(wait) => {}
                () = cancel.cancelled() => return,
            }
        }
    }

    async fn connect(&mut self) -> Result<AgentChannel, SessionError> {
        let mut channel = Channel::new(self.connector.connect().await?);
        let profile = self.profile.borrow_and_update().clone();
        authenticate(&mut channel, &self.identity, &profile, &*self.signer).await?;
        Ok(channel)
    }

    /// A session, until it is lost or `cancel` is cancelled.
    async fn converse(&mut self, mut channel: AgentChannel, cancel: &CancellationToken) -> Result<(), SessionError> {
        let mut heard = Instant::now();
        loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    // The keeper learns from the chain what is not said any more.
                    let _ = timeout(LAST_WORDS, self.part(&mut channel)).await;
                    return Ok(());
                }
                () = sleep_until(heard + self.silence_limit) => {
                    return Err(SessionError::Silent(self.silence_limit));
                }
                received = channel.recv() => {
                    heard = Instant::now();
                    let message = received?.ok_or(SessionError::Closed)?;
                    self.heard(&mut channel, message).await?;
                }
                Some(report) = self.reports.recv() => self.say(&mut channel, &report).await?,
                Ok(()) = self.profile.changed() => {
                    let profile = self.profile.borrow_and_update().clone();
                    self.say(&mut channel, &AgentMessage::Profile { profile }).await?;
                }
            }
        }
    }

    async fn heard(&self, channel: &mut AgentChannel, message: ServerMessage) -> Result<(), SessionError> {
        let incoming = match message {
            ServerMessage::Ping { token } => return self.say(channel, &AgentMessage::Pong { token }).await,
            ServerMessage::Rejected { code, reason } => return Err(SessionError::Rejected { code, reason }),
            ServerMessage::Offer { job_id, attempt, manifest } => Incoming::Offer { job_id, attempt, manifest },
            ServerMessage::Withdraw { job_id, attempt } => Incoming::Withdraw { job_id, attempt },
            ServerMessage::Challenge(_) | ServerMessage::Welcome { .. } => {
                return Err(SessionError::OutOfTurn("a part of the handshake after it"));
            }
        };
        // Closed only while the agent ends.
        let _ = self.offers.send(incoming).await;
        Ok(())
    }

    async fn say(&self, channel: &mut AgentChannel, message: &AgentMessage) -> Result<(), SessionError> {
        timeout(self.silence_limit, channel.send(message))
            .await
            .map_err(|_| SessionError::Silent(self.silence_limit))??;
        Ok(())
    }

    async fn part(&mut self, channel: &mut AgentChannel) -> Result<(), SessionError> {
        while let Ok(report) = self.reports.try_recv() {
            channel.send(&report).await?;
        }
        channel.close().await;
        Ok(())
    }
}
