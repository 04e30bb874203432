//! `cargo xtask chaos NAME`: faults on purpose, and a count of what did not survive them.
//!
//! The tests themselves are in the program `chaos` (`tests/chaos`), which this builds and runs. They wait for disks, processes and
//! chains, so a release build would gain nothing.

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::Result;

use crate::{
    process::{cargo, run as run_command},
    repo::Repo,
    setup,
};

const BUILD_HINT: &str = "the compiler's first error above is the one to look at";
const HINT: &str = "the lines above say what was lost; the same --seed draws the same faults, see docs/reliability.md";

/// What is broken.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Chaos {
    /// Cut the power under the store while it is written to
    Power(PowerArgs),
    /// Have the chain take blocks back while it is followed
    Reorg(ReorgArgs),
}

/// How often the power is cut.
#[derive(Debug, clap::Args)]
pub(crate) struct PowerArgs {
    /// How many times the power is cut
    #[arg(long, default_value_t = 200)]
    cuts: u64,
    /// What cuts, writes and survivors are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Acknowledge without waiting for the disk: proves that the test notices what is lost then
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How often the chain is reorganised.
#[derive(Debug, clap::Args)]
pub(crate) struct ReorgArgs {
    /// Reorganisations of the local chain
    #[arg(long, default_value_t = 100)]
    reorgs: u32,
    /// Blocks that one of them takes back at most
    #[arg(long, default_value_t = 256)]
    max_depth: u64,
    /// Simulated chains, each with some reorganisations of up to 2,048 blocks
    #[arg(long, default_value_t = 100)]
    simulated: u32,
    /// What depths, moments and jobs are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Follow a node that loses events after a reorganisation: proves that the test notices what is lost then
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs one test; the program prints what came of it.
pub(crate) fn run(repo: &Repo, chaos: &Chaos) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--package", "chaos"]), BUILD_HINT)?;
    let program = repo.target().join("debug/chaos");
    let mut command = match chaos {
        Chaos::Power(args) => power(&program, args),
        Chaos::Reorg(args) => {
            let mut command = reorg(&program, args);
            command.env("CIRO_LOCALNET", setup::programs(repo)?.localnet);
            command
        }
    };
    run_command(&mut command, HINT)?;
    Ok(ExitCode::SUCCESS)
}

fn power(program: &Path, args: &PowerArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["power", "--cuts", &args.cuts.to_string()]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if args.sabotage {
        command.arg("--sabotage");
    }
    if let Some(file) = &args.json {
        command.arg("--json").arg(file);
    }
    command
}

fn reorg(program: &Path, args: &ReorgArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["reorg", "--reorgs", &args.reorgs.to_string(), "--max-depth", &args.max_depth.to_string()]);
    command.args(["--simulated", &args.simulated.to_string()]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if args.sabotage {
        command.arg("--sabotage");
    }
    if let Some(file) = &args.json {
        command.arg("--json").arg(file);
    }
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn flags_are_passed_on() {
        let args = PowerArgs { cuts: 9, seed: Some(7), sabotage: true, json: Some("figures.json".into()) };
        let command = power(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(passed, ["power", "--cuts", "9", "--seed", "7", "--sabotage", "--json", "figures.json"]);
    }

    #[test]
    fn reorganisations_are_passed_on() {
        let (seed, json) = (Some(7), Some("figures.json".into()));
        let args = ReorgArgs { reorgs: 9, max_depth: 64, simulated: 3, seed, sabotage: true, json };
        let command = reorg(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        let expected = "reorg --reorgs 9 --max-depth 64 --simulated 3 --seed 7 --sabotage --json figures.json";
        assert_eq!(passed, expected.split(' ').collect::<Vec<_>>());
    }
}
