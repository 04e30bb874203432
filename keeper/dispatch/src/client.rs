//! The agent's side of the handshake.

use std::time::Duration;

use keeper_types::{Address, AgentProfile, ChainId, ProofOfAccount, WorkerId};
use tokio::time::timeout;

use crate::{
    AgentMessage, Challenge, Channel, PROTOCOL, ProofSigner, RejectionCode, ServerMessage, SignError, TransportError,
};

/// A session's end in the agent.
pub type AgentChannel = Channel<AgentMessage, ServerMessage>;

/// How long the keeper may take for its part of the handshake. It asks the chain meanwhile.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(60);

/// For whom an agent speaks, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentIdentity {
    /// The worker.
    pub worker_id: WorkerId,
    /// The account that owns it.
    pub account: Address,
    /// The chain that the worker is registered on; a keeper of another chain gets no proof.
    pub chain_id: ChainId,
    /// The registry that the worker is in; a keeper of another market gets no proof.
    pub cdc_pool: Address,
    /// The keeper that proofs are for, as [`session_url`](crate::session_url) writes it: the URL that the agent was
    /// told to connect to. A keeper that names another gets no proof, so that one keeper cannot pass on another's
    /// challenge and stand in for the worker there.
    pub audience: String,
}

/// Why a session did not come about, or ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The connection failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The keeper ended the session.
    #[error("the keeper ended the session ({code}): {reason}")]
    Rejected {
        /// Why, for programs.
        code: RejectionCode,
        /// Why, for people.
        reason: String,
    },
    /// The keeper speaks another version of the protocol.
    #[error(
        "the keeper speaks protocol {keeper}, this agent speaks {PROTOCOL}: \
         bring both to the same version of the software"
    )]
    Protocol {
        /// The keeper's version.
        keeper: u32,
    },
    /// The keeper wants a proof for something else than the agent is for.
    #[error("the keeper asks for a proof for {field} {asked}, but this agent is set up for {expected}: {hint}")]
    WrongMarket {
        /// What differs.
        field: &'static str,
        /// What the keeper asked for.
        asked: String,
        /// What the agent is set up for.
        expected: String,
        /// What to do.
        hint: &'static str,
    },
    /// The proof could not be signed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// Something came out of turn.
    #[error("the keeper sent {0} during the handshake")]
    OutOfTurn(&'static str),
    /// The keeper closed the connection without a reason.
    #[error("the keeper closed the connection")]
    Closed,
    /// The keeper did not answer.
    #[error("no word from the keeper for {} s", .0.as_secs())]
    Silent(Duration),
}

/// Proves to the keeper at the other end that the agent may speak for its worker, and says what the worker is.
///
/// # Errors
/// Fails where the keeper is not the one that the agent is set up for, or does not accept the proof.
pub async fn authenticate(
    channel: &mut AgentChannel,
    identity: &AgentIdentity,
    profile: &AgentProfile,
    signer: &dyn ProofSigner,
) -> Result<(), SessionError> {
    timeout(HANDSHAKE_TIMEOUT, handshake(channel, identity, profile, signer))
        .await
        .map_err(|_| SessionError::Silent(HANDSHAKE_TIMEOUT))?
}

async fn handshake(
    channel: &mut AgentChannel,
    identity: &AgentIdentity,
    profile: &AgentProfile,
    signer: &dyn ProofSigner,
) -> Result<(), SessionError> {
    let ServerMessage::Challenge(challenge) = next(channel).await? else {
        return Err(SessionError::OutOfTurn("something else than its challenge"));
    };
    check(&challenge, identity)?;
    let proof = ProofOfAccount {
        account: identity.account,
        worker_id: identity.worker_id,
        nonce: challenge.nonce,
        audience: identity.audience.clone(),
        chain_id: challenge.chain_id,
        cdc_pool: challenge.cdc_pool,
        expires_at: challenge.expires_at,
    };
    let signature = signer.sign(&proof).await?;
    let (worker_id, account) = (identity.worker_id, identity.account);
    let profile = profile.clone();
    channel.send(&AgentMessage::Hello { protocol: PROTOCOL, worker_id, account, profile }).await?;
    channel.send(&AgentMessage::Proof { signature, nonce: proof.nonce, expires_at: proof.expires_at }).await?;
    match next(channel).await? {
        ServerMessage::Welcome { worker_id: welcomed } if welcomed == worker_id => Ok(()),
        ServerMessage::Welcome { .. } => Err(SessionError::OutOfTurn("a welcome for another worker")),
        _ => Err(SessionError::OutOfTurn("something else than a welcome")),
    }
}

async fn next(channel: &mut AgentChannel) -> Result<ServerMessage, SessionError> {
    match channel.recv().await? {
        None => Err(SessionError::Closed),
        Some(ServerMessage::Rejected { code, reason }) => Err(SessionError::Rejected { code, reason }),
        Some(message) => Ok(message),
    }
}

fn check(challenge: &Challenge, identity: &AgentIdentity) -> Result<(), SessionError> {
    if challenge.protocol != PROTOCOL {
        return Err(SessionError::Protocol { keeper: challenge.protocol });
    }
    let wrong =
        |field, asked: String, expected: String, hint| Err(SessionError::WrongMarket { field, asked, expected, hint });
    if challenge.chain_id != identity.chain_id {
        let hint = "connect to a keeper of the worker's chain";
        return wrong("chain", challenge.chain_id.name(), identity.chain_id.name(), hint);
    }
    if challenge.cdc_pool != identity.cdc_pool {
        let hint = "connect to a keeper of the worker's market";
        return wrong("registry", challenge.cdc_pool.to_string(), identity.cdc_pool.to_string(), hint);
    }
    if challenge.keeper != identity.audience {
        let hint = "connect by the URL that the keeper calls itself (its --public-url), or, where you know that it is \
                    the same keeper, name that URL as --keeper-name";
        return wrong("the keeper", challenge.keeper.clone(), identity.audience.clone(), hint);
    }
    Ok(())
}
