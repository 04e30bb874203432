use std::collections::{BTreeMap, BTreeSet};

use keeper_types::WorkerId;
use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::{
    tests::{balancer, ids, workers},
    *,
};

const WORKERS: u32 = 8;

/// What happens to a balancer.
#[derive(Clone, Debug)]
enum Step {
    /// A job that these workers could take is given to one of them, if there are any.
    Place { feasible: Vec<WorkerId>, gpus: u8 },
    /// A job ends on a worker.
    Finish { worker_id: WorkerId, gpus: u8, response_us: Option<u64> },
    /// A snapshot with workers 1 to `count` and this seed.
    Round { count: u32, seed: u64 },
}

fn any_feasible() -> impl Strategy<Value = Vec<WorkerId>> {
    subsequence(ids(1..=WORKERS), 1..=WORKERS as usize).prop_shuffle()
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any_feasible(), 0..4_u8).prop_map(|(feasible, gpus)| Step::Place { feasible, gpus }),
        3 => (1..=WORKERS, 0..4_u8, proptest::option::of(1..100_000_u64))
            .prop_map(|(id, gpus, response_us)| Step::Finish { worker_id: WorkerId(id), gpus, response_us }),
        1 => (1..=WORKERS, any::<u64>()).prop_map(|(count, seed)| Step::Round { count, seed }),
    ]
}

fn any_strategy() -> impl Strategy<Value = LoadBalancingStrategy> {
    proptest::sample::select(LoadBalancingStrategy::ALL.to_vec())
}

/// Takes a step; the choice where it places a job.
fn take(balancer: &mut LoadBalancer, step: &Step) -> Option<Choice> {
    match step {
        Step::Place { feasible, gpus } => {
            let known: Vec<_> = feasible.iter().copied().filter(|id| balancer.loads().contains_key(id)).collect();
            let choice = balancer.choose(&known).unwrap()?;
            balancer.start(choice.worker_id, *gpus);
            Some(choice)
        }
        Step::Finish { worker_id, gpus, response_us } => {
            balancer.finish(*worker_id, *gpus, *response_us);
            None
        }
        Step::Round { count, seed } => {
            balancer.begin_round(&workers(*count), *seed);
            None
        }
    }
}

/// A balancer to which things have happened.
fn any_balancer(strategy: LoadBalancingStrategy) -> impl Strategy<Value = LoadBalancer> {
    (vec(any_step(), 0..30), any::<u64>()).prop_map(move |(steps, seed)| {
        let mut balancer = balancer(strategy, &workers(WORKERS));
        for step in &steps {
            take(&mut balancer, step);
        }
        // Loads stay; whoever has left is back.
        let mut present: Vec<_> = workers(WORKERS);
        for view in &mut present {
            if let Some(load) = balancer.loads().get(&view.worker_id) {
                view.free_slots = view.slots.saturating_sub(u8::try_from(load.running).unwrap_or(u8::MAX));
                view.free_gpus = view.free_gpus.saturating_sub(u8::try_from(load.gpus_in_use).unwrap_or(u8::MAX));
            }
        }
        balancer.begin_round(&present, seed);
        balancer
    })
}

proptest! {
    #[test]
    fn the_chosen_is_feasible(
        (mut balancer, feasible) in any_strategy().prop_flat_map(|strategy| (any_balancer(strategy), any_feasible()))
    ) {
        let choice = balancer.choose(&feasible).unwrap().unwrap();
        prop_assert!(feasible.contains(&choice.worker_id));
        prop_assert_ne!(choice.strategy, LoadBalancingStrategy::Adaptive);
    }

    #[test]
    fn the_order_of_workers_does_not_matter(
        (balancer, feasible) in any_strategy().prop_flat_map(|strategy| (any_balancer(strategy), any_feasible())),
        views in Just(workers(WORKERS)).prop_shuffle(),
    ) {
        let mut sorted = feasible.clone();
        sorted.sort_unstable();
        // Only some twice: to name everybody twice would leave their chances as they are.
        let doubled: Vec<_> = feasible.iter().chain(&sorted[..1]).copied().collect();
        let [mut as_listed, mut by_id, mut twice] = [balancer.clone(), balancer.clone(), balancer.clone()];
        let choice = as_listed.choose(&feasible);
        prop_assert_eq!(&by_id.choose(&sorted), &choice);
        prop_assert_eq!(&twice.choose(&doubled), &choice);
        prop_assert_eq!(&by_id, &as_listed);
        prop_assert_eq!(&twice, &as_listed);

        let [mut shuffled, mut ascending] = [balancer.clone(), balancer];
        shuffled.begin_round(&views, 3);
        ascending.begin_round(&workers(WORKERS), 3);
        prop_assert_eq!(shuffled, ascending);
    }

    #[test]
    fn what_was_written_chooses_as_what_was_not(
        before in any_strategy().prop_flat_map(any_balancer),
        steps in vec(any_step(), 1..40),
    ) {
        let json = serde_json::to_string(&before).unwrap();
        let mut replayed: LoadBalancer = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&replayed, &before);
        let mut original = before;
        for step in &steps {
            prop_assert_eq!(take(&mut original, step), take(&mut replayed, step));
        }
        prop_assert_eq!(replayed, original);
    }

    #[test]
    fn turns_over_equal_workers_are_within_one(count in 1..=WORKERS, jobs in 0..50_usize, before in 0..9_usize) {
        let mut balancer = balancer(LoadBalancingStrategy::RoundRobin, &workers(count));
        let feasible = ids(1..=count);
        (0..before).for_each(|_| { balancer.choose(&feasible).unwrap(); });
        let mut turns: BTreeMap<_, usize> = feasible.iter().map(|id| (*id, 0)).collect();
        for _ in 0..jobs {
            *turns.get_mut(&balancer.choose(&feasible).unwrap().unwrap().worker_id).unwrap() += 1;
        }
        prop_assert!(turns.values().max().unwrap() - turns.values().min().unwrap() <= 1);
    }

    #[test]
    fn between_two_turns_everybody_who_stays_has_one(
        staying in subsequence(ids(1..=WORKERS), 1..=WORKERS as usize),
        passing in vec(any_feasible(), 1..60),
    ) {
        // Others come and go, as feasible workers and as registered ones.
        let mut balancer = balancer(LoadBalancingStrategy::RoundRobin, &[]);
        let mut since: BTreeMap<WorkerId, BTreeMap<WorkerId, u32>> = BTreeMap::new();
        for others in &passing {
            let present: BTreeSet<_> = staying.iter().chain(others).copied().collect();
            let views: Vec<_> = workers(WORKERS).into_iter().filter(|view| present.contains(&view.worker_id)).collect();
            balancer.begin_round(&views, 0);
            let feasible: Vec<_> = present.into_iter().collect();
            let chosen = balancer.choose(&feasible).unwrap().unwrap().worker_id;
            // Whoever was away may have missed whole rounds.
            if let Some(turns) = since.insert(chosen, BTreeMap::new()).filter(|_| staying.contains(&chosen)) {
                for worker_id in staying.iter().filter(|worker_id| **worker_id != chosen) {
                    prop_assert_eq!(turns.get(worker_id), Some(&1), "{} since {}", worker_id, chosen);
                }
            }
            for turns in since.iter_mut().filter(|(worker_id, _)| **worker_id != chosen).map(|(_, turns)| turns) {
                *turns.entry(chosen).or_default() += 1;
            }
        }
    }

    #[test]
    fn nobody_feasible_is_less_loaded_than_the_least_loaded(
        mut balancer in any_balancer(LoadBalancingStrategy::LeastLoaded),
        feasible in any_feasible(),
    ) {
        let chosen = balancer.choose(&feasible).unwrap().unwrap().worker_id;
        let key = |worker_id: &WorkerId| (balancer.loads()[worker_id].share(), *worker_id);
        prop_assert!(feasible.iter().all(|other| key(&chosen) <= key(other)));
    }

    #[test]
    fn nobody_feasible_is_a_tighter_fit_than_the_best_one(
        sizes in vec((0..4_u8, 0..3_u8, 0..3_u16, 1..4_u8), WORKERS as usize),
        steps in vec(any_step(), 0..20),
        feasible in any_feasible(),
    ) {
        let sized = workers(WORKERS).into_iter().zip(&sizes).map(|(mut view, (gpus, used, memory_gib, slots))| {
            view.capabilities.gpu_count = *gpus;
            (view.free_gpus, view.slots, view.free_slots) = (gpus.saturating_sub(*used), *slots, *slots);
            view.capabilities.memory_gib = *memory_gib;
            view
        });
        let views: Vec<_> = sized.collect();
        let mut balancer = balancer(LoadBalancingStrategy::BestFit, &views);
        for step in steps.iter().filter(|step| !matches!(step, Step::Round { .. })) {
            take(&mut balancer, step);
        }
        let chosen = balancer.choose(&feasible).unwrap().unwrap().worker_id;
        let unused = |worker_id: &WorkerId| {
            let load = &balancer.loads()[worker_id];
            let memory_gib = views[worker_id.0 as usize - 1].capabilities.memory_gib;
            let (free_gpus, free_slots) = (load.gpus.saturating_sub(load.gpus_in_use), load.slots.saturating_sub(load.running));
            (free_gpus, load.gpus, memory_gib, free_slots, *worker_id)
        };
        prop_assert!(feasible.iter().all(|other| unused(&chosen) <= unused(other)));
    }

    #[test]
    fn nobody_feasible_runs_fewer_jobs_than_the_least_connected(
        mut balancer in any_balancer(LoadBalancingStrategy::LeastConnections),
        feasible in any_feasible(),
    ) {
        let chosen = balancer.choose(&feasible).unwrap().unwrap().worker_id;
        prop_assert!(feasible.iter().all(|id| balancer.loads()[&chosen].running <= balancer.loads()[id].running));
    }

    #[test]
    fn jobs_that_run_are_in_inverse_proportion_to_response_times(
        responses in vec(1..10_000_u64, 1..=WORKERS as usize),
        jobs in 1..100_usize,
    ) {
        let count = u32::try_from(responses.len()).unwrap();
        let feasible = ids(1..=count);
        let mut balancer = balancer(LoadBalancingStrategy::WeightedResponse, &workers(count));
        for (worker_id, response_us) in feasible.iter().zip(&responses) {
            balancer.finish(*worker_id, 0, Some(*response_us));
        }
        for _ in 0..jobs {
            let worker_id = balancer.choose(&feasible).unwrap().unwrap().worker_id;
            balancer.start(worker_id, 0);
        }
        // No job would have been better off elsewhere: the apportionment of Jefferson and D'Hondt.
        let running: Vec<_> = balancer.loads().values().map(|load| u64::from(load.running)).collect();
        for (here, response_us) in running.iter().zip(&responses) {
            for (there, other_us) in running.iter().zip(&responses) {
                prop_assert!(here * response_us <= (there + 1) * other_us);
            }
        }
    }

    #[test]
    fn between_its_thresholds_a_mode_stays(
        mode in proptest::sample::select(vec![AdaptiveMode::Turns, AdaptiveMode::Loads, AdaptiveMode::Responses]),
        load_bps in 2_001..5_000_u16,
        response_bps in 2_501..5_000_u16,
    ) {
        prop_assert_eq!(AdaptiveRule::default().next(mode, Imbalance { load_bps, response_bps }), mode);
    }

    #[test]
    fn a_mode_is_settled_after_one_step(load_bps in 0..=10_000_u16, response_bps in 0..=10_000_u16) {
        let (rule, imbalance) = (AdaptiveRule::default(), Imbalance { load_bps, response_bps });
        for mode in [AdaptiveMode::Turns, AdaptiveMode::Loads, AdaptiveMode::Responses] {
            let next = rule.next(mode, imbalance);
            prop_assert_eq!(rule.next(next, imbalance), next);
        }
    }

    #[test]
    fn lots_reach_everybody_about_as_often(seed: u64, count in 1..=WORKERS) {
        let mut balancer = balancer(LoadBalancingStrategy::Random, &workers(count));
        balancer.begin_round(&workers(count), seed);
        let feasible = ids(1..=count);
        let mut lots: BTreeMap<_, u32> = BTreeMap::new();
        for _ in 0..400 * count {
            *lots.entry(balancer.choose(&feasible).unwrap().unwrap().worker_id).or_default() += 1;
        }
        // 400 each; the standard deviation is below 20, and seven of them are out of reach.
        prop_assert_eq!(lots.len(), count as usize);
        prop_assert!(lots.values().all(|count| (260..=540).contains(count)), "{:?}", lots);
    }
}
