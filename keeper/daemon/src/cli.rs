//! The command line. One file a verb; data on standard output, everything else on standard error.

mod account;
mod admin;
pub(crate) mod complaints;
mod completions;
mod config;
mod contracts;
mod db;
mod doctor;
mod job;
mod paymaster;
mod replay;
mod run;
mod status;
mod verify;
mod worker;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, builder::BoolValueParser, error::ErrorKind,
};
use keeper_chain::Network;
use secrecy::SecretString;
use url::Url;

use crate::services::Stopped;

/// Allocates GPU jobs to workers on Starknet
#[derive(Debug, Parser)]
#[command(name = "keeper", version = env!("CIRO_VERSION"), propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// Network: devnet, sepolia or mainnet [default: devnet]
    #[arg(long, global = true, env = "STARKNET_NETWORK")]
    pub(crate) network: Option<Network>,
    /// Starknet node's JSON-RPC endpoint (specification 0.9 or 0.10); given several times, their answers are compared
    #[arg(
        long,
        global = true,
        env = "STARKNET_RPC",
        value_name = "URL",
        hide_env_values = true,
        value_delimiter = ','
    )]
    pub(crate) rpc_url: Vec<Url>,
    /// Node's WebSocket, whose notices of new blocks make the keeper look sooner [default: none]
    #[arg(long, global = true, env = "STARKNET_WS", value_name = "URL", hide_env_values = true)]
    pub(crate) ws_url: Option<Url>,
    /// Configuration file (TOML)
    #[arg(long, global = true, env = "KEEPER_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Account: starkli's account file, or devnet-N for a local chain's N-th account
    #[arg(long, global = true, env = "STARKNET_ACCOUNT", value_name = "FILE|devnet-N")]
    pub(crate) account: Option<String>,
    /// The account's keystore; STARKNET_KEYSTORE_PASSWORD opens it
    #[arg(long, global = true, env = "STARKNET_KEYSTORE", value_name = "FILE")]
    pub(crate) keystore: Option<PathBuf>,
    /// Where the contracts stand [default: deployments/NETWORK.json]
    #[arg(long, global = true, env = "KEEPER_DEPLOYMENT", value_name = "FILE")]
    pub(crate) deployment: Option<PathBuf>,
    /// Where the keeper keeps its database
    #[arg(long, global = true, env = "KEEPER_DATA_DIR", value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// PostgreSQL database that several keepers share: postgres://USER@HOST:PORT/NAME [default: SQLite in the data
    /// directory]
    #[arg(long, global = true, env = "KEEPER_DATABASE", value_name = "URL", hide_env_values = true)]
    pub(crate) database: Option<SecretString>,
    /// Where manifests and outputs are kept: a folder or a file:// URL [default: artifacts in the data directory]
    #[arg(long, global = true, env = "KEEPER_ARTIFACTS", value_name = "URL")]
    pub(crate) artifacts: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log in JSON
    #[arg(long, global = true, env = "KEEPER_LOG_JSON", value_parser = BoolValueParser::new())]
    pub(crate) log_json: bool,
    /// How often the node is asked for news, in milliseconds
    #[arg(long, global = true, env = "KEEPER_POLL_MS", value_name = "MS")]
    pub(crate) poll_ms: Option<u64>,
}

/// Options of `keeper run`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RunArgs {
    /// Where worker agents connect to [default: 127.0.0.1:7070]
    #[arg(long, env = "KEEPER_LISTEN", value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
    /// What agents know the keeper as, where that is not ws:// and --listen: the URL that they connect to
    #[arg(long, env = "KEEPER_PUBLIC_URL", value_name = "URL")]
    pub(crate) public_url: Option<String>,
    /// Most allocations in one transaction, 1 to 500 [default: 100]
    #[arg(long, env = "KEEPER_MAX_BATCH", value_name = "N")]
    pub(crate) max_batch: Option<usize>,
    /// Leave expiring and settling what is due to others
    #[arg(long, env = "KEEPER_NO_EXITS", value_parser = BoolValueParser::new())]
    pub(crate) no_exits: bool,
    /// The most that an account spends on transactions in an hour, in STRK [default: 1000]
    #[arg(long, env = "KEEPER_MAX_FEE_PER_HOUR", value_name = "STRK")]
    pub(crate) max_fee_per_hour: Option<String>,
    /// Where /live and /ready are answered, for probes [default: nowhere]
    #[arg(long, env = "KEEPER_HEALTH_LISTEN", value_name = "ADDR")]
    pub(crate) health_listen: Option<SocketAddr>,
    /// With --database: how long another keeper waits before it takes over from one that is gone, in milliseconds
    /// [default: 3000]
    #[arg(long, env = "KEEPER_LEASE_MS", value_name = "MS")]
    pub(crate) lease_ms: Option<u64>,
    /// With --database: into how many shards the market is dealt out, so that several keepers decide at once, 1 to 16
    /// [default: 1]
    #[arg(long, env = "KEEPER_SHARDS", value_name = "N")]
    pub(crate) shards: Option<u8>,
    /// Post what the account's bond as a keeper lacks
    #[arg(long, env = "KEEPER_POST_BOND", value_parser = BoolValueParser::new())]
    pub(crate) post_bond: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a keeper: follow the chain, allocate jobs, dispatch them to workers
    Run(RunArgs),
    /// Submit jobs and look at them
    #[command(subcommand)]
    Job(job::JobCommand),
    /// Register a worker, run its agent, look at workers
    #[command(subcommand)]
    Worker(worker::WorkerCommand),
    /// See and take out what the contracts owe to an account
    #[command(subcommand)]
    Account(account::AccountCommand),
    /// Deploy the contracts, or see where they stand
    #[command(subcommand)]
    Contracts(contracts::ContractsCommand),
    /// Pause the contracts, hand them on, upgrade them
    #[command(subcommand)]
    Admin(admin::AdminCommand),
    /// Pay for others' jobs and transactions, or have one's own paid
    #[command(subcommand)]
    Paymaster(paymaster::PaymasterCommand),
    /// Recompute what a keeper decided, from the chain alone and what the keeper published
    #[command(subcommand)]
    Verify(verify::VerifyCommand),
    /// Decide anew by a snapshot's file, as `verify allocation --save` writes it
    Replay(replay::ReplayArgs),
    /// The whole market in numbers: jobs, rounds, money
    Status,
    /// Check the node, the contracts, the account and this machine
    Doctor,
    /// Look after the keeper's database: check it, copy it, bring it to this version
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
}

/// The exit code of a command that failed.
const FAILED: u8 = 1;
/// The exit code of `keeper verify` where it could verify, and the round is not what its policy decides. The command
/// line's own errors end with 2.
const DIFFERENT: u8 = 3;

impl Cli {
    /// Reads the command line; where it is wrong, or asks for help, says so and ends the program.
    pub(crate) fn read() -> Self {
        Self::try_read(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn try_read(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Self, clap::Error> {
        let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        let mut command = complaints::with_negative_numbers(Self::command());
        command.build();
        show_whole_usage(&mut command);
        let matches = command
            .try_get_matches_from_mut(&arguments)
            .map_err(|error| complaints::completed(error, &command, &arguments))?;
        let cli = Self::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
        if let Command::Verify(verify::VerifyCommand::Unknown(words)) = &cli.command {
            let meant = verify::what_was_meant(words);
            let error = |verify: &mut clap::Command| verify.error(ErrorKind::InvalidSubcommand, meant);
            return Err(command
                .find_subcommand_mut("verify")
                .map_or_else(|| clap::Error::new(ErrorKind::InvalidSubcommand), error));
        }
        Ok(cli)
    }

    /// Whether the command runs until it is stopped, and so logs what it does.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self.command, Command::Run(_) | Command::Worker(worker::WorkerCommand::Run(_)))
    }
}

/// Errors show a command's usage as its help does. Left alone, clap shows the options that were given, be it by the
/// environment, as if they were required.
fn show_whole_usage(command: &mut clap::Command) {
    let usage = command.render_usage().to_string();
    let usage = usage.strip_prefix("Usage: ").unwrap_or(&usage).to_owned();
    *command = std::mem::take(command).override_usage(usage);
    for subcommand in command.get_subcommands_mut() {
        show_whole_usage(subcommand);
    }
}

/// How the program ends after an error.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    if let Some(stopped) = error.downcast_ref::<Stopped>() {
        return ExitCode::from(stopped.cause().exit_code());
    }
    ExitCode::from(if error.is::<verify::Different>() { DIFFERENT } else { FAILED })
}

/// Runs the command.
///
/// # Errors
/// Whatever went wrong, for [`crate::output::print_error`].
pub(crate) async fn run(cli: Cli) -> Result<()> {
    let global = &cli.global;
    match cli.command {
        Command::Run(args) => Box::pin(run::run(global, &args)).await,
        Command::Job(command) => Box::pin(job::run(global, command)).await,
        Command::Worker(command) => Box::pin(worker::run(global, command)).await,
        Command::Account(command) => Box::pin(account::run(global, command)).await,
        Command::Contracts(command) => Box::pin(contracts::run(global, command)).await,
        Command::Admin(command) => Box::pin(admin::run(global, command)).await,
        Command::Paymaster(command) => Box::pin(paymaster::run(global, command)).await,
        Command::Verify(command) => Box::pin(verify::run(global, command)).await,
        Command::Replay(args) => replay::run(global, &args),
        Command::Status => Box::pin(status::run(global)).await,
        Command::Doctor => Box::pin(doctor::run(global)).await,
        Command::Db(command) => Box::pin(db::run(global, &command)).await,
        Command::Config(command) => config::run(global, &command),
        Command::Completions(args) => completions::run(&args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(arguments: &[&str]) -> clap::Error {
        Cli::try_read(arguments).unwrap_err()
    }

    #[test]
    fn options_that_were_given_are_not_shown_as_required() {
        let error = complaint(&["keeper", "replay", "--data-dir", "data"]).to_string();
        assert!(error.contains("Usage: keeper replay [OPTIONS] <FILE>\n"), "{error}");
        let error = complaint(&["keeper", "job", "show", "--data-dir", "data"]).to_string();
        assert!(error.contains("Usage: keeper job show [OPTIONS] <ID>\n"), "{error}");
    }

    #[test]
    fn a_job_without_a_command_is_verified_how() {
        let error = complaint(&["keeper", "verify", "7"]);
        assert_eq!(error.exit_code(), 2);
        let error = error.to_string();
        assert!(error.contains("unrecognized subcommand '7'"), "{error}");
        assert!(error.contains("`keeper verify allocation 7`"), "{error}");
        assert!(error.contains("Usage: keeper verify [OPTIONS] <COMMAND>\n"), "{error}");
    }

    #[test]
    fn commands_are_read_as_before() {
        let cli = Cli::try_read(["keeper", "verify", "allocation", "7", "--json"]).unwrap();
        assert!(cli.global.json);
        assert!(!cli.is_service());
        assert_eq!(complaint(&["keeper", "verify"]).exit_code(), 2);
        assert_eq!(complaint(&["keeper", "--help"]).exit_code(), 0);
    }
}
