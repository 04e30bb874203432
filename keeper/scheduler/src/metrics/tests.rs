use proptest::{collection::vec, prelude::*};

use super::*;
use crate::plan::fixtures::job;

fn decision(outcome: Outcome, rejections: &[(Rejection, u32)]) -> Explanation {
    let rejections = rejections.iter().copied().collect();
    Explanation { workers_evaluated: 3, rejections, ..Explanation::new(&job(1), outcome) }
}

fn placed() -> Explanation {
    decision(Outcome::Placed { worker_id: WorkerId(1) }, &[(Rejection::Vram, 2)])
}

fn region(name: &str) -> Option<Region> {
    Some(name.parse().unwrap())
}

#[test]
fn nothing_has_happened() {
    let summary = AllocationMetrics::new().summary(1_000);
    assert_eq!(
        (summary.allocation_rate_bps, summary.success_rate_bps, summary.utilisation_bps),
        (10_000, 10_000, None)
    );
    assert_eq!(summary.allocation_time, AllocationTime::default());
    assert!(summary.regions.is_empty() && summary.reasons.is_empty());
}

#[test]
fn decisions_are_counted_by_reason_place_and_time() {
    let mut metrics = AllocationMetrics::new();
    for (region, allocation_us) in [(region("eu-w1"), 10), (region("eu-w1"), 20), (None, 60)] {
        metrics.record_decision(&placed(), region, allocation_us);
    }
    let full = decision(Outcome::NoCapacity, &[(Rejection::NoFreeSlot, 1), (Rejection::Vram, 2)]);
    metrics.record_decision(&full, region("us-e1"), 9_999);
    [true, true, true, false].into_iter().for_each(|is_success| metrics.record_completion(is_success));

    let summary = metrics.summary(0);
    assert_eq!((summary.decisions, summary.allocations, summary.allocation_rate_bps), (4, 3, 7_500));
    assert_eq!((summary.succeeded, summary.failed, summary.success_rate_bps), (3, 1, 7_500));
    let expected = AllocationTime { mean_us: 30, p50_us: 20, p95_us: 60, p99_us: 60, max_us: 60 };
    assert_eq!(summary.allocation_time, expected);
    assert_eq!(
        summary.regions,
        [
            RegionAllocations { region: None, allocations: 1, share_bps: 3_333 },
            RegionAllocations { region: region("eu-w1"), allocations: 2, share_bps: 6_666 },
        ]
    );
    assert_eq!(summary.reasons, [("no_capacity".to_owned(), 1), ("placed".to_owned(), 3)].into());
    assert_eq!(summary.rejections, [(Rejection::NoFreeSlot, 1), (Rejection::Vram, 8)].into());
    assert_eq!((metrics.decisions("placed"), metrics.decisions("no_workers")), (3, 0));
}

#[test]
fn a_worker_is_as_busy_as_its_slots_were_over_time() {
    let (mut metrics, first, second) = (AllocationMetrics::new(), WorkerId(1), WorkerId(2));
    metrics.record_worker(first, 4, 0, 1_000);
    assert_eq!(metrics.utilisation_bps(first, 1_000), None);
    metrics.record_worker(first, 4, 3, 1_010);
    metrics.record_worker(second, 1, 1, 1_010);
    // Ten seconds idle, ten at three of four.
    assert_eq!(metrics.utilisation_bps(first, 1_020), Some(3_750));
    assert_eq!(metrics.summary(1_020).utilisation_bps, Some(4_444));
    // Two slots for twenty seconds, both busy: 70 of 120 slot-seconds.
    metrics.record_worker(first, 2, 9, 1_020);
    assert_eq!(metrics.utilisation_bps(first, 1_040), Some(5_833));
    // A clock that goes back takes nothing back.
    metrics.record_worker(first, 2, 2, 900);
    assert_eq!(metrics.utilisation_bps(first, 1_020), Some(3_750));
    assert_eq!(metrics.utilisation_bps(WorkerId(3), 1_040), None);
}

#[test]
fn who_has_left_stays_in_the_sum() {
    let mut metrics = AllocationMetrics::new();
    metrics.record_worker(WorkerId(1), 1, 1, 0);
    metrics.record_worker(WorkerId(2), 1, 0, 0);
    metrics.record_departure(WorkerId(1), 10);
    metrics.record_departure(WorkerId(9), 10);
    let summary = metrics.summary(30);
    assert_eq!(summary.worker_utilisation_bps, [(WorkerId(2), 0)].into());
    assert_eq!(summary.utilisation_bps, Some(2_500));
}

#[test]
fn a_summary_survives_json_and_refuses_what_it_does_not_know() {
    let mut metrics = AllocationMetrics::new();
    metrics.record_decision(&placed(), region("eu-w1"), u64::MAX);
    metrics.record_worker(WorkerId(7), 2, 1, 0);
    let summary = metrics.summary(5);
    assert_eq!(summary.allocation_time.max_us, u32::MAX);
    let mut json = serde_json::to_value(&summary).unwrap();
    assert_eq!(serde_json::from_value::<AllocationSummary>(json.clone()).unwrap(), summary);
    json["extra"] = 1.into();
    assert!(serde_json::from_value::<AllocationSummary>(json).is_err());
}

proptest! {
    #[test]
    fn utilisation_does_not_depend_on_how_often_it_is_noted(
        steps in vec((1..5_u8, 0..6_u8, 1..100_u64), 1..20),
        split in 1..100_u64,
    ) {
        let (mut once, mut twice) = (AllocationMetrics::new(), AllocationMetrics::new());
        let (worker_id, mut now_s) = (WorkerId(1), 0);
        for (slots, used_slots, elapsed_s) in steps {
            once.record_worker(worker_id, slots, used_slots, now_s);
            twice.record_worker(worker_id, slots, used_slots, now_s);
            twice.record_worker(worker_id, slots, used_slots, now_s + split.min(elapsed_s));
            now_s += elapsed_s;
        }
        let utilisation_bps = once.utilisation_bps(worker_id, now_s);
        prop_assert_eq!(twice.utilisation_bps(worker_id, now_s), utilisation_bps);
        prop_assert!(utilisation_bps.is_some_and(|bps| bps <= 10_000));
    }

    #[test]
    fn every_decision_has_one_reason_and_every_allocation_one_region(
        decisions in vec((any::<bool>(), 0..3_usize, any::<u32>()), 0..60),
    ) {
        let mut metrics = AllocationMetrics::new();
        for (is_placed, at, allocation_us) in &decisions {
            let explanation = if *is_placed { placed() } else { decision(Outcome::NoWorkers, &[]) };
            metrics.record_decision(&explanation, [None, region("a"), region("b")][*at], u64::from(*allocation_us));
        }
        let summary = metrics.summary(0);
        let allocations = decisions.iter().filter(|(is_placed, ..)| *is_placed).count() as u64;
        prop_assert_eq!(summary.decisions, decisions.len() as u64);
        prop_assert_eq!(summary.reasons.values().sum::<u64>(), summary.decisions);
        prop_assert_eq!(summary.allocations, allocations);
        prop_assert_eq!(summary.regions.iter().map(|region| region.allocations).sum::<u64>(), allocations);
        let AllocationTime { p50_us, p95_us, p99_us, max_us, .. } = summary.allocation_time;
        prop_assert!(p50_us <= p95_us && p95_us <= p99_us && p99_us <= max_us);
    }
}
