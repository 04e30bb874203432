//! `cargo xtask bindings`: Rust bindings generated from the contracts' artifacts.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::{
    compare::{differences, install},
    failure::failure,
    process::{self, cargo},
    repo::Repo,
};

/// Where the generated modules are checked in.
const BINDINGS: &str = "bindings/src";

/// The generated modules; the crate's other files are written by hand.
const GENERATED: [&str; 5] = ["cdc_pool.rs", "job_mgr.rs", "paymaster.rs", "referee.rs", "task_allocator.rs"];

/// How the bindings are generated.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only compare with what is checked in
    #[arg(long)]
    check: bool,
}

/// Generates the bindings, or checks that those in the repository are what the artifacts give.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<()> {
    if args.check { check(repo) } else { write(repo) }
}

fn write(repo: &Repo) -> Result<()> {
    let generated = tempfile::tempdir().context("making a temporary folder")?;
    generate(repo, generated.path())?;
    let written = install(generated.path(), &repo.path(BINDINGS))?;
    println!("bindings: {} files in {BINDINGS}", written.len());
    Ok(())
}

/// Fails where the repository's bindings are not what its artifacts give.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let generated = tempfile::tempdir().context("making a temporary folder")?;
    generate(repo, generated.path())?;
    let differing = differences(&repo.path(BINDINGS), generated.path(), |name| GENERATED.contains(&name))?;
    if differing.is_empty() {
        println!("bindings: {BINDINGS} is what the artifacts give");
        return Ok(());
    }
    Err(failure(
        format!("in {BINDINGS}, not what the artifacts give: {}", differing.join(", ")),
        "run `cargo xtask bindings` and commit the result",
    ))
}

fn generate(repo: &Repo, out: &Path) -> Result<()> {
    let mut generator = cargo(repo.root());
    generator
        .args(["run", "--quiet", "--locked", "--package", "keeper-bindings"])
        .args(["--features", "generate", "--bin", "generate-bindings", "--"])
        .arg(out);
    process::run(&mut generator, "are the artifacts complete? `cargo xtask contracts` writes them")
}
