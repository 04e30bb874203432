//! The program behind `cargo xtask chaos NAME`: faults on purpose, and a count of what did not survive them.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod nonce;
mod power;

use std::{path::PathBuf, process::ExitCode};

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
    /// Lose, forget, hold back and double transactions on their way to the chain
    Nonce(nonce::Args),
    /// Cut the power under the store
    Power(power::Args),
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
        Verb::Nonce(args) => nonce::run(&args),
        Verb::Power(args) => power::run(&args),
        Verb::PowerWriter { database, seed, sabotage } => power::write(&database, seed, sabotage),
    };
    result.unwrap_or_else(|error: Error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
