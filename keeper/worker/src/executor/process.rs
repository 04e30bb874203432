//! Commands on the worker's host.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    io,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use keeper_types::{Executor as Kind, ProcessJob};
use nix::{sys::signal::Signal, unistd::Pid};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Executor, JobRun, Output, RunError, StderrTail};
use crate::exec_job::{ExecLimits, ExecSpec, own_binary};

/// What is kept of a command's standard error.
const STDERR_TAIL: usize = 4 * 1024;
/// How long the supervisor may take to end what it supervises.
const STOP_TIMEOUT: Duration = Duration::from_secs(15);
/// Where commands are looked for, where the agent's own environment does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How [`crate::exec_job::main`] is reached: a program and the arguments that come before nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelperCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

impl HelperCommand {
    /// The binary that is running, with these arguments.
    ///
    /// # Errors
    /// Fails where the binary cannot be found.
    pub fn own_binary<A: Into<OsString>>(args: impl IntoIterator<Item = A>) -> io::Result<Self> {
        Ok(Self { program: own_binary()?, args: args.into_iter().map(Into::into).collect() })
    }
}

/// What the operator lets commands do, besides what manifests say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProcessConfig {
    /// The longest file that a command may write, in bytes.
    pub max_file_bytes: u64,
    /// Files that a process may have open.
    pub max_open_files: u64,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self { max_file_bytes: 8 << 30, max_open_files: 4_096 }
    }
}

/// Runs commands; see [`crate::exec_job`] for how they are kept within their limits.
///
/// A command sees `PATH`, what its manifest sets, `JOB_ID`, `ATTEMPT`, and in `CUDA_VISIBLE_DEVICES` (with
/// `CUDA_DEVICE_ORDER`) the GPUs that it holds: nothing else of the agent's environment.
#[derive(Clone, Debug)]
pub struct ProcessExecutor {
    helper: HelperCommand,
    config: ProcessConfig,
}

impl ProcessExecutor {
    /// Runs commands by way of `helper`.
    pub fn new(helper: HelperCommand, config: ProcessConfig) -> Self {
        Self { helper, config }
    }

    fn spec(&self, job: &JobRun, process: &ProcessJob) -> ExecSpec {
        let limits = ExecLimits {
            memory_bytes: u64::from(job.limits.memory_mib) << 20,
            file_bytes: self.config.max_file_bytes,
            open_files: self.config.max_open_files,
        };
        ExecSpec {
            command: process.command.clone(),
            env: environment(job, process),
            stdin: process.stdin.clone(),
            limits,
        }
    }

    fn start(&self, workspace: &Path) -> Result<Supervised, RunError> {
        let mut child = Command::new(&self.helper.program)
            .args(&self.helper.args)
            .env_clear()
            .current_dir(workspace)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| RunError::fault("start the job's supervisor", error))?;
        let missing = || RunError::fault("start the job's supervisor", "a pipe is missing");
        let lifeline = child.stdin.take().ok_or_else(missing)?;
        let stdout = child.stdout.take().ok_or_else(missing)?;
        let stderr = child.stderr.take().ok_or_else(missing)?;
        Ok(Supervised { child, lifeline, stdout, stderr })
    }
}

fn environment(job: &JobRun, process: &ProcessJob) -> BTreeMap<String, String> {
    let path = env::var("PATH").unwrap_or_else(|_| DEFAULT_PATH.to_owned());
    let gpus: Vec<_> = job.gpus.iter().map(u8::to_string).collect();
    let mut environment = BTreeMap::from([("PATH".to_owned(), path)]);
    environment.extend(process.env.clone());
    environment.insert("JOB_ID".to_owned(), job.job_id.to_string());
    environment.insert("ATTEMPT".to_owned(), job.attempt.to_string());
    // The agent counts GPUs as the driver does; CUDA's own order is another.
    environment.insert("CUDA_DEVICE_ORDER".to_owned(), "PCI_BUS_ID".to_owned());
    environment.insert("CUDA_VISIBLE_DEVICES".to_owned(), gpus.join(","));
    environment
}

#[async_trait]
impl Executor for ProcessExecutor {
    async fn run(&self, job: &JobRun, workspace: &Path, cancel: CancellationToken) -> Result<Output, RunError> {
        let Kind::Process(process) = &job.kind else {
            return Err(RunError::NotOffered { kind: job.kind.kind() });
        };
        let frame = self.spec(job, process).to_frame().map_err(|error| RunError::fault("describe the job", error))?;
        // From here on the lifeline ends the job when this future is dropped.
        let mut supervised = self.start(workspace)?;
        let ended = tokio::select! {
            ended = supervised.complete(&frame, job.limits.output_bytes) => ended,
            () = cancel.cancelled() => Err(RunError::Cancelled),
            () = sleep(job.time_limit) => Err(RunError::TimedOut(job.time_limit)),
        };
        if ended.is_err() {
            supervised.stop().await;
        }
        ended
    }
}

/// A running supervisor. Dropping the lifeline makes it end its job and itself.
struct Supervised {
    child: Child,
    lifeline: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

impl Supervised {
    async fn complete(&mut self, frame: &[u8], output_bytes: u64) -> Result<Output, RunError> {
        // A supervisor that is gone before it has read its orders says why on its standard error.
        let _ = self.lifeline.write_all(frame).await;
        let (output, stderr) = tokio::try_join!(collect(&mut self.stdout, output_bytes), tail(&mut self.stderr))?;
        let status = self.child.wait().await.map_err(|error| RunError::fault("wait for the job", error))?;
        result_of(status, output, stderr)
    }

    /// Ends the job, and waits until nothing of it is left.
    async fn stop(self) {
        let Self { mut child, lifeline, stdout, stderr } = self;
        drop((lifeline, stdout, stderr));
        let supervisor = child.id().and_then(|pid| i32::try_from(pid).ok());
        if timeout(STOP_TIMEOUT, child.wait()).await.is_ok() {
            return;
        }
        warn!("a job's supervisor does not end; killing it");
        if let Some(pid) = supervisor {
            // It may have ended in this very moment.
            let _ = nix::sys::signal::killpg(Pid::from_raw(pid), Signal::SIGKILL);
        }
        let _ = timeout(STOP_TIMEOUT, child.wait()).await;
    }
}

fn result_of(status: ExitStatus, output: Vec<u8>, stderr: StderrTail) -> Result<Output, RunError> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(Output(Bytes::from(output))),
        (Some(code), _) => Err(RunError::ExitCode { code, stderr }),
        (None, signal) => Err(RunError::Signal { signal: signal.unwrap_or_default(), stderr }),
    }
}

/// Everything that `from` gives, unless that is more than `limit` bytes.
async fn collect(from: &mut (impl AsyncRead + Unpin), limit: u64) -> Result<Vec<u8>, RunError> {
    let mut output = Vec::new();
    // One byte more than allowed tells the two cases apart.
    let read = from.take(limit.saturating_add(1)).read_to_end(&mut output).await;
    read.map_err(|error| RunError::fault("read the job's output", error))?;
    if output.len() as u64 > limit { Err(RunError::OutputTooLarge { limit }) } else { Ok(output) }
}

/// The last of what `from` gives.
async fn tail(from: &mut (impl AsyncRead + Unpin)) -> Result<StderrTail, RunError> {
    let mut kept = Vec::new();
    let mut chunk = [0; STDERR_TAIL];
    loop {
        let read = from.read(&mut chunk).await.map_err(|error| RunError::fault("read the job's errors", error))?;
        if read == 0 {
            return Ok(StderrTail(String::from_utf8_lossy(&kept).into_owned()));
        }
        kept.extend_from_slice(&chunk[..read]);
        kept.drain(..kept.len().saturating_sub(STDERR_TAIL));
    }
}
