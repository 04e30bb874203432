//! The test of lying endpoints at its shortest, and the proof that it can fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::Value;

fn rpc(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(["rpc", "--json"]).arg(&file).args(arguments).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

#[test]
fn one_endpoint_of_three_does_no_harm_whatever_it_does() {
    let (output, figures) = rpc(&["--injections", "2"]).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stdout));
    for key in ["wrong", "lost", "doubled", "stuck", "panics"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
    let rows = figures["rows"].as_array().unwrap();
    let spoilt = rows.iter().filter(|row| row["faults"].as_u64().unwrap() >= 2).count();
    assert_eq!((spoilt, rows.len()), (19, 20), "{figures}");
    assert!(figures["goodput_per_mille"].as_u64().unwrap() >= 990, "{figures}");
    assert!(figures["jobs"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_connection_that_believes_its_first_endpoint_is_caught() {
    let faults = ["--fault", "missing-events", "--fault", "nonce-high", "--fault", "old-blocks"];
    let (output, figures) = rpc(&[&["--injections", "4", "--seed", "1", "--sabotage"], &faults[..]].concat()).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(figures["wrong"].as_u64().unwrap() > 0, "{figures}");
}
