use std::collections::BTreeSet;

use keeper_types::{Attempt, BlockNumber, Capabilities, Features, Rate, Region, Requirements, WorkerStatus};
use proptest::{collection::vec, prelude::*, sample::subsequence, strategy::Strategy};

use super::{
    fixtures::*,
    oracle::{self, Candidate, score},
    *,
};
use crate::WorkerView;

/// Few regions and small numbers, so that jobs and workers meet and miss each other about equally often.
fn region() -> impl Strategy<Value = Region> {
    prop_oneof![Just("eu-w1"), Just("us-e1")].prop_map(|text| text.parse().unwrap())
}

prop_compose! {
    fn requirements()(
        (gpu_count, vram_gib, compute_capability) in (0_u8..4, 0_u16..3, 0_u8..3),
        (cpu_cores, memory_gib, min_reputation) in (0_u16..3, 0_u16..3, 0_u16..700),
        (cuda_version, driver_version) in (0_u8..2, 0_u16..2),
        features in 0_u16..4,
        region in proptest::option::weighted(0.2, region()),
    ) -> Requirements {
        Requirements {
            gpu_count, vram_gib, compute_capability, cuda_version, driver_version, cpu_cores, memory_gib,
            min_reputation, features: Features(features & features >> 1), region,
        }
    }
}

prop_compose! {
    fn capabilities()(
        (gpu_count, vram_gib, compute_capability) in (0_u8..8, 1_u16..4, 1_u8..4),
        (cpu_cores, memory_gib) in (1_u16..4, 1_u16..4),
        (cuda_version, driver_version) in (0_u8..4, 0_u16..4),
        features in 0_u16..4,
        region in region(),
    ) -> Capabilities {
        Capabilities {
            gpu_count, vram_gib, compute_capability, cuda_version, driver_version, cpu_cores, memory_gib,
            features: Features(features), region: Some(region),
        }
    }
}

fn manifest() -> impl Strategy<Value = ManifestStatus> {
    prop_oneof![
        8 => Just(ManifestStatus::Available),
        1 => Just(ManifestStatus::Missing),
        1 => Just(ManifestStatus::Malformed("unreadable".to_owned())),
    ]
}

prop_compose! {
    fn any_job()(
        requirements in requirements(),
        (attempt, priority, max_rate) in (1_u8..4, 1_u8..=10, 1_u64..20),
        queue in prop_oneof![Just(Queue::Default), Just(Queue::High), Just(Queue::Low)],
        (deadline_delta, deadline_block) in (0_u64..40, 997_u64..1_010),
        waited in 0_u64..4_000,
        excluded in vec((1_u32..12).prop_map(WorkerId), 0..3),
        manifest in manifest(),
    ) -> PendingJob {
        PendingJob {
            attempt: Attempt(attempt), requirements, priority, queue, max_rate: Rate(max_rate),
            deadline: (NOW - 10 + deadline_delta, BlockNumber(deadline_block)),
            submitted_at: NOW - waited, excluded, manifest, ..job(0)
        }
    }
}

prop_compose! {
    fn any_worker()(
        capabilities in capabilities(),
        status in prop_oneof![
            8 => Just(WorkerStatus::Active),
            1 => Just(WorkerStatus::Draining),
            1 => Just(WorkerStatus::Exiting),
            1 => Just(WorkerStatus::Exited),
        ],
        slots in 1_u8..5,
        (used_slots, used_gpus) in (0_u8..5, 0_u8..8),
        (rate, reputation) in (1_u64..20, 0_u16..=1_000),
        online in proptest::bool::weighted(0.8),
    ) -> WorkerView {
        WorkerView {
            status, slots, free_slots: slots.saturating_sub(used_slots),
            free_gpus: capabilities.gpu_count.saturating_sub(used_gpus),
            capabilities, rate: Rate(rate), reputation, online, ..worker(0)
        }
    }
}

fn any_snapshot(jobs: usize, workers: usize) -> impl Strategy<Value = Snapshot> {
    (vec(any_job(), 0..jobs), vec(any_worker(), 0..workers)).prop_map(|(mut jobs, mut workers)| {
        (1..).zip(&mut jobs).for_each(|(id, job)| job.job_id = JobId(id));
        (1..).zip(&mut workers).for_each(|(id, worker)| worker.worker_id = WorkerId(id));
        snapshot(jobs, workers)
    })
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let orders = Just(vec![0_u16, 500, 1_000, 2_000, 2_500, 4_000]).prop_shuffle();
    (orders, 1_usize..12, prop_oneof![Just(0_u64), 1_u64..1_000], 1_u64..5_000).prop_map(
        |(weights, max_items, aging_interval_s, age_full_s)| {
            let [fit, load, reputation, price, fragmentation, age] = weights[..] else { unreachable!() };
            let weights = crate::Weights { fit, load, reputation, price, fragmentation, age };
            Policy { weights, max_items, aging_interval_s, age_full_s }
        },
    )
}

/// Whether waiting could be enough for `job` to run on `worker`: written from the contracts' rules, not from
/// the code under test.
fn fits(job: &PendingJob, worker: &WorkerView) -> bool {
    let (needs, has) = (&job.requirements, &worker.capabilities);
    worker.status == WorkerStatus::Active
        && has.gpu_count >= needs.gpu_count
        && has.vram_gib >= needs.vram_gib
        && has.compute_capability >= needs.compute_capability
        && has.cuda_version >= needs.cuda_version
        && has.driver_version >= needs.driver_version
        && has.cpu_cores >= needs.cpu_cores
        && has.memory_gib >= needs.memory_gib
        && needs.features.0 & !has.features.0 == 0
        && (needs.region.is_none() || needs.region == has.region)
        && worker.reputation >= needs.min_reputation
        && worker.rate <= job.max_rate
        && !job.excluded.contains(&worker.worker_id)
}

fn has_room(job: &PendingJob, worker: &WorkerView) -> bool {
    worker.free_slots > 0 && worker.free_gpus >= job.requirements.gpu_count
}

/// Replays the plan job by job on plain copies of the workers, and checks every outcome against all of them.
fn check_against_brute_force(snapshot: &Snapshot, policy: &Policy, plan: &Plan) -> Result<(), TestCaseError> {
    let mut workers: BTreeMap<_, _> =
        snapshot.workers.iter().map(|worker| (worker.worker_id, worker.clone())).collect();
    workers.retain(|_, worker| worker.status != WorkerStatus::Exited);
    let mut jobs = snapshot.jobs.clone();
    jobs.sort_by_key(|job| order_key(job, snapshot.now, policy));
    let mut items = plan.items.iter();
    let mut placed = 0;
    for job in &jobs {
        let explanation = &plan.explanations[&job.job_id];
        let fitting: Vec<_> = workers.values().filter(|worker| fits(job, worker)).collect();
        let ready: BTreeSet<_> = fitting.iter().filter(|w| w.online && has_room(job, w)).map(|w| w.worker_id).collect();
        let over = snapshot.now > job.deadline.0 && snapshot.block > job.deadline.1;
        let expected = match &job.manifest {
            _ if over => "deadline_passed",
            ManifestStatus::Missing => "manifest_missing",
            ManifestStatus::Malformed(_) => "manifest_malformed",
            ManifestStatus::Available if workers.is_empty() => "no_workers",
            ManifestStatus::Available if fitting.is_empty() => "no_feasible_worker",
            ManifestStatus::Available if fitting.iter().all(|worker| !worker.online) => "workers_offline",
            ManifestStatus::Available if ready.is_empty() => "no_capacity",
            ManifestStatus::Available if placed == policy.max_items => "batch_full",
            ManifestStatus::Available => "placed",
        };
        prop_assert_eq!(explanation.outcome.code(), expected, "job {}", job.job_id);
        if let Outcome::Placed { worker_id } = explanation.outcome {
            prop_assert!(ready.contains(&worker_id), "job {} on worker {} that cannot take it", job.job_id, worker_id);
            let item = items.next().unwrap();
            let winner = explanation.winner.unwrap();
            prop_assert_eq!((item.job_id, item.worker_id, item.attempt), (job.job_id, worker_id, job.attempt));
            prop_assert_eq!((item.score, winner.worker_id), (winner.total, worker_id));
            for other in &ready {
                let found = score(job, &Candidate::new(&workers[other]), winner.terms.age, policy).total;
                prop_assert!(found < winner.total || (found == winner.total && worker_id <= *other));
            }
            prop_assert_eq!(explanation.runner_up.is_some(), ready.len() > 1);
            let worker = workers.get_mut(&worker_id).unwrap();
            worker.free_slots -= 1;
            worker.free_gpus -= job.requirements.gpu_count;
            placed += 1;
        }
    }
    prop_assert!(items.next().is_none());
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_outcome_is_what_brute_force_finds(snapshot in any_snapshot(14, 12), policy in any_policy()) {
        policy.validate().unwrap();
        let plan = plan(&snapshot, &policy);
        check_against_brute_force(&snapshot, &policy, &plan)?;
    }

    #[test]
    fn plans_are_those_made_the_plain_way(snapshot in any_snapshot(40, 60), policy in any_policy()) {
        prop_assert_eq!(plan(&snapshot, &policy), oracle::plan(&snapshot, &policy));
    }

    #[test]
    fn no_worker_is_over_its_capacity_and_no_job_is_placed_twice(snapshot in any_snapshot(30, 6)) {
        let plan = plan(&snapshot, &Policy::BALANCED);
        let placed: BTreeSet<_> = plan.items.iter().map(|item| item.job_id).collect();
        prop_assert_eq!(placed.len(), plan.items.len());
        for worker in &snapshot.workers {
            let given = plan.items.iter().filter(|item| item.worker_id == worker.worker_id);
            let jobs: Vec<_> = given.map(|item| snapshot.jobs.iter().find(|job| job.job_id == item.job_id).unwrap()).collect();
            let gpus: u32 = jobs.iter().map(|job| u32::from(job.requirements.gpu_count)).sum();
            prop_assert!(jobs.len() <= usize::from(worker.free_slots));
            prop_assert!(gpus <= u32::from(worker.free_gpus));
            prop_assert!(jobs.iter().all(|job| fits(job, worker) && worker.online));
        }
    }

    #[test]
    fn each_job_is_explained_exactly_once(snapshot in any_snapshot(20, 8), policy in any_policy()) {
        let plan = plan(&snapshot, &policy);
        let jobs: BTreeSet<_> = snapshot.jobs.iter().map(|job| job.job_id).collect();
        prop_assert_eq!(plan.explanations.keys().copied().collect::<BTreeSet<_>>(), jobs);
        for (job_id, explanation) in &plan.explanations {
            prop_assert_eq!(explanation.job_id, *job_id);
            let is_placed = matches!(explanation.outcome, Outcome::Placed { .. });
            prop_assert_eq!(is_placed, plan.items.iter().any(|item| item.job_id == *job_id));
            prop_assert!(explanation.rejections.values().all(|count| (1..=explanation.workers_evaluated).contains(count)));
        }
    }

    #[test]
    fn the_order_of_the_snapshot_does_not_matter(
        (given, jobs, workers) in any_snapshot(14, 12).prop_flat_map(|given| {
            let (jobs, workers) = (given.jobs.clone(), given.workers.clone());
            (Just(given), Just(jobs).prop_shuffle(), Just(workers).prop_shuffle())
        }),
        policy in any_policy(),
    ) {
        let expected = plan(&given, &policy);
        prop_assert_eq!(plan(&Snapshot { jobs, workers, ..given }, &policy), expected);
    }

    #[test]
    fn more_workers_never_place_fewer_of_identical_jobs(
        (all, some) in vec(any_worker(), 0..12).prop_flat_map(|mut all| {
            for (id, worker) in (1..).zip(&mut all) {
                (worker.worker_id, worker.slots) = (WorkerId(id), 1);
                worker.free_slots = worker.free_slots.min(1);
            }
            let len = all.len();
            (Just(all.clone()), subsequence(all, 0..=len))
        }),
        job in any_job(),
        count in 0_u64..14,
    ) {
        let jobs: Vec<_> = (1..=count).map(|id| PendingJob { job_id: JobId(id), ..job.clone() }).collect();
        let fewer = plan(&snapshot(jobs.clone(), some), &Policy::BALANCED);
        let more = plan(&snapshot(jobs, all), &Policy::BALANCED);
        prop_assert!(fewer.items.len() <= more.items.len());
    }

    #[test]
    fn ties_go_to_the_lowest_id(ids in proptest::collection::btree_set(1_u32..1_000, 1..20)) {
        let plan = plan(&snapshot(vec![job(1)], ids.iter().rev().map(|id| worker(*id)).collect()), &Policy::BALANCED);
        prop_assert_eq!(plan.items[0].worker_id.0, *ids.first().unwrap());
    }

    #[test]
    fn a_plan_survives_json(snapshot in any_snapshot(6, 6)) {
        let plan = plan(&snapshot, &Policy::BALANCED);
        let json = serde_json::to_string(&plan).unwrap();
        prop_assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
    }
}

#[test]
fn a_thousand_jobs_on_a_thousand_workers_give_a_valid_plan() {
    let varied = |id: u32, mut worker: WorkerView| {
        worker.capabilities.gpu_count = u8::try_from(2 + id % 7).unwrap();
        worker.free_gpus = worker.capabilities.gpu_count;
        (worker.slots, worker.free_slots) = (2, 2);
        worker.rate = Rate(u64::from(500 + id % 600));
        worker
    };
    let workers = (1..=1_000).map(|id| varied(id, worker(id))).collect();
    let jobs = (1..=1_000)
        .map(|id| PendingJob { priority: u8::try_from(1 + id % 10).unwrap(), submitted_at: NOW - id, ..job(id) })
        .collect();
    let snapshot = snapshot(jobs, workers);
    let plan = plan(&snapshot, &Policy::BALANCED);
    assert_eq!(plan.items.len(), Policy::BALANCED.max_items);
    check_against_brute_force(&snapshot, &Policy::BALANCED, &plan).unwrap();
}
