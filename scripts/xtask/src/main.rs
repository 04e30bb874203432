//! `cargo xtask VERB`: the one front door for people who build CIRO Keeper.
//!
//! Each verb is a module. They call the ordinary tools (cargo, npm, the keeper's own binary) and print the
//! command lines they run, so that anyone can repeat a step by hand.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod bench;
mod bindings;
mod chaos;
mod compare;
mod contracts;
mod demo;
mod digest;
mod failure;
mod invariants;
mod lint;
mod process;
mod repo;
mod setup;
mod sim;
mod system;
mod test;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::repo::Repo;

/// Builds, checks and shows CIRO Keeper.
#[derive(Debug, Parser)]
#[command(name = "xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Build what the tests and the demo need: the local chain and the keeper
    Setup,
    /// Compile the contracts into contracts/artifacts
    Contracts(contracts::Args),
    /// Generate the Rust bindings from contracts/artifacts
    Bindings(bindings::Args),
    /// Formatting, clippy, dependency rules, links and the table of requirements
    Lint,
    /// Everything that has to pass before a change is merged
    Test(test::Args),
    /// Try random call sequences against the contracts and a reference model
    Invariants(invariants::Args),
    /// Measure what things cost and how fast they are
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Break things on purpose, and count what did not survive
    #[command(subcommand)]
    Chaos(chaos::Chaos),
    /// Compare parameter sets in a simulated market: a table, and plots
    Sim(sim::Args),
    /// Show the whole product at work on a local chain
    Demo(demo::Args),
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            failure::report(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode> {
    let repo = Repo::locate()?;
    match cli.verb {
        Verb::Setup => setup::run(&repo).map(|_| ExitCode::SUCCESS),
        Verb::Contracts(args) => contracts::run(&repo, &args).map(|()| ExitCode::SUCCESS),
        Verb::Bindings(args) => bindings::run(&repo, &args).map(|()| ExitCode::SUCCESS),
        Verb::Lint => lint::run(&repo).map(|()| ExitCode::SUCCESS),
        Verb::Test(args) => test::run(&repo, &args),
        Verb::Invariants(args) => invariants::run(&repo, &args),
        Verb::Bench(bench) => bench::run(&repo, &bench),
        Verb::Chaos(chaos) => chaos::run(&repo, &chaos),
        Verb::Sim(args) => sim::run(&repo, &args),
        Verb::Demo(args) => demo::run(&repo, &args),
    }
}
