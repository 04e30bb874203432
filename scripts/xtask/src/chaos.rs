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
    /// Lose, forget, hold back and double transactions on their way to the chain
    Nonce(NonceArgs),
    /// Cut the power under the store while it is written to
    Power(PowerArgs),
}

/// How much is sent, and by how many.
#[derive(Debug, clap::Args)]
pub(crate) struct NonceArgs {
    /// How many payments have to arrive
    #[arg(long, default_value_t = 5_000)]
    transactions: u64,
    /// Accounts, each with a lane of its own
    #[arg(long, default_value_t = 16)]
    accounts: u8,
    /// How long a transaction may be missing before it is sent again, in milliseconds
    #[arg(long, default_value_t = 15_000)]
    resend_after_ms: u64,
    /// What faults are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Never send anything again: proves that the test notices what is stuck then
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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

/// Runs one test; the program prints what came of it.
pub(crate) fn run(repo: &Repo, chaos: &Chaos) -> Result<ExitCode> {
    run_command(cargo(repo.root()).args(["build", "--locked", "--package", "chaos"]), BUILD_HINT)?;
    let program = repo.target().join("debug/chaos");
    match chaos {
        Chaos::Nonce(args) => {
            run_command(nonce(&program, args).env("CIRO_LOCALNET", setup::localnet(repo)?), HINT)?;
        }
        Chaos::Power(args) => run_command(&mut power(&program, args), HINT)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn nonce(program: &Path, args: &NonceArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["nonce", "--transactions", &args.transactions.to_string()]);
    command.args(["--accounts", &args.accounts.to_string()]);
    command.args(["--resend-after-ms", &args.resend_after_ms.to_string()]);
    common(&mut command, args.seed, args.sabotage, args.json.as_deref());
    command
}

/// What every test takes.
fn common(command: &mut Command, seed: Option<u64>, sabotage: bool, json: Option<&Path>) {
    if let Some(seed) = seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if sabotage {
        command.arg("--sabotage");
    }
    if let Some(file) = json {
        command.arg("--json").arg(file);
    }
}

fn power(program: &Path, args: &PowerArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["power", "--cuts", &args.cuts.to_string()]);
    common(&mut command, args.seed, args.sabotage, args.json.as_deref());
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
}
