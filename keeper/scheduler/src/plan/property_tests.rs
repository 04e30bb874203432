use std::collections::BTreeSet;

use keeper_types::{AgentView, Rate, TrustTier, WorkerId, WorkerStatus};
use proptest::{collection::vec, prelude::*, sample::subsequence, strategy::Strategy};

use super::{
    fixtures::*,
    generators::{any_job, any_policy, any_snapshot, any_worker},
    oracle::{self, Candidate, score},
    *,
};
use crate::{Assignment, Balancing, WorkerView};

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
        && (worker.is_static || job.manifest_view.placement.trust == TrustTier::Staked)
        && (!worker.online || suits(job, &worker.agent))
}

/// Whether what an agent says goes together with what a job and its manifest say.
fn suits(job: &PendingJob, agent: &AgentView) -> bool {
    let (placement, profile) = (&job.manifest_view.placement, &agent.profile);
    (job.max_latency_ms == 0 || agent.latency_ms.is_none_or(|latency_ms| latency_ms <= job.max_latency_ms.into()))
        && (placement.gpu_models.is_empty() || profile.gpu_model.contains("H100"))
        && profile.disk_gib >= placement.disk_gib
        && profile.pcie_generation >= placement.pcie_generation
        && !profile.refuses.clients.contains(&job.client)
        && !profile.refuses.executors.contains(&job.manifest_view.executor)
}

fn has_room(job: &PendingJob, worker: &WorkerView) -> bool {
    (job.max_latency_ms == 0 || worker.agent.latency_ms.is_some())
        && !worker.agent.is_stalled
        && worker.free_slots > 0
        && worker.free_gpus >= job.requirements.gpu_count
}

/// The jobs in the order in which they were decided on; those that were not decided on first.
fn in_order(snapshot: &Snapshot, policy: &Policy, plan: &Plan) -> Vec<PendingJob> {
    let is_decided = |job: &&PendingJob| {
        let found = &plan.explanations[&job.job_id];
        found.workers_evaluated > 0 && !matches!(found.outcome, Outcome::NoFeasibleWorker | Outcome::WorkersOffline)
    };
    let (decided, others): (Vec<_>, Vec<_>) = snapshot.jobs.iter().partition(is_decided);
    let waiting: BTreeMap<_, _> = decided.iter().map(|job| (job.job_id, *job)).collect();
    let outside = others.iter().filter(|job| plan.explanations[&job.job_id].outcome == Outcome::QueueFull);
    let waiting: BTreeMap<_, _> = waiting.into_iter().chain(outside.map(|job| (job.job_id, *job))).collect();
    let mut line = Line::new(&waiting, snapshot, policy);
    let mut order: Vec<_> = others.into_iter().cloned().collect();
    while let Some((job, _)) = line.next() {
        if matches!(plan.explanations[&job.job_id].outcome, Outcome::Placed { .. }) {
            line.started(job);
        }
        order.push(job.clone());
    }
    order
}

/// Whether somebody connected who has no room misses less of what the job prefers than whoever has, and the job's patience
/// lasts.
fn is_waiting_for_preferred(
    job: &PendingJob,
    fitting: &[&WorkerView],
    ready: &BTreeSet<WorkerId>,
    snapshot: &Snapshot,
    policy: &Policy,
) -> bool {
    let missed = |worker: &WorkerView| job.manifest_view.placement.prefers.wanted().without(agents::met(job, worker));
    let least = fitting.iter().filter(|worker| ready.contains(&worker.worker_id)).map(|worker| missed(worker)).min();
    let is_patient = snapshot.now < oracle::patient_until(job, policy) && !is_emergency(job, policy);
    is_patient && fitting.iter().any(|worker| worker.online && Some(missed(worker)) < least)
}

/// Replays the plan job by job on plain copies of the workers, and checks every outcome against all of them.
fn check_against_brute_force(snapshot: &Snapshot, policy: &Policy, plan: &Plan) -> Result<(), TestCaseError> {
    let mut workers: BTreeMap<_, _> =
        snapshot.workers.iter().map(|worker| (worker.worker_id, worker.clone())).collect();
    workers.retain(|_, worker| worker.status != WorkerStatus::Exited);
    let mut items = plan.items.iter();
    let mut placed = 0;
    for job in &in_order(snapshot, policy, plan) {
        let explanation = &plan.explanations[&job.job_id];
        let kept = explanation.rejections.get(&crate::Rejection::Reserved).copied().unwrap_or(0);
        if kept > 0 || matches!(explanation.outcome, Outcome::QueueFull | Outcome::BackingOff { .. }) {
            // Whom a worker is kept from is checked elsewhere.
            if let Outcome::Placed { worker_id } = explanation.outcome {
                let item = items.next().unwrap();
                prop_assert_eq!(item.worker_id, worker_id);
                let worker = workers.get_mut(&worker_id).unwrap();
                prop_assert!(worker.online && fits(job, worker) && has_room(job, worker));
                worker.free_slots -= 1;
                worker.free_gpus -= job.requirements.gpu_count;
                placed += 1;
            }
            continue;
        }
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
            ManifestStatus::Available if is_waiting_for_preferred(job, &fitting, &ready, snapshot, policy) => {
                "preferred_busy"
            }
            ManifestStatus::Available => "placed",
        };
        prop_assert_eq!(explanation.outcome.code(), expected, "job {}", job.job_id);
        if let Outcome::Placed { worker_id } = explanation.outcome {
            prop_assert!(ready.contains(&worker_id), "job {} on worker {} that cannot take it", job.job_id, worker_id);
            let item = items.next().unwrap();
            let winner = explanation.winner.unwrap();
            prop_assert_eq!((item.job_id, item.worker_id, item.attempt), (job.job_id, worker_id, job.attempt));
            prop_assert_eq!((item.score, winner.worker_id), (winner.total, worker_id));
            let place = |id: WorkerId| {
                let worker = &workers[&id];
                let wanted = job.manifest_view.placement.prefers.wanted();
                let missed = match is_emergency(job, policy) {
                    true => keeper_types::PreferenceSet::NONE,
                    false => wanted.without(agents::met(job, worker)),
                };
                let found = score(job, &Candidate::new(worker), winner.terms.age, policy).total;
                (missed, !worker.is_static, std::cmp::Reverse(found), id)
            };
            match policy.balancing {
                Balancing::Score => prop_assert!(ready.iter().all(|other| place(worker_id) <= place(*other))),
                // Which of those that are alike but for their scores is compared elsewhere.
                _ => {
                    let kind = |id| (place(id).0, place(id).1);
                    prop_assert!(ready.iter().all(|other| kind(worker_id) <= kind(*other)));
                    let alike = ready.iter().filter(|other| kind(**other) == kind(worker_id)).count();
                    prop_assert_eq!(explanation.chosen_by.unwrap().among as usize, alike);
                }
            }
            prop_assert_eq!(place(worker_id).0.iter().collect::<Vec<_>>(), explanation.dropped.clone());
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
    fn an_exact_assignment_places_the_same_jobs_within_bounds(
        snapshot in any_snapshot(30, 8),
        mut policy in any_policy(),
    ) {
        policy.balancing = Balancing::Score;
        let greedy = plan(&snapshot, &policy);
        let exact = plan(&snapshot, &Policy { assignment: Assignment::Exact, ..policy });
        let jobs = |plan: &Plan| plan.items.iter().map(|item| item.job_id).collect::<Vec<_>>();
        prop_assert_eq!(jobs(&greedy), jobs(&exact));
        for worker in &snapshot.workers {
            let given = exact.items.iter().filter(|item| item.worker_id == worker.worker_id);
            let jobs: Vec<_> = given.map(|item| snapshot.jobs.iter().find(|job| job.job_id == item.job_id).unwrap()).collect();
            let gpus: u32 = jobs.iter().map(|job| u32::from(job.requirements.gpu_count)).sum();
            prop_assert!(jobs.len() <= usize::from(worker.free_slots));
            prop_assert!(gpus <= u32::from(worker.free_gpus));
            prop_assert!(jobs.iter().all(|job| fits(job, worker) && worker.online));
        }
        for (before, after) in greedy.items.iter().zip(&exact.items) {
            let explanation = &exact.explanations[&after.job_id];
            prop_assert_eq!(explanation.strategy, after.strategy);
            prop_assert_eq!(explanation.winner.map(|winner| (winner.worker_id, winner.total)), Some((after.worker_id, after.score)));
            prop_assert!(after.strategy == keeper_types::Strategy::Batch || before == after);
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
        mut policy in any_policy(),
        is_exact: bool,
    ) {
        if is_exact && policy.balancing == Balancing::Score {
            policy.assignment = Assignment::Exact;
        }
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
