//! `cargo xtask bench e2e`: a whole market under steady load, from submission to allocation.
//!
//! The measuring itself is the program `e2e-bench` of the package `e2e`. This builds it, and the keeper as it is shipped,
//! and starts it; the program prints the table.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    process::{cargo, run as run_command},
    repo::Repo,
    setup,
};

const HINT: &str = "the program's first error above is the one to look at";

/// The load, and where the figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long jobs are submitted, in minutes
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// Jobs a second
    #[arg(long, default_value_t = 50)]
    rate: u32,
    /// Registered workers, each with a session
    #[arg(long, default_value_t = 1_000)]
    workers: usize,
    /// Keep the keeper's log in this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures; the program prints a table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    let keeper = setup::release_keeper(repo)?;
    run_command(cargo(repo.root()).args(["build", "--locked", "--package", "e2e", "--bin", "e2e-bench"]), HINT)?;
    let scratch = tempfile::tempdir().context("making a temporary folder")?;
    let figures = scratch.path().join("figures.json");
    let mut command = Command::new(repo.built("e2e-bench"));
    command
        .args(["--minutes", &args.minutes.to_string(), "--rate", &args.rate.to_string()])
        .args(["--workers", &args.workers.to_string()])
        .env("CIRO_LOCALNET", setup::localnet(repo)?)
        .env("CIRO_KEEPER", keeper)
        .env("CIRO_E2E_FIGURES", &figures);
    if let Some(log) = &args.log {
        command.env("CIRO_E2E_LOG", std::path::absolute(log).context("naming the log")?);
    }
    run_command(&mut command, HINT)?;
    if let Some(file) = &args.json {
        std::fs::copy(&figures, file).with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}
