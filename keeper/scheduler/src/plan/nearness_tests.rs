//! Workers in order of their distance from the client, through `plan`.

use keeper_types::{Preferences, Region, Requirements, WorkerId};
use proptest::prelude::*;

use super::{
    fixtures::*,
    generators::{any_policy, any_snapshot},
    *,
};
use crate::{
    Balancing, Nearness, WorkerView,
    geography::{RegionLatencies, RegionLatency},
};

fn region(text: &str) -> Region {
    text.parse().unwrap()
}

/// A small job of a client that is in this region.
fn near(id: u64, text: &str) -> PendingJob {
    let mut job = PendingJob { requirements: Requirements::default(), submitted_at: NOW - 100 + id, ..job(id) };
    job.manifest_view.placement.prefers = Preferences { near: Some(region(text)), ..Preferences::default() };
    job
}

/// A worker with two slots there.
fn there(id: u32, text: Option<&str>) -> WorkerView {
    let mut worker = WorkerView { slots: 2, free_slots: 2, ..worker(id) };
    worker.capabilities.region = text.map(region);
    worker
}

/// Europe to the United States is 90 ms, back 95, and to Asia 160 both ways.
fn policy() -> Policy {
    let latency = |from, to, latency_ms| RegionLatency { from: region(from), to: region(to), latency_ms };
    let latencies = vec![latency("eu-w1", "us-e1", 90), latency("us-e1", "eu-w1", 95), latency("ap-s1", "eu-w1", 160)];
    Policy { geography: RegionLatencies { latencies, ..RegionLatencies::NONE }, ..Policy::BALANCED }
}

fn went(snapshot: &Snapshot, policy: &Policy) -> Vec<u32> {
    plan(snapshot, policy).items.iter().map(|item| item.worker_id.0).collect()
}

#[test]
fn workers_are_taken_in_the_order_of_their_distance_from_the_client() {
    let workers = vec![there(1, None), there(2, Some("ap-s1")), there(3, Some("us-e1")), there(4, Some("eu-w1"))];
    let jobs = (1..=8).map(|id| near(id, "eu-w1")).collect();
    let snapshot = snapshot(jobs, workers);
    assert_eq!(went(&snapshot, &policy()), [4, 4, 3, 3, 2, 2, 1, 1]);
    let planned = plan(&snapshot, &policy());
    let told = |job_id| planned.explanations[&JobId(job_id)].nearness.unwrap();
    assert_eq!(told(1), Nearness { to: region("eu-w1"), latency_ms: 5, among: 1 });
    assert_eq!([3, 5, 7].map(|job_id| told(job_id).latency_ms), [90, 160, 200]);
    let second = planned.explanations[&JobId(1)].runner_up.unwrap();
    assert_eq!(second.worker_id, WorkerId(1), "whom the score would have chosen");
    // Another client is elsewhere, and one that does not say so is nowhere.
    let mut one = snapshot;
    one.jobs = vec![near(1, "ap-s1")];
    assert_eq!(went(&one, &policy()), [2]);
    one.jobs[0].manifest_view.placement.prefers.near = None;
    assert_eq!(went(&one, &policy()), [1]);
    assert_eq!(plan(&one, &policy()).explanations[&JobId(1)].nearness, None);
}

#[test]
fn a_policy_without_latencies_tells_the_same_region_from_all_others() {
    let workers = vec![there(1, Some("us-e1")), there(2, Some("eu-w1")), there(3, Some("eu-w1")), there(4, None)];
    let snapshot = snapshot(vec![near(1, "eu-w1"), near(2, "moon")], workers);
    let planned = plan(&snapshot, &Policy::BALANCED);
    let nearness = |job_id| planned.explanations[&JobId(job_id)].nearness.unwrap();
    assert_eq!((nearness(1).latency_ms, nearness(1).among), (5, 2));
    assert_eq!((nearness(2).latency_ms, nearness(2).among), (200, 4), "as far as from anywhere");
}

#[test]
fn what_is_required_preferred_and_static_goes_before_and_rules_choose_among_the_nearest() {
    let mut workers = vec![there(1, Some("us-e1")), there(2, Some("eu-w1")), there(3, Some("eu-w1"))];
    workers[2].free_slots = 1;
    let mut snapshot = snapshot(vec![near(1, "eu-w1")], workers);
    let by = |balancing| Policy { balancing, ..policy() };
    assert_eq!(went(&snapshot, &by(Balancing::FirstAvailable)), [2]);
    assert_eq!(went(&snapshot, &by(Balancing::BestFit)), [3]);
    snapshot.workers[0].is_static = true;
    assert_eq!(went(&snapshot, &policy()), [1], "whom the admin admitted");
    snapshot.workers[0].is_static = false;
    snapshot.jobs[0].manifest_view.placement.prefers.region = Some(region("us-e1"));
    assert_eq!(went(&snapshot, &policy()), [1], "in the region that is preferred");
    snapshot.jobs[0].manifest_view.placement.prefers.region = None;
    snapshot.jobs[0].requirements.region = Some(region("us-e1"));
    assert_eq!(went(&snapshot, &policy()), [1], "in the region that is required");
    // Whatever the round, an emergency looks at the score alone.
    snapshot.jobs[0].requirements.region = None;
    (snapshot.jobs[0].queue, snapshot.jobs[0].priority) = (Queue::High, 10);
    let urgent = plan(&snapshot, &Policy { emergency_priority: 10, ..policy() });
    assert_eq!(urgent.explanations[&JobId(1)].nearness, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Where clients are changes who gets a job, never whether one gets it at all first: the first job is placed or not as
    /// it would be without.
    #[test]
    fn nearness_never_costs_the_first_job_its_place(snapshot in any_snapshot(8, 8), policy in any_policy()) {
        let mut anywhere = snapshot.clone();
        anywhere.jobs.iter_mut().for_each(|job| job.manifest_view.placement.prefers.near = None);
        let first = |snapshot: &Snapshot| plan(snapshot, &policy).items.first().map(|item| item.job_id);
        prop_assert_eq!(first(&snapshot), first(&anywhere));
    }
}
