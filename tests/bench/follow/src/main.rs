//! `cargo xtask bench follow`: how fast the follower takes a long history into its store.
//!
//! A server, a process of its own, replays a history with reorganisations over JSON-RPC; everything it answers was
//! rendered before. The follower before it is the keeper's own, with a store whose commits wait for the disk. What it
//! comes to is compared with what folding the history directly gives.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

mod history;
mod measure;
mod render;
mod server;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::history::Shape;

/// How fast the chain is followed.
#[derive(Debug, Parser)]
#[command(name = "follow-bench")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure
    Measure(MeasureArgs),
    /// Replay a history, and say where
    Serve(ShapeArgs),
}

/// What is measured.
#[derive(Debug, clap::Args)]
struct MeasureArgs {
    #[command(flatten)]
    shape: ShapeArgs,
    /// The folder that the database is made in
    #[arg(long, default_value = ".")]
    folder: PathBuf,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// What the history is like.
#[derive(Clone, Copy, Debug, clap::Args)]
struct ShapeArgs {
    /// Blocks, with 50 events each
    #[arg(long, default_value_t = 20_000)]
    blocks: u64,
    /// Reorganisations, evenly spread
    #[arg(long, default_value_t = 10)]
    reorgs: u64,
    /// Blocks that the deepest takes back
    #[arg(long, default_value_t = 256)]
    max_depth: u64,
}

impl From<ShapeArgs> for Shape {
    fn from(args: ShapeArgs) -> Self {
        Self { blocks: args.blocks, reorgs: args.reorgs, max_depth: args.max_depth }
    }
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| match Cli::parse().verb {
        // As a task, which the keeper's follower is too: what it waits for then wakes it on the same thread.
        Verb::Measure(args) => runtime.block_on(async {
            tokio::spawn(async move { measure::run(args.shape.into(), &args.folder, args.json.as_deref()).await })
                .await?
        }),
        Verb::Serve(args) => runtime.block_on(server::run(args.into())),
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
