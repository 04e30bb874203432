//! From the first message to knowing whose agent it is.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keeper_types::{Address, AgentProfile, Felt, ProofOfAccount, WorkerId};
use serde::Deserialize;
use tokio::time::{Instant, timeout, timeout_at};

use super::{ServerChannel, ServerConfig, SessionEnd};
use crate::{
    AgentMessage, AuthError, Authenticator, Challenge, PROTOCOL, ProfileError, RejectionCode, ServerMessage,
    TransportError, check_profile,
};

/// Random bytes in a nonce: 248 bits, which any felt can hold.
const NONCE_BYTES: usize = 31;

pub(super) enum Failure {
    Ended(SessionEnd),
    Rejected { code: RejectionCode, reason: String },
}

impl Failure {
    pub(super) fn reject(code: RejectionCode, reason: impl Into<String>) -> Self {
        Self::Rejected { code, reason: reason.into() }
    }

    fn expired(ttl: Duration) -> Self {
        Self::reject(
            RejectionCode::ChallengeExpired,
            format!("no proof within {} s of the challenge: connect again", ttl.as_secs()),
        )
    }
}

impl From<ProfileError> for Failure {
    fn from(error: ProfileError) -> Self {
        Self::reject(RejectionCode::Malformed, error.to_string())
    }
}

impl From<TransportError> for Failure {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::Malformed(_) | TransportError::TooLarge { .. } => {
                Self::reject(RejectionCode::Malformed, error.to_string())
            }
            error => Self::Ended(SessionEnd::Broken(error.to_string())),
        }
    }
}

/// Whose agent it is, and what it says about its worker.
pub(super) struct Proved {
    pub(super) worker_id: WorkerId,
    pub(super) profile: AgentProfile,
}

/// What the other end says that it is.
struct Hello {
    worker_id: WorkerId,
    account: Address,
    profile: AgentProfile,
}

/// What the other end says that it signed, with its signature.
struct Answer {
    proof: ProofOfAccount,
    signature: Vec<Felt>,
    profile: AgentProfile,
}

/// Challenges the other end and checks its proof. The nonce lives as long as this call, so that no other
/// connection can use it, and it is answered once.
pub(super) async fn run(
    channel: &mut ServerChannel,
    config: &ServerConfig,
    authenticator: &dyn Authenticator,
) -> Result<Proved, Failure> {
    // The deadline is kept on the monotonic clock; the time in the challenge is what the signature binds.
    let deadline = Instant::now() + config.challenge_ttl;
    let challenge = challenge(config);
    let answered = timeout_at(deadline, answer(channel, &challenge)).await;
    let Answer { proof, signature, profile } = answered.map_err(|_| Failure::expired(config.challenge_ttl))??;
    match timeout(config.verify_timeout, authenticator.verify(&proof, &signature)).await {
        Err(_) => Err(Failure::reject(
            RejectionCode::ChainUnavailable,
            "the proof could not be checked in time: the keeper does not reach the chain, try again later",
        )),
        Ok(Err(error)) => Err(Failure::reject(code_of(&error), error.to_string())),
        Ok(Ok(())) => Ok(Proved { worker_id: proof.worker_id, profile }),
    }
}

fn challenge(config: &ServerConfig) -> Challenge {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Challenge {
        protocol: PROTOCOL,
        nonce: Felt::from_bytes_be_slice(&rand::random::<[u8; NONCE_BYTES]>()),
        keeper: config.audience.clone(),
        chain_id: config.chain_id,
        cdc_pool: config.cdc_pool,
        expires_at: (now + config.challenge_ttl).as_secs(),
    }
}

/// The other end's Hello and Proof, put together to what it signed.
async fn answer(channel: &mut ServerChannel, challenge: &Challenge) -> Result<Answer, Failure> {
    channel.send(&ServerMessage::Challenge(challenge.clone())).await?;
    let Hello { worker_id, account, profile } = hello(channel).await?;
    let Some(message) = channel.recv().await? else { return Err(Failure::Ended(SessionEnd::Closed)) };
    let AgentMessage::Proof { signature, nonce, expires_at } = message else {
        return Err(Failure::reject(RejectionCode::Malformed, "expected a proof after the hello"));
    };
    if nonce != challenge.nonce || expires_at != challenge.expires_at {
        let reason = "the proof answers another challenge: each holds for one connection";
        return Err(Failure::reject(RejectionCode::NonceMismatch, reason));
    }
    let proof = ProofOfAccount {
        account,
        worker_id,
        nonce,
        audience: challenge.keeper.clone(),
        chain_id: challenge.chain_id,
        cdc_pool: challenge.cdc_pool,
        expires_at,
    };
    Ok(Answer { proof, signature, profile })
}

/// A Hello of any version, in so far as versions must be told apart before the rest is understood.
#[derive(Deserialize)]
struct AnyHello {
    protocol: u32,
}

async fn hello(channel: &mut ServerChannel) -> Result<Hello, Failure> {
    let Some(frame) = channel.recv_frame().await? else { return Err(Failure::Ended(SessionEnd::Closed)) };
    if let Ok(AnyHello { protocol }) = serde_json::from_str(&frame)
        && protocol != PROTOCOL
    {
        let reason = format!(
            "this keeper speaks protocol {PROTOCOL}, the agent speaks {protocol}: \
             bring both to the same version of the software"
        );
        return Err(Failure::reject(RejectionCode::UnsupportedProtocol, reason));
    }
    match ServerChannel::decode(&frame)? {
        AgentMessage::Hello { worker_id, account, profile, .. } => {
            check_profile(&profile)?;
            Ok(Hello { worker_id, account, profile })
        }
        _ => Err(Failure::reject(RejectionCode::Malformed, "expected a hello first")),
    }
}

fn code_of(error: &AuthError) -> RejectionCode {
    match error {
        AuthError::BadSignature { .. } => RejectionCode::BadProof,
        AuthError::NotOwner { .. } => RejectionCode::NotOwner,
        AuthError::Unavailable(_) => RejectionCode::ChainUnavailable,
    }
}
