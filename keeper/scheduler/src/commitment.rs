//! Names for what a round is made from and what it decides, to be put on chain.
//!
//! Anybody who has the same jobs and workers recomputes them. Everything is a felt, hashed with Poseidon; each hash
//! begins with a word of its own, a short string, so that none can pass for another, and lists carry their length.
//!
//! ```text
//! policy id      H("ciro-policy-v2", fit, load, reputation, price, fragmentation, age, ordering, aging s, full age s,
//!                  default, high and low queue (weight, longest wait, size, overflow), reservations, retry base s,
//!                  retry max s, emergency priority, assignment, largest plan where that is exact else 0,
//!                  count of client weights, client, weight, ...;
//!                  unless balancing is score: "balancing", its number; for adaptive: its four thresholds;
//!                  unless it is 0: "preference wait", its seconds;
//!                  where it says how far regions are: "geography", within a region, between others, count of pairs, from,
//!                  to, milliseconds, ...)
//! plan root      H("ciro-plan-v1", count, items as they are packed for the chain, in the order of sending)
//! snapshot root  H("ciro-snapshot-v3", block, now, seed, jobs, their tree, workers, their tree, running jobs, their tree,
//!                  H("ciro-usage-v2", clients, client, thousandths of a GPU-second, ...);
//!                  where the policy goes by turns and somebody was given a job before: "turn", who was last;
//!                  where the round is about some shards only: "portion", shards of the market, count, the round's
//!                  shards, count, jobs left out, count, workers left out)
//! jobs           each that could be placed, by its id
//! workers        each that has not left, by its id
//! running jobs   each, by its id
//! job            H("ciro-job-v3", numbers, client, model, what its manifest says, excluded workers by id)
//!                  numbers: id 8, attempt 1, priority 1, queue 1, max rate 8, deadline 8, its block 8, submitted at 8,
//!                  queued at 8, latency 2, timeout 4, group or 0 8, excluded workers 4, requirements
//! worker         H("ciro-worker-v3", what it has, how it stands, what its agent says)
//!                  what it has: id 4, status 1, capabilities
//!                  how it stands: slots 1, free slots 1, free GPUs 1, rate 8, reputation 2, static 1, online 1
//! running job    H("ciro-running-v2", numbers, client)
//!                  numbers: id 8, worker 4, GPUs 1, timeout 4, submitted at 8, ends by 8
//! capabilities   GPUs 1, VRAM 2, compute capability 1, CUDA 1, driver 2, CPU cores 2, memory 2, features 2, region 8
//! requirements   as capabilities, and least reputation 2
//! ```
//!
//! Numbers that stand together are written one after the other, each big-endian with as many bytes as stand beside it, and
//! every 31 bytes, the last of them fewer, are a felt. What a manifest or an agent says is the content hash of its canonical
//! JSON ([`ManifestView`](keeper_types::ManifestView), [`AgentView`](keeper_types::AgentView): fields as declared, nothing
//! left out but `near` where it is not said), or 0 where it says nothing.
//!
//! A tree follows from the ids of its leaves ([`tree`]); that over nothing is 0.

mod memory;
mod tree;

use keeper_types::{
    AllocationItem, Capabilities, ContentHash, Features, Felt, PolicyId, Region, Requirements, RunningJob, WorkerId,
    poseidon,
};
use serde::Serialize;

pub use self::memory::{Both, SnapshotHasher};

use crate::{
    Assignment, Balancing, PendingJob, Policy, Portion, QueueRule, QueueRules, Snapshot, WorkerView,
    balancing::AdaptiveRule, geography::RegionLatencies, plan::ruled_out,
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
        balancing,
        adaptive,
        preference_wait_s,
        geography,
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
    // What is as it was before there was a choice is called what it was called then.
    if *balancing != Balancing::Score {
        felts.extend([word(b"balancing"), Felt::from(*balancing as u8)]);
    }
    if *balancing == Balancing::Adaptive {
        let AdaptiveRule { load_enter_bps, load_leave_bps, response_enter_bps, response_leave_bps } = adaptive;
        let thresholds = [load_enter_bps, load_leave_bps, response_enter_bps, response_leave_bps];
        felts.extend(thresholds.map(|threshold| Felt::from(*threshold)));
    }
    if *preference_wait_s > 0 {
        felts.extend([word(b"preference wait"), Felt::from(*preference_wait_s)]);
    }
    if *geography != RegionLatencies::NONE {
        let RegionLatencies { within_ms, missing_pair_ms, latencies } = geography;
        felts.extend([
            word(b"geography"),
            Felt::from(*within_ms),
            Felt::from(*missing_pair_ms),
            latencies.len().into(),
        ]);
        felts.extend(latencies.iter().flat_map(|pair| {
            [pair.from, pair.to].map(|region| Felt::from(region.number())).into_iter().chain([pair.latency_ms.into()])
        }));
    }
    PolicyId(poseidon(&felts))
}

/// The hash of a round's items, in the order in which they are sent.
pub fn plan_root(items: &[AllocationItem]) -> Felt {
    let mut felts = vec![word(b"ciro-plan-v1"), Felt::from(items.len())];
    felts.extend(items.iter().map(AllocationItem::pack));
    poseidon(&felts)
}

/// The hash over a snapshot's jobs that could be placed, its workers and what they run. Their order in the snapshot does
/// not matter.
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
    running.dedup_by_key(|job| job.job_id);
    (jobs, workers, running)
}

/// The root, of the numbers of jobs, workers and running jobs and of their trees.
fn root_of(snapshot: &Snapshot, [jobs, workers, running]: [(usize, Felt); 3]) -> Felt {
    let mut felts = vec![
        word(b"ciro-snapshot-v3"),
        Felt::from(snapshot.block.0),
        Felt::from(snapshot.now),
        Felt::from(snapshot.seed),
    ];
    felts.extend([jobs, workers, running].into_iter().flat_map(|(count, tree)| [Felt::from(count), tree]));
    let mut uses = vec![word(b"ciro-usage-v2"), Felt::from(snapshot.used_milli.len())];
    uses.extend(snapshot.used_milli.iter().flat_map(|(client, used)| [client.0, Felt::from(*used)]));
    felts.push(poseidon(&uses));
    felts.extend(snapshot.turn.into_iter().flat_map(|worker_id| [word(b"turn"), Felt::from(worker_id.0)]));
    felts.extend(snapshot.portion.iter().flat_map(portion_felts));
    poseidon(&felts)
}

fn portion_felts(portion: &Portion) -> Vec<Felt> {
    let Portion { shards, withheld_jobs, withheld_workers } = portion;
    let mut felts = vec![word(b"portion"), Felt::from(shards.count()), Felt::from(shards.members().len())];
    felts.extend(shards.members().map(Felt::from));
    felts.push(Felt::from(withheld_jobs.len()));
    felts.extend(withheld_jobs.iter().map(|job_id| Felt::from(job_id.0)));
    felts.push(Felt::from(withheld_workers.len()));
    felts.extend(withheld_workers.iter().map(|worker_id| Felt::from(worker_id.0)));
    felts
}

fn running_leaf(job: &RunningJob) -> Felt {
    let RunningJob { job_id, client, worker_id, gpus, execution_timeout_s, submitted_at, ends_by } = job;
    let mut numbers = Numbers::default();
    numbers.add(job_id.0.to_be_bytes());
    numbers.add(worker_id.0.to_be_bytes());
    numbers.add(gpus.to_be_bytes());
    numbers.add(execution_timeout_s.to_be_bytes());
    numbers.add(submitted_at.to_be_bytes());
    numbers.add(ends_by.to_be_bytes());
    let mut felts = vec![word(b"ciro-running-v2")];
    felts.extend(numbers.felts());
    felts.push(client.0);
    poseidon(&felts)
}

/// Numbers one after the other.
#[derive(Default)]
struct Numbers(Vec<u8>);

impl Numbers {
    fn add<const BYTES: usize>(&mut self, number: [u8; BYTES]) {
        self.0.extend(number);
    }

    fn felts(&self) -> impl Iterator<Item = Felt> {
        const BYTES_OF_A_FELT: usize = 31;
        self.0.chunks(BYTES_OF_A_FELT).map(Felt::from_bytes_be_slice)
    }
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
    let mut excluded: Vec<WorkerId> = job.excluded.clone();
    excluded.sort_unstable();
    excluded.dedup();
    let mut numbers = Numbers::default();
    numbers.add(job.job_id.0.to_be_bytes());
    numbers.add([job.attempt.0, job.priority, job.queue as u8]);
    numbers.add(job.max_rate.0.to_be_bytes());
    let (deadline, deadline_block) = job.deadline;
    for number in [deadline, deadline_block.0, job.submitted_at, job.queued_at] {
        numbers.add(number.to_be_bytes());
    }
    numbers.add(job.max_latency_ms.to_be_bytes());
    numbers.add(job.execution_timeout_s.to_be_bytes());
    numbers.add(job.group_id.map_or(0, |group_id| group_id.0).to_be_bytes());
    numbers.add(u32::try_from(excluded.len()).unwrap_or(u32::MAX).to_be_bytes());
    add_requirements(&mut numbers, &job.requirements);
    let mut felts = vec![word(b"ciro-job-v3")];
    felts.extend(numbers.felts());
    felts.extend([job.client.0, job.model_id, said(&job.manifest_view)]);
    felts.extend(excluded.into_iter().map(|worker_id| Felt::from(worker_id.0)));
    poseidon(&felts)
}

/// What a worker has, which changes never: the first felts of its leaf.
fn worker_fixed(worker: &WorkerView) -> Vec<Felt> {
    let mut numbers = Numbers::default();
    numbers.add(worker.worker_id.0.to_be_bytes());
    numbers.add([worker.status as u8]);
    add_capabilities(&mut numbers, &worker.capabilities);
    std::iter::once(word(b"ciro-worker-v3")).chain(numbers.felts()).collect()
}

/// How a worker stands, which changes often: the felt after those.
fn worker_load(worker: &WorkerView) -> Felt {
    let mut numbers = Numbers::default();
    numbers.add([worker.slots, worker.free_slots, worker.free_gpus]);
    numbers.add(worker.rate.0.to_be_bytes());
    numbers.add(worker.reputation.to_be_bytes());
    numbers.add([worker.is_static, worker.online].map(u8::from));
    numbers.felts().next().unwrap_or_default()
}

/// In the contracts' order, as all of them are listed here.
fn add_requirements(numbers: &mut Numbers, needs: &Requirements) {
    let Requirements {
        gpu_count,
        vram_gib,
        compute_capability,
        cuda_version,
        driver_version,
        cpu_cores,
        memory_gib,
        min_reputation,
        features,
        region,
    } = *needs;
    let has = Capabilities {
        gpu_count,
        vram_gib,
        compute_capability,
        cuda_version,
        driver_version,
        cpu_cores,
        memory_gib,
        features,
        region,
    };
    add_capabilities(numbers, &has);
    numbers.add(min_reputation.to_be_bytes());
}

fn add_capabilities(numbers: &mut Numbers, has: &Capabilities) {
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
    numbers.add([*gpu_count]);
    numbers.add(vram_gib.to_be_bytes());
    numbers.add([*compute_capability, *cuda_version]);
    for number in [driver_version, cpu_cores, memory_gib, features] {
        numbers.add(number.to_be_bytes());
    }
    numbers.add(region.map_or(0, Region::number).to_be_bytes());
}

/// A short string as a felt.
fn word(text: &[u8]) -> Felt {
    Felt::from_bytes_be_slice(text)
}

#[cfg(test)]
mod tests;
