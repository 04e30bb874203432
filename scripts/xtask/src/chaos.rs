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
    tools::LOCALNET,
};

const BUILD_HINT: &str = "the compiler's first error above is the one to look at";
const HINT: &str = "the lines above say what was lost; the same --seed draws the same faults, see docs/reliability.md";

/// What is broken.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Chaos {
    /// Cut the power under the store while it is written to
    Power(PowerArgs),
    /// Have one of three endpoints before a chain lie in every way
    Rpc(RpcArgs),
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

/// How often endpoints go wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct RpcArgs {
    /// How many answers are spoilt in each way
    #[arg(long, default_value_t = 100)]
    injections: u64,
    /// What faults and their times are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Only this fault; repeated for several
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,
    /// Believe the first endpoint whatever it says: proves that the test notices what harm that does
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
    match chaos {
        Chaos::Power(args) => run_command(&mut power(&program, args), HINT)?,
        Chaos::Rpc(args) => {
            let localnet = LOCALNET.ensure(repo)?.join("localnet");
            run_command(rpc(&program, args).env("CIRO_LOCALNET", localnet), HINT)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn rpc(program: &Path, args: &RpcArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["rpc", "--injections", &args.injections.to_string()]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    for fault in &args.fault {
        command.args(["--fault", fault]);
    }
    if args.sabotage {
        command.arg("--sabotage");
    }
    if let Some(file) = &args.json {
        command.arg("--json").arg(file);
    }
    command
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
        let fault = vec!["cut".to_owned(), "delay".to_owned()];
        let args = RpcArgs { injections: 9, seed: Some(7), fault, sabotage: true, json: None };
        let command = rpc(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        let expected = ["rpc", "--injections", "9", "--seed", "7", "--fault", "cut", "--fault", "delay", "--sabotage"];
        assert_eq!(passed, expected);
    }
}
