//! The jobs that the demo submits.

use std::{collections::BTreeMap, fs, path::Path, time::Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{keeper::Keeper, stop::Stop};

/// Every so many jobs one runs a command; the others are matrix products.
const COMMAND_EVERY: u32 = 5;
/// The sides of the matrix products, taken in turn.
const MATRIX_SIZES: [u32; 4] = [32, 64, 96, 128];
/// Priorities run from 1 to 10.
const PRIORITIES: u32 = 10;

/// A job that the contract has taken.
#[derive(Debug)]
pub(super) struct Submitted {
    /// When the client sent it, by this machine's clock.
    pub(super) submitted_at_ms: u64,
    /// The same moment, for elapsed times.
    pub(super) since: Instant,
}

/// Submits `count` jobs, one after the other as a client would, and returns them by job id.
pub(super) fn submit(keeper: &Keeper, folder: &Path, count: u32, stop: &Stop) -> Result<BTreeMap<u64, Submitted>> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut jobs = BTreeMap::new();
    for number in 1..=count {
        stop.check()?;
        let file = folder.join(format!("job-{number}.json"));
        fs::write(&file, manifest(number).to_string()).with_context(|| format!("writing {}", file.display()))?;
        let since = Instant::now();
        let job = keeper.submit_job(&file, priority(number))?;
        jobs.insert(job.job_id, Submitted { submitted_at_ms: job.submitted_at_ms, since });
    }
    println!("jobs         {} submitted", jobs.len());
    Ok(jobs)
}

/// The manifest of the demo's `number`th job: what a worker is to run.
fn manifest(number: u32) -> Value {
    let executor = if number.is_multiple_of(COMMAND_EVERY) {
        json!({ "kind": "process", "command": ["sha256sum"], "stdin": format!("the demo's job {number}\n") })
    } else {
        let size = MATRIX_SIZES[number as usize % MATRIX_SIZES.len()];
        json!({ "kind": "matmul", "size": size, "seed": number })
    };
    json!({ "version": 1, "executor": executor })
}

fn priority(number: u32) -> u32 {
    1 + number % PRIORITIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_jobs_are_matrix_products_of_different_seeds() {
        let manifests: Vec<Value> = (1..=20).map(manifest).collect();
        let products: Vec<&Value> = manifests
            .iter()
            .map(|manifest| &manifest["executor"])
            .filter(|executor| executor["kind"] == "matmul")
            .collect();
        assert_eq!(products.len(), 16);
        assert!(products.windows(2).all(|pair| pair[0]["seed"] != pair[1]["seed"]));
    }

    #[test]
    fn priorities_stay_in_their_range() {
        assert!((1..=100).map(priority).all(|priority| (1..=10).contains(&priority)));
    }
}
