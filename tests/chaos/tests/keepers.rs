//! The test of several keepers at its shortest, and the proof that it can fail.

use std::{
    ffi::OsString,
    io::Write as _,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

/// What the program says where there can be no network namespaces.
const NOT_RUN: &str = "cannot make network namespaces: not run";

/// Of some 25 transactions a few may be for nothing, and one is 4 %; without leases it is some 40 %.
const MOST_WASTED: &str = "20";
/// Without leases it has to be more than this.
const CAUGHT_ABOVE: &str = "10";

fn chaos(keeper: Option<OsString>, arguments: &[&str]) -> Result<(Output, Option<Value>)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_chaos"));
    if let Some(keeper) = keeper {
        command.env("CIRO_KEEPER", keeper);
    }
    let output = command.args(arguments).arg("--json").arg(&file).output().context("running the program")?;
    let figures = std::fs::read(&file).ok().map(|text| serde_json::from_slice(&text)).transpose()?;
    Ok((output, figures))
}

/// Runs it with networks of their own; where this machine has none, says so and does without.
fn as_far_as_possible(keeper: Option<OsString>, arguments: &[&str]) -> Result<Value> {
    let (mut output, mut figures) = chaos(keeper.clone(), arguments)?;
    if figures.is_none() && String::from_utf8_lossy(&output.stderr).contains(NOT_RUN) {
        tell("NO NETWORK NAMESPACES HERE (root and iproute2 are needed): keepers are not cut off, only signalled")?;
        (output, figures) = chaos(keeper, &[arguments, &["--signals-only"]].concat())?;
    }
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    tell(&out)?;
    let figures = figures.with_context(|| format!("it did not come to its end: {out}\n{err}"))?;
    ensure!(output.status.success(), "{figures}\n{out}\n{err}");
    Ok(figures)
}

/// Says it past the test's own output, so that it is seen where the test passes too.
fn tell(text: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{text}")?)
}

#[test]
fn keepers_that_are_stopped_killed_and_cut_off_double_and_lose_nothing() {
    // One keeper leads at a time, or several: half of the runs each.
    let seed = rand::random::<u64>();
    let (shards, seed) = (if seed.is_multiple_of(2) { "1" } else { "3" }, seed.to_string());
    let arguments = ["keepers", "--jobs", "60", "--faults", "6", "--workers", "2", "--most-wasted", MOST_WASTED];
    let arguments = [&arguments[..], &["--shards", shards, "--seed", &seed]].concat();
    let figures = as_far_as_possible(None, &arguments).unwrap();
    for key in ["lost", "doubled", "stuck", "unrecorded", "unaccounted"] {
        assert_eq!(figures[key], 0, "{figures}");
    }
    assert_eq!((&figures["jobs"], &figures["faults"]), (&60.into(), &6.into()), "{figures}");
}

#[test]
fn keepers_that_do_not_ask_for_leases_are_caught() {
    let keeper = std::env::var_os("CIRO_KEEPER_FAILPOINTS");
    assert!(keeper.is_some(), "CIRO_KEEPER_FAILPOINTS names no program: run the tests with `cargo xtask test`");
    let arguments =
        ["keepers", "--jobs", "30", "--faults", "6", "--workers", "2", "--most-wasted", CAUGHT_ABOVE, "--sabotage"];
    let figures = as_far_as_possible(keeper, &arguments).unwrap();
    assert!(figures["wasted"].as_f64().unwrap() > 0.1, "{figures}");
    assert_eq!(figures["doubled"], 0, "the contract stands behind the leases: {figures}");
}
