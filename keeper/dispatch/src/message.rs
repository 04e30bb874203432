//! What is said in a session: JSON objects, told apart by their `type`.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use keeper_types::{Address, AgentProfile, Attempt, ChainId, ContentHash, Felt, JobId, TxHash, WorkerId};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The protocol's version. Ends that speak different ones part with a reason. Since version 2 agents say what their
/// workers are, and may refuse for that: neither is understood by a keeper of version 1.
pub const PROTOCOL: u32 = 2;

/// The longest message, in bytes: a profile that lists as much as it may. A manifest of the largest size in base64 is
/// shorter.
pub const MAX_MESSAGE_BYTES: usize = 576 * 1024;

/// What a keeper asks an agent to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The keeper's protocol version.
    pub protocol: u32,
    /// 248 random bits, used for this connection only.
    pub nonce: Felt,
    /// The keeper that the proof is for: the address that agents reach it at.
    pub keeper: String,
    /// The chain whose market it serves.
    pub chain_id: ChainId,
    /// The market's worker registry.
    pub cdc_pool: Address,
    /// When the challenge becomes worthless, in seconds since the epoch.
    pub expires_at: u64,
}

/// From keeper to agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The first message of a session.
    Challenge(Challenge),
    /// The proof holds; offers may follow.
    Welcome {
        /// The worker that the session is for.
        worker_id: WorkerId,
    },
    /// The session is over.
    Rejected {
        /// Why, for programs.
        code: RejectionCode,
        /// Why, for people, with what to do about it.
        reason: String,
    },
    /// A job was allocated to the worker.
    Offer {
        /// The job.
        job_id: JobId,
        /// Which try at it.
        attempt: Attempt,
        /// The manifest, byte for byte as it hashes to the job's `manifest_hash`.
        #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
        manifest: Bytes,
    },
    /// The keeper no longer sees the job allocated to the worker.
    Withdraw {
        /// The job.
        job_id: JobId,
        /// The attempt that was offered.
        attempt: Attempt,
    },
    /// To be answered with [`AgentMessage::Pong`] and the same token.
    Ping {
        /// Drawn anew for every ping, so that no answer can be sent before the question has arrived.
        token: u64,
    },
}

/// From agent to keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// Who the agent is for. Comes first.
    Hello {
        /// The agent's protocol version.
        protocol: u32,
        /// The worker.
        worker_id: WorkerId,
        /// The account that owns the worker.
        account: Address,
        /// What the worker is.
        #[serde(default)]
        profile: AgentProfile,
    },
    /// The answer to the challenge. Comes second.
    Proof {
        /// The account's signature of the [`ProofOfAccount`](keeper_types::ProofOfAccount).
        signature: Vec<Felt>,
        /// The challenge's nonce.
        nonce: Felt,
        /// The challenge's expiry.
        expires_at: u64,
    },
    /// The offer stands on chain and will be run.
    Accepted {
        /// The job.
        job_id: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The offer will not be run.
    Refused {
        /// The job.
        job_id: JobId,
        /// The attempt.
        attempt: Attempt,
        /// Why, for programs.
        code: RefusalCode,
        /// Why, for people.
        reason: String,
    },
    /// The job runs.
    Started {
        /// The job.
        job_id: JobId,
        /// The attempt.
        attempt: Attempt,
    },
    /// The job ran.
    Finished {
        /// The job.
        job_id: JobId,
        /// The attempt.
        attempt: Attempt,
        /// How it ended.
        outcome: Outcome,
    },
    /// The worker is no longer what was said before. A keeper takes in one a second, the latest.
    Profile {
        /// What it is now.
        profile: AgentProfile,
    },
    /// Answers [`ServerMessage::Ping`].
    Pong {
        /// The ping's.
        token: u64,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The output is in the artifact store and its hash on chain.
    Published {
        /// The output's content hash.
        result_hash: ContentHash,
        /// The transaction that submitted it; none where the chain had the result already.
        tx_hash: Option<TxHash>,
    },
    /// The worker is committed to a result on chain, which it shows once every replica of the job is.
    Committed {
        /// The transaction that committed it; none where the chain had the commitment already.
        tx_hash: Option<TxHash>,
    },
    /// There is no output.
    Failed {
        /// Why: the reason code that the attempt was failed with, and what lies behind it.
        reason: String,
    },
}

impl Outcome {
    /// Whether it was said on chain, which can be asked whether it still is.
    pub fn is_on_chain(&self) -> bool {
        matches!(self, Self::Published { .. } | Self::Committed { .. })
    }
}

/// Why a keeper ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionCode {
    /// The ends speak different protocol versions.
    UnsupportedProtocol,
    /// A message was not understood, or came out of turn.
    Malformed,
    /// The proof came after the challenge had expired.
    ChallengeExpired,
    /// The proof answers another challenge.
    NonceMismatch,
    /// The signature is not the account's.
    BadProof,
    /// The account does not own the worker, or the worker has left.
    NotOwner,
    /// The proof could not be checked: the keeper does not reach the chain.
    ChainUnavailable,
    /// Another agent of the same worker connected later.
    Replaced,
    /// The agent was silent for too long.
    Silent,
    /// The keeper has as many sessions as it takes.
    Overloaded,
    /// The keeper is going down.
    ShuttingDown,
}

/// Why an agent does not run what it was offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalCode {
    /// Every slot, or too many GPUs, are in use.
    Busy,
    /// The chain knows no such job.
    JobUnknown,
    /// The job is not allocated, as far as the agent's view of the chain goes.
    NotAllocated,
    /// The job is allocated to another worker.
    WrongWorker,
    /// Another attempt is allocated.
    WrongAttempt,
    /// The manifest is not the one whose hash is on chain.
    ManifestMismatch,
    /// The attempt's deadline has passed.
    DeadlinePassed,
    /// The agent does not reach the chain.
    ChainUnavailable,
    /// The worker's operator does not want such jobs; the agent gives the attempt up on chain.
    Unwanted,
    /// The worker is not what the manifest's placement asks for; the agent gives the attempt up on chain.
    PlacementUnmet,
    /// The agent is going down.
    ShuttingDown,
}

impl RefusalCode {
    /// Whether the same offer may be taken later in the same session: the agent's view of the chain may lag
    /// behind the keeper's, and slots become free.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Busy
            | Self::JobUnknown
            | Self::NotAllocated
            | Self::WrongWorker
            | Self::WrongAttempt
            | Self::ChainUnavailable => true,
            Self::ManifestMismatch
            | Self::DeadlinePassed
            | Self::Unwanted
            | Self::PlacementUnmet
            | Self::ShuttingDown => false,
        }
    }
}

impl fmt::Display for RejectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::UnsupportedProtocol => "unsupported protocol",
            Self::Malformed => "malformed message",
            Self::ChallengeExpired => "challenge expired",
            Self::NonceMismatch => "nonce mismatch",
            Self::BadProof => "bad proof",
            Self::NotOwner => "not the worker's owner",
            Self::ChainUnavailable => "chain unavailable",
            Self::Replaced => "replaced by a newer session",
            Self::Silent => "silent for too long",
            Self::Overloaded => "overloaded",
            Self::ShuttingDown => "shutting down",
        })
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Busy => "busy",
            Self::JobUnknown => "job unknown",
            Self::NotAllocated => "not allocated",
            Self::WrongWorker => "wrong worker",
            Self::WrongAttempt => "wrong attempt",
            Self::ManifestMismatch => "manifest mismatch",
            Self::DeadlinePassed => "deadline passed",
            Self::ChainUnavailable => "chain unavailable",
            Self::Unwanted => "unwanted",
            Self::PlacementUnmet => "placement unmet",
            Self::ShuttingDown => "shutting down",
        })
    }
}

fn to_base64<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&STANDARD.encode(bytes))
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map(Bytes::from).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use keeper_types::{ExecutorKind, MAX_MANIFEST_BYTES, Refusals};

    use super::*;
    use crate::{MAX_GPU_MODEL_BYTES, MAX_MODELS, MAX_REFUSED_CLIENTS};

    #[test]
    fn a_manifest_keeps_its_bytes() {
        for manifest in [&b"{}\n"[..], &[0xff, 0, 0xfe], b""] {
            let offer = ServerMessage::Offer {
                job_id: JobId(7),
                attempt: Attempt(2),
                manifest: Bytes::copy_from_slice(manifest),
            };
            let json = serde_json::to_string(&offer).unwrap();
            assert_eq!(serde_json::from_str::<ServerMessage>(&json).unwrap(), offer);
        }
    }

    #[test]
    fn the_largest_manifest_fits_a_message() {
        let manifest = Bytes::from(vec![0xff; MAX_MANIFEST_BYTES]);
        let offer = ServerMessage::Offer { job_id: JobId(u64::MAX), attempt: Attempt(255), manifest };
        assert!(serde_json::to_string(&offer).unwrap().len() < MAX_MESSAGE_BYTES);
    }

    #[test]
    fn messages_look_like_this() {
        let refuses = Refusals { clients: [Address(Felt::ONE)].into(), executors: [ExecutorKind::Process].into() };
        let profile = AgentProfile {
            gpu_model: "NVIDIA L4".to_owned(),
            disk_gib: 200,
            pcie_generation: 4,
            models: [Felt::THREE].into(),
            refuses,
        };
        let (protocol, worker_id, account) = (PROTOCOL, WorkerId(3), Address(Felt::TWO));
        let hello = AgentMessage::Hello { protocol, worker_id, account, profile };
        let json = r#"{"type":"hello","protocol":2,"worker_id":3,"account":"0x2","profile":{"gpu_model":"NVIDIA L4","disk_gib":200,"pcie_generation":4,"models":["0x3"],"refuses":{"clients":["0x1"],"executors":["process"]}}}"#;
        assert_eq!(serde_json::to_string(&hello).unwrap(), json);
        assert_eq!(serde_json::from_str::<AgentMessage>(json).unwrap(), hello);
        let finished = AgentMessage::Finished {
            job_id: JobId(1),
            attempt: Attempt(1),
            outcome: Outcome::Failed { reason: "TIMEOUT".to_owned() },
        };
        assert_eq!(
            serde_json::to_string(&finished).unwrap(),
            r#"{"type":"finished","job_id":1,"attempt":1,"outcome":{"outcome":"failed","reason":"TIMEOUT"}}"#
        );
        let ping = ServerMessage::Ping { token: u64::MAX };
        assert_eq!(serde_json::to_string(&ping).unwrap(), r#"{"type":"ping","token":18446744073709551615}"#);
    }

    #[test]
    fn an_agent_that_says_nothing_about_its_worker_is_understood() {
        let (protocol, worker_id, account) = (PROTOCOL, WorkerId(3), Address(Felt::TWO));
        let hello = AgentMessage::Hello { protocol, worker_id, account, profile: AgentProfile::default() };
        for rest in ["", r#","profile":{}"#] {
            let json = format!(r#"{{"type":"hello","protocol":2,"worker_id":3,"account":"0x2"{rest}}}"#);
            assert_eq!(serde_json::from_str::<AgentMessage>(&json).unwrap(), hello);
        }
    }

    #[test]
    fn the_largest_profile_fits_a_message() {
        let largest = |count: usize| (1..=count as u64).map(|number| Felt::ZERO - Felt::from(number));
        let clients = largest(MAX_REFUSED_CLIENTS).map(Address).collect();
        let profile = AgentProfile {
            // A character that takes six bytes of JSON would be a control character.
            gpu_model: "\"".repeat(MAX_GPU_MODEL_BYTES),
            disk_gib: u32::MAX,
            pcie_generation: u8::MAX,
            models: largest(MAX_MODELS).collect(),
            refuses: Refusals { clients, executors: [ExecutorKind::Process, ExecutorKind::Matmul].into() },
        };
        assert_eq!(crate::check_profile(&profile), Ok(()));
        let account = Address(Felt::ZERO - Felt::ONE);
        let hello = AgentMessage::Hello { protocol: u32::MAX, worker_id: WorkerId(u32::MAX), account, profile };
        let length = serde_json::to_string(&hello).unwrap().len();
        assert!((MAX_MESSAGE_BYTES - 32 * 1024..MAX_MESSAGE_BYTES).contains(&length), "{length}");
    }
}
