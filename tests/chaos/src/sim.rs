//! `sim`: the keeper's decisions in simulated worlds, in each of which everything goes wrong that its seed draws.
//!
//! ```text
//!  clients, workers --> mempool --> chain --> node (lag, silence, old forks) --> Fold --> Market --> plan
//!                          ^                                                       |                  |
//!                          +------------- LaneState <------ log of intents <-------+------------------+
//! ```
//!
//! A world has one thread, one clock that is moved and not waited for, and one source of dice. So a seed is the whole
//! history, and gives it again. Keepers are made of the parts of the real one ([`keeper`]); they die between any two
//! steps, and what a database had committed and the chain had taken is all that is left. Once the faults have ended every
//! world must come to rest, and is then compared with its chain ([`checks`]).

mod chain;
mod checks;
mod contracts;
mod executor;
mod figures;
mod history;
mod keeper;
mod node;
mod people;
mod setting;
mod store;
mod world;

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rand::Rng as _;

use self::{
    figures::Figures,
    setting::{Sabotage, Setting},
};

/// Lines of a failing seed's history that are printed; `--trace` prints all.
const LAST_LINES: usize = 60;

/// How many worlds.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first of them; a fresh one if none is given
    #[arg(long, value_name = "SEED")]
    from_seed: Option<u64>,
    /// This seed alone
    #[arg(long, conflicts_with_all = ["seeds", "from_seed"])]
    seed: Option<u64>,
    /// Print everything that happens; for one seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Begin no further seed after so many minutes
    #[arg(long)]
    minutes: Option<u64>,
    /// Threads; as many as there are cores if none are given
    #[arg(long)]
    threads: Option<usize>,
    /// Do something wrong on purpose: this must be noticed
    #[arg(long)]
    sabotage: Option<Sabotage>,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs worlds, and counts what was lost, doubled or stuck in them.
///
/// # Errors
/// Fails where the figures cannot be written.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    // Seeds are shown and given as numbers that JSON keeps whole.
    let first = args.seed.or(args.from_seed).unwrap_or_else(|| rand::rng().random_range(0..1 << 48));
    let count = if args.seed.is_some() { 1 } else { args.seeds };
    println!("sim: {count} seeds, --from-seed {first}");
    let began = Instant::now();
    let until = args.minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
    let figures = Mutex::new(Figures::new(first, args.sabotage));
    let next = AtomicU64::new(0);
    let threads = args.threads.or_else(|| std::thread::available_parallelism().ok().map(Into::into)).unwrap_or(1);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || until.is_some_and(|until| Instant::now() >= until) {
                        return;
                    }
                    let seed = first.wrapping_add(number);
                    let outcome = world::run(Setting::of(seed, args.sabotage), args.trace);
                    figures.lock().unwrap_or_else(PoisonError::into_inner).add(seed, &outcome);
                    outcome.lines.iter().for_each(|line| println!("{line}"));
                }
            });
        }
    });
    let mut figures = figures.into_inner().unwrap_or_else(PoisonError::into_inner);
    figures.took = began.elapsed();
    tell_failures(&figures, args.sabotage, args.trace);
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    // What is done wrong on purpose has to be noticed.
    let is_as_expected = figures.is_clean() == args.sabotage.is_none();
    if !is_as_expected && args.sabotage.is_some() {
        eprintln!("error: what was done wrong on purpose was not noticed: this test notices nothing");
    }
    Ok(if is_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the first seeds that failed again, and prints how it came to that.
fn tell_failures(figures: &Figures, sabotage: Option<Sabotage>, is_told: bool) {
    // Of many only the first are of use, and of what was done on purpose one.
    for (seed, digest) in figures.failed().iter().take(if sabotage.is_some() { 1 } else { 3 }) {
        let outcome = world::run(Setting::of(*seed, sabotage), true);
        println!("seed {seed} failed; its last steps:");
        let skipped = outcome.lines.len().saturating_sub(LAST_LINES);
        for line in outcome.lines.iter().skip(if is_told { outcome.lines.len() } else { skipped }) {
            println!("{line}");
        }
        for (violation, text) in &outcome.violations {
            println!("seed {seed}: {violation:?}: {text}");
        }
        let sabotage = sabotage.map_or(String::new(), |sabotage| format!(" --sabotage {}", figures::name(sabotage)));
        println!("again: cargo xtask chaos sim --seed {seed} --trace{sabotage}\n");
        if outcome.digest != *digest {
            eprintln!("error: seed {seed} went another way the second time: {:x}, not {digest:x}", outcome.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::*;

    #[test]
    fn a_seed_is_its_whole_history() {
        for seed in 0..8 {
            let run = |is_told| {
                let outcome = world::run(Setting::of(seed, None), is_told);
                (outcome.digest, outcome.notes, outcome.faults, outcome.recoveries_ms, outcome.simulated_ms)
            };
            assert_eq!(run(false), run(true), "seed {seed}");
        }
        let digest = |seed| world::run(Setting::of(seed, None), false).digest;
        assert_ne!(digest(1), digest(2));
    }

    #[test]
    fn each_sabotage_is_found_by_a_few_seeds() {
        for sabotage in Sabotage::value_variants() {
            let is_found =
                (0..60).any(|seed| !world::run(Setting::of(seed, Some(*sabotage)), false).violations.is_empty());
            assert!(is_found, "{sabotage:?} is not noticed");
        }
    }
}
