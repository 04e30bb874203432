//! `cargo xtask chaos NAME`: faults on purpose, and a count of what did not survive them.
//!
//! The tests themselves are in the program `chaos` (`tests/chaos`), which this builds and runs. They wait for disks, processes and
//! chains, so a release build would gain nothing; only the keeper is built as it is shipped where its restarts are timed.

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
    /// Have the keeper die at every commit and send, one after the other
    Failpoints(FailpointsArgs),
    /// Kill the keeper, and sometimes a worker's agent, while jobs come in
    Kill(KillArgs),
    /// Lose, forget, hold back and double transactions on their way to the chain
    Nonce(NonceArgs),
    /// Cut the power under the store while it is written to
    Power(PowerArgs),
    /// Have the chain take blocks back while it is followed
    Reorg(ReorgArgs),
    /// Have one of three endpoints before a chain lie in every way
    Rpc(RpcArgs),
}

/// Where the keeper dies.
#[derive(Debug, clap::Args)]
pub(crate) struct FailpointsArgs {
    /// Only at these places; at every one if none is named
    names: Vec<String>,
    /// Keep the processes' logs in this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How often the keeper is killed, and how much is to be done meanwhile.
#[derive(Debug, clap::Args)]
pub(crate) struct KillArgs {
    /// How often the keeper is killed
    #[arg(long, default_value_t = 200)]
    kills: u32,
    /// How many jobs are submitted meanwhile
    #[arg(long, default_value_t = 2_000)]
    jobs: u32,
    /// Worker agents
    #[arg(long, default_value_t = 4)]
    workers: u8,
    /// Stop killing and submitting after so many minutes, however far it is
    #[arg(long)]
    minutes: Option<u64>,
    /// What the moments are drawn from; a fresh one, which is printed, if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Do something wrong on purpose: forget-intents (the keeper forgets at each start what it has sent) or no-restart
    /// (nobody starts it again after the last kill); proves that the test notices
    #[arg(long, value_parser = ["forget-intents", "no-restart"])]
    sabotage: Option<String>,
    /// Keep the processes' logs in this folder
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
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
    let program = repo.built("chaos");
    let mut command = match chaos {
        Chaos::Failpoints(args) => {
            let keeper = setup::failpoints_keeper(repo)?;
            with_programs(failpoints(&program, args), repo, &keeper)?
        }
        Chaos::Kill(args) => {
            // What is done wrong on purpose is in no keeper that is shipped.
            let needs_failpoints = args.sabotage.as_deref() == Some("forget-intents");
            let keeper = if needs_failpoints { setup::failpoints_keeper } else { setup::release_keeper }(repo)?;
            with_programs(kill(&program, args), repo, &keeper)?
        }
        Chaos::Nonce(args) => {
            let mut command = nonce(&program, args);
            command.env("CIRO_LOCALNET", setup::localnet(repo)?);
            command
        }
        Chaos::Power(args) => power(&program, args),
        Chaos::Reorg(args) => {
            let mut command = reorg(&program, args);
            command.env("CIRO_LOCALNET", setup::programs(repo)?.localnet);
            command
        }
        Chaos::Rpc(args) => {
            let mut command = rpc(&program, args);
            command.env("CIRO_LOCALNET", setup::localnet(repo)?);
            command
        }
    };
    run_command(&mut command, HINT)?;
    Ok(ExitCode::SUCCESS)
}

fn with_programs(mut command: Command, repo: &Repo, keeper: &Path) -> Result<Command> {
    command.env("CIRO_LOCALNET", setup::localnet(repo)?).env("CIRO_KEEPER", keeper);
    Ok(command)
}

fn failpoints(program: &Path, args: &FailpointsArgs) -> Command {
    let mut command = Command::new(program);
    command.arg("failpoints").args(&args.names);
    add_files(&mut command, args.logs.as_deref(), args.json.as_deref());
    command
}

fn kill(program: &Path, args: &KillArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["kill", "--kills", &args.kills.to_string(), "--jobs", &args.jobs.to_string()]);
    command.args(["--workers", &args.workers.to_string()]);
    if let Some(minutes) = args.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(sabotage) = &args.sabotage {
        command.args(["--sabotage", sabotage]);
    }
    add_files(&mut command, args.logs.as_deref(), args.json.as_deref());
    command
}

fn add_files(command: &mut Command, logs: Option<&Path>, json: Option<&Path>) {
    for (flag, path) in [("--logs", logs), ("--json", json)] {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
}

fn nonce(program: &Path, args: &NonceArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["nonce", "--transactions", &args.transactions.to_string()]);
    command.args(["--accounts", &args.accounts.to_string()]);
    command.args(["--resend-after-ms", &args.resend_after_ms.to_string()]);
    add_draws(&mut command, args.seed, args.sabotage, args.json.as_deref());
    command
}

/// What most tests take.
fn add_draws(command: &mut Command, seed: Option<u64>, sabotage: bool, json: Option<&Path>) {
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
    add_draws(&mut command, args.seed, args.sabotage, args.json.as_deref());
    command
}

fn reorg(program: &Path, args: &ReorgArgs) -> Command {
    let mut command = Command::new(program);
    command.args(["reorg", "--reorgs", &args.reorgs.to_string(), "--max-depth", &args.max_depth.to_string()]);
    command.args(["--simulated", &args.simulated.to_string()]);
    add_draws(&mut command, args.seed, args.sabotage, args.json.as_deref());
    command
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn kills_are_passed_on() {
        let args = KillArgs {
            kills: 9,
            jobs: 90,
            workers: 2,
            minutes: Some(5),
            seed: Some(7),
            sabotage: Some("no-restart".to_owned()),
            logs: Some("logs".into()),
            json: Some("figures.json".into()),
        };
        let command = kill(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        let expected = "kill --kills 9 --jobs 90 --workers 2 --minutes 5 --seed 7 --sabotage no-restart --logs logs --json figures.json";
        assert_eq!(passed, expected.split(' ').collect::<Vec<_>>());
        let names = vec!["store::observe::before_commit".to_owned()];
        let command = failpoints(Path::new("chaos"), &FailpointsArgs { names, logs: None, json: None });
        assert_eq!(command.get_args().collect::<Vec<_>>(), ["failpoints", "store::observe::before_commit"]);
    }

    #[test]
    fn flags_are_passed_on() {
        let args = PowerArgs { cuts: 9, seed: Some(7), sabotage: true, json: Some("figures.json".into()) };
        let command = power(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        assert_eq!(passed, ["power", "--cuts", "9", "--seed", "7", "--sabotage", "--json", "figures.json"]);
    }

    #[test]
    fn lies_are_passed_on() {
        let fault = vec!["cut".to_owned(), "delay".to_owned()];
        let args = RpcArgs { injections: 9, seed: Some(7), fault, sabotage: true, json: None };
        let command = rpc(Path::new("chaos"), &args);
        let passed: Vec<&OsStr> = command.get_args().collect();
        let expected = "rpc --injections 9 --seed 7 --fault cut --fault delay --sabotage";
        assert_eq!(passed, expected.split(' ').collect::<Vec<_>>());
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
