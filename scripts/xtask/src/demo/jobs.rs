//! The jobs that the demo submits.

use std::{fs, path::Path, sync::mpsc, time::Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{
    keeper::{Keeper, SubmittedJobs},
    stop::Stop,
};

/// Jobs in one transaction.
const BURST: usize = 5;
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

/// Submits `count` jobs in bursts, a transaction each, as clients of a busy market would; `submitted` is told of
/// each by its id, also of the failure that ends it all.
pub(super) fn submit(
    keeper: &Keeper,
    folder: &Path,
    count: u32,
    stop: &Stop,
    submitted: &mpsc::Sender<Result<(u64, Submitted)>>,
) {
    let numbers: Vec<u32> = (1..=count).collect();
    for burst in numbers.chunks(BURST) {
        let since = Instant::now();
        let sent = stop.check().and_then(|()| submit_burst(keeper, folder, burst));
        let news: Vec<Result<(u64, Submitted)>> = match sent {
            Ok(burst) => {
                let job = |job_id| Ok((job_id, Submitted { submitted_at_ms: burst.submitted_at_ms, since }));
                burst.jobs.iter().map(|submitted| job(submitted.job_id)).collect()
            }
            Err(error) => vec![Err(error)],
        };
        let ended = news.iter().any(Result::is_err);
        // Nobody listens any more once the demo is over.
        let heard = news.into_iter().all(|news| submitted.send(news).is_ok());
        if ended || !heard {
            return;
        }
    }
}

fn submit_burst(keeper: &Keeper, folder: &Path, numbers: &[u32]) -> Result<SubmittedJobs> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let mut files = Vec::new();
    for number in numbers {
        let file = folder.join(format!("job-{number}.json"));
        fs::write(&file, manifest(*number).to_string()).with_context(|| format!("writing {}", file.display()))?;
        files.push(file);
    }
    keeper.submit_jobs(&files, priority(numbers[0]))
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
