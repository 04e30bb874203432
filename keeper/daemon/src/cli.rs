//! The command line. One file a verb; data on standard output, everything else on standard error.

mod account;
mod admin;
mod completions;
mod config;
mod contracts;
mod doctor;
mod job;
mod paymaster;
mod replay;
mod run;
mod status;
mod verify;
mod worker;

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use keeper_chain::Network;
use url::Url;

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
    /// Starknet node's JSON-RPC endpoint (specification 0.9 or 0.10)
    #[arg(long, global = true, env = "STARKNET_RPC", value_name = "URL", hide_env_values = true)]
    pub(crate) rpc_url: Option<Url>,
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
    /// Where manifests and outputs are kept: a folder or a file:// URL [default: artifacts in the data directory]
    #[arg(long, global = true, env = "KEEPER_ARTIFACTS", value_name = "URL")]
    pub(crate) artifacts: Option<String>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Log in JSON
    #[arg(long, global = true, env = "KEEPER_LOG_JSON", value_parser = BoolishValueParser::new())]
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
    /// Most allocations in one transaction, 1 to 500 [default: 100]
    #[arg(long, env = "KEEPER_MAX_BATCH", value_name = "N")]
    pub(crate) max_batch: Option<usize>,
    /// Leave expiring and settling what is due to others
    #[arg(long, env = "KEEPER_NO_EXITS", value_parser = BoolishValueParser::new())]
    pub(crate) no_exits: bool,
    /// Post what the account's bond as a keeper lacks
    #[arg(long, env = "KEEPER_POST_BOND", value_parser = BoolishValueParser::new())]
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
    /// Check or show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print completions for a shell
    Completions(completions::CompletionsArgs),
}

impl Cli {
    /// Whether the command runs until it is stopped, and so logs what it does.
    pub(crate) fn is_service(&self) -> bool {
        matches!(self.command, Command::Run(_) | Command::Worker(worker::WorkerCommand::Run(_)))
    }
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
        Command::Config(command) => config::run(global, &command),
        Command::Completions(args) => completions::run(&args),
    }
}
