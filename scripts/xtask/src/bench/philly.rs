//! `cargo xtask bench philly`: 82,247 recorded jobs under our policy and its peers.
//!
//! The replay itself is the program `philly` of the package `keeper-sim`, which this builds in release and runs.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    failure::{OrHint as _, failure},
    process::{cargo, run as run_command},
    repo::Repo,
};

/// Names the folder with the trace where no flag does.
const TRACES: &str = "CIRO_PHILLY_TRACES";
const WHERE: &str =
    "philly.csv is in https://github.com/petuum/adaptdl, branch osdi21-artifact, folder simulator/traces";
const HINT: &str = "the program's first error above is the one to look at";

/// What is replayed, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with philly.csv
    #[arg(long, env = TRACES)]
    traces: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Loads in percent, separated by commas
    #[arg(long, default_value = "70,90,110")]
    loads: String,
    /// Policies, separated by commas; all of them if none is named
    #[arg(long)]
    policies: Option<String>,
    /// Seed of users' limits and deadlines
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Replays and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let Some(traces) = &args.traces else {
        return Err(failure(format!("no trace: neither --traces nor {TRACES} names a folder"), WHERE));
    };
    if !traces.join("philly.csv").is_file() {
        return Err(failure(format!("{} holds no philly.csv", traces.display()), WHERE));
    }
    let build = ["build", "--locked", "--release", "--package", "keeper-sim", "--bin", "philly"];
    run_command(cargo(repo.root()).args(build), HINT)?;
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let figures = folder.path().join("figures.json");
    let mut replay = Command::new(repo.target().join("release/philly"));
    replay.arg("--traces").arg(traces).arg("--json").arg(&figures).args(["--loads", &args.loads]);
    replay.args(["--seed", &args.seed.to_string()]);
    if let Some(policies) = &args.policies {
        replay.args(["--policies", policies]);
    }
    let status = replay.status().or_hint("starting the replay", HINT)?;
    if !status.success() {
        return Err(failure(format!("the replay failed ({status})"), HINT));
    }
    let text = std::fs::read_to_string(&figures).context("reading the figures")?;
    print!("{}", table(&serde_json::from_str(&text).context("reading the figures")?));
    if let Some(file) = &args.json {
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The figures for people: a line for each policy at each load, then how ours stands against the best peer.
fn table(figures: &Value) -> String {
    let mut text = format!(
        "{:>4} {:>4} {:<18} {:>12} {:>11} {:>11} {:>12} {:>7} {:>7} {:>8}\n",
        "load", "8xN", "policy", "mean JCT s", "p50 wait s", "p95 wait s", "max wait s", "Jain", "misses", "starved"
    );
    for outcome in figures["outcomes"].as_array().into_iter().flatten() {
        let (whole, exact) =
            (|key: &str| outcome[key].as_u64().unwrap_or(0), |key: &str| outcome[key].as_f64().unwrap_or(0.0));
        text += &format!(
            "{:>4} {:>4} {:<18} {:>12.0} {:>11} {:>11} {:>12} {:>7.4} {:>7} {:>8}\n",
            whole("load_percent"),
            whole("machines"),
            outcome["policy"].as_str().unwrap_or_default(),
            exact("mean_completion_s"),
            whole("p50_wait_s"),
            whole("p95_wait_s"),
            whole("max_wait_s"),
            exact("jain"),
            whole("deadline_misses"),
            whole("starved"),
        );
    }
    for verdict in figures["verdicts"].as_array().into_iter().flatten() {
        let exact = |key: &str| verdict[key].as_f64().unwrap_or(0.0);
        text += &format!(
            "load {}: Jain {:+.4}, misses x{:.2}, p95 wait x{:.2}, mean completion x{:.2} of the best peer's: {}\n",
            verdict["load_percent"],
            exact("jain_gain"),
            exact("misses_by_best"),
            exact("p95_wait_by_best"),
            exact("mean_completion_by_best"),
            if verdict["is_met"].as_bool() == Some(true) { "met" } else { "not met" },
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn outcomes_and_verdicts_are_lines() {
        let outcome = json!({
            "policy": "balanced", "load_percent": 70, "machines": 67, "mean_completion_s": 20_940.4, "p50_wait_s": 1,
            "p95_wait_s": 2, "max_wait_s": 3, "jain": 0.9, "deadline_misses": 4, "starved": 0,
        });
        let verdict = json!({
            "load_percent": 70, "jain_gain": 0.03, "misses_by_best": 0.75, "p95_wait_by_best": 0.9,
            "mean_completion_by_best": 0.99, "is_met": true,
        });
        let text = table(&json!({ "outcomes": [outcome], "verdicts": [verdict] }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["70", "67", "balanced", "20940", "1", "2", "3", "0.9000", "4", "0"]);
        assert!(text.ends_with(
            "load 70: Jain +0.0300, misses x0.75, p95 wait x0.90, mean completion x0.99 of the best peer's: met\n"
        ));
    }
}
