//! The power test at its shortest, and the proof that it can fail. Where the system has no FUSE at all, these say so and
//! test nothing; where it has and cannot mount, they fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::Value;

fn power(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(["power", "--json"]).arg(&file).args(arguments).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

/// Whether there is a disk to cut the power of.
#[expect(clippy::print_stderr, reason = "nobody may take it for a test that was run")]
fn has_fuse() -> bool {
    let is_there = std::path::Path::new("/dev/fuse").exists();
    if !is_there {
        eprintln!("NOT RUN: the power test needs FUSE, and this system has no /dev/fuse");
    }
    is_there
}

#[test]
fn nothing_that_was_acknowledged_is_lost_when_the_power_goes() {
    if !has_fuse() {
        return;
    }
    let (output, figures) = power(&["--cuts", "12"]).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stdout));
    for key in ["lost", "doubled", "stuck"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
    assert_eq!(figures["faults"], 12);
    assert_eq!(figures["layer"], "fuse");
    assert!(figures["jobs"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["writes_forgotten_by_the_disk"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_store_that_does_not_wait_for_the_disk_is_caught() {
    if !has_fuse() {
        return;
    }
    let (output, figures) = power(&["--cuts", "12", "--seed", "1", "--sabotage"]).unwrap();
    assert!(output.status.success());
    assert!(figures["lost"].as_u64().unwrap() > 0, "{figures}");
}
