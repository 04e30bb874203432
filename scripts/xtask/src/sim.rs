//! `cargo xtask sim FILE`: parameter sets side by side in a simulated market.
//!
//! The simulation itself is the program `simulate` of the package `keeper-sim`, which this builds in release and runs.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{
    failure::failure,
    process::{cargo, run as run_command},
    repo::Repo,
};

const BUILD_HINT: &str = "the compiler's first error above is the one to look at";
const HINT: &str = "the lines above say what is wrong; docs/simulator.md describes every field of a parameter file";
const EXAMPLE: &str = "keeper/sim/examples/market.toml is one";

/// What is simulated, and where plots and figures go.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The parameter file
    file: PathBuf,
    /// Folder for the plots (SVG); none are made without
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write all figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Threads; as many as there are cores if none is given
    #[arg(long)]
    threads: Option<usize>,
}

/// Simulates; the program prints the table.
pub(crate) fn run(repo: &Repo, args: &Args) -> Result<ExitCode> {
    if !args.file.is_file() {
        return Err(failure(format!("there is no parameter file {}", args.file.display()), EXAMPLE));
    }
    let build = ["build", "--locked", "--release", "--package", "keeper-sim", "--bin", "simulate"];
    run_command(cargo(repo.root()).args(build), BUILD_HINT)?;
    run_command(&mut command(&repo.target().join("release/simulate"), args), HINT)?;
    Ok(ExitCode::SUCCESS)
}

fn command(program: &Path, args: &Args) -> Command {
    let mut command = Command::new(program);
    command.arg(&args.file);
    if let Some(folder) = &args.out {
        command.arg("--out").arg(folder);
    }
    if let Some(file) = &args.json {
        command.arg("--json").arg(file);
    }
    if let Some(threads) = args.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn flags_are_passed_on() {
        let args = Args {
            file: "market.toml".into(),
            out: Some("plots".into()),
            json: Some("figures.json".into()),
            threads: Some(2),
        };
        let command = command(Path::new("simulate"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(passed, ["market.toml", "--out", "plots", "--json", "figures.json", "--threads", "2"]);
    }
}
