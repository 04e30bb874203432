//! The simulation at its shortest, and the proof that it can fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::Value;

fn sim(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(["sim", "--json"]).arg(&file).args(arguments).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

#[test]
fn nothing_is_lost_doubled_or_stuck_in_worlds_that_nobody_chose() {
    let (output, figures) = sim(&["--seeds", "200", "--minutes", "1"]).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{figures}\n{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for key in ["lost", "doubled", "stuck"] {
        assert_eq!(figures[key], 0, "{figures}\n{said}");
    }
    for key in ["jobs", "faults", "recoveries", "reorganisations"] {
        assert!(figures[key].as_u64().unwrap() > 0, "{figures}");
    }
}

#[test]
fn a_seed_gives_the_same_history_whatever_the_threads() {
    let digest = |threads| {
        let (_, figures) = sim(&["--seeds", "6", "--from-seed", "77", "--threads", threads]).unwrap();
        (figures["digest"].clone(), figures["steps"].clone(), figures["faults"].clone())
    };
    assert_eq!(digest("1"), digest("3"));
    let (_, other) = sim(&["--seeds", "6", "--from-seed", "78"]).unwrap();
    assert_ne!(digest("2").0, other["digest"]);
}

#[test]
fn what_is_done_wrong_on_purpose_is_found() {
    let found = |sabotage, key| {
        let (output, figures) = sim(&["--seeds", "16", "--from-seed", "1", "--sabotage", sabotage]).unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{figures}\n{said}");
        assert!(figures[key].as_u64().unwrap() > 0, "{sabotage}: {figures}");
        assert!(said.contains("again: cargo xtask chaos sim --seed"), "{said}");
    };
    found("no-intents", "lost");
    found("forget-intents", "stuck");
    found("timeout-is-failure", "lost");
    found("no-rollback", "lost");
    found("no-compare", "stuck");
}
