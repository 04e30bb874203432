//! `rpc`: three endpoints before one chain, one of which lies.
//!
//! A client submits jobs, a follower records the contracts' events in a store, and both read, all through the keeper's own
//! connection, while one of its endpoints goes wrong in one of nineteen ways. The chain itself, asked directly, says what
//! is true. It is reorganised now and then, which everybody has to notice, and nobody may see where there was none.

mod figures;
mod ledger;
mod reading;
mod stage;
mod trial;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context as _, Result};
use e2e::Fault;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::{
    figures::{Figures, Row},
    stage::Stage,
    trial::Trial,
};

/// Panics since the start, of whatever task.
static PANICS: AtomicU64 = AtomicU64::new(0);

/// How often endpoints go wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many answers are spoilt in each way
    #[arg(long, default_value_t = 100)]
    injections: u64,
    /// What faults and their times are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Only this fault; repeated for several
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,
    /// Believe the first endpoint whatever it says: this must do harm
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Spoils answers, and counts what became of it.
///
/// # Errors
/// Fails where the local chain cannot be used: then nothing was tried.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    let chosen = chosen(args)?;
    println!("rpc: {} faults, {} injections each, seed {seed}", chosen.len(), args.injections);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        before(panic);
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let mut figures = runtime.block_on(all(args, &chosen, seed))?;
    figures.panics = PANICS.load(Ordering::Relaxed);
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.sabotage && figures.harm() == 0 {
        eprintln!("error: a connection that believes whatever it is told did no harm: this test notices nothing");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if args.sabotage || figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The faults that are tried. One that believes everything is told lies only: what cannot be read harms nobody.
fn chosen(args: &Args) -> Result<Vec<Fault>> {
    if args.fault.is_empty() {
        return Ok(Fault::ALL.into_iter().filter(|fault| !args.sabotage || fault.is_lie()).collect());
    }
    let named = |name: &String| {
        let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
        fault.with_context(|| {
            let names = Fault::ALL.map(Fault::name).join(", ");
            format!("there is no fault `{name}`: there are {names}")
        })
    };
    args.fault.iter().map(named).collect()
}

async fn all(args: &Args, chosen: &[Fault], seed: u64) -> Result<Figures> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut figures = Figures::new(seed, args.sabotage);
    let mut stage = Stage::start(rng.random()).await;
    for fault in chosen {
        if stage.is_worn().await {
            stage = Stage::start(rng.random()).await;
        }
        let row = Row::new(fault.name());
        let trial = Trial { stage: &mut stage, rng: &mut rng, row, sabotage: args.sabotage };
        figures.add(trial.lie(*fault, args.injections).await?);
    }
    if args.fault.is_empty() && !args.sabotage {
        let row = Row::new("none, one is slow");
        let trial = Trial { stage: &mut stage, rng: &mut rng, row, sabotage: false };
        figures.add(trial.slow(args.injections).await?);
    }
    Ok(figures)
}
