use keeper_types::{Address, Attempt, BlockNumber, JobId, Queue, Rate, Strategy, WorkerStatus};
use proptest::{prelude::*, strategy::Strategy as _};

use super::*;
use crate::{
    FULL_BPS, ManifestStatus, Ordering, OverflowRule,
    plan::{
        fixtures::{job, running, snapshot, worker},
        generators::any_snapshot,
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
    let changes: [fn(&mut Policy); 18] = [
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
    let exact = Policy { assignment: Assignment::Exact, ..Policy::BALANCED };
    assert_ne!(policy_id(&Policy { max_items: 7, ..exact.clone() }), policy_id(&exact));
}

#[test]
fn the_order_of_items_and_their_number_count() {
    assert_ne!(plan_root(&[item(1), item(2)]), plan_root(&[item(2), item(1)]));
    assert_ne!(plan_root(&[]), plan_root(&[item(1)]));
}

#[test]
fn everything_that_a_plan_depends_on_is_in_the_root() {
    type Change = fn(&mut Snapshot);
    let changes: [Change; 39] = [
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

/// The root as it is stated, of everything anew. Roots are on chain: what was committed to has to be found again.
fn stated_root(snapshot: &Snapshot) -> Felt {
    let (jobs, workers, running) = contents(snapshot);
    let mut level = vec![head(snapshot, [jobs.len(), workers.len(), running.len()])];
    level.extend(snapshot.portion.as_ref().map(portion_leaf));
    level.extend(jobs.into_iter().map(job_leaf));
    for worker in workers {
        let mut felts = vec![word(b"ciro-worker-v2"), worker.worker_id.0.into(), (worker.status as u8).into()];
        felts.extend(capabilities(&worker.capabilities));
        felts.extend([worker.slots, worker.free_slots, worker.free_gpus].map(Felt::from));
        felts.extend([Felt::from(worker.rate.0), Felt::from(worker.reputation)]);
        felts.extend([worker.is_static, worker.online].map(|is_so| Felt::from(u8::from(is_so))));
        felts.push(said(&worker.agent));
        level.push(poseidon(&felts));
    }
    level.extend(running.into_iter().map(|job| poseidon(&running_felts(job))));
    level.extend(snapshot.used_milli.iter().map(|(client, used)| poseidon(&usage_felts(*client, *used))));
    while level.len() > 1 {
        let pair = |pair: &[Felt]| match *pair {
            [left, right] => poseidon(&[word(b"ciro-node-v1"), left, right]),
            _ => pair[0],
        };
        level = level.chunks(2).map(pair).collect();
    }
    level[0]
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
    fn the_order_in_the_snapshot_does_not_matter(jobs in Just((1..9).collect::<Vec<_>>()).prop_shuffle(), workers in Just((1..6).collect::<Vec<_>>()).prop_shuffle()) {
        let ordered = snapshot((1..9).map(job).collect(), (1..6).map(worker).collect());
        let shuffled = snapshot(jobs.into_iter().map(job).collect(), workers.into_iter().map(worker).collect());
        prop_assert_eq!(snapshot_root(&ordered), snapshot_root(&shuffled));
    }
}
