//! The kill test at its shortest, the proof that it can fail, and a death at every failpoint.

use std::{
    ffi::OsString,
    process::{Command, Output},
};

use anyhow::{Context as _, Result};
use keeper_failpoints::Failpoint;
use serde_json::Value;

fn chaos(keeper: Option<OsString>, arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    if let Some(keeper) = keeper {
        command.env("CIRO_KEEPER", keeper);
    }
    let output = command.args(arguments).arg("--json").arg(&file).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

/// The keeper that dies where it is told to.
fn failpoints_keeper() -> Option<OsString> {
    let keeper = std::env::var_os("CIRO_KEEPER_FAILPOINTS");
    assert!(keeper.is_some(), "CIRO_KEEPER_FAILPOINTS names no program: run the tests with `cargo xtask test`");
    keeper
}

fn assert_sound(output: &Output, figures: &Value) {
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stdout));
    for key in ["lost", "doubled", "stuck", "unrecorded"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
}

#[test]
fn a_keeper_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let (output, figures) = chaos(None, &["kill", "--kills", "12", "--jobs", "60", "--workers", "2"]).unwrap();
    assert_sound(&output, &figures);
    assert_eq!(figures["jobs"], 60);
    assert!(figures["faults"].as_u64().unwrap() >= 12, "{figures}");
    assert!(figures["recoveries"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_keeper_that_forgets_what_it_sent_is_caught() {
    let arguments = ["kill", "--kills", "1", "--jobs", "5", "--workers", "1", "--sabotage", "forget-intents"];
    let (output, figures) = chaos(failpoints_keeper(), &arguments).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(figures["unrecorded"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_keeper_that_dies_at_any_commit_or_send_loses_and_doubles_nothing() {
    let (output, figures) = chaos(failpoints_keeper(), &["failpoints"]).unwrap();
    assert_sound(&output, &figures);
    let died = figures["failpoints"].as_object().unwrap();
    for failpoint in Failpoint::OF_KEEPER {
        assert!(died.contains_key(failpoint.name()), "{failpoint}: {figures}");
    }
    assert_eq!(figures["faults"], Failpoint::OF_KEEPER.len());
}
