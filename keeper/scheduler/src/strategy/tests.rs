use keeper_types::{Felt, JobId, Rate, Region, Strategy, WorkerId};

use super::*;

pub(super) fn candidate(id: u32, pool: Pool, score: u16, meets: &[Preference]) -> Candidate {
    Candidate { worker_id: WorkerId(id), pool, score, meets: meets.iter().copied().collect() }
}

fn set(preferences: &[Preference]) -> PreferenceSet {
    preferences.iter().copied().collect()
}

fn region(name: &str) -> Region {
    name.parse().unwrap()
}

const NOW_S: u64 = 10_000;

fn host(id: u32, free_slots: u8, free_gpus: u8) -> Host {
    Host { candidate: candidate(id, Pool::Dynamic, 5_000, &[]), free_slots, free_gpus }
}

/// A job on worker 1 that may be put off.
fn running(id: u64, priority: u8, gpus: u8, ran_s: u64) -> RunningJob {
    RunningJob {
        job_id: JobId(id),
        worker_id: WorkerId(1),
        priority,
        is_preemptible: true,
        began_s: NOW_S - ran_s,
        gpus,
    }
}

fn put_off(gpus: u8, hosts: &[Host], running: &[RunningJob]) -> Option<(u32, Vec<u64>)> {
    let need = EmergencyNeed { priority: 10, gpus };
    let found = emergency(&need, hosts, running, &EmergencyRules::default(), NOW_S)?;
    assert_eq!(found.allocation.strategy, Strategy::Emergency);
    Some((found.allocation.worker_id.0, found.preempt.into_iter().map(|job_id| job_id.0).collect()))
}

#[test]
fn static_workers_go_first_then_the_score_then_the_id() {
    let mut candidates = vec![
        candidate(1, Pool::Dynamic, 9_000, &[]),
        candidate(3, Pool::Static, 4_000, &[]),
        candidate(2, Pool::Static, 4_000, &[]),
        candidate(4, Pool::Static, 3_000, &[]),
    ];
    let mut taken = Vec::new();
    while let Some(allocation) = standard(PreferenceSet::NONE, &candidates) {
        candidates.retain(|candidate| candidate.worker_id != allocation.worker_id);
        taken.push((allocation.worker_id.0, allocation.pool));
    }
    assert_eq!(taken, [(2, Pool::Static), (3, Pool::Static), (4, Pool::Static), (1, Pool::Dynamic)]);
}

#[test]
fn standard_wants_every_preference_and_fallback_says_what_it_dropped() {
    let wanted = set(&[Preference::Warmth, Preference::Latency, Preference::Reputation]);
    let candidates = [
        candidate(1, Pool::Static, 9_000, &[Preference::Warmth, Preference::Latency]),
        candidate(2, Pool::Dynamic, 1_000, &[Preference::Reputation]),
        candidate(3, Pool::Dynamic, 500, &[Preference::Reputation, Preference::Warmth]),
    ];
    assert_eq!(standard(wanted, &candidates), None);
    let allocation = fallback(wanted, &candidates).unwrap();
    // Reputation is the last to go. Warmth goes before latency, but worker 3 keeps it.
    assert_eq!((allocation.worker_id, allocation.strategy), (WorkerId(3), Strategy::Fallback));
    assert_eq!(allocation.dropped, [Preference::Latency]);
    assert_eq!(fallback(wanted, &candidates[..1]).unwrap().dropped, [Preference::Reputation]);
    assert_eq!(fallback(wanted, &candidates[1..2]).unwrap().dropped, [Preference::Warmth, Preference::Latency]);
    assert_eq!(fallback(wanted, &[]), None);
}

#[test]
fn preferences_are_judged_by_facts() {
    let preferences = Preferences {
        warm_model: true,
        region: Some(region("eu-w1")),
        max_latency_ms: Some(50),
        max_rate: Some(Rate(10)),
        min_reputation: Some(700),
        near: None,
    };
    let ideal =
        WorkerFacts { is_warm: true, region: Some(region("eu-w1")), latency_ms: 50, rate: Rate(10), reputation: 700 };
    assert_eq!(preferences.met_by(&ideal), preferences.wanted());
    assert_eq!(preferences.wanted(), set(&Preference::RELAXATION_ORDER));
    let off = WorkerFacts { is_warm: false, region: None, latency_ms: 51, rate: Rate(11), reputation: 699 };
    assert_eq!(preferences.met_by(&off), PreferenceSet::NONE);
    let easy = Preferences { max_rate: Some(Rate(11)), ..Preferences::default() };
    assert_eq!((easy.wanted(), easy.met_by(&off)), (set(&[Preference::Rate]), set(&[Preference::Rate])));
}

#[test]
fn a_warm_worker_holds_the_model_or_none_is_needed() {
    let mut warmth = ModelWarmth::new();
    warmth.set(WorkerId(1), [Felt::ONE, Felt::TWO]);
    let terms =
        |warmth: &ModelWarmth, id| [Felt::ZERO, Felt::ONE, Felt::THREE].map(|model| warmth.term(WorkerId(id), model));
    assert_eq!(terms(&warmth, 1), [10_000, 10_000, 0]);
    assert_eq!(terms(&warmth, 2), [10_000, 0, 0]);
    let json = serde_json::to_string(&warmth).unwrap();
    assert_eq!(serde_json::from_str::<ModelWarmth>(&json).unwrap(), warmth);
    warmth.set(WorkerId(1), []);
    assert_eq!(warmth, ModelWarmth::new());
}

#[test]
fn a_batch_fills_workers_in_order_and_names_who_is_left() {
    let jobs = [5, 3, 9, 1].map(JobId);
    let candidates = [
        (candidate(1, Pool::Dynamic, 9_000, &[]), 2),
        (candidate(2, Pool::Static, 100, &[]), 1),
        (candidate(3, Pool::Static, 50, &[]), 0),
    ];
    let found = batch(&jobs, PreferenceSet::NONE, &candidates);
    let workers: Vec<_> = found.allocations.iter().map(|(job_id, to)| (job_id.0, to.worker_id.0)).collect();
    assert_eq!(workers, [(5, 2), (3, 1), (9, 1)]);
    assert_eq!(found.unplaced, [JobId(1)]);
    assert!(found.allocations.iter().all(|(_, allocation)| allocation.strategy == Strategy::Batch));
}

#[test]
fn nobody_is_put_off_where_there_is_room() {
    let jobs = [running(7, 1, 4, 1_000)];
    assert_eq!(put_off(4, &[host(1, 0, 4), host(2, 1, 4)], &jobs), Some((2, vec![])));
}

#[test]
fn the_lowest_priority_goes_first_then_the_least_work_lost() {
    let jobs = [running(1, 3, 2, 400), running(2, 2, 2, 900), running(3, 2, 2, 500), running(4, 3, 1, 900)];
    assert_eq!(put_off(2, &[host(1, 0, 0)], &jobs), Some((1, vec![3])));
    assert_eq!(put_off(4, &[host(1, 0, 0)], &jobs), Some((1, vec![3, 2])));
    // Of priority 3, job 1 loses 800 GPU-seconds and job 4, which would not do, 900.
    assert_eq!(put_off(6, &[host(1, 0, 0)], &jobs), Some((1, vec![3, 2, 1])));
    assert_eq!(put_off(8, &[host(1, 0, 0)], &jobs), None);
}

#[test]
fn who_was_not_needed_after_all_is_let_go() {
    let jobs = [running(1, 1, 1, 400), running(2, 2, 8, 400)];
    assert_eq!(put_off(8, &[host(1, 0, 0)], &jobs), Some((1, vec![2])));
}

#[test]
fn only_who_may_be_put_off_is() {
    let allowed = running(1, 9, 2, 300);
    let put = |job| put_off(2, &[host(1, 0, 0)], &[job]);
    assert_eq!(put(allowed), Some((1, vec![1])));
    assert_eq!(put(RunningJob { is_preemptible: false, ..allowed }), None);
    assert_eq!(put(RunningJob { priority: 10, ..allowed }), None);
    assert_eq!(put(RunningJob { began_s: allowed.began_s + 1, ..allowed }), None);
    assert_eq!(put(RunningJob { worker_id: WorkerId(2), ..allowed }), None);
    let common = EmergencyNeed { priority: 9, gpus: 2 };
    let found = emergency(
        &common,
        &[host(1, 0, 0)],
        &[RunningJob { priority: 1, ..allowed }],
        &EmergencyRules::default(),
        NOW_S,
    );
    assert_eq!(found, None, "not an emergency");
}

#[test]
fn the_worker_with_the_cheapest_victims_is_taken() {
    let on = |worker, job| RunningJob { worker_id: WorkerId(worker), ..job };
    let hosts = [host(1, 0, 0), host(2, 0, 0), host(3, 0, 0)];
    let jobs = [on(1, running(1, 4, 2, 400)), on(2, running(2, 3, 2, 900)), on(3, running(3, 3, 2, 800))];
    assert_eq!(put_off(2, &hosts, &jobs), Some((3, vec![3])));
    let found = emergency(&EmergencyNeed { priority: 10, gpus: 2 }, &hosts, &jobs, &EmergencyRules::default(), NOW_S);
    assert_eq!(found.unwrap().work_lost_gpu_s, 1_600);
}

#[test]
fn settings_are_read_checked_and_refused() {
    let read = |json: &str| serde_json::from_str::<EmergencyRules>(json);
    assert_eq!(read("{}").unwrap(), EmergencyRules::default());
    assert!(read(r#"{ "min_run_time": 1 }"#).is_err());
    EmergencyRules::default().validate().unwrap();
    let error = read(r#"{ "min_priority": 1 }"#).unwrap().validate().unwrap_err();
    assert_eq!(error.to_string(), "min_priority is 1, but only jobs of priority 2 to 10 can put others off");
    assert!(serde_json::from_str::<Preferences>(r#"{ "warm": true }"#).is_err());
    let set: PreferenceSet = serde_json::from_str(r#"["rate", "warmth"]"#).unwrap();
    assert_eq!(serde_json::to_string(&set).unwrap(), r#"["warmth","rate"]"#);
}
