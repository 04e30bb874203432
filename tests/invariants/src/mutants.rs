//! Planted mistakes: does anything notice? Each is one replacement in a copy of the Cairo sources, compiled and put
//! through a short campaign. What no campaign notices is a hole in the checks, or no mistake.

mod access;
mod attempts;
mod groups;
mod money;
mod rounds;
mod workers;

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    campaign::{self, Plan},
    market::{Classes, own_classes},
};

/// One planted mistake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mutant {
    /// What is wrong.
    pub(crate) name: &'static str,
    /// Below `contracts/src`.
    file: &'static str,
    /// Text that occurs once in the file.
    old: &'static str,
    new: &'static str,
}

const fn mutant(name: &'static str, file: &'static str, old: &'static str, new: &'static str) -> Mutant {
    Mutant { name, file, old, new }
}

/// Every mutant.
fn all() -> impl Iterator<Item = &'static Mutant> {
    [access::MUTANTS, attempts::MUTANTS, groups::MUTANTS, money::MUTANTS, rounds::MUTANTS, workers::MUTANTS]
        .into_iter()
        .flatten()
}

/// What became of a mutant.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) name: &'static str,
    pub(crate) verdict: Verdict,
    pub(crate) took_s: f64,
}

#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// By the sequence with this index, because of this.
    Caught {
        index: u64,
        calls: u64,
        because: String,
    },
    Survived {
        calls: u64,
    },
    /// Not tried: the sources have changed under it, or do not compile with it.
    Broken(String),
}

/// Where the contracts' sources and their compiler are.
#[derive(Clone, Debug)]
pub(crate) struct Workshop {
    /// The folder with `cairo_project.toml` and `src`.
    pub(crate) contracts: PathBuf,
    pub(crate) compiler: PathBuf,
    pub(crate) core_library: PathBuf,
}

/// Tries every mutant whose name contains `filter`, `plan.threads` of them at a time.
pub(crate) fn run(workshop: &Workshop, plan: &Plan, filter: &str) -> Result<Vec<Trial>> {
    let chosen: Vec<&Mutant> = all().filter(|mutant| mutant.name.contains(filter)).collect();
    let next = AtomicUsize::new(0);
    let trials: Mutex<Vec<(usize, Trial)>> = Mutex::default();
    let work = || -> Result<()> {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(mutant) = chosen.get(index) else { return Ok(()) };
            let started = Instant::now();
            let verdict = attempt(workshop, &Plan { threads: 1, ..*plan }, mutant)?;
            let trial = Trial { name: mutant.name, verdict, took_s: started.elapsed().as_secs_f64() };
            crate::report::print_trial(&trial);
            trials.lock().map_err(|_| anyhow!("another thread has panicked"))?.push((index, trial));
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(&work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow!("a thread has panicked"))?)
    })?;
    let mut trials = trials.into_inner().map_err(|_| anyhow!("a thread has panicked"))?;
    trials.sort_by_key(|(index, _)| *index);
    Ok(trials.into_iter().map(|(_, trial)| trial).collect())
}

fn attempt(workshop: &Workshop, plan: &Plan, mutant: &Mutant) -> Result<Verdict> {
    let folder = tempfile::tempdir().context("making a folder for a mutant")?;
    let crate_dir = folder.path().join("contracts");
    copy(&workshop.contracts.join("src"), &crate_dir.join("src"))?;
    std::fs::copy(workshop.contracts.join("cairo_project.toml"), crate_dir.join("cairo_project.toml"))?;
    if let Err(error) = plant(&crate_dir, mutant) {
        return Ok(Verdict::Broken(format!("{error:#}")));
    }
    focus(&crate_dir, mutant.file)?;
    let out = folder.path().join("classes");
    // What the mistake cannot touch is as it was compiled before.
    copy(&workshop.contracts.join("artifacts"), &out)?;
    let compiled = Command::new(&workshop.compiler)
        .arg("compile")
        .arg("--corelib")
        .arg(&workshop.core_library)
        .arg("--crate-dir")
        .arg(&crate_dir)
        .arg("--out")
        .arg(&out)
        .output()
        .context("starting the contract compiler")?;
    if !compiled.status.success() {
        return Ok(Verdict::Broken(String::from_utf8_lossy(&compiled.stderr).into_owned()));
    }
    let findings = campaign::run(&Classes::load(&out, &own_classes())?, plan)?;
    Ok(match findings.failure {
        Some(failure) => Verdict::Caught {
            index: failure.index,
            calls: findings.calls,
            because: format!("{} ({})", failure.violation.what, failure.violation.step),
        },
        None => Verdict::Survived { calls: findings.calls },
    })
}

/// Replaces the mutant's text, which must be there once.
fn plant(crate_dir: &Path, mutant: &Mutant) -> Result<()> {
    let file = crate_dir.join("src").join(mutant.file);
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", mutant.file))?;
    let times = text.matches(mutant.old).count();
    ensure!(times == 1, "its text occurs {times} times in {}", mutant.file);
    std::fs::write(&file, text.replace(mutant.old, mutant.new)).with_context(|| format!("writing {}", mutant.file))
}

/// Contracts, by their folders. They know each other's public modules alone.
const CONTRACTS: [&str; 5] = ["cdc_pool", "job_mgr", "paymaster", "referee", "task_allocator"];

/// Leaves out of the crate what a mistake in the file cannot touch: the private modules of the other contracts, and
/// those of the referee, which no sequence calls. Most of what a compilation takes is theirs.
fn focus(crate_dir: &Path, file: &str) -> Result<()> {
    let folder = file.split('/').next().unwrap_or_default();
    let is_of_one = CONTRACTS.contains(&folder);
    let lib = crate_dir.join("src/lib.cairo");
    let text = std::fs::read_to_string(&lib).context("reading lib.cairo")?;
    let (mut left, mut is_left_out) = (String::new(), false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(" {")) {
            is_left_out = CONTRACTS.contains(&name) && name != folder && (is_of_one || name == "referee");
        } else if !line.starts_with(' ') {
            is_left_out = false;
        }
        if !(is_left_out && line.starts_with("    mod ")) {
            left.push_str(line);
            left.push('\n');
        }
    }
    std::fs::write(&lib, left).context("writing lib.cairo")
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("listing {}", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mutants_text_is_in_the_sources_once() {
        let contracts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts");
        for mutant in all() {
            let text = std::fs::read_to_string(contracts.join("src").join(mutant.file)).unwrap();
            assert_eq!(text.matches(mutant.old).count(), 1, "{}", mutant.name);
            assert_ne!(mutant.old, mutant.new, "{}", mutant.name);
        }
        let names: std::collections::BTreeSet<_> = all().map(|mutant| mutant.name).collect();
        assert_eq!(names.len(), all().count());
    }
}
