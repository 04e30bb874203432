//! `fgd`: the table of "Beware of Fragmentation" with the keeper's own policy beside the authors' six.

#![allow(clippy::print_stdout, reason = "a command line writes to its terminal")]

use std::{fs, num::NonZeroUsize, path::PathBuf, time::Instant};

use anyhow::{Context as _, Result};
use clap::Parser;
use keeper_sim::{
    fgd::{Published, Table},
    openb::Trace,
};

/// Allocates the GPUs of a recorded cluster under seven policies.
#[derive(Debug, Parser)]
struct Args {
    /// Folder with a trace of the openb form
    #[arg(long)]
    traces: PathBuf,
    /// Write the figures to a file
    #[arg(long)]
    json: Option<PathBuf>,
    /// The first seed
    #[arg(long, default_value_t = 42)]
    first_seed: u64,
    /// How many seeds, one after the other
    #[arg(long, default_value_t = 10)]
    seeds: u64,
    /// Threads
    #[arg(long, default_value = "2")]
    threads: NonZeroUsize,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let started = Instant::now();
    let trace = Trace::read(&args.traces)?;
    let published = Published::read(&args.traces)?;
    let seeds: Vec<u64> = (args.first_seed..).zip(0..args.seeds).map(|(seed, _)| seed).collect();
    let table = Table::run(&trace, &seeds, args.threads.get());
    let seconds = started.elapsed().as_secs_f64();
    print!("{}", table.to_text(&published));
    println!("{seconds:.1} s on {} threads.", args.threads);
    if let Some(file) = &args.json {
        let mut json = table.to_json(&published);
        json["seconds"] = ((seconds * 10.0).round() / 10.0).into();
        json["threads"] = args.threads.get().into();
        let text = serde_json::to_string_pretty(&json).context("writing the figures")?;
        fs::write(file, text + "\n").with_context(|| format!("writing {}", file.display()))?;
    }
    Ok(())
}
