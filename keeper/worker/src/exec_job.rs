//! The process that stands between the agent and a job's command.
//!
//! ```text
//!   agent --(pipe: spec, then silence)--> supervisor --> limiter --exec--> the command and whatever it starts
//! ```
//!
//! The agent starts its own binary again as the *supervisor*, which reads what to run from its standard input.
//! That pipe stays open as a lifeline: when it closes, because the agent wants the job gone, dropped it, or died,
//! the supervisor kills the command and all its descendants. It adopts orphans, so that a descendant which left
//! its process group or session is found as well; and when the command exits, what it left behind is killed too.
//!
//! The supervisor starts the binary once more as the *limiter*, which lowers its own resource limits and then
//! becomes the command. Limits set by a process on itself, before the command's first instruction, leave no gap.
//!
//! This bounds mistakes. It is no sandbox: a command that means harm has the agent's rights, may kill its
//! supervisor, and may read whatever the agent's user may. Memory is bounded per process by `RLIMIT_DATA`, which
//! counts what a process can write to; `RLIMIT_AS` would also count the address space that CUDA, Go and Java
//! reserve and never touch. The number of processes is not bounded: `RLIMIT_NPROC` counts a user's processes over
//! the whole machine, not a job's. An operator who needs that runs the agent in a service with a limit on tasks.

mod tree;

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::Signal,
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};

/// Holds the limiter's orders; its presence tells the limiter from the supervisor.
const LIMITER_VARIABLE: &str = "CIRO_EXEC_JOB";
/// What the supervisor and the limiter exit with where they, not the command, failed.
const HELPER_FAILED: u8 = 125;
/// What a shell would exit with where it finds no such command.
const NOT_FOUND: u8 = 127;
/// No manifest makes a spec this long.
const MAX_SPEC_BYTES: u32 = 1 << 20;

/// What to run, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// What the command reads.
    pub stdin: String,
    /// What it may use.
    pub limits: ExecLimits,
}

/// Limits of each of a job's processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecLimits {
    /// Writable private memory.
    pub memory_bytes: u64,
    /// The longest file.
    pub file_bytes: u64,
    /// Open files.
    pub open_files: u64,
}

impl ExecSpec {
    /// The spec as the supervisor reads it: its length in 4 bytes, then JSON.
    ///
    /// # Errors
    /// Fails where it is longer than the supervisor would take.
    pub fn to_frame(&self) -> io::Result<Vec<u8>> {
        let json = serde_json::to_vec(self)?;
        let length = u32::try_from(json.len()).ok().filter(|length| *length <= MAX_SPEC_BYTES);
        let length = length.ok_or_else(|| io::Error::other("the job's spec is too long"))?;
        Ok([&length.to_be_bytes()[..], &json].concat())
    }

    fn read(from: &mut impl io::Read) -> io::Result<Self> {
        let mut length = [0; 4];
        from.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > MAX_SPEC_BYTES {
            return Err(io::Error::other("the job's spec is too long"));
        }
        let mut json = vec![0; length as usize];
        from.read_exact(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    }
}

/// The whole of the hidden command `exec-job`. Does not return where the command could be started and was ended
/// by a signal: then this process ends by the same signal.
pub fn main() -> ExitCode {
    let failed = match env::var(LIMITER_VARIABLE) {
        Ok(orders) => become_command(&orders),
        Err(_) => match supervise() {
            Ok(status) => return exit_as(status),
            Err(error) => Failure { code: HELPER_FAILED, error },
        },
    };
    // Standard error is the job's own here, and the agent reads its end. Nothing can be done where that fails.
    let _ = writeln!(io::stderr(), "exec-job: {}", failed.error);
    ExitCode::from(failed.code)
}

struct Failure {
    code: u8,
    error: io::Error,
}

fn supervise() -> io::Result<ExitStatus> {
    let spec = ExecSpec::read(&mut io::stdin().lock())?;
    #[cfg(target_os = "linux")]
    {
        nix::sys::prctl::set_no_new_privs()?;
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    let mut child = Command::new(own_binary()?)
        .args(env::args_os().skip(1))
        .env_clear()
        .env(LIMITER_VARIABLE, serde_json::to_string(&ExecSpec { stdin: String::new(), ..spec.clone() })?)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let pid = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let input = child.stdin.take();
    thread::spawn(move || {
        // A command need not read its input; then the pipe breaks, which is no failure.
        let _ = input.map(|mut input| input.write_all(spec.stdin.as_bytes()));
    });
    thread::spawn(|| {
        // Nothing more is sent, so this returns when the agent has let go.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        tree::kill_descendants();
    });
    let status = wait_for(pid);
    tree::kill_descendants();
    status
}

/// Waits for the command, and meanwhile buries the orphans that were adopted.
///
/// By wait(2) itself: nix's fails where any of them was ended by a real-time signal, which it has no name for.
#[expect(unsafe_code, reason = "no safe wrapper tells of every signal")]
fn wait_for(command: Pid) -> io::Result<ExitStatus> {
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to a local that outlives the call.
        let pid = unsafe { libc::wait(&raw mut status) };
        match Errno::result(pid) {
            Ok(pid) if pid == command.as_raw() => return Ok(ExitStatus::from_raw(status)),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn exit_as(status: ExitStatus) -> ExitCode {
    if let Some(signal) = status.signal() {
        // The memory that faulted was the command's: a picture of this process would be of no use.
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        // Not `raise` alone: the Rust runtime ignores SIGPIPE and catches SIGSEGV and SIGBUS.
        let _ = signal_hook::low_level::emulate_default_handler(signal);
        // It returned, so it does not know that this one ends a process, as of SIGIO and the real-time signals. Nobody
        // catches those here.
        let _ = signal_hook::low_level::raise(signal);
        return ExitCode::from(HELPER_FAILED);
    }
    status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::from(HELPER_FAILED), ExitCode::from)
}

fn become_command(orders: &str) -> Failure {
    let failed = |error: io::Error| Failure { code: HELPER_FAILED, error };
    let spec: ExecSpec = match serde_json::from_str(orders) {
        Ok(spec) => spec,
        Err(error) => return failed(error.into()),
    };
    let Some((program, arguments)) = spec.command.split_first() else {
        return failed(io::Error::other("the command is empty"));
    };
    // Made before the limits hold, since it allocates.
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(&spec.env);
    if let Err(error) = limit(&spec.limits) {
        return failed(error.into());
    }
    let error = command.exec();
    let code = if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { HELPER_FAILED };
    Failure { code, error: io::Error::new(error.kind(), format!("cannot run `{program}`: {error}")) }
}

fn limit(limits: &ExecLimits) -> nix::Result<()> {
    #[cfg(target_os = "linux")]
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    for (resource, limit) in [
        (Resource::RLIMIT_CORE, 0),
        (Resource::RLIMIT_FSIZE, limits.file_bytes),
        (Resource::RLIMIT_NOFILE, limits.open_files),
        (Resource::RLIMIT_DATA, limits.memory_bytes),
    ] {
        // A limit that the agent runs under already can be lowered, not raised.
        let (_, highest) = getrlimit(resource)?;
        let limit = limit.min(highest);
        setrlimit(resource, limit, limit)?;
    }
    Ok(())
}

/// The binary that is running, even where the file was replaced or removed meanwhile.
pub(crate) fn own_binary() -> io::Result<PathBuf> {
    if cfg!(target_os = "linux") { Ok(PathBuf::from("/proc/self/exe")) } else { env::current_exe() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_survives_the_pipe() {
        let spec = ExecSpec {
            command: vec!["a".to_owned(), "ü\n\"".to_owned()],
            env: BTreeMap::from([("K".to_owned(), "V=W".to_owned())]),
            stdin: "in".to_owned(),
            limits: ExecLimits { memory_bytes: 1, file_bytes: 2, open_files: 3 },
        };
        let frame = spec.to_frame().unwrap();
        assert_eq!(ExecSpec::read(&mut &frame[..]).unwrap(), spec);
        assert!(ExecSpec::read(&mut &frame[..frame.len() - 1]).is_err());
        assert!(ExecSpec::read(&mut &[0xff; 8][..]).is_err());
    }
}
