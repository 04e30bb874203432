//! Replays the Philly trace under every policy and writes the figures as JSON; `cargo xtask bench philly` runs it.

#![allow(clippy::print_stdout, reason = "a program's output")]

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Parser;
use keeper_sim::philly::{Trace, Workload, compare, verdicts};
use serde_json::json;

/// The Philly trace under every policy.
#[derive(Debug, Parser)]
struct Args {
    /// Folder with philly.csv
    #[arg(long)]
    traces: PathBuf,
    /// Where the figures go
    #[arg(long)]
    json: PathBuf,
    /// Loads in percent
    #[arg(long, value_delimiter = ',', default_value = "70,90,110")]
    loads: Vec<u64>,
    /// Policies; all of them if none is named
    #[arg(long, value_delimiter = ',')]
    policies: Vec<String>,
    /// Seed of limits and deadlines
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let file = args.traces.join("philly.csv");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let trace = Trace::parse(&text).with_context(|| format!("reading {}", file.display()))?;
    let workload = Workload::new(&trace, args.seed);
    let outcomes = compare(&trace, &workload, &args.loads, &args.policies);
    let figures = json!({
        "seed": args.seed,
        "jobs": trace.jobs.len(),
        "virtual_clusters": trace.virtual_clusters.len(),
        "outcomes": outcomes,
        "verdicts": verdicts(&outcomes),
    });
    let text = serde_json::to_string_pretty(&figures).context("writing the figures")?;
    fs::write(&args.json, text + "\n").with_context(|| format!("writing {}", args.json.display()))
}
