//! This test program again, as a process of its own that does one thing and may be killed in the middle of it.

use std::{
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus, Output},
};

/// Names what the process is to do; without it a child's test does nothing.
const TASK: &str = "KEEPER_STORE_CHILD";

/// What this process is to do, where it is a child.
pub(crate) fn task() -> Option<String> {
    std::env::var(TASK).ok()
}

/// Runs the test `name` in a process of its own, which finds `task` by [`task`], with these variables.
pub(crate) fn run(name: &str, task: &str, variables: &[(&str, &str)]) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture"]).env(TASK, task).env("RUST_BACKTRACE", "0");
    command.envs(variables.iter().copied()).output().unwrap()
}

/// SIGABRT, by which a process ends that aborts itself.
const SIGABRT: i32 = 6;

/// Whether a process aborted itself, which is how it dies at a place.
pub(crate) fn has_aborted(status: ExitStatus) -> bool {
    status.signal() == Some(SIGABRT)
}
