//! `cargo xtask bench gas`: whole transactions on the local chain, by their receipts.
//!
//! The measuring itself is the program `gas` of the package `e2e`. This compiles the allocator that it compares
//! with, starts it, and shows its figures as a table.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::{
    contracts,
    failure::{OrHint as _, failure},
    process::{cargo, run as run_command},
    repo::Repo,
    tools::LOCALNET,
};

/// The Cairo crate of the allocator to compare with.
const NAIVE: &str = "tests/bench/naive";
const NAIVE_CONTRACT: &str = "NaiveAllocator";
const HINT: &str = "the program's first error above is the one to look at";

/// What is measured, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Sizes of batches to allocate; 1, 10, 50, 100, 200 and 500 if none is named
    sizes: Vec<u64>,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let localnet = LOCALNET.ensure(repo)?.join("localnet");
    let compiled = tempfile::tempdir().context("making a temporary folder")?;
    let classes = contracts::compile(repo, &repo.path(NAIVE), compiled.path())?;
    let naive = classes.get(NAIVE_CONTRACT).with_context(|| format!("{NAIVE} has no {NAIVE_CONTRACT}"))?;
    run_command(cargo(repo.root()).args(["build", "--locked", "--package", "e2e", "--bin", "gas"]), HINT)?;

    let figures = compiled.path().join("figures.json");
    let status = Command::new(repo.built("gas"))
        .args(args.sizes.iter().map(u64::to_string))
        .env("CIRO_LOCALNET", localnet)
        .env("CIRO_NAIVE_CLASS", compiled.path().join(&naive.file))
        .env("CIRO_NAIVE_COMPILED_CLASS_HASH", &naive.compiled_class_hash)
        .env("CIRO_GAS_FIGURES", &figures)
        .status()
        .or_hint("starting the measurement", HINT)?;
    if !status.success() {
        return Err(failure(format!("the measurement failed ({status})"), HINT));
    }
    let text = std::fs::read_to_string(&figures).context("reading the figures")?;
    print!("{}", table(&serde_json::from_str(&text).context("reading the figures")?));
    if let Some(file) = &args.json {
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The figures for people: every object with an `l2_gas` is a line, named by where it stands.
fn table(figures: &Value) -> String {
    let mut lines = vec![format!("{:<28} {:>14} {:>12} {:>10}\n", "", "L2 gas", "L1 data gas", "transfers")];
    let transfer = figures["strk_transfer"]["l2_gas"].as_f64();
    add_lines("", figures, transfer, &mut lines);
    lines.concat()
}

fn add_lines(name: &str, value: &Value, transfer: Option<f64>, lines: &mut Vec<String>) {
    let Some(object) = value.as_object() else { return };
    if let Some(l2_gas) = object.get("l2_gas").and_then(Value::as_u64) {
        let data = object.get("l1_data_gas").and_then(Value::as_u64).unwrap_or_default();
        #[allow(clippy::cast_precision_loss, reason = "gas stays far below 2^52")]
        let transfers = transfer.map(|unit| format!("{:.2}", l2_gas as f64 / unit)).unwrap_or_default();
        lines.push(format!("{name:<28} {l2_gas:>14} {data:>12} {transfers:>10}\n"));
        return;
    }
    for (key, inner) in object {
        let name = if name.is_empty() { key.clone() } else { format!("{name} {key}") };
        add_lines(&name, inner, transfer, lines);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_figures_become_named_lines() {
        let text = table(&json!({
            "allocate": { "100": { "l2_gas": 250, "l1_data_gas": 7 } },
            "strk_transfer": { "l2_gas": 1_000, "l1_data_gas": 1 },
            "full_life_in_transfers": 5.5,
        }));
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["allocate", "100", "250", "7", "0.25"]);
        assert_eq!(lines[2], ["strk_transfer", "1000", "1", "1.00"]);
        assert_eq!(lines.len(), 3);
    }
}
