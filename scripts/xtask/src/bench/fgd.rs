//! `cargo xtask bench fgd`: how much of a cluster's shared GPUs can be allocated, policy by policy.
//!
//! The measuring itself is the program `fgd` of the package `keeper-sim`, which this builds in release and runs.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{
    failure::failure,
    process::{cargo, run as run_command},
    repo::Repo,
};

/// Names the folder with the traces where no flag does.
const TRACES: &str = "CIRO_OPENB_TRACES";
const WHERE: &str = "the traces are in https://github.com/hkust-adsl/kubernetes-scheduler-simulator, folder data/csv; the \
    authors' results, beside which the figures are shown, in its experiments/analysis/expected_results as \
    analysis_allo_discrete.csv: copy that into the folder as expected_allocation_percent.csv";
const HINT: &str = "the program's first error above is the one to look at";

/// What is measured on, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder with traces of the openb form
    #[arg(long, env = TRACES)]
    traces: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// The first seed; the authors' is 42
    #[arg(long, default_value_t = 42)]
    first_seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 10)]
    seeds: u64,
}

/// Measures and prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let Some(traces) = &args.traces else {
        return Err(failure(format!("no traces: neither --traces nor {TRACES} names a folder"), WHERE));
    };
    if !traces.is_dir() {
        return Err(failure(format!("{} is no folder", traces.display()), WHERE));
    }
    let build = ["build", "--locked", "--release", "--package", "keeper-sim", "--bin", "fgd"];
    run_command(cargo(repo.root()).args(build), HINT)?;
    let mut measure = Command::new(repo.target().join("release/fgd"));
    measure.arg("--traces").arg(traces);
    measure.args(["--first-seed", &args.first_seed.to_string(), "--seeds", &args.seeds.to_string()]);
    if let Some(file) = &args.json {
        measure.arg("--json").arg(file);
    }
    run_command(&mut measure, HINT)?;
    Ok(ExitCode::SUCCESS)
}
