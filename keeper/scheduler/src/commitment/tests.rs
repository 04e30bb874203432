use keeper_types::{Address, Attempt, BlockNumber, JobId, Queue, Rate, Strategy, WorkerStatus};
use proptest::{prelude::*, strategy::Strategy as _};

use super::*;
use crate::{
    FULL_BPS, ManifestStatus, Ordering, OverflowRule,
    geography::RegionLatency,
    plan::{
        fixtures::{job, running, snapshot, worker},
        generators::any_snapshot,
        plan,
    },
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
        Felt::from_bytes_be_slice(b"ciro-policy-v2"),
        // Weights.
        2_500.into(),
        1_500.into(),
        2_500.into(),
        2_000.into(),
        1_000.into(),
        500.into(),
        // Order, aging, age.
        0.into(),
        300.into(),
        3_600.into(),
        // Queues.
        4.into(),
        3_600.into(),
        1_000_000.into(),
        2.into(),
        16.into(),
        300.into(),
        1_000_000.into(),
        1.into(),
        1.into(),
        86_400.into(),
        1_000_000.into(),
        3.into(),
        // Reservations, retries, emergencies, assignment, clients.
        16.into(),
        4.into(),
        600.into(),
        11.into(),
        0.into(),
        0.into(),
        0.into(),
    ]);
    assert_eq!(policy_id(&Policy::BALANCED), PolicyId(expected));
}

#[test]
fn every_setting_of_a_policy_counts() {
    let base = Policy::BALANCED;
    let changes: [fn(&mut Policy); 24] = [
        |policy| std::mem::swap(&mut policy.weights.fit, &mut policy.weights.load),
        |policy| policy.ordering = Ordering::Fifo,
        |policy| policy.aging_interval_s = 0,
        |policy| policy.age_full_s = u64::from(FULL_BPS),
        |policy| policy.queues.default.weight += 1,
        |policy| policy.queues.default.max_wait_s += 1,
        |policy| policy.queues.default.max_jobs -= 1,
        |policy| policy.queues.default.overflow = OverflowRule::Hold,
        |policy| policy.queues.high.max_jobs -= 1,
        |policy| policy.queues.high.max_wait_s += 1,
        |policy| policy.queues.low.max_jobs -= 1,
        |policy| policy.queues.low.overflow = OverflowRule::Hold,
        |policy| _ = policy.client_weights.insert(Address(Felt::TWO), 3),
        |policy| policy.reservations = 0,
        |policy| policy.retry_base_s = 0,
        |policy| policy.retry_max_s += 1,
        |policy| policy.emergency_priority = 10,
        |policy| policy.assignment = Assignment::Exact,
        |policy| policy.balancing = Balancing::RoundRobin,
        |policy| policy.balancing = Balancing::Random,
        |policy| policy.preference_wait_s = 1,
        |policy| policy.geography.within_ms += 1,
        |policy| policy.geography.missing_pair_ms += 1,
        |policy| policy.geography.latencies.push(latency("eu-w1", "us-e1", 90)),
    ];
    let others = changes.map(|change| {
        let mut other = base.clone();
        change(&mut other);
        other
    });
    for other in others {
        assert_ne!(policy_id(&other), policy_id(&base), "{other:?}");
    }
    assert_eq!(policy_id(&Policy { max_items: 7, ..Policy::BALANCED }), policy_id(&base));
    let changes: [fn(&mut AdaptiveRule); 5] = [
        |_| {},
        |rule| rule.load_enter_bps += 1,
        |rule| rule.load_leave_bps += 1,
        |rule| rule.response_enter_bps += 1,
        |rule| rule.response_leave_bps += 1,
    ];
    let adapted = changes.map(|change| {
        let mut policy = Policy { balancing: Balancing::Adaptive, ..Policy::BALANCED };
        change(&mut policy.adaptive);
        let by_score = Policy { balancing: Balancing::Score, ..policy.clone() };
        assert_eq!(policy_id(&by_score), policy_id(&base), "who does not adapt does not look at thresholds");
        policy_id(&policy)
    });
    assert_eq!(adapted.into_iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    let exact = Policy { assignment: Assignment::Exact, ..Policy::BALANCED };
    assert_ne!(policy_id(&Policy { max_items: 7, ..exact.clone() }), policy_id(&exact));
}

fn latency(from: &str, to: &str, latency_ms: u32) -> RegionLatency {
    RegionLatency { from: from.parse().unwrap(), to: to.parse().unwrap(), latency_ms }
}

#[test]
fn every_latency_between_regions_is_part_of_the_policys_name() {
    let lists = [
        vec![],
        vec![latency("eu-w1", "us-e1", 90)],
        vec![latency("us-e1", "eu-w1", 90)],
        vec![latency("eu-w1", "us-e1", 91)],
        vec![latency("eu-w1", "us-e1", 90), latency("us-e1", "eu-w1", 90)],
    ];
    let named = lists.map(|latencies| {
        let geography = RegionLatencies { latencies, ..RegionLatencies::NONE };
        policy_id(&Policy { geography, ..Policy::BALANCED })
    });
    assert_eq!(named.iter().collect::<std::collections::BTreeSet<_>>().len(), 5);
    assert_eq!(named[0], policy_id(&Policy::BALANCED), "a policy that says nothing of regions is called as before");
}

/// The rule follows the clients' weights, after a word of its own.
#[test]
fn a_rule_other_than_the_score_is_part_of_the_policys_name() {
    let named: std::collections::BTreeSet<_> =
        Balancing::ALL.map(|balancing| policy_id(&Policy { balancing, ..Policy::BALANCED })).into_iter().collect();
    assert_eq!(named.len(), Balancing::ALL.len());
    assert!(named.contains(&policy_id(&Policy::BALANCED)));
}

#[test]
fn the_order_of_items_and_their_number_count() {
    assert_ne!(plan_root(&[item(1), item(2)]), plan_root(&[item(2), item(1)]));
    assert_ne!(plan_root(&[]), plan_root(&[item(1)]));
}

#[test]
fn everything_that_a_plan_depends_on_is_in_the_root() {
    type Change = fn(&mut Snapshot);
    let changes: [Change; 41] = [
        |snapshot| snapshot.now += 1,
        |snapshot| snapshot.block = BlockNumber(snapshot.block.0 + 1),
        |snapshot| snapshot.seed += 1,
        |snapshot| snapshot.turn = Some(WorkerId(1)),
        |snapshot| snapshot.turn = Some(WorkerId(0)),
        |snapshot| snapshot.jobs.truncate(2),
        |snapshot| snapshot.workers.truncate(2),
        |snapshot| snapshot.jobs[0].attempt = Attempt(2),
        |snapshot| snapshot.jobs[0].priority += 1,
        |snapshot| snapshot.jobs[0].excluded.push(WorkerId(1)),
        |snapshot| snapshot.jobs[0].group_id = Some(JobId(1)),
        |snapshot| snapshot.jobs[0].requirements.region = None,
        |snapshot| snapshot.jobs[0].manifest = ManifestStatus::Missing,
        |snapshot| snapshot.jobs[0].client = Address(Felt::THREE),
        |snapshot| snapshot.jobs[0].max_rate.0 += 1,
        |snapshot| snapshot.jobs[0].deadline.0 += 1,
        |snapshot| snapshot.jobs[0].deadline.1.0 += 1,
        |snapshot| snapshot.jobs[0].submitted_at += 1,
        |snapshot| snapshot.jobs[0].model_id = Felt::THREE,
        |snapshot| snapshot.jobs[0].execution_timeout_s += 1,
        |snapshot| snapshot.jobs[0].queue = Queue::Low,
        |snapshot| snapshot.workers[0].reputation += 1,
        |snapshot| snapshot.workers[0].slots += 1,
        |snapshot| snapshot.workers[0].free_slots += 1,
        |snapshot| snapshot.running.push(RunningJob { gpus: 1, ..running(9, 1) }),
        |snapshot| snapshot.running.push(RunningJob { ends_by: 1, ..running(9, 1) }),
        |snapshot| snapshot.running.push(RunningJob { worker_id: WorkerId(2), ..running(9, 1) }),
        |snapshot| snapshot.running.push(RunningJob { client: Address(Felt::THREE), ..running(9, 1) }),
        |snapshot| snapshot.running.push(RunningJob { execution_timeout_s: 1, ..running(9, 1) }),
        |snapshot| snapshot.jobs[0].queued_at += 1,
        |snapshot| snapshot.jobs[0].max_latency_ms = 9,
        |snapshot| snapshot.jobs[0].manifest_view.placement.disk_gib = 1,
        |snapshot| snapshot.running.push(running(9, 1)),
        |snapshot| _ = snapshot.used_milli.insert(Address(Felt::TWO), 1),
        |snapshot| snapshot.workers[0].is_static = true,
        |snapshot| snapshot.workers[0].agent.latency_ms = Some(9),
        |snapshot| snapshot.workers[0].free_gpus = 0,
        |snapshot| snapshot.workers[0].online = false,
        |snapshot| snapshot.workers[0].status = WorkerStatus::Draining,
        |snapshot| snapshot.workers[0].rate = Rate(7),
        |snapshot| snapshot.workers[0].capabilities.features = Features(9),
    ];
    let base = snapshot((1..4).map(job).collect(), (1..4).map(worker).collect());
    let mut roots = vec![snapshot_root(&base)];
    let mut hasher = SnapshotHasher::default();
    for change in changes {
        let mut changed = base.clone();
        change(&mut changed);
        roots.push(snapshot_root(&changed));
        assert_eq!(hasher.root(&changed), snapshot_root(&changed), "what was hashed before is no matter");
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

/// Numbers of so many bytes, 31 bytes to a felt.
fn stated_numbers(numbers: &[(u64, usize)]) -> Vec<Felt> {
    let bytes: Vec<u8> =
        numbers.iter().flat_map(|(number, bytes)| number.to_be_bytes()[8 - bytes..].to_vec()).collect();
    bytes.chunks(31).map(Felt::from_bytes_be_slice).collect()
}

fn stated_capabilities(has: &Capabilities) -> Vec<(u64, usize)> {
    vec![
        (has.gpu_count.into(), 1),
        (has.vram_gib.into(), 2),
        (has.compute_capability.into(), 1),
        (has.cuda_version.into(), 1),
        (has.driver_version.into(), 2),
        (has.cpu_cores.into(), 2),
        (has.memory_gib.into(), 2),
        (has.features.0.into(), 2),
        (has.region.map_or(0, Region::number), 8),
    ]
}

fn stated_job(job: &PendingJob) -> Felt {
    let excluded: std::collections::BTreeSet<_> = job.excluded.iter().copied().collect();
    let needs = &job.requirements;
    let has = Capabilities {
        gpu_count: needs.gpu_count,
        vram_gib: needs.vram_gib,
        compute_capability: needs.compute_capability,
        cuda_version: needs.cuda_version,
        driver_version: needs.driver_version,
        cpu_cores: needs.cpu_cores,
        memory_gib: needs.memory_gib,
        features: needs.features,
        region: needs.region,
    };
    let mut numbers = vec![
        (job.job_id.0, 8),
        (job.attempt.0.into(), 1),
        (job.priority.into(), 1),
        (job.queue as u64, 1),
        (job.max_rate.0, 8),
        (job.deadline.0, 8),
        (job.deadline.1.0, 8),
        (job.submitted_at, 8),
        (job.queued_at, 8),
        (job.max_latency_ms.into(), 2),
        (job.execution_timeout_s.into(), 4),
        (job.group_id.map_or(0, |group_id| group_id.0), 8),
        (excluded.len().try_into().unwrap(), 4),
    ];
    numbers.extend(stated_capabilities(&has));
    numbers.push((needs.min_reputation.into(), 2));
    let said = [job.client.0, job.model_id, said(&job.manifest_view)];
    let excluded = excluded.into_iter().map(|worker_id| Felt::from(worker_id.0));
    let felts = [word(b"ciro-job-v3")].into_iter().chain(stated_numbers(&numbers)).chain(said).chain(excluded);
    poseidon(&felts.collect::<Vec<_>>())
}

fn stated_worker(worker: &WorkerView) -> Felt {
    let mut has = vec![(worker.worker_id.0.into(), 4), (worker.status as u64, 1)];
    has.extend(stated_capabilities(&worker.capabilities));
    let stands = [
        (worker.slots.into(), 1),
        (worker.free_slots.into(), 1),
        (worker.free_gpus.into(), 1),
        (worker.rate.0, 8),
        (worker.reputation.into(), 2),
        (worker.is_static.into(), 1),
        (worker.online.into(), 1),
    ];
    let felts = [word(b"ciro-worker-v3")].into_iter().chain(stated_numbers(&has)).chain(stated_numbers(&stands));
    poseidon(&felts.chain([said(&worker.agent)]).collect::<Vec<_>>())
}

fn stated_running(job: &RunningJob) -> Felt {
    let numbers = [
        (job.job_id.0, 8),
        (job.worker_id.0.into(), 4),
        (job.gpus.into(), 1),
        (job.execution_timeout_s.into(), 4),
        (job.submitted_at, 8),
        (job.ends_by, 8),
    ];
    let felts = [word(b"ciro-running-v2")].into_iter().chain(stated_numbers(&numbers)).chain([job.client.0]);
    poseidon(&felts.collect::<Vec<_>>())
}

/// The root as it is stated, of everything anew. Roots are on chain: what was committed to has to be found again.
fn stated_root(snapshot: &Snapshot) -> Felt {
    let (jobs, workers, running) = contents(snapshot);
    let jobs: Vec<_> = jobs.into_iter().map(|job| (job.job_id.0, stated_job(job))).collect();
    let workers: Vec<_> =
        workers.into_iter().map(|worker| (worker.worker_id.0.into(), stated_worker(worker))).collect();
    let running: Vec<_> = running.into_iter().map(|job| (job.job_id.0, stated_running(job))).collect();
    let mut uses = vec![word(b"ciro-usage-v2"), snapshot.used_milli.len().into()];
    uses.extend(snapshot.used_milli.iter().flat_map(|(client, used)| [client.0, Felt::from(*used)]));
    let mut felts = vec![word(b"ciro-snapshot-v3"), snapshot.block.0.into(), snapshot.now.into(), snapshot.seed.into()];
    for leaves in [jobs, workers, running] {
        felts.extend([Felt::from(leaves.len()), super::tree::tests::stated(&leaves)]);
    }
    felts.push(poseidon(&uses));
    if let Some(last) = snapshot.turn {
        felts.extend([word(b"turn"), last.0.into()]);
    }
    if let Some(Portion { shards, withheld_jobs, withheld_workers }) = &snapshot.portion {
        felts.extend([word(b"portion"), shards.count().into(), shards.members().len().into()]);
        felts.extend(shards.members().map(Felt::from));
        felts.push(withheld_jobs.len().into());
        felts.extend(withheld_jobs.iter().map(|job_id| Felt::from(job_id.0)));
        felts.push(withheld_workers.len().into());
        felts.extend(withheld_workers.iter().map(|worker_id| Felt::from(worker_id.0)));
    }
    poseidon(&felts)
}

proptest! {
    #[test]
    fn a_root_is_what_is_stated(rounds in proptest::collection::vec(any_snapshot(12, 12), 1..6)) {
        let mut hasher = SnapshotHasher::default();
        for snapshot in rounds {
            prop_assert_eq!(hasher.root(&snapshot), stated_root(&snapshot));
        }
    }

    #[test]
    fn what_was_hashed_before_does_not_matter(rounds in proptest::collection::vec(any_snapshot(8, 6), 1..5)) {
        let mut hasher = SnapshotHasher::default();
        for snapshot in rounds {
            prop_assert_eq!(hasher.root(&snapshot), snapshot_root(&snapshot));
            prop_assert_eq!(hasher.root(&snapshot), snapshot_root(&snapshot));
        }
    }

    #[test]
    fn hashing_ahead_does_not_matter(now in any_snapshot(12, 12), next in any_snapshot(12, 12)) {
        let mut hasher = SnapshotHasher::default();
        hasher.root(&now);
        let items = plan(&now, &Policy::BALANCED).items;
        let expected = now.once_applied(&items);
        prop_assert_eq!(hasher.root(&expected), snapshot_root(&expected));
        prop_assert_eq!(hasher.root(&next), snapshot_root(&next));
    }

    #[test]
    fn the_order_in_the_snapshot_does_not_matter(jobs in Just((1..9).collect::<Vec<_>>()).prop_shuffle(), workers in Just((1..6).collect::<Vec<_>>()).prop_shuffle()) {
        let ordered = snapshot((1..9).map(job).collect(), (1..6).map(worker).collect());
        let shuffled = snapshot(jobs.into_iter().map(job).collect(), workers.into_iter().map(worker).collect());
        prop_assert_eq!(snapshot_root(&ordered), snapshot_root(&shuffled));
    }
}
