use keeper_types::{WorkerId, WorkerStatus};

use super::*;
use crate::{WorkerView, plan::fixtures::worker};

/// Workers 1 to `count` with four slots and eight GPUs, all free.
pub(super) fn workers(count: u32) -> Vec<WorkerView> {
    (1..=count).map(|id| sized(id, 4)).collect()
}

fn sized(id: u32, slots: u8) -> WorkerView {
    let mut view = worker(id);
    (view.slots, view.free_slots) = (slots, slots);
    (view.capabilities.gpu_count, view.free_gpus) = (8, 8);
    view
}

pub(super) fn balancer(strategy: LoadBalancingStrategy, workers: &[WorkerView]) -> LoadBalancer {
    let mut balancer = LoadBalancer::new(BalancingConfig { strategy, ..BalancingConfig::default() }).unwrap();
    balancer.begin_round(workers, 7);
    balancer
}

pub(super) fn ids(ids: impl IntoIterator<Item = u32>) -> Vec<WorkerId> {
    ids.into_iter().map(WorkerId).collect()
}

fn chosen(balancer: &mut LoadBalancer, feasible: &[WorkerId]) -> u32 {
    balancer.choose(feasible).unwrap().unwrap().worker_id.0
}

#[test]
fn turns_go_round_over_whoever_is_feasible() {
    let mut balancer = balancer(LoadBalancingStrategy::RoundRobin, &workers(4));
    let all = ids(1..=4);
    assert_eq!([0; 3].map(|_| chosen(&mut balancer, &all)), [1, 2, 3]);
    assert_eq!(chosen(&mut balancer, &ids([1, 3])), 1);
    assert_eq!(chosen(&mut balancer, &all), 2);
}

#[test]
fn turns_go_on_when_whoever_was_last_leaves() {
    let mut balancer = balancer(LoadBalancingStrategy::RoundRobin, &workers(4));
    assert_eq!([0; 2].map(|_| chosen(&mut balancer, &ids(1..=4))), [1, 2]);
    let stayed: Vec<_> = workers(4).into_iter().filter(|worker| worker.worker_id != WorkerId(2)).collect();
    balancer.begin_round(&stayed, 7);
    assert_eq!(chosen(&mut balancer, &ids([1, 3, 4])), 3);
    balancer.begin_round(&workers(9), 7);
    assert_eq!(chosen(&mut balancer, &ids(1..=9)), 4);
    balancer.begin_round(&workers(1), 7);
    assert_eq!(chosen(&mut balancer, &ids([1])), 1);
}

#[test]
fn fewest_jobs_and_smallest_share_differ_where_workers_do() {
    let uneven = [sized(1, 2), sized(2, 8)];
    let feasible = ids([1, 2]);
    for (strategy, expected) in [(LoadBalancingStrategy::LeastConnections, 1), (LoadBalancingStrategy::LeastLoaded, 2)]
    {
        let mut balancer = balancer(strategy, &uneven);
        balancer.start(WorkerId(1), 0);
        (0..2).for_each(|_| assert!(balancer.start(WorkerId(2), 0)));
        assert_eq!(chosen(&mut balancer, &feasible), expected, "{strategy}");
    }
}

#[test]
fn gpus_in_use_are_load_too() {
    let mut balancer = balancer(LoadBalancingStrategy::LeastLoaded, &workers(2));
    balancer.start(WorkerId(1), 8);
    (0..3).for_each(|_| assert!(balancer.start(WorkerId(2), 1)));
    assert_eq!(chosen(&mut balancer, &ids([1, 2])), 2);
    balancer.finish(WorkerId(1), 8, None);
    assert_eq!(chosen(&mut balancer, &ids([1, 2])), 1);
}

#[test]
fn a_quick_worker_gets_as_much_more_as_it_is_quicker() {
    let mut balancer = balancer(LoadBalancingStrategy::WeightedResponse, &workers(3));
    for (id, response_us) in [(1, 100), (2, 300), (3, 600)] {
        balancer.start(WorkerId(id), 0);
        balancer.finish(WorkerId(id), 0, Some(response_us));
    }
    for _ in 0..9 {
        let worker_id = balancer.choose(&ids([1, 2, 3])).unwrap().unwrap().worker_id;
        balancer.start(worker_id, 0);
    }
    let running: Vec<_> = balancer.loads().values().map(|load| load.running).collect();
    assert_eq!(running, [6, 2, 1]);
}

#[test]
fn a_worker_without_measurement_is_tried_and_not_flooded() {
    let mut balancer = balancer(LoadBalancingStrategy::WeightedResponse, &workers(2));
    balancer.finish(WorkerId(1), 0, Some(500));
    assert_eq!(chosen(&mut balancer, &ids([1, 2])), 2);
    balancer.start(WorkerId(2), 0);
    assert_eq!(chosen(&mut balancer, &ids([1, 2])), 1);
}

#[test]
fn adaptive_goes_by_what_is_uneven_and_says_so() {
    let mut balancer = balancer(LoadBalancingStrategy::Adaptive, &workers(2));
    let now = |balancer: &mut LoadBalancer| balancer.choose(&ids([1, 2])).unwrap().unwrap();
    assert_eq!(now(&mut balancer), Choice { worker_id: WorkerId(1), strategy: LoadBalancingStrategy::RoundRobin });
    // Half of worker 1's slots: loads decide.
    (0..2).for_each(|_| assert!(balancer.start(WorkerId(1), 0)));
    assert_eq!(now(&mut balancer), Choice { worker_id: WorkerId(2), strategy: LoadBalancingStrategy::LeastLoaded });
    // A quarter lies between the thresholds: they still do.
    balancer.finish(WorkerId(1), 0, Some(1_000));
    assert_eq!(balancer.imbalance(), Imbalance { load_bps: 2_500, response_bps: 0 });
    assert_eq!(now(&mut balancer).strategy, LoadBalancingStrategy::LeastLoaded);
    // Even again, and one twice as quick as the other: response times decide.
    balancer.finish(WorkerId(1), 0, None);
    balancer.finish(WorkerId(2), 0, Some(2_000));
    assert_eq!(balancer.imbalance(), Imbalance { load_bps: 0, response_bps: 5_000 });
    assert_eq!(
        now(&mut balancer),
        Choice { worker_id: WorkerId(1), strategy: LoadBalancingStrategy::WeightedResponse }
    );
}

#[test]
fn whoever_takes_no_jobs_does_not_count_for_the_imbalance() {
    let mut three = workers(3);
    three[1].free_slots = 0;
    three[1].online = false;
    three[2].free_slots = 0;
    three[2].status = WorkerStatus::Draining;
    assert_eq!(balancer(LoadBalancingStrategy::Adaptive, &three).imbalance(), Imbalance::default());
}

#[test]
fn nobody_is_chosen_from_nobody_and_strangers_are_named() {
    for strategy in LoadBalancingStrategy::ALL {
        let mut balancer = balancer(strategy, &workers(2));
        let before = balancer.clone();
        assert_eq!(balancer.choose(&[]), Ok(None));
        let error = balancer.choose(&ids([9, 1, 8])).unwrap_err();
        assert_eq!(error.to_string(), "feasible: worker 8 is not among the round's workers");
        assert_eq!(balancer, before, "{strategy}");
    }
}

#[test]
fn response_times_outlive_a_round_but_not_the_worker() {
    let mut balancer = balancer(LoadBalancingStrategy::WeightedResponse, &workers(2));
    balancer.finish(WorkerId(1), 0, Some(70));
    balancer.begin_round(&workers(2), 8);
    assert_eq!(balancer.loads()[&WorkerId(1)].response.mean_us(), Some(70));
    balancer.begin_round(&[], 9);
    balancer.begin_round(&workers(2), 10);
    assert_eq!(balancer.loads()[&WorkerId(1)].response.mean_us(), None);
}

#[test]
fn thresholds_without_a_gap_are_refused_and_unknown_settings_too() {
    let config = |json: &str| serde_json::from_str::<BalancingConfig>(json);
    assert_eq!(config("{}").unwrap(), BalancingConfig::default());
    BalancingConfig::default().validate().unwrap();
    assert!(config(r#"{ "strategy": "fastest" }"#).is_err());
    assert!(config(r#"{ "strategies": "random" }"#).is_err());
    let mut flapping = BalancingConfig::default();
    flapping.adaptive.response_leave_bps = 5_000;
    assert_eq!(
        LoadBalancer::new(flapping).unwrap_err().to_string(),
        "adaptive: response_leave_bps is 5000 and response_enter_bps 5000, but the first must be below the second \
         and the second at most 10000"
    );
    let mut unreachable = BalancingConfig::default();
    unreachable.adaptive.load_enter_bps = 10_001;
    assert!(unreachable.validate().is_err());
}

#[test]
fn names_are_what_is_serialised() {
    for strategy in LoadBalancingStrategy::ALL {
        assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
    }
}
