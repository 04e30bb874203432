//! Names for what a round is made from and what it decides, to be put on chain.
//!
//! Anybody who has the same jobs and workers recomputes them. Everything is a felt, hashed with Poseidon; each hash
//! begins with a word of its own, a short string, so that none can pass for another, and lists carry their length.
//!
//! ```text
//! policy id      H("ciro-policy-v2", fit, load, reputation, price, fragmentation, age, ordering, aging s, full age s,
//!                  default, high and low queue (weight, longest wait, size, overflow), reservations, retry base s,
//!                  retry max s, emergency priority, assignment, largest plan where that is exact else 0,
//!                  count of client weights, client, weight, ...)
//! plan root      H("ciro-plan-v1", count, items as they are packed for the chain, in the order of sending)
//! snapshot root  root of the Merkle tree over
//!                  H("ciro-snapshot-v2", block, now, seed, jobs, workers, running jobs, clients' uses)
//!                  H("ciro-portion-v1", shards of the market, count, the round's shards, count, jobs left out, count,
//!                    workers left out), where the round is about some shards only
//!                  each job that could be placed, by id
//!                  each worker that has not left, by id
//!                  each running job, by id
//!                  each client's use that is not 0, by address
//! job            H("ciro-job-v2", id, attempt, client, requirements, priority, queue, max rate, deadline, its block,
//!                  submitted at, queued at, latency, model, timeout, group or 0, what its manifest says,
//!                  excluded workers by id)
//! worker         H("ciro-worker-v2", id, status, capabilities, slots, free slots, free GPUs, rate, reputation, static,
//!                  online, what its agent says)
//! running job    H("ciro-running-v1", id, client, worker, GPUs, timeout, submitted at, ends by)
//! use            H("ciro-usage-v1", client, thousandths of a GPU-second)
//! ```
//!
//! What a manifest or an agent says is the content hash of its canonical JSON ([`ManifestView`](keeper_types::ManifestView), [`AgentView`](keeper_types::AgentView): fields as
//! declared, nothing left out), or 0 where it says nothing.
//!
//! A pair of the tree hashes as `H("ciro-node-v1", left, right)`; the last of an odd number moves up as it is.

mod memory;

use keeper_types::{
    Address, AllocationItem, Capabilities, ContentHash, Features, Felt, PolicyId, Region, Requirements, WorkerId,
    poseidon,
};
use serde::Serialize;

pub use self::memory::SnapshotHasher;

use crate::{
    Assignment, PendingJob, Policy, Portion, QueueRule, QueueRules, RunningJob, Snapshot, WorkerView, plan::ruled_out,
};

/// What a policy is called on chain: two policies with the same id decide alike. How many items a plan holds is part of
/// it only where the assignment is exact: otherwise a smaller batch decides the same about as many of the first jobs.
pub fn policy_id(policy: &Policy) -> PolicyId {
    let Policy {
        weights,
        max_items,
        ordering,
        aging_interval_s,
        age_full_s,
        queues: QueueRules { default, high, low },
        client_weights,
        reservations,
        retry_base_s,
        retry_max_s,
        emergency_priority,
        assignment,
    } = policy;
    let mut felts = vec![word(b"ciro-policy-v2")];
    felts.extend(weights.named().map(|(_, weight)| Felt::from(weight)));
    felts.extend([Felt::from(*ordering as u8), Felt::from(*aging_interval_s), Felt::from(*age_full_s)]);
    for QueueRule { weight, max_wait_s, max_jobs, overflow } in [default, high, low] {
        felts.extend([weight, max_wait_s, max_jobs].map(|number| Felt::from(*number)));
        felts.push(Felt::from(*overflow as u8));
    }
    let counted_items = if *assignment == Assignment::Exact { *max_items } else { 0 };
    felts.extend([
        Felt::from(*reservations),
        Felt::from(*retry_base_s),
        Felt::from(*retry_max_s),
        Felt::from(*emergency_priority),
        Felt::from(*assignment as u8),
        Felt::from(counted_items),
        Felt::from(client_weights.len()),
    ]);
    felts.extend(client_weights.iter().flat_map(|(client, weight)| [client.0, Felt::from(*weight)]));
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
    SnapshotHasher::default().root(snapshot)
}

/// What the leaves are made of, in their order, each once.
type Contents<'a> = (Vec<&'a PendingJob>, Vec<&'a WorkerView>, Vec<&'a RunningJob>);

fn contents(snapshot: &Snapshot) -> Contents<'_> {
    let mut jobs: Vec<_> = snapshot.jobs.iter().filter(|job| ruled_out(job, snapshot).is_none()).collect();
    jobs.sort_by_key(|job| job.job_id);
    jobs.dedup_by_key(|job| job.job_id);
    let mut workers: Vec<_> = snapshot.workers.iter().collect();
    workers.retain(|worker| worker.status != keeper_types::WorkerStatus::Exited);
    workers.sort_by_key(|worker| worker.worker_id);
    workers.dedup_by_key(|worker| worker.worker_id);
    let mut running: Vec<_> = snapshot.running.iter().collect();
    running.sort_by_key(|job| job.job_id);
    (jobs, workers, running)
}

/// The leaf before all others, with the numbers of jobs, workers and running jobs that follow.
fn head(snapshot: &Snapshot, counts: [usize; 3]) -> Felt {
    let [jobs, workers, running] = counts.map(Felt::from);
    poseidon(&[
        word(b"ciro-snapshot-v2"),
        Felt::from(snapshot.block.0),
        Felt::from(snapshot.now),
        Felt::from(snapshot.seed),
        jobs,
        workers,
        running,
        Felt::from(snapshot.used_milli.len()),
    ])
}

fn portion_leaf(portion: &Portion) -> Felt {
    let Portion { shards, withheld_jobs, withheld_workers } = portion;
    let mut felts = vec![word(b"ciro-portion-v1"), Felt::from(shards.count()), Felt::from(shards.members().len())];
    felts.extend(shards.members().map(Felt::from));
    felts.push(Felt::from(withheld_jobs.len()));
    felts.extend(withheld_jobs.iter().map(|job_id| Felt::from(job_id.0)));
    felts.push(Felt::from(withheld_workers.len()));
    felts.extend(withheld_workers.iter().map(|worker_id| Felt::from(worker_id.0)));
    poseidon(&felts)
}

fn usage_felts(client: Address, used_milli: u64) -> [Felt; 3] {
    [word(b"ciro-usage-v1"), client.0, Felt::from(used_milli)]
}

fn running_felts(job: &RunningJob) -> [Felt; 8] {
    let RunningJob { job_id, client, worker_id, gpus, execution_timeout_s, submitted_at, ends_by } = job;
    [
        word(b"ciro-running-v1"),
        Felt::from(job_id.0),
        client.0,
        Felt::from(worker_id.0),
        Felt::from(*gpus),
        Felt::from(*execution_timeout_s),
        Felt::from(*submitted_at),
        Felt::from(*ends_by),
    ]
}

/// The content hash of what somebody says, 0 where that is nothing.
fn said<T: Default + PartialEq + Serialize>(said: &T) -> Felt {
    if *said == T::default() {
        return Felt::ZERO;
    }
    let json = serde_json::to_vec(said).expect("numbers, names and lists of them have a JSON form");
    ContentHash::of(&json).to_felt()
}

fn job_leaf(job: &PendingJob) -> Felt {
    let mut felts = vec![word(b"ciro-job-v2"), Felt::from(job.job_id.0), Felt::from(job.attempt.0), job.client.0];
    felts.extend(requirements(&job.requirements));
    felts.extend([
        Felt::from(job.priority),
        Felt::from(job.queue as u8),
        Felt::from(job.max_rate.0),
        Felt::from(job.deadline.0),
        Felt::from(job.deadline.1.0),
        Felt::from(job.submitted_at),
        Felt::from(job.queued_at),
        Felt::from(job.max_latency_ms),
        job.model_id,
        Felt::from(job.execution_timeout_s),
        Felt::from(job.group_id.map_or(0, |group_id| group_id.0)),
        said(&job.manifest_view),
    ]);
    let mut excluded: Vec<WorkerId> = job.excluded.clone();
    excluded.sort_unstable();
    excluded.dedup();
    felts.push(Felt::from(excluded.len()));
    felts.extend(excluded.into_iter().map(|worker_id| Felt::from(worker_id.0)));
    poseidon(&felts)
}

/// A worker's leaf without its end, which is whether it is online and what its agent says.
struct WorkerFelts {
    fixed: [Felt; 12],
    load: [Felt; 6],
}

fn worker_felts(worker: &WorkerView) -> WorkerFelts {
    let mut fixed = [Felt::ZERO; 12];
    fixed[..3].copy_from_slice(&[
        word(b"ciro-worker-v2"),
        Felt::from(worker.worker_id.0),
        Felt::from(worker.status as u8),
    ]);
    fixed[3..].copy_from_slice(&capabilities(&worker.capabilities));
    let load = [
        Felt::from(worker.slots),
        Felt::from(worker.free_slots),
        Felt::from(worker.free_gpus),
        Felt::from(worker.rate.0),
        Felt::from(worker.reputation),
        Felt::from(u8::from(worker.is_static)),
    ];
    WorkerFelts { fixed, load }
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

/// A short string as a felt.
fn word(text: &[u8]) -> Felt {
    Felt::from_bytes_be_slice(text)
}

#[cfg(test)]
mod tests;
