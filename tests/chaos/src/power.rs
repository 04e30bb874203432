//! `power`: the power is cut under a store that is being written to, again and again.
//!
//! A process of its own writes to the real store on a disk that forgets what was not synced, and tells each commit. In
//! the middle of a drawn change of the disk the power goes; the process is killed, what the disk kept is mounted anew,
//! and the next process has to find everything that was acknowledged, and nothing else: the one write that was under
//! way is there whole or not at all.

mod disk;
mod figures;
mod model;
mod mount;
mod round;
mod writer;

use std::{path::Path, path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use self::{
    disk::Survivors,
    figures::Figures,
    model::Model,
    mount::SharedDisk,
    round::{Ending, Round},
};

/// How many cuts one disk goes through before it is replaced by an empty one.
const CUTS_OF_A_DISK: u64 = 10;
/// Changes of the disk until the cut, at most: so that starts, writes and checkpoints are all cut in two. A write is
/// some ten changes, a checkpoint comes after some hundred writes.
const REACHES: [u64; 3] = [40, 600, 20_000];

/// How often the power is cut.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How many times the power is cut
    #[arg(long, default_value_t = 200)]
    cuts: u64,
    /// What cuts, writes and survivors are drawn from; a fresh one if none is given
    #[arg(long)]
    seed: Option<u64>,
    /// Do not wait for the disk before acknowledging: this must lose something
    #[arg(long)]
    sabotage: bool,
    /// Write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Writes until the power goes; see [`writer`].
///
/// # Errors
/// Fails where nobody listens any more.
pub(crate) fn write(database: &Path, seed: u64, sabotage: bool) -> Result<ExitCode> {
    writer::run(database, seed, sabotage).map(|()| ExitCode::SUCCESS)
}

/// Cuts the power, and counts what was lost.
///
/// # Errors
/// Fails where FUSE cannot be mounted: then nothing was tried.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| rand::rng().random());
    println!("power: {} cuts, seed {seed}, layer {}", args.cuts, figures::LAYER);
    let figures = cut_again_and_again(args, seed)?;
    print!("{}", figures.told());
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&figures.json())? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    }
    if args.sabotage && figures.lost == 0 {
        eprintln!("error: a store that does not wait for the disk lost nothing: this test notices nothing");
        return Ok(ExitCode::FAILURE);
    }
    Ok(if args.sabotage || figures.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn cut_again_and_again(args: &Args, seed: u64) -> Result<Figures> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut figures = Figures::new(seed, args.sabotage);
    let folder = tempfile::tempdir().context("making a folder to mount at")?;
    let mut disk = SharedDisk::new();
    let mut expected = Known::default();
    for cut in 0..args.cuts {
        if cut % CUTS_OF_A_DISK == 0 {
            (disk, expected) = (SharedDisk::new(), Known::default());
        }
        let reach = REACHES[rng.random_range(0..REACHES.len())];
        let round = Round { seed: rng.random(), changes: rng.random_range(1..=reach), sabotage: args.sabotage };
        let survivors = Survivors::draw(&mut rng);
        let ended = round.run(&disk, folder.path())?;
        expected.follow(&ended, &mut figures);
        let lost_writes = disk.get().restart(survivors, &mut rng);
        figures.note_cut(lost_writes);
        if matches!(ended, Ending { stuck: Some(_), .. }) {
            // What does not open is told, and left.
            (disk, expected) = (SharedDisk::new(), Known::default());
        }
    }
    // The last cut is looked into as the others were.
    let last = Round { seed: rng.random(), changes: u64::MAX, sabotage: args.sabotage };
    let ended = last.look(&disk, folder.path())?;
    expected.follow(&ended, &mut figures);
    Ok(figures)
}

/// What the store has to hold, as far as the writer has told.
#[derive(Debug, Default)]
struct Known {
    /// After everything that was acknowledged.
    committed: Model,
    /// After the write that was under way too.
    begun: Option<Model>,
}

impl Known {
    /// Compares what a round found with what had to be there, and goes on from what it acknowledged.
    fn follow(&mut self, ended: &Ending, figures: &mut Figures) {
        if let Some(stuck) = &ended.stuck {
            figures.note_stuck(stuck);
        }
        figures.jobs += ended.committed;
        figures.recoveries.extend(ended.recovery);
        let Some(found) = &ended.found else { return };
        let without = self.committed.difference(found);
        let with = self.begun.as_ref().map(|begun| begun.difference(found));
        match with {
            Some(with) if with.is_none() && !without.is_none() => figures.kept_whole += 1,
            Some(_) if without.is_none() => figures.dropped_whole += 1,
            _ => {}
        }
        let least = [Some(without), with].into_iter().flatten().min_by_key(|one| one.lost + one.doubled);
        figures.note_difference(least.unwrap_or_default());
        (self.committed, self.begun) = (ended.acknowledged.clone(), ended.begun.clone());
    }
}
