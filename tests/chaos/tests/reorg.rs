//! The reorganisation test at its shortest, and the proof that it can fail.

use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use serde_json::Value;

fn reorg(arguments: &[&str]) -> Result<(Output, Value)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    let output = command.args(["reorg", "--json"]).arg(&file).args(arguments).output()?;
    let said = || String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(&file).with_context(said)?;
    Ok((output, serde_json::from_slice(&figures)?))
}

#[test]
fn after_every_reorganisation_the_store_is_what_a_fresh_index_gives() {
    let (output, figures) = reorg(&["--reorgs", "6", "--max-depth", "64", "--simulated", "4"]).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stdout));
    for key in ["lost", "doubled", "stuck", "orphaned_allocations"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
    assert_eq!(figures["faults"], 6);
    assert_eq!(figures["simulated_chains"], 4);
    assert!(figures["jobs"].as_u64().unwrap() > 0, "{figures}");
}

#[test]
fn a_node_that_loses_events_after_a_reorganisation_is_caught() {
    let (output, figures) = reorg(&["--reorgs", "4", "--max-depth", "16", "--seed", "1", "--sabotage"]).unwrap();
    assert!(output.status.success(), "{figures}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(figures["lost"].as_u64().unwrap() > 0, "{figures}");
}
