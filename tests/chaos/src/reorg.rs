//! `reorg`: the chain takes blocks back while it is followed, again and again.
//!
//! On a real local chain jobs are submitted, allocated and answered, some of it in blocks that are then aborted. The
//! keeper's own follower and store follow it all the while, so that reorganisations come in the middle of what it reads.
//! After each the store is compared with one that reads the chain from its start, and what is believed with what the
//! contracts hold: an allocation that is believed and not on chain is an orphan. Deeper reorganisations, and those that
//! come between two given requests, are tried on a simulated chain.

mod devnet;
mod figures;
mod simulated;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use rand::Rng as _;

use self::figures::Figures;

/// How often the chain is reorganised.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Reorganisations of the local chain
    #[arg(long, default_value_t = 100)]
    reorgs: u32,
    /// Blocks that one of them takes back at most
    #[arg(long, default_value_t = 256)]
    max_depth: u64,
    /// Simulated chains, each with some reorganisations of up to 2,048 blocks
    #[arg(long, default_value_t = 100)]
    simulated: u32,
    /// What depths, moments and jobs are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Follow a node that loses events after a reorganisation, and never compare with the contracts: this must lose
    /// something
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Reorganises, and counts what was not mended.
///
/// # Errors
/// Fails where the local chain cannot be used: then nothing was tried.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    println!("reorg: {} reorganisations, {} simulated chains, seed {seed}", args.reorgs, args.simulated);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let mut figures = Figures::new(seed, args.sabotage);
    runtime.block_on(async {
        devnet::run(args, seed, &mut figures).await?;
        if !args.sabotage {
            simulated::run(args.simulated, seed, &mut figures).await?;
        }
        anyhow::Ok(())
    })?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.sabotage && figures.lost == 0 {
        eprintln!("error: a node that loses events cost nothing: this test notices nothing");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if args.sabotage || figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
