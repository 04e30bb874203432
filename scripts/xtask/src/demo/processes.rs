//! The demo's processes: each has a log, all are stopped in every way out.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use serde_json::Value;

use crate::failure::{OrHint as _, failure};

/// How long a process may take to stop before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How often a process that was asked to stop is looked at.
const STOP_POLL: Duration = Duration::from_millis(20);
/// How many lines of a log an error shows.
const LOG_LINES: usize = 5;

/// Running processes, in the order of their start. Dropping them stops them, the last one first.
#[derive(Debug)]
pub(super) struct Processes {
    logs: PathBuf,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Processes {
    /// No processes yet; their logs go to `logs`.
    pub(super) fn new(logs: PathBuf) -> Result<Self> {
        fs::create_dir_all(&logs).with_context(|| format!("creating {}", logs.display()))?;
        Ok(Self { logs, running: Vec::new() })
    }

    pub(super) fn logs(&self) -> &Path {
        &self.logs
    }

    /// Starts a process and waits for the line of JSON by which it says that it is ready.
    pub(super) fn start(&mut self, name: &str, command: &mut Command, limit: Duration) -> Result<Value> {
        let log = self.logs.join(format!("{name}.log"));
        let file = File::create(&log).with_context(|| format!("creating {}", log.display()))?;
        let output = file.try_clone().context("sharing a log")?;
        // A group of its own: Ctrl-C reaches this program alone, which then stops the others in order.
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(file)
            .process_group(0)
            .spawn()
            .or_hint(format!("starting {name}"), "`cargo xtask setup` builds what is missing")?;
        let stdout = child.stdout.take().context("the process has an output")?;
        self.running.push(Running { name: name.to_owned(), child, log });
        let lines = first_line(stdout, output);

        let started = Instant::now();
        loop {
            match lines.recv_timeout(Duration::from_millis(100)) {
                Ok(line) => {
                    return serde_json::from_str(&line).or_hint(
                        format!("{name} said `{}` in place of a line of JSON", line.trim_end()),
                        "are its program and this one built from the same checkout?",
                    );
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                // It closed its output; the check says how it ended.
                Err(mpsc::RecvTimeoutError::Disconnected) => std::thread::sleep(STOP_POLL),
            }
            self.check()?;
            if started.elapsed() > limit {
                return Err(self.error(self.running.len() - 1, &format!("was not ready after {} s", limit.as_secs())));
            }
        }
    }

    /// Fails where a process has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        for index in 0..self.running.len() {
            if let Some(status) = self.running[index].child.try_wait().context("looking at a process")? {
                return Err(self.error(index, &format!("ended early ({status})")));
            }
        }
        Ok(())
    }

    fn error(&self, index: usize, what: &str) -> anyhow::Error {
        let Running { name, log, .. } = &self.running[index];
        let text = fs::read_to_string(log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n  ");
        failure(format!("{name} {what}; its log ends with\n  {last}"), format!("all of it: {}", log.display()))
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        while let Some(running) = self.running.pop() {
            running.stop();
        }
    }
}

impl Running {
    /// Asks the process to stop, waits, and kills its whole group where it does not.
    fn stop(mut self) {
        // A process that has ended and been waited for has no group any more that could be meant.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let Ok(group) = i32::try_from(self.child.id()).map(Pid::from_raw) else { return };
        let _ = killpg(group, Signal::SIGTERM);
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(STOP_POLL);
        }
        eprintln!("{} did not stop within {} s and is killed", self.name, STOP_LIMIT.as_secs());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

/// The first line of an output; the rest goes to the log, so that the process never waits for a reader.
fn first_line(stdout: ChildStdout, mut log: File) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut stdout = BufReader::new(stdout);
        let mut line = String::new();
        if !matches!(stdout.read_line(&mut line), Ok(read) if read > 0) {
            return;
        }
        let _ = log.write_all(line.as_bytes());
        let _ = sender.send(line);
        let _ = std::io::copy(&mut stdout, &mut log);
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn is_alive(pid: u32) -> bool {
        nix::sys::signal::kill(Pid::from_raw(i32::try_from(pid).unwrap()), None).is_ok()
    }

    #[test]
    fn a_process_is_ready_when_it_says_so_and_is_stopped_on_drop() {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(folder.path().join("logs")).unwrap();
        let ready =
            processes.start("chain", &mut shell("echo '{\"port\":1}'; echo more; exec sleep 600"), LIMIT).unwrap();
        assert_eq!(ready["port"], 1);
        processes.check().unwrap();
        let pid = processes.running[0].child.id();
        drop(processes);
        assert!(!is_alive(pid));
    }

    #[test]
    fn a_process_that_ends_early_is_named_with_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut processes = Processes::new(folder.path().join("logs")).unwrap();
        let error = processes.start("keeper", &mut shell("echo 'no such chain' >&2; exit 3"), LIMIT).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("keeper ended early (exit status: 3)") && text.contains("no such chain"), "{text}");
    }
}
