//! The nonce test at its shortest, and the proof that it can fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::Value;

fn nonce(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(["nonce", "--json"]).arg(&file).args(arguments).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

#[test]
fn payments_arrive_once_whatever_becomes_of_their_transactions() {
    let arguments = ["--transactions", "80", "--accounts", "2", "--resend-after-ms", "1000", "--restart-every", "15"];
    let (output, figures) = nonce(&arguments).unwrap();
    let said = || [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said).into_owned()).join("\n");
    // Whether it succeeds depends on how soon gaps heal too, which is no matter for a busy machine.
    for key in ["lost", "doubled", "stuck"] {
        assert_eq!(figures[key], 0, "{figures}\n{}", said());
    }
    assert_eq!(figures["jobs"], 80);
    assert!(figures["faults"].as_u64().unwrap() > 0 && figures["restarts"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_lane_that_never_sends_again_is_caught() {
    let (output, figures) =
        nonce(&["--transactions", "60", "--accounts", "1", "--block-time", "1", "--seed", "1", "--sabotage"]).unwrap();
    assert!(output.status.success(), "{figures}");
    assert!(figures["stuck"].as_u64().unwrap() > 0, "{figures}");
}
