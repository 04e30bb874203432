//! How jobs are run: one executor per kind of manifest.

mod matmul;
mod process;

use std::{fmt, path::Path, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use keeper_types::{Attempt, Executor as Kind, JobId, Limits};
use tokio_util::sync::CancellationToken;

use crate::FailureCode;

pub use matmul::MatmulExecutor;
pub use process::{HelperCommand, ProcessConfig, ProcessExecutor};

/// Runs jobs of one kind, or several.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs `job` in `workspace`, an empty folder, until it is done, `cancel` is cancelled, or a limit is reached.
    /// When this returns, or is dropped, nothing of the job keeps running.
    ///
    /// # Errors
    /// Says which limit was reached, or how else the job failed.
    async fn run(&self, job: &JobRun, workspace: &Path, cancel: CancellationToken) -> Result<Output, RunError>;
}

/// What is to be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobRun {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub attempt: Attempt,
    /// The manifest's executor.
    pub kind: Kind,
    /// The manifest's limits.
    pub limits: Limits,
    /// How long it may take: the manifest's limit, or less.
    pub time_limit: Duration,
    /// The GPUs that it may use, by index.
    pub gpus: Vec<u8>,
}

/// What a job put out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output(pub Bytes);

/// Why a job has no output.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The worker does not run such jobs.
    #[error("this worker does not run `{kind}` jobs")]
    NotOffered {
        /// The manifest's kind of executor.
        kind: &'static str,
    },
    /// It put out more than it may.
    #[error("the output exceeds limits.output_bytes, {limit}")]
    OutputTooLarge {
        /// The manifest's limit, in bytes.
        limit: u64,
    },
    /// It needs more memory than it may have.
    #[error("the job needs {needed_mib} MiB of memory, but limits.memory_mib is {limit_mib}")]
    OutOfMemory {
        /// What it needs.
        needed_mib: u64,
        /// What it may have.
        limit_mib: u32,
    },
    /// It took too long.
    #[error("not done after {} s", .0.as_secs())]
    TimedOut(Duration),
    /// The command exited with something else than 0.
    #[error("the command exited with {code}{stderr}")]
    ExitCode {
        /// What it exited with.
        code: i32,
        /// What it said last.
        stderr: StderrTail,
    },
    /// A signal ended the command.
    #[error("the command was ended by signal {signal}{stderr}")]
    Signal {
        /// The signal's number.
        signal: i32,
        /// What the command said last.
        stderr: StderrTail,
    },
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
    /// The worker's machine failed, not the job.
    #[error("cannot {doing}: {reason}")]
    Fault {
        /// What was being done.
        doing: &'static str,
        /// What came of it.
        reason: String,
    },
}

impl RunError {
    pub(crate) fn fault(doing: &'static str, reason: impl fmt::Display) -> Self {
        Self::Fault { doing, reason: reason.to_string() }
    }

    /// The reason that goes on chain.
    pub fn code(&self) -> FailureCode {
        match self {
            Self::NotOffered { .. } => FailureCode::ExecutorNotOffered,
            Self::OutputTooLarge { .. } => FailureCode::OutputTooLarge,
            Self::OutOfMemory { .. } => FailureCode::OutOfMemory,
            Self::TimedOut(_) => FailureCode::Timeout,
            Self::ExitCode { .. } => FailureCode::ExitCode,
            Self::Signal { .. } => FailureCode::Signal,
            Self::Cancelled => FailureCode::WorkerShutdown,
            Self::Fault { .. } => FailureCode::WorkerFault,
        }
    }
}

/// The end of what a command wrote to its standard error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StderrTail(pub String);

impl fmt::Display for StderrTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.trim() {
            "" => Ok(()),
            text => write!(f, ": {text}"),
        }
    }
}

/// The executors that a worker offers.
#[derive(Clone, Debug, Default)]
pub struct Executors {
    process: Option<ProcessExecutor>,
    matmul: MatmulExecutor,
}

impl Executors {
    /// The built-in ones that are safe to run for anybody.
    pub fn safe() -> Self {
        Self::default()
    }

    /// Commands of clients as well. They run with the agent's rights.
    #[must_use]
    pub fn with_processes(mut self, executor: ProcessExecutor) -> Self {
        self.process = Some(executor);
        self
    }
}

#[async_trait]
impl Executor for Executors {
    async fn run(&self, job: &JobRun, workspace: &Path, cancel: CancellationToken) -> Result<Output, RunError> {
        match (&job.kind, &self.process) {
            (Kind::Matmul(_), _) => self.matmul.run(job, workspace, cancel).await,
            (Kind::Process(_), Some(process)) => process.run(job, workspace, cancel).await,
            (kind @ Kind::Process(_), None) => Err(RunError::NotOffered { kind: kind.kind() }),
        }
    }
}
