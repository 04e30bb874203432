//! `cargo xtask bench queues`: memory of a million pending jobs, and a million allocations with failing workers.
//!
//! The measuring itself is the program `queues` of the package `keeper-sim`, which this builds in release and runs.

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

const HINT: &str = "the program's first error above is the one to look at";

/// Where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Seed of the failures
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let build = ["build", "--locked", "--release", "--package", "keeper-sim", "--bin", "queues"];
    run_command(cargo(repo.root()).args(build), HINT)?;
    let folder = tempfile::tempdir().context("making a temporary folder")?;
    let figures = folder.path().join("figures.json");
    let mut measure = Command::new(repo.target().join("release/queues"));
    measure.arg("--json").arg(&figures).args(["--seed", &args.seed.to_string()]);
    let status = measure.status().or_hint("starting the measurement", HINT)?;
    if !status.success() {
        return Err(failure(format!("the measurement failed ({status})"), HINT));
    }
    let text = std::fs::read_to_string(&figures).context("reading the figures")?;
    print!("{}", table("", &serde_json::from_str(&text).context("reading the figures")?));
    if let Some(file) = &args.json {
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A line for every figure, named by where it stands.
fn table(name: &str, value: &Value) -> String {
    let Some(object) = value.as_object() else { return format!("{name:<40} {value:>16}\n") };
    let path = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name} {key}") };
    object.iter().map(|(key, inner)| table(&path(key), inner)).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_figures_are_named_by_their_path() {
        let text = table("", &json!({ "jobs": 7, "failures": { "dead": { "poison": 2 } } }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines, [vec!["failures", "dead", "poison", "2"], vec!["jobs", "7"]]);
    }
}
