//! The program behind `cargo xtask chaos NAME`: faults on purpose, and a count of what did not survive them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod keepers;
mod kill;
mod nonce;
mod power;
mod reorg;
mod rpc;
mod sim;

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use anyhow::Error;
use clap::{Parser, Subcommand};

/// Faults on purpose.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Have the keeper die at every named place
    Failpoints(kill::failpoints::Args),
    /// Stop, kill and cut off one of several keepers on one database
    Keepers(keepers::Args),
    /// Kill the keeper, and sometimes a worker's agent, while jobs come in
    Kill(kill::Args),
    /// Lose, forget, hold back and double transactions on their way to the chain
    Nonce(nonce::Args),
    /// Cut the power under the store
    Power(power::Args),
    /// Have one of three endpoints lie
    Rpc(rpc::Args),
    /// Have a chain take blocks back while it is followed
    Reorg(reorg::Args),
    /// Carry what comes to one address on to another (what `keepers` runs in a network of its own)
    #[command(hide = true)]
    Relay {
        /// Where to listen
        listen: SocketAddr,
        /// Where to carry it to
        to: SocketAddr,
    },
    /// Run the keeper's decisions in simulated worlds where everything goes wrong
    Sim(sim::Args),
    /// Write to a store and say what was committed (what `power` runs)
    #[command(hide = true)]
    PowerWriter {
        /// The database
        database: PathBuf,
        /// What the writes are drawn from
        seed: u64,
        /// Do not wait for the disk
        #[arg(long)]
        sabotage: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Failpoints(args) => kill::failpoints::run(&args),
        Verb::Keepers(args) => keepers::run(&args),
        Verb::Kill(args) => kill::run(&args),
        Verb::Nonce(args) => nonce::run(&args),
        Verb::Power(args) => power::run(&args),
        Verb::Relay { listen, to } => keepers::relay(listen, to),
        Verb::Rpc(args) => rpc::run(&args),
        Verb::Reorg(args) => reorg::run(&args),
        Verb::Sim(args) => sim::run(&args),
        Verb::PowerWriter { database, seed, sabotage } => power::write(&database, seed, sabotage),
    };
    result.unwrap_or_else(|error: Error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
