//! `cargo xtask bench scheduler`: jobs placed one after the other, beside a live slurmctld.
//!
//! The program `scheduler-bench` and slurmctld are measured in turn, so that what else the machine does meets them
//! alike. slurmctld does more than decide (it keeps files and answers calls), so only its scheduling cycle counts.

mod slurm;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use self::slurm::Slurm;
use crate::{
    process::{capture, cargo, run as run_command},
    repo::Repo,
};

const HINT: &str = "the program's first error above is the one to look at";
const WORKERS: [u32; 5] = [10, 100, 1_000, 10_000, 100_000];
const FLEETS: [&str; 2] = ["kinds", "varied"];
const PENDING: &str = "1000000";
/// What is measured of each fleet, and by what name it is told.
const KEYS: [&str; 5] = ["decisions_per_s", "explained_per_s", "p50_us", "p99_us", "placed_share"];

/// What is measured, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times everything is measured; the medians are told
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Decisions of one measurement with up to 1,000 workers; fewer with more
    #[arg(long, default_value_t = 1_000_000)]
    decisions: u64,
    /// Measure without slurmctld
    #[arg(long)]
    alone: bool,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// By what was measured: every value of it.
type Series = BTreeMap<(String, u32), Vec<f64>>;

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--release", "--package", "scheduler-bench"]), HINT)?;
    let program = repo.target().join("release/scheduler-bench");
    let slurm = if args.alone { None } else { Slurm::start(&repo.cache().join("tools")) };
    let mut series = Series::new();
    for round in 1..=args.rounds {
        eprintln!("round {round} of {}", args.rounds);
        for workers in WORKERS {
            for fleet in FLEETS {
                stream(&program, workers, args.decisions, fleet, round, &mut series)?;
            }
            if let Some(rate) = slurm.as_ref().and_then(|slurm| slurm.decisions_per_s(workers)) {
                series.entry(("slurm_decisions_per_s".to_owned(), workers)).or_default().push(rate);
            }
        }
    }
    let pending: Value = answer(Command::new(&program).args(["pending", PENDING]))?;
    let figures = figures(series, &pending["bytes_per_pending_job"]);
    print!("{}", table(&figures));
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn stream(program: &Path, workers: u32, decisions: u64, fleet: &str, seed: u64, series: &mut Series) -> Result<()> {
    // As many comparisons, not as many decisions: a hundred times the workers need not take a hundred times as long.
    let decisions = (decisions * 1_000 / u64::from(workers.max(1_000))).max(1_000);
    let numbers = [workers.to_string(), decisions.to_string(), fleet.to_owned(), seed.to_string()];
    let figures = answer(Command::new(program).arg("stream").args(numbers))?;
    for key in KEYS {
        let value = figures[key].as_f64().with_context(|| format!("an answer without {key}"))?;
        series.entry((format!("{fleet} {key}"), workers)).or_default().push(value);
    }
    Ok(())
}

fn answer(command: &mut Command) -> Result<Value> {
    serde_json::from_str(&capture(command, HINT)?).context("reading an answer")
}

/// The medians, by what was measured and number of workers. What was not measured is null.
fn figures(series: Series, bytes: &Value) -> Value {
    let mut by_key: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for ((key, workers), mut values) in series {
        values.sort_unstable_by(f64::total_cmp);
        by_key.entry(key).or_default().insert(workers.to_string(), json!(values[values.len() / 2]));
    }
    let mut of = |key: &str| by_key.remove(key).map_or(Value::Null, Value::Object);
    let mut figures = Map::new();
    let mut varied = Map::new();
    for key in KEYS {
        figures.insert(key.to_owned(), of(&format!("kinds {key}")));
        varied.insert(key.to_owned(), of(&format!("varied {key}")));
    }
    figures.insert("varied".to_owned(), Value::Object(varied));
    figures.insert("slurm_decisions_per_s".to_owned(), of("slurm_decisions_per_s"));
    figures.insert("bytes_per_pending_job".to_owned(), bytes.clone());
    Value::Object(figures)
}

/// The figures for people: a line for each number of workers.
fn table(figures: &Value) -> String {
    let mut text = format!(
        "{:>8} {:>14} {:>8} {:>8} {:>16} {:>14} {:>12} {:>8}\n",
        "workers", "decisions/s", "p50 us", "p99 us", "with counts/s", "all different", "slurmctld/s", "times"
    );
    for workers in WORKERS.map(|workers| workers.to_string()) {
        let shown = |value: &Value, digits: usize| match value[&workers].as_f64() {
            Some(value) => format!("{value:.digits$}"),
            None => "-".to_owned(),
        };
        let own = figures["decisions_per_s"][&workers].as_f64();
        let slurm = figures["slurm_decisions_per_s"][&workers].as_f64();
        let times = own.zip(slurm).map_or("-".to_owned(), |(own, slurm)| format!("{:.0}", own / slurm));
        text += &format!(
            "{workers:>8} {:>14} {:>8} {:>8} {:>16} {:>14} {:>12} {times:>8}\n",
            shown(&figures["decisions_per_s"], 0),
            shown(&figures["p50_us"], 2),
            shown(&figures["p99_us"], 2),
            shown(&figures["explained_per_s"], 0),
            shown(&figures["varied"]["decisions_per_s"], 0),
            shown(&figures["slurm_decisions_per_s"], 0),
        );
    }
    if figures["slurm_decisions_per_s"].is_null() {
        text += "slurmctld was not measured: it could not be had here, or was not asked for\n";
    }
    text + &format!("a pending job takes {:.0} bytes\n", figures["bytes_per_pending_job"].as_f64().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_told_by_number_of_workers_and_what_was_not_measured_is_a_dash() {
        let series = [(("kinds decisions_per_s".to_owned(), 100), vec![3e6, 1e6, 2e6])].into();
        let figures = figures(series, &json!(128.2));
        assert_eq!(figures["decisions_per_s"]["100"], 2e6);
        assert!(figures["slurm_decisions_per_s"].is_null());
        let text = table(&figures);
        let line: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(line, ["100", "2000000", "-", "-", "-", "-", "-", "-"]);
        assert!(text.contains("not measured") && text.contains("128 bytes"));
    }
}
