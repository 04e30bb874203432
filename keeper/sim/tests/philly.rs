//! The Philly replay on a sample of 100 jobs.

use keeper_sim::philly::{OURS, Outcome, Trace, Workload, compare, machines_for_load, policies, settings, verdicts};

fn sample() -> Trace {
    Trace::parse(include_str!("data/philly.csv")).expect("the sample is well-formed")
}

/// Figures without those that a clock gives.
fn timeless(mut outcomes: Vec<Outcome>) -> Vec<Outcome> {
    outcomes.iter_mut().for_each(|outcome| outcome.replay_s = 0.0);
    outcomes
}

#[test]
fn every_policy_ends_every_job_and_twice_the_same() {
    let trace = sample();
    let workload = Workload::new(&trace, 1);
    let loads = [70, 300];
    let outcomes = timeless(compare(&trace, &workload, &loads, &[]));
    assert_eq!(outcomes.len(), loads.len() * policies().len());
    for outcome in &outcomes {
        assert_eq!((outcome.jobs, outcome.machines), (100, machines_for_load(&trace, outcome.load_percent)));
        assert!(outcome.jain > 0.0 && outcome.jain <= 1.0 && outcome.p95_wait_s <= outcome.max_wait_s);
        // No schedule ends before the work is done.
        let capacity = u64::from(outcome.machines) * 8;
        assert!(u64::from(outcome.makespan_s) * capacity >= trace.gpu_seconds());
    }
    assert_eq!(outcomes, timeless(compare(&trace, &workload, &loads, &[])), "threads and time change nothing");
}

#[test]
fn an_idle_cluster_is_the_same_under_every_policy() {
    let trace = sample();
    let workload = Workload::new(&trace, 1);
    for outcome in compare(&trace, &workload, &[1], &[]) {
        assert_eq!((outcome.max_wait_s, outcome.deadline_misses, outcome.starved), (0, 0, 0), "{}", outcome.policy);
    }
}

#[test]
fn a_verdict_needs_ours_and_a_peer() {
    let trace = sample();
    let workload = Workload::new(&trace, 1);
    let only = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        verdicts(&compare(&trace, &workload, &[300], &names))
    };
    assert_eq!(only(&[OURS]), []);
    assert_eq!(only(&["fifo"]), []);
    let verdict = &only(&[OURS, "fifo"])[0];
    assert_eq!(verdict.load_percent, 300);
    assert_eq!(settings(&trace, 300).machines, machines_for_load(&trace, 300));
}
