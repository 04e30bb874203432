//! `cargo xtask bench round`: what a keeper's round costs, stage by stage.
//!
//! The measuring itself is the verb `round` of the program `scheduler-bench`. The market goes on from round to round, as
//! a keeper's does: jobs come, are placed and end, and agents' round trips are measured anew.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value};

use crate::{
    process::{capture, cargo, run as run_command},
    repo::Repo,
};

const HINT: &str = "the program's first error above is the one to look at";
/// Jobs that wait, jobs that run all the time, and rounds: as they are without a backlog, with much that runs, with a
/// backlog, and with a long one.
const CASES: [(&str, &str, u32); 4] = [("40", "0", 1), ("100", "15000", 1), ("1000", "0", 1), ("10000", "0", 4)];
/// Jobs that end and come from one round to the next.
const TURNOVER: &str = "40";
/// In the order in which they come.
const STAGES: [&str; 7] = ["snapshot", "plan", "root", "explanations", "inputs", "calldata", "all"];

/// What is measured, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Rounds of each case; a quarter of them with the longest backlog
    #[arg(long, default_value_t = 200)]
    rounds: u32,
    /// Registered workers
    #[arg(long, default_value_t = 1_000)]
    workers: u32,
    /// Seed of the market
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--release", "--package", "scheduler-bench"]), HINT)?;
    let program = repo.target().join("release/scheduler-bench");
    let mut figures = Map::new();
    for (pending, running, part) in CASES {
        let name = match running {
            "0" => format!("{pending} pending"),
            _ => format!("{pending} pending, {running} running"),
        };
        eprintln!("{name}");
        figures.insert(name, measure(&program, args, (pending, running), part)?);
    }
    let figures = Value::Object(figures);
    print!("{}", table(&figures));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
        std::fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn measure(program: &Path, args: &Args, (pending, running): (&str, &str), part: u32) -> Result<Value> {
    let (workers, rounds, seed) = (args.workers.to_string(), (args.rounds / part).max(1), args.seed.to_string());
    let mut command = Command::new(program);
    command.args(["round", &workers, pending, TURNOVER, running, &rounds.to_string(), &seed]);
    serde_json::from_str(&capture(&mut command, HINT)?).context("reading the figures")
}

/// A line for every case, with the median and the 99th percentile of each stage in milliseconds.
fn table(figures: &Value) -> String {
    let mut text = format!("{:<28}", "p50 / p99 ms");
    STAGES.iter().for_each(|stage| text += &format!(" {stage:>17}"));
    text.push('\n');
    for (name, case) in figures.as_object().into_iter().flatten() {
        text += &format!("{name:<28}");
        for stage in STAGES {
            let ms =
                |key: &str| case[stage][key].as_f64().map_or_else(|| "-".to_owned(), |us| format!("{:.2}", us / 1e3));
            text += &format!(" {:>17}", format!("{} / {}", ms("p50_us"), ms("p99_us")));
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_case_is_a_line_and_a_stage_a_column() {
        let text = table(&json!({ "40 pending": { "root": { "p50_us": 1_500.0, "p99_us": 2_250.0 } } }));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[1].starts_with("40 pending") && lines[1].contains("1.50 / 2.25"), "{text}");
    }
}
