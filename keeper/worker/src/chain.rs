//! What the agent needs from the chain.

use std::fmt;

use async_trait::async_trait;
use keeper_types::{Address, Attempt, ContentHash, Felt, JobId, JobState, TxHash, Verification, WorkerId};

/// The chain, as one worker's agent uses it. Calls that send transactions return once these are accepted.
#[async_trait]
pub trait WorkerChain: Send + Sync {
    /// Where the job stands, or `None` where there is no such job.
    ///
    /// # Errors
    /// Fails where the chain cannot be asked.
    async fn allocation(&self, job_id: JobId) -> Result<Option<AllocationOnChain>, WorkerChainError>;

    /// Submits the content hash of the attempt's output, as the worker's owner.
    ///
    /// # Errors
    /// Fails where the contract refuses, or the transaction cannot be sent or is lost.
    async fn submit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError>;

    /// Commits to the content hash of a replica's output, as the worker's owner, without saying it.
    ///
    /// # Errors
    /// Fails where the contract refuses, or the transaction cannot be sent or is lost.
    async fn commit_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError>;

    /// Says what the worker's owner is committed to.
    ///
    /// # Errors
    /// Fails where the contract refuses, or the transaction cannot be sent or is lost.
    async fn reveal_result(
        &self,
        job_id: JobId,
        attempt: Attempt,
        result_hash: ContentHash,
    ) -> Result<TxHash, WorkerChainError>;

    /// Gives the attempt up, as the worker's owner.
    ///
    /// # Errors
    /// Fails where the contract refuses, or the transaction cannot be sent or is lost.
    async fn fail_attempt(
        &self,
        job_id: JobId,
        attempt: Attempt,
        reason: FailureCode,
    ) -> Result<TxHash, WorkerChainError>;
}

/// A job's allocation as JobMgr tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllocationOnChain {
    /// Who submitted the job.
    pub client: Address,
    /// The worker of the latest attempt; 0 where there was none.
    pub worker_id: WorkerId,
    /// The latest attempt.
    pub attempt: Attempt,
    /// Where the job stands.
    pub state: JobState,
    /// The content hash of the job's manifest, or whatever the client put there.
    pub manifest_hash: Felt,
    /// GPUs that the job holds on its worker.
    pub gpu_count: u8,
    /// How long the worker is reserved, in seconds.
    pub execution_timeout_s: u32,
    /// When the attempt may be expired by anyone, in seconds since the epoch.
    pub attempt_deadline: u64,
    /// The content hash of the submitted result; zero where there is none.
    pub result_hash: Felt,
    /// Who decides a dispute about the result.
    pub verification: Verification,
    /// Whether the job is one of several replicas, whose results are committed to before they are shown.
    pub is_replica: bool,
    /// Whether a result that is committed to may be shown.
    pub reveals_open: bool,
}

/// The chain did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WorkerChainError {
    /// It may do so later: it was not reached, or was busy.
    #[error("{0}")]
    Transient(String),
    /// It will not do so: a contract refused, or the agent is set up wrongly.
    #[error("{0}")]
    Permanent(String),
}

impl WorkerChainError {
    /// Whether asking again may help.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient(_) => true,
            Self::Permanent(_) => false,
        }
    }
}

/// Why an attempt is given up: a short string on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// The manifest is not one, though its hash is right.
    ManifestMalformed,
    /// The worker does not run jobs of the manifest's kind.
    ExecutorNotOffered,
    /// The worker's operator does not want jobs of this client, or of this kind.
    Unwanted,
    /// The worker is not what the manifest's placement asks for.
    PlacementUnmet,
    /// The output exceeds the manifest's limit.
    OutputTooLarge,
    /// The job ran out of time.
    Timeout,
    /// The command exited with something else than 0.
    ExitCode,
    /// The command was ended by a signal.
    Signal,
    /// The job needs more memory than its manifest allows.
    OutOfMemory,
    /// The output could not be put into the artifact store.
    PublishFailed,
    /// The agent was shut down before the job was done.
    WorkerShutdown,
    /// Something is wrong with the worker's machine.
    WorkerFault,
    /// A dispute about the result could not be judged, so that nobody could defend it.
    NotJudgeable,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 13] = [
        Self::ManifestMalformed,
        Self::ExecutorNotOffered,
        Self::Unwanted,
        Self::PlacementUnmet,
        Self::OutputTooLarge,
        Self::Timeout,
        Self::ExitCode,
        Self::Signal,
        Self::OutOfMemory,
        Self::PublishFailed,
        Self::WorkerShutdown,
        Self::WorkerFault,
        Self::NotJudgeable,
    ];

    /// The code's text, at most 31 characters of ASCII.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManifestMalformed => "MANIFEST_MALFORMED",
            Self::ExecutorNotOffered => "EXECUTOR_NOT_OFFERED",
            Self::Unwanted => "UNWANTED",
            Self::PlacementUnmet => "PLACEMENT_UNMET",
            Self::OutputTooLarge => "OUTPUT_TOO_LARGE",
            Self::Timeout => "TIMEOUT",
            Self::ExitCode => "EXIT_CODE",
            Self::Signal => "SIGNAL",
            Self::OutOfMemory => "OUT_OF_MEMORY",
            Self::PublishFailed => "PUBLISH_FAILED",
            Self::WorkerShutdown => "WORKER_SHUTDOWN",
            Self::WorkerFault => "WORKER_FAULT",
            Self::NotJudgeable => "NOT_JUDGEABLE",
        }
    }

    /// The code as a short string.
    pub fn to_felt(self) -> Felt {
        Felt::from_bytes_be_slice(self.as_str().as_bytes())
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_short_strings() {
        for code in FailureCode::ALL {
            let text = code.as_str();
            assert!(text.len() <= 31 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'), "{text}");
        }
        assert_eq!(FailureCode::Timeout.to_felt(), Felt::from_hex_unchecked("0x54494d454f5554"));
    }
}
