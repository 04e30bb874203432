//! Names for what a round is made from and what it decides, to be put on chain.
//!
//! Anybody who has the same jobs and workers recomputes them. Everything is a felt, hashed with Poseidon; each hash
//! begins with a word of its own, a short string, so that none can pass for another, and lists carry their length.
//!
//! ```text
//! policy id      H("ciro-policy-v1", fit, load, reputation, price, fragmentation, age, aging s, full age s)
//! plan root      H("ciro-plan-v1", count, items as they are packed for the chain, in the order of sending)
//! snapshot root  root of the Merkle tree over
//!                  H("ciro-snapshot-v1", block, now, seed, jobs, workers)
//!                  each job that could be placed, by id
//!                  each worker that has not left, by id
//! job            H("ciro-job-v1", id, attempt, client, requirements, priority, queue, max rate, deadline, its block,
//!                  submitted at, model, timeout, group or 0, excluded workers by id)
//! worker         H("ciro-worker-v1", id, status, capabilities, slots, free slots, free GPUs, rate, reputation, online)
//! ```
//!
//! A pair of the tree hashes as `H("ciro-node-v1", left, right)`; the last of an odd number moves up as it is.

use keeper_types::{AllocationItem, Capabilities, Features, Felt, PolicyId, Region, Requirements, WorkerId, poseidon};

use crate::{PendingJob, Policy, Snapshot, WorkerView, plan::ruled_out};

/// What a policy is called on chain: two policies with the same id decide alike. How many items a plan holds is not
/// part of it: a smaller batch decides the same about as many of the first jobs.
pub fn policy_id(policy: &Policy) -> PolicyId {
    let mut felts = vec![word(b"ciro-policy-v1")];
    felts.extend(policy.weights.named().map(|(_, weight)| Felt::from(weight)));
    felts.extend([Felt::from(policy.aging_interval_s), Felt::from(policy.age_full_s)]);
    PolicyId(poseidon(&felts))
}

/// The hash of a round's items, in the order in which they are sent.
pub fn plan_root(items: &[AllocationItem]) -> Felt {
    let mut felts = vec![word(b"ciro-plan-v1"), Felt::from(items.len())];
    felts.extend(items.iter().map(AllocationItem::pack));
    poseidon(&felts)
}

/// The Merkle root over a snapshot's jobs that could be placed, and its workers. Their order in the snapshot does not
/// matter.
pub fn snapshot_root(snapshot: &Snapshot) -> Felt {
    let mut jobs: Vec<_> = snapshot.jobs.iter().filter(|job| ruled_out(job, snapshot).is_none()).collect();
    jobs.sort_by_key(|job| job.job_id);
    jobs.dedup_by_key(|job| job.job_id);
    let mut workers: Vec<_> = snapshot.workers.iter().collect();
    workers.retain(|worker| worker.status != keeper_types::WorkerStatus::Exited);
    workers.sort_by_key(|worker| worker.worker_id);
    workers.dedup_by_key(|worker| worker.worker_id);
    let head = poseidon(&[
        word(b"ciro-snapshot-v1"),
        Felt::from(snapshot.block.0),
        Felt::from(snapshot.now),
        Felt::from(snapshot.seed),
        Felt::from(jobs.len()),
        Felt::from(workers.len()),
    ]);
    let mut leaves = vec![head];
    leaves.extend(jobs.into_iter().map(job_leaf));
    leaves.extend(workers.into_iter().map(worker_leaf));
    root(leaves)
}

fn job_leaf(job: &PendingJob) -> Felt {
    let mut felts = vec![word(b"ciro-job-v1"), Felt::from(job.job_id.0), Felt::from(job.attempt.0), job.client.0];
    felts.extend(requirements(&job.requirements));
    felts.extend([
        Felt::from(job.priority),
        Felt::from(job.queue as u8),
        Felt::from(job.max_rate.0),
        Felt::from(job.deadline.0),
        Felt::from(job.deadline.1.0),
        Felt::from(job.submitted_at),
        job.model_id,
        Felt::from(job.execution_timeout_s),
        Felt::from(job.group_id.map_or(0, |group_id| group_id.0)),
    ]);
    let mut excluded: Vec<WorkerId> = job.excluded.clone();
    excluded.sort_unstable();
    excluded.dedup();
    felts.push(Felt::from(excluded.len()));
    felts.extend(excluded.into_iter().map(|worker_id| Felt::from(worker_id.0)));
    poseidon(&felts)
}

fn worker_leaf(worker: &WorkerView) -> Felt {
    let mut felts = vec![word(b"ciro-worker-v1"), Felt::from(worker.worker_id.0), Felt::from(worker.status as u8)];
    felts.extend(capabilities(&worker.capabilities));
    felts.extend([
        Felt::from(worker.slots),
        Felt::from(worker.free_slots),
        Felt::from(worker.free_gpus),
        Felt::from(worker.rate.0),
        Felt::from(worker.reputation),
        Felt::from(u8::from(worker.online)),
    ]);
    poseidon(&felts)
}

/// In the contracts' order, as all of them are listed here.
fn requirements(needs: &Requirements) -> [Felt; 10] {
    let Requirements {
        gpu_count,
        vram_gib,
        compute_capability,
        cuda_version,
        driver_version,
        cpu_cores,
        memory_gib,
        min_reputation,
        features: Features(features),
        region,
    } = needs;
    [
        Felt::from(*gpu_count),
        Felt::from(*vram_gib),
        Felt::from(*compute_capability),
        Felt::from(*cuda_version),
        Felt::from(*driver_version),
        Felt::from(*cpu_cores),
        Felt::from(*memory_gib),
        Felt::from(*min_reputation),
        Felt::from(*features),
        region_felt(*region),
    ]
}

fn capabilities(has: &Capabilities) -> [Felt; 9] {
    let Capabilities {
        gpu_count,
        vram_gib,
        compute_capability,
        cuda_version,
        driver_version,
        cpu_cores,
        memory_gib,
        features: Features(features),
        region,
    } = has;
    [
        Felt::from(*gpu_count),
        Felt::from(*vram_gib),
        Felt::from(*compute_capability),
        Felt::from(*cuda_version),
        Felt::from(*driver_version),
        Felt::from(*cpu_cores),
        Felt::from(*memory_gib),
        Felt::from(*features),
        region_felt(*region),
    ]
}

fn region_felt(region: Option<Region>) -> Felt {
    region.map_or(Felt::ZERO, Region::to_felt)
}

fn root(mut level: Vec<Felt>) -> Felt {
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => poseidon(&[word(b"ciro-node-v1"), *left, *right]),
                alone => alone.iter().copied().sum(),
            })
            .collect();
    }
    level.first().copied().unwrap_or_default()
}

/// A short string as a felt.
fn word(text: &[u8]) -> Felt {
    Felt::from_bytes_be_slice(text)
}

#[cfg(test)]
mod tests {
    use keeper_types::{Attempt, BlockNumber, JobId, Rate, Strategy, WorkerStatus};
    use proptest::{prelude::*, strategy::Strategy as _};

    use super::*;
    use crate::{
        FULL_BPS, ManifestStatus, Weights,
        plan::fixtures::{job, snapshot, worker},
    };

    fn item(job_id: u64) -> AllocationItem {
        AllocationItem {
            job_id: JobId(job_id),
            worker_id: WorkerId(1),
            attempt: Attempt(1),
            strategy: Strategy::Standard,
            score: 1,
            rate: Rate(1),
        }
    }

    /// The encoding is public: others recompute it. This changes with the words' versions only.
    #[test]
    fn the_default_policys_id_is_known() {
        let expected = poseidon(&[
            Felt::from_bytes_be_slice(b"ciro-policy-v1"),
            2_500.into(),
            1_500.into(),
            2_500.into(),
            2_000.into(),
            1_000.into(),
            500.into(),
            300.into(),
            3_600.into(),
        ]);
        assert_eq!(policy_id(&Policy::BALANCED), PolicyId(expected));
    }

    #[test]
    fn every_setting_of_a_policy_counts() {
        let base = Policy::BALANCED;
        let swapped = Weights { fit: base.weights.load, load: base.weights.fit, ..base.weights };
        let others = [
            Policy { weights: swapped, ..Policy::BALANCED },
            Policy { aging_interval_s: 0, ..Policy::BALANCED },
            Policy { age_full_s: u64::from(FULL_BPS), ..Policy::BALANCED },
        ];
        for other in others {
            assert_ne!(policy_id(&other), policy_id(&base), "{other:?}");
        }
        assert_eq!(policy_id(&Policy { max_items: 7, ..Policy::BALANCED }), policy_id(&base));
    }

    #[test]
    fn the_order_of_items_and_their_number_count() {
        assert_ne!(plan_root(&[item(1), item(2)]), plan_root(&[item(2), item(1)]));
        assert_ne!(plan_root(&[]), plan_root(&[item(1)]));
    }

    #[test]
    fn everything_that_a_plan_depends_on_is_in_the_root() {
        type Change = fn(&mut Snapshot);
        let changes: [Change; 16] = [
            |snapshot| snapshot.now += 1,
            |snapshot| snapshot.block = BlockNumber(snapshot.block.0 + 1),
            |snapshot| snapshot.seed += 1,
            |snapshot| snapshot.jobs.truncate(2),
            |snapshot| snapshot.workers.truncate(2),
            |snapshot| snapshot.jobs[0].attempt = Attempt(2),
            |snapshot| snapshot.jobs[0].priority += 1,
            |snapshot| snapshot.jobs[0].excluded.push(WorkerId(1)),
            |snapshot| snapshot.jobs[0].group_id = Some(JobId(1)),
            |snapshot| snapshot.jobs[0].requirements.region = None,
            |snapshot| snapshot.jobs[0].manifest = ManifestStatus::Missing,
            |snapshot| snapshot.workers[0].free_gpus = 0,
            |snapshot| snapshot.workers[0].online = false,
            |snapshot| snapshot.workers[0].status = WorkerStatus::Draining,
            |snapshot| snapshot.workers[0].rate = Rate(7),
            |snapshot| snapshot.workers[0].capabilities.features = Features(9),
        ];
        let base = snapshot((1..4).map(job).collect(), (1..4).map(worker).collect());
        let mut roots = vec![snapshot_root(&base)];
        for change in changes {
            let mut changed = base.clone();
            change(&mut changed);
            roots.push(snapshot_root(&changed));
        }
        let count = roots.len();
        roots.sort_unstable();
        roots.dedup();
        assert_eq!(roots.len(), count);
    }

    #[test]
    fn what_cannot_be_placed_does_not_count() {
        let base = snapshot(vec![job(1)], vec![worker(1)]);
        let mut more = base.clone();
        more.jobs.push(PendingJob { manifest: ManifestStatus::Missing, ..job(2) });
        more.workers.push(WorkerView { status: WorkerStatus::Exited, ..worker(2) });
        assert_eq!(snapshot_root(&more), snapshot_root(&base));
    }

    proptest! {
        #[test]
        fn the_order_in_the_snapshot_does_not_matter(jobs in Just((1..9).collect::<Vec<_>>()).prop_shuffle(), workers in Just((1..6).collect::<Vec<_>>()).prop_shuffle()) {
            let ordered = snapshot((1..9).map(job).collect(), (1..6).map(worker).collect());
            let shuffled = snapshot(jobs.into_iter().map(job).collect(), workers.into_iter().map(worker).collect());
            prop_assert_eq!(snapshot_root(&ordered), snapshot_root(&shuffled));
        }
    }
}
