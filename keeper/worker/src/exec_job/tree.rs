//! Everything that a process has started, found through `/proc`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, getpid},
};

/// How long killing may take, against a command that starts processes faster than they are found.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a killed process is given to be gone before it is looked for again.
const SWEEP_PAUSE: Duration = Duration::from_millis(1);

/// Kills every descendant of this process and buries those that it adopted.
pub(super) fn kill_descendants() {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let living = descendants(getpid());
        if living.is_empty() || Instant::now() > deadline {
            return;
        }
        // What is stopped cannot start more before it is killed. A process that is gone needs neither.
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &living {
                let _ = kill(*pid, signal);
            }
        }
        bury();
        thread::sleep(SWEEP_PAUSE);
    }
}

fn bury() {
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        if status == WaitStatus::StillAlive {
            return;
        }
    }
}

/// The living descendants of `root`.
fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for (pid, parent) in living() {
        children.entry(parent).or_default().push(pid);
    }
    let mut found = BTreeSet::new();
    let mut unseen = vec![root.as_raw()];
    while let Some(parent) = unseen.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            if found.insert(child) {
                unseen.push(child);
            }
        }
    }
    found.into_iter().map(Pid::from_raw).collect()
}

/// Every process that is not dead yet, with its parent.
fn living() -> impl Iterator<Item = (i32, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        let (state, parent) = state_and_parent(&stat)?;
        (!matches!(state, "Z" | "X")).then_some((pid, parent))
    })
}

/// The fields after the program's name, which stands in parentheses and may hold anything.
fn state_and_parent(stat: &str) -> Option<(&str, i32)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_look_like_fields() {
        assert_eq!(state_and_parent("12 (a) S 1 (b) R 7 12 12"), Some(("R", 7)));
        assert_eq!(state_and_parent(""), None);
        assert_eq!(state_and_parent("12 (a) S"), None);
    }

    #[test]
    fn children_are_found() {
        let mut child = std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        assert!(descendants(getpid()).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(getpid()).contains(&pid));
    }
}
