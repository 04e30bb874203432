//! `cargo xtask bench follow`: how fast a long history with reorganisations is taken into the store, durably.
//!
//! The measuring itself is the program `follow-bench` (`tests/bench/follow`), which this builds in release and runs.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{
    process::{cargo, run as run_command},
    repo::Repo,
};

const HINT: &str = "the program's first error above is the one to look at";

/// How long the history is, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Blocks, with 50 events each
    #[arg(long, default_value_t = 20_000)]
    blocks: u64,
    /// Reorganisations, evenly spread
    #[arg(long, default_value_t = 10)]
    reorgs: u64,
    /// Blocks that the deepest takes back
    #[arg(long, default_value_t = 256)]
    max_depth: u64,
    /// The folder that the database is made in; the build's folder unless one is named
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures; the program prints the table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--release", "--package", "follow-bench"]), HINT)?;
    let mut measure = Command::new(repo.target().join("release/follow-bench"));
    measure.args(["measure", "--blocks", &args.blocks.to_string(), "--reorgs", &args.reorgs.to_string()]);
    measure.args(["--max-depth", &args.max_depth.to_string()]);
    measure.arg("--folder").arg(args.folder.as_deref().unwrap_or(repo.target()));
    if let Some(file) = &args.json {
        measure.arg("--json").arg(file);
    }
    run_command(&mut measure, HINT)?;
    Ok(ExitCode::SUCCESS)
}
