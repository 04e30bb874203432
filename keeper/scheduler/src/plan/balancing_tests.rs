//! The rules by which workers are chosen, through `plan`.

use keeper_types::{AgentView, ManifestView, Placement, Preferences, Requirements, WorkerId};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{
    fixtures::*,
    generators::{any_policy, any_snapshot},
    oracle, *,
};
use crate::{
    Balancing, ChosenBy, WorkerView,
    balancing::{AdaptiveRule, LoadBalancingStrategy},
    plan_root,
};

/// A job on one GPU of any worker.
fn small(id: u64) -> PendingJob {
    PendingJob { requirements: Requirements { gpu_count: 1, ..Requirements::default() }, ..job(id) }
}

/// A worker with so many slots and as many GPUs, all free.
fn with_slots(id: u32, slots: u8) -> WorkerView {
    let mut worker = WorkerView { slots, free_slots: slots, free_gpus: slots, ..worker(id) };
    worker.capabilities.gpu_count = slots;
    worker
}

/// The worker with so many of its slots and GPUs in use.
fn busy(used: u8, worker: WorkerView) -> WorkerView {
    WorkerView { free_slots: worker.slots - used, free_gpus: worker.free_gpus - used, ..worker }
}

fn at(latency_ms: u32, worker: WorkerView) -> WorkerView {
    WorkerView { agent: AgentView { latency_ms: Some(latency_ms), ..AgentView::default() }, ..worker }
}

fn by(balancing: Balancing) -> Policy {
    Policy { balancing, ..Policy::BALANCED }
}

/// So many small jobs on these workers, in the order of their submission.
fn market(jobs: u64, workers: Vec<WorkerView>) -> Snapshot {
    snapshot((1..=jobs).map(|id| PendingJob { submitted_at: NOW - 100 + id, ..small(id) }).collect(), workers)
}

/// Whom the jobs went to, in the order of the decisions.
fn went(snapshot: &Snapshot, policy: &Policy) -> Vec<u32> {
    plan(snapshot, policy).items.iter().map(|item| item.worker_id.0).collect()
}

fn chosen_by(plan: &Plan, job_id: u64) -> ChosenBy {
    plan.explanations[&JobId(job_id)].chosen_by.unwrap()
}

#[test]
fn turns_go_on_from_whom_the_chain_gave_a_job_last_and_the_batch_tells() {
    let mut snapshot = market(6, (1..=4).map(|id| with_slots(id, 4)).collect());
    let policy = by(Balancing::RoundRobin);
    assert_eq!(went(&snapshot, &policy), [1, 2, 3, 4, 1, 2]);
    snapshot.turn = Some(WorkerId(2));
    assert_eq!(went(&snapshot, &policy), [3, 4, 1, 2, 3, 4]);
    // Whoever was last may have left.
    snapshot.turn = Some(WorkerId(9));
    assert_eq!(went(&snapshot, &policy), [1, 2, 3, 4, 1, 2]);

    let in_turn = plan(&snapshot, &policy);
    assert!(in_turn.takes_turns());
    assert_eq!(in_turn.batch(), in_turn.items, "sent as it was decided");
    let expected = ChosenBy { rule: Balancing::RoundRobin, strategy: LoadBalancingStrategy::RoundRobin, among: 4 };
    assert_eq!(chosen_by(&in_turn, 1), expected);

    let by_score = plan(&snapshot, &Policy::BALANCED);
    assert!(!by_score.takes_turns() && by_score.batch().is_sorted_by_key(|item| item.worker_id));
    assert!(by_score.explanations.values().all(|explanation| explanation.chosen_by.is_none()));
    let without_turn = Snapshot { turn: None, ..snapshot.clone() };
    let roots = [&without_turn, &snapshot].map(|snapshot| plan_root(&plan(snapshot, &Policy::BALANCED).batch()));
    assert_eq!(roots[0], roots[1], "scores do not look at turns");
}

#[test]
fn fewest_jobs_and_smallest_share_are_told_apart() {
    // Two of eight slots are fewer by share than one of two, and more by count.
    let workers = vec![busy(2, with_slots(1, 8)), busy(1, with_slots(2, 2))];
    assert_eq!(went(&market(1, workers.clone()), &by(Balancing::LeastConnections)), [2]);
    assert_eq!(went(&market(1, workers.clone()), &by(Balancing::LeastLoaded)), [1]);
    // What the round gives away counts at once.
    assert_eq!(went(&market(3, workers.clone()), &by(Balancing::LeastConnections)), [2, 1, 1]);
    assert_eq!(went(&market(4, workers), &by(Balancing::LeastLoaded)), [1, 1, 1, 2]);
}

#[test]
fn jobs_go_in_inverse_proportion_to_round_trips() {
    let mut workers = vec![at(30, with_slots(1, 8)), at(10, with_slots(2, 8))];
    let count = |snapshot: &Snapshot| {
        let went = went(snapshot, &by(Balancing::WeightedResponse));
        [1, 2].map(|id| went.iter().filter(|worker| **worker == id).count())
    };
    assert_eq!(count(&market(8, workers.clone())), [2, 6]);
    // Below a millisecond nothing is told apart; who has not been measured is taken to be as quick as the quickest.
    workers[1].agent.latency_ms = Some(0);
    workers[0].agent.latency_ms = Some(1);
    assert_eq!(count(&market(8, workers.clone())), [4, 4]);
    workers[0].agent.latency_ms = None;
    assert_eq!(count(&market(8, workers)), [4, 4]);
}

#[test]
fn adapting_goes_by_what_is_uneven_and_says_so() {
    let decided = |workers: Vec<WorkerView>, adaptive: AdaptiveRule| {
        let plan = plan(&market(1, workers), &Policy { adaptive, ..by(Balancing::Adaptive) });
        let ChosenBy { rule, strategy, .. } = chosen_by(&plan, 1);
        assert_eq!(rule, Balancing::Adaptive);
        (strategy, plan.items[0].worker_id.0)
    };
    let usual = AdaptiveRule::DEFAULT;
    let alike = vec![at(10, with_slots(1, 4)), at(10, with_slots(2, 4))];
    assert_eq!(decided(alike, usual), (LoadBalancingStrategy::RoundRobin, 1));
    let far = vec![at(40, with_slots(1, 4)), at(10, with_slots(2, 4))];
    assert_eq!(decided(far.clone(), usual), (LoadBalancingStrategy::WeightedResponse, 2));
    let loaded = vec![busy(2, at(10, with_slots(1, 4))), at(40, with_slots(2, 4))];
    assert_eq!(decided(loaded, usual), (LoadBalancingStrategy::LeastLoaded, 2));
    // An operator who says that such round trips do not differ.
    let patient = AdaptiveRule { response_enter_bps: 9_000, ..usual };
    assert_eq!(decided(far, patient), (LoadBalancingStrategy::RoundRobin, 1));
}

#[test]
fn lots_are_the_seeds_and_the_first_is_the_lowest() {
    let workers: Vec<_> = (1..=8).map(|id| with_slots(id, 8)).collect();
    let drawn = |seed| went(&Snapshot { seed, ..market(16, workers.clone()) }, &by(Balancing::Random));
    assert_eq!(drawn(1), drawn(1));
    assert_ne!(drawn(1), drawn(2));
    // A smaller batch decides the same about the first jobs.
    let fewer = Policy { max_items: 5, ..by(Balancing::Random) };
    assert_eq!(went(&Snapshot { seed: 1, ..market(16, workers.clone()) }, &fewer), drawn(1)[..5]);
    assert_eq!(went(&market(9, workers), &by(Balancing::FirstAvailable)), [1, 1, 1, 1, 1, 1, 1, 1, 2]);
}

#[test]
fn the_smallest_worker_that_is_enough_is_taken_whatever_it_scores() {
    // The large one is cheaper and has the better name.
    let mut large = with_slots(1, 8);
    (large.rate, large.reputation) = (keeper_types::Rate(1), 1_000);
    let (middle, small) = (with_slots(2, 4), with_slots(3, 2));
    let workers = vec![large, middle, small];
    let policy = by(Balancing::BestFit);
    assert_eq!(went(&market(1, workers.clone()), &Policy::BALANCED), [1]);
    // Two on the small one, four on the next, and what is left on the large one.
    let snapshot = market(8, workers.clone());
    assert_eq!(went(&snapshot, &policy), [3, 3, 2, 2, 2, 2, 1, 1]);
    let told = chosen_by(&plan(&snapshot, &policy), 1);
    assert_eq!(told, ChosenBy { rule: Balancing::BestFit, strategy: LoadBalancingStrategy::BestFit, among: 3 });
    // A small job before does not stand in the way of one on four GPUs.
    let mut wide = market(2, workers.clone());
    wide.jobs[1].requirements.gpu_count = 4;
    assert_eq!(went(&wide, &policy), [3, 2]);
    // Begun before untouched: what fits into what is left of the large one leaves the middle one whole.
    let begun = vec![busy(7, workers[0].clone()), workers[1].clone()];
    assert_eq!(went(&market(1, begun), &policy), [1]);
    // Where GPUs are the same, the one with less of the rest.
    let mut lean = with_slots(4, 2);
    lean.capabilities.memory_gib -= 1;
    assert_eq!(went(&market(1, vec![workers[2].clone(), lean]), &policy), [4]);
}

#[test]
fn a_rule_chooses_among_those_that_preferences_and_pools_leave() {
    let mut workers: Vec<_> = (1..=4).map(|id| busy(u8::try_from(4 - id).unwrap(), with_slots(id, 8))).collect();
    workers[0].is_static = true;
    let mut snapshot = market(1, workers);
    let policy = by(Balancing::LeastConnections);
    let static_first = plan(&snapshot, &policy);
    assert_eq!(static_first.items[0].worker_id, WorkerId(1), "the one that the admin admitted");
    assert_eq!(chosen_by(&static_first, 1).among, 1);

    snapshot.workers[1].reputation = 900;
    snapshot.workers[2].reputation = 900;
    let prefers = Preferences { min_reputation: Some(800), ..Preferences::default() };
    let placement = Placement { prefers, ..Placement::default() };
    snapshot.jobs[0].manifest_view = ManifestView { placement, ..ManifestView::default() };
    let preferred = plan(&snapshot, &policy);
    assert_eq!(preferred.items[0].worker_id, WorkerId(3), "of those that are trusted the one with fewer jobs");
    assert_eq!(chosen_by(&preferred, 1).among, 2);
    assert_eq!(preferred.explanations[&JobId(1)].winner.unwrap().total, preferred.items[0].score);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Round trips are left out where nothing depends on them, and there only.
    #[test]
    fn what_is_left_out_decides_nothing(snapshot in any_snapshot(10, 6), policy in any_policy()) {
        let left = snapshot.clone().without_idle_measures(&policy);
        let (all, left) = (plan(&snapshot, &policy), plan(&left, &policy));
        prop_assert_eq!(all.items, left.items);
    }

    /// Round after round, with the turn that the chain tells: the last item that was sent.
    #[test]
    fn over_rounds_turns_of_equal_workers_are_within_one(
        workers in 1_u32..7,
        rounds in vec(1_u64..9, 1..12),
    ) {
        let views: Vec<_> = (1..=workers).map(|id| with_slots(id, 60)).collect();
        let mut turns = vec![0_u32; workers as usize];
        let mut turn = None;
        for jobs in rounds {
            let snapshot = Snapshot { turn, ..market(jobs, views.clone()) };
            let batch = plan(&snapshot, &by(Balancing::RoundRobin)).batch();
            prop_assert_eq!(batch.len() as u64, jobs);
            for item in &batch {
                turns[item.worker_id.0 as usize - 1] += 1;
            }
            turn = batch.last().map(|item| item.worker_id);
            prop_assert!(turns.iter().max().unwrap() - turns.iter().min().unwrap() <= 1, "{:?}", turns);
        }
    }

    #[test]
    fn every_rule_places_what_can_be_and_nothing_else(
        (given, jobs, workers) in any_snapshot(16, 10).prop_flat_map(|given| {
            let (jobs, workers) = (given.jobs.clone(), given.workers.clone());
            (Just(given), Just(jobs).prop_shuffle(), Just(workers).prop_shuffle())
        }),
        policy in any_policy(),
    ) {
        let shuffled = Snapshot { jobs, workers, ..given.clone() };
        for balancing in Balancing::ALL {
            let policy = Policy { balancing, ..policy.clone() };
            let planned = plan(&given, &policy);
            prop_assert_eq!(&planned, &oracle::plan(&given, &policy), "{} as it is written out plainly", balancing);
            prop_assert_eq!(&planned, &plan(&given, &policy), "{} twice", balancing);
            prop_assert_eq!(&planned, &plan(&shuffled, &policy), "{} in another order", balancing);
            for worker in &given.workers {
                let items = planned.items.iter().filter(|item| item.worker_id == worker.worker_id);
                let job = |item: &AllocationItem| given.jobs.iter().find(|job| job.job_id == item.job_id).unwrap();
                let jobs: Vec<_> = items.map(job).collect();
                let gpus: u32 = jobs.iter().map(|job| u32::from(job.requirements.gpu_count)).sum();
                prop_assert!(jobs.len() <= usize::from(worker.free_slots) && gpus <= u32::from(worker.free_gpus));
                for job in jobs {
                    let rejections = oracle::judge(job, &oracle::Candidate::new(worker), &[]);
                    prop_assert!(rejections.is_empty(), "{} on {}: {:?}", balancing, worker.worker_id, rejections);
                }
            }
            let placed: std::collections::BTreeSet<_> = planned.items.iter().map(|item| item.job_id).collect();
            prop_assert_eq!(placed.len(), planned.items.len());
            for item in &planned.items {
                let told = planned.explanations[&item.job_id].chosen_by.map_or(Balancing::Score, |told| told.rule);
                prop_assert_eq!(told, balancing);
            }
        }
    }

    /// Where nothing but the rule tells workers apart, the first job goes where the rule says.
    #[test]
    fn the_chosen_is_the_best_by_its_rule(
        used in vec((0_u8..4, 0_u32..50), 2..9),
        left in any::<prop::sample::Index>(),
        turn in proptest::option::of(1_u32..10),
    ) {
        let all = (1..).zip(&used).map(|(id, (used, trip))| at(*trip, busy(*used, with_slots(id, 4))));
        let mut workers: Vec<_> = all.collect();
        // So that ids have a gap.
        workers.remove(left.index(workers.len()));
        let snapshot = Snapshot { turn: turn.map(WorkerId), ..market(1, workers.clone()) };
        let of = |balancing| {
            let chosen = went(&snapshot, &by(balancing))[0];
            workers.iter().find(|view| view.worker_id.0 == chosen).unwrap()
        };
        let jobs = |view: &WorkerView| u32::from(view.slots - view.free_slots);
        let trip = |view: &WorkerView| view.agent.latency_ms.unwrap().max(1) * (jobs(view) + 1);
        prop_assert_eq!(jobs(of(Balancing::LeastConnections)), workers.iter().map(jobs).min().unwrap());
        prop_assert_eq!(jobs(of(Balancing::LeastLoaded)), workers.iter().map(jobs).min().unwrap());
        prop_assert_eq!(trip(of(Balancing::WeightedResponse)), workers.iter().map(trip).min().unwrap());
        let ids: Vec<u32> = workers.iter().map(|view| view.worker_id.0).collect();
        prop_assert_eq!(of(Balancing::FirstAvailable).worker_id.0, ids[0]);
        let left = |view: &WorkerView| view.free_gpus;
        prop_assert_eq!(left(of(Balancing::BestFit)), workers.iter().filter(|view| left(view) > 0).map(left).min().unwrap());
        let next = ids.iter().find(|id| Some(**id) > turn).unwrap_or(&ids[0]);
        prop_assert_eq!(of(Balancing::RoundRobin).worker_id.0, *next);
    }

    /// Workers that leave and come back neither gain nor lose the others their turns.
    #[test]
    fn who_is_always_there_has_one_turn_between_two_of_another(
        there in vec(subsequence((1..=6_u32).collect::<Vec<_>>(), 0..=6), 2..30),
    ) {
        let mut turn = None;
        let mut turns = Vec::new();
        for ids in there {
            // Worker 9 never leaves.
            let workers = ids.into_iter().chain([9]).map(|id| with_slots(id, 4)).collect();
            let batch = plan(&Snapshot { turn, ..market(1, workers) }, &by(Balancing::RoundRobin)).batch();
            turn = batch.last().map(|item| item.worker_id);
            turns.extend(turn.map(|worker_id| worker_id.0));
        }
        for other in 1..=6 {
            let marks = turns.iter().filter(|id| [other, 9].contains(id));
            let marks: Vec<_> = marks.collect();
            prop_assert!(marks.windows(2).all(|pair| pair != [&other, &other]), "{:?}", turns);
        }
    }
}
