//! Order, queues, retries, preferences, pools, emergencies and workers that are kept.

use keeper_types::{
    Address, AgentProfile, AgentView, Attempt, ExecutorKind, Felt, ManifestView, Placement, Preference, Preferences,
    Rate, Refusals, Requirements, RunningJob, Strategy, TrustTier, WorkerId,
};
use proptest::{collection::vec, prelude::*};

use super::{fixtures::*, *};
use crate::{Assignment, Ordering, OverflowRule, Rejection, Reservation, WorkerView};

fn client(number: u64) -> Address {
    Address(Felt::from(number))
}

/// A job on so many GPUs of any worker.
fn sized(id: u64, gpu_count: u8) -> PendingJob {
    PendingJob { requirements: Requirements { gpu_count, ..Requirements::default() }, ..job(id) }
}

/// A job that prefers workers of high reputation, and two workers: a busy one that it prefers, and another that has room.
fn wishful(queued_s: u64) -> Snapshot {
    let mut wishful = sized(1, 1);
    wishful.manifest_view.placement.prefers = Preferences { min_reputation: Some(900), ..Preferences::default() };
    (wishful.queued_at, wishful.submitted_at) = (NOW - queued_s, NOW - queued_s);
    let preferred = WorkerView { reputation: 950, free_slots: 0, ..large(1, 2) };
    snapshot(vec![wishful, sized(2, 1)], vec![preferred, large(2, 2)])
}

#[test]
fn a_job_waits_a_while_for_workers_that_it_prefers() {
    let patient = Policy { preference_wait_s: 30, ..Policy::BALANCED };
    let decided = |snapshot: &Snapshot, policy: &Policy| {
        let plan = plan(snapshot, policy);
        (plan.explanations[&JobId(1)].outcome.code(), placed(&plan))
    };
    let waiting = plan(&wishful(10), &patient);
    assert_eq!(waiting.explanations[&JobId(1)].outcome, Outcome::PreferredBusy { until: NOW + 20 });
    assert_eq!(placed(&waiting), [(2, 2)], "who prefers nothing is not held up");
    let (code, pairs) = decided(&wishful(30), &patient);
    assert_eq!((code, pairs), ("placed", vec![(1, 2), (2, 2)]), "it has waited enough");
    assert_eq!(decided(&wishful(10), &Policy::BALANCED).0, "placed", "off unless the operator says so");

    let mut free = wishful(10);
    free.workers[0].free_slots = 1;
    assert!(decided(&free, &patient).1.contains(&(1, 1)), "whom it prefers has room");
    // Nobody is waited for who would not do, or is not there.
    let changes: [fn(&mut Snapshot); 4] = [
        |snapshot| snapshot.workers[0].online = false,
        |snapshot| snapshot.workers[0].reputation = 899,
        |snapshot| snapshot.workers[0].rate = Rate(snapshot.jobs[0].max_rate.0 + 1),
        |snapshot| snapshot.jobs[0].excluded = vec![WorkerId(1)],
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = wishful(10);
        change(&mut changed);
        assert_eq!(decided(&changed, &patient).0, "placed", "change {number}");
    }
    let mut pressed = wishful(10);
    pressed.jobs[0].deadline.0 = NOW + 70;
    assert_eq!(plan(&pressed, &patient).explanations[&JobId(1)].outcome, Outcome::PreferredBusy { until: NOW + 10 });
    pressed.jobs[0].deadline.0 = NOW + 60;
    assert_eq!(decided(&pressed, &patient).0, "placed", "or it would expire");
    let mut urgent = wishful(10);
    (urgent.jobs[0].queue, urgent.jobs[0].priority) = (Queue::High, 10);
    let urgently = Policy { emergency_priority: 10, ..patient };
    assert_eq!(decided(&urgent, &urgently).0, "placed", "an emergency prefers nothing");
}

/// A worker with so many GPUs and slots, all free.
fn large(id: u32, gpus: u8) -> WorkerView {
    let mut worker = WorkerView { slots: gpus, free_slots: gpus, free_gpus: gpus, ..worker(id) };
    worker.capabilities.gpu_count = gpus;
    worker
}

fn placed(plan: &Plan) -> Vec<(u64, u32)> {
    plan.items.iter().map(|item| (item.job_id.0, item.worker_id.0)).collect()
}

fn order(plan: &Plan) -> Vec<u64> {
    plan.items.iter().map(|item| item.job_id.0).collect()
}

fn planned(ordering: Ordering, jobs: Vec<PendingJob>, workers: Vec<WorkerView>) -> Plan {
    plan(&snapshot(jobs, workers), &Policy { ordering, emergency_priority: 10, ..Policy::BALANCED })
}

#[test]
fn each_ordering_takes_jobs_in_its_own_order() {
    let jobs = || {
        vec![
            PendingJob { submitted_at: NOW - 30, priority: 1, execution_timeout_s: 500, ..sized(1, 1) },
            PendingJob { submitted_at: NOW - 20, priority: 9, execution_timeout_s: 5_000, ..sized(2, 1) },
            PendingJob { submitted_at: NOW - 10, deadline: (NOW + 9, job(3).deadline.1), ..sized(3, 1) },
        ]
    };
    let order = |ordering| order(&planned(ordering, jobs(), vec![large(1, 8)]));
    assert_eq!(order(Ordering::Fifo), [1, 2, 3]);
    assert_eq!(order(Ordering::Priority), [2, 3, 1]);
    assert_eq!(order(Ordering::EarliestDeadline), [3, 1, 2]);
    assert_eq!(
        order(Ordering::Balanced),
        [3, 2, 1],
        "eight levels of priority outweigh ten times the time, four do not 83"
    );
}

#[test]
fn fair_share_goes_by_what_was_used_and_weighs_it() {
    let of = |id, owner| PendingJob { client: client(owner), ..sized(id, 1) };
    let mut snapshot = snapshot(vec![of(1, 7), of(2, 8), of(3, 9)], vec![large(1, 8)]);
    snapshot.used_milli = [(client(7), 9_000), (client(8), 5_000)].into();
    let policy = Policy { ordering: Ordering::FairShare, ..Policy::BALANCED };
    assert_eq!(order(&plan(&snapshot, &policy)), [3, 2, 1]);
    let favoured = Policy { client_weights: [(client(7), 10)].into(), ..policy };
    assert_eq!(order(&plan(&snapshot, &favoured)), [3, 1, 2]);
}

#[test]
fn what_a_client_holds_puts_its_next_jobs_back_within_the_round() {
    let of = |id, owner| PendingJob { client: client(owner), ..sized(id, 1) };
    let jobs = vec![of(1, 7), of(2, 7), of(3, 7), of(4, 8)];
    assert_eq!(order(&planned(Ordering::Balanced, jobs, vec![large(1, 8)])), [1, 4, 2, 3]);
}

#[test]
fn a_job_that_waited_too_long_goes_first_whatever_it_is() {
    let overdue = PendingJob { submitted_at: NOW - 90_000, priority: 1, execution_timeout_s: 9_000, ..sized(1, 1) };
    let jobs = vec![PendingJob { priority: 9, ..sized(2, 1) }, overdue];
    assert_eq!(order(&planned(Ordering::Balanced, jobs.clone(), vec![large(1, 8)])), [1, 2]);
    let mut patient = Policy::BALANCED;
    patient.queues.default.max_wait_s = 200_000;
    assert_eq!(order(&plan(&snapshot(jobs, vec![large(1, 8)]), &patient)), [2, 1]);
}

#[test]
fn what_a_client_was_served_lately_puts_off_when_its_jobs_are_due() {
    let waited = PendingJob { client: client(7), submitted_at: NOW - 4_000, execution_timeout_s: 900, ..sized(1, 1) };
    let fresh = PendingJob { client: client(8), ..sized(2, 1) };
    let mut snapshot = snapshot(vec![waited, fresh], vec![large(1, 8)]);
    assert_eq!(
        order(&plan(&snapshot, &Policy::BALANCED)),
        [1, 2],
        "it is due an hour after a quarter of an hour's work"
    );
    // Its share is half of eight GPUs, so that these GPU-seconds are worth 1,000 s.
    snapshot.used_milli = [(client(7), 4_000_000)].into();
    assert_eq!(order(&plan(&snapshot, &Policy::BALANCED)), [2, 1]);
}

#[test]
fn emergencies_go_before_all_others_and_are_recorded_as_such() {
    let urgent = PendingJob { queue: Queue::High, priority: 10, ..sized(5, 1) };
    let high = PendingJob { queue: Queue::High, priority: 9, ..sized(4, 1) };
    for ordering in [Ordering::Fifo, Ordering::FairShare, Ordering::Balanced] {
        let plan = planned(ordering, vec![sized(1, 1), high.clone(), urgent.clone()], vec![large(1, 8)]);
        assert_eq!(plan.items[0].job_id, JobId(5));
        assert_eq!(plan.items.iter().filter(|item| item.strategy == Strategy::Emergency).count(), 1);
    }
    let free_of_charge = Policy { ordering: Ordering::Fifo, ..Policy::BALANCED };
    let plan = plan(&snapshot(vec![sized(1, 1), urgent.clone()], vec![large(1, 8)]), &free_of_charge);
    assert!(plan.items.iter().all(|item| item.strategy == Strategy::Standard), "off unless the operator says so");
    let overdue = PendingJob { submitted_at: NOW - 90_000, ..sized(2, 1) };
    let plan = planned(Ordering::Balanced, vec![overdue, urgent], vec![large(1, 8)]);
    assert_eq!(order(&plan), [2, 5], "what was promised comes before emergencies");
}

#[test]
fn a_failed_job_waits_before_its_next_attempt_the_longer_the_more_failed() {
    let policy = Policy { retry_base_s: 10, retry_max_s: 60, ..Policy::BALANCED };
    let at = |attempt, queued| {
        let job = PendingJob { attempt: Attempt(attempt), queued_at: NOW - queued, ..job(1) };
        plan(&snapshot(vec![job], vec![worker(1)]), &policy).explanations[&JobId(1)].outcome.clone()
    };
    let is_placed = |outcome| matches!(outcome, Outcome::Placed { .. });
    assert!(is_placed(at(1, 0)), "a first attempt does not wait");
    assert!(matches!(at(2, 0), Outcome::BackingOff { until } if (NOW + 5..=NOW + 10).contains(&until)));
    assert!(is_placed(at(2, 10)));
    assert!(matches!(at(4, 10), Outcome::BackingOff { until } if (NOW + 20..=NOW + 30).contains(&until)));
    assert!(is_placed(at(9, 60)), "it never waits longer than the longest wait");
}

#[test]
fn a_full_queue_spills_holds_or_sheds() {
    let mut policy = Policy { ordering: Ordering::Priority, ..Policy::BALANCED };
    (policy.queues.high.max_jobs, policy.queues.default.max_jobs, policy.queues.low.max_jobs) = (1, 1, 1);
    let of = |id, queue, priority| PendingJob { queue, priority, submitted_at: NOW - 100 + id, ..sized(id, 1) };
    let jobs = vec![
        of(1, Queue::High, 5),
        of(2, Queue::High, 5),
        of(3, Queue::High, 5),
        of(4, Queue::Low, 4),
        of(5, Queue::Low, 6),
    ];
    let outside = |policy: &Policy| {
        let plan = plan(&snapshot(jobs.clone(), vec![large(1, 8)]), policy);
        let outside = plan.explanations.values().filter(|found| found.outcome == Outcome::QueueFull);
        outside.map(|found| found.job_id.0).collect::<Vec<_>>()
    };
    assert_eq!(outside(&policy), [3, 4], "2 spilled to default, 3 to low; 4 is too low, 5 sheds 3");
    policy.queues.high.overflow = OverflowRule::Hold;
    assert_eq!(outside(&policy), [2, 3, 4]);
}

#[test]
fn static_workers_are_tried_first_whatever_they_score() {
    let admitted = WorkerView { is_static: true, rate: Rate(1_000), ..worker(9) };
    let cheap = WorkerView { rate: Rate(1), ..worker(1) };
    let plan = planned(Ordering::Fifo, vec![job(1), job(2)], vec![cheap.clone(), admitted]);
    assert_eq!(placed(&plan), [(1, 9), (2, 1)]);
    assert_eq!(plan.explanations[&JobId(1)].runner_up.unwrap().worker_id, WorkerId(1), "the next pool's best");
    let mut picky = job(3);
    picky.manifest_view.placement.trust = TrustTier::Admitted;
    let refused = planned(Ordering::Fifo, vec![picky], vec![cheap]);
    assert_eq!(refused.explanations[&JobId(3)].outcome, Outcome::NoFeasibleWorker);
    assert_eq!(refused.explanations[&JobId(3)].rejections, [(Rejection::Trust, 1)].into());
}

fn with_agent(id: u32, change: impl Fn(&mut AgentView)) -> WorkerView {
    let mut worker = worker(id);
    worker.agent = AgentView {
        profile: AgentProfile {
            gpu_model: "NVIDIA H100 PCIe".to_owned(),
            disk_gib: 100,
            pcie_generation: 5,
            ..AgentProfile::default()
        },
        latency_ms: Some(20),
        is_stalled: false,
    };
    change(&mut worker.agent);
    worker
}

#[test]
fn a_worker_that_does_not_begin_what_it_was_given_is_given_nothing_else() {
    let stalled = with_agent(1, |agent| agent.is_stalled = true);
    let job = PendingJob { requirements: Requirements::default(), ..job(1) };
    let alone = planned(Ordering::Fifo, vec![job.clone()], vec![stalled.clone()]);
    let explanation = &alone.explanations[&JobId(1)];
    assert_eq!(explanation.outcome, Outcome::NoCapacity, "it may begin yet");
    assert_eq!(explanation.rejections, [(Rejection::Stalled, 1)].into());
    assert_eq!(explanation.reservation, None, "nobody is kept for a job who may never be free");
    let beside = planned(Ordering::Fifo, vec![job], vec![stalled, WorkerView { rate: Rate(1_000), ..worker(2) }]);
    assert_eq!(placed(&beside), [(1, 2)]);
}

#[test]
fn what_manifests_ask_and_agents_refuse_is_met_or_counted() {
    let mut asking = PendingJob { max_latency_ms: 20, ..job(1) };
    asking.manifest_view = ManifestView {
        executor: ExecutorKind::Matmul,
        placement: Placement {
            gpu_models: vec!["h100".to_owned()],
            disk_gib: 100,
            pcie_generation: 5,
            ..Placement::default()
        },
    };
    type Change = fn(&mut AgentView);
    let cases: [(Change, Option<Rejection>); 8] = [
        (|_| {}, None),
        (|agent| agent.latency_ms = Some(21), Some(Rejection::Latency)),
        (|agent| agent.latency_ms = None, Some(Rejection::LatencyUnknown)),
        (|agent| agent.profile.gpu_model = "NVIDIA L4".to_owned(), Some(Rejection::GpuModel)),
        (|agent| agent.profile.disk_gib = 99, Some(Rejection::Disk)),
        (|agent| agent.profile.pcie_generation = 4, Some(Rejection::PcieGeneration)),
        (|agent| _ = agent.profile.refuses.clients.insert(client(2)), Some(Rejection::RefusesClient)),
        (|agent| _ = agent.profile.refuses.executors.insert(ExecutorKind::Matmul), Some(Rejection::RefusesExecutor)),
    ];
    for (change, rejection) in cases {
        let plan = planned(Ordering::Fifo, vec![asking.clone()], vec![with_agent(1, change)]);
        let found = &plan.explanations[&JobId(1)];
        assert_eq!(found.rejections.keys().copied().collect::<Vec<_>>(), Vec::from_iter(rejection));
        assert_eq!(plan.items.is_empty(), rejection.is_some());
    }
}

#[test]
fn of_an_agent_that_is_away_nothing_but_that_is_held_against_it() {
    let mut asking = job(1);
    asking.manifest_view.placement.disk_gib = 5;
    let away = WorkerView { online: false, ..worker(1) };
    let found = planned(Ordering::Fifo, vec![asking], vec![away]).explanations[&JobId(1)].clone();
    assert_eq!((found.outcome, found.rejections), (Outcome::WorkersOffline, [(Rejection::Offline, 1)].into()));
}

#[test]
fn preferences_are_dropped_in_their_order_and_named() {
    let mut modelled = PendingJob { model_id: Felt::THREE, ..job(1) };
    modelled.manifest_view.placement.prefers =
        Preferences { warm_model: true, max_rate: Some(Rate(500)), ..Preferences::default() };
    let warm = with_agent(1, |agent| agent.profile.models = [Felt::THREE].into());
    let cheap = WorkerView { rate: Rate(400), ..worker(2) };
    let both = WorkerView { rate: Rate(400), ..warm.clone() };

    let ideal = planned(Ordering::Fifo, vec![modelled.clone()], vec![both, cheap.clone()]);
    assert_eq!((placed(&ideal), ideal.items[0].strategy), (vec![(1, 1)], Strategy::Standard));
    let plan = planned(Ordering::Fifo, vec![modelled.clone()], vec![warm.clone(), cheap]);
    assert_eq!(placed(&plan), [(1, 2)], "a cold worker costs less to put up with than a dear one");
    let found = &plan.explanations[&JobId(1)];
    assert_eq!((plan.items[0].strategy, &found.dropped[..]), (Strategy::Fallback, &[Preference::Warmth][..]));
    assert_eq!(found.runner_up.unwrap().worker_id, WorkerId(1));
    let urgent = PendingJob { queue: Queue::High, priority: 10, ..modelled };
    let emergency = planned(Ordering::Fifo, vec![urgent], vec![warm]);
    assert_eq!(emergency.items[0].strategy, Strategy::Emergency);
    assert!(emergency.explanations[&JobId(1)].dropped.is_empty(), "an emergency has no preferences");
}

/// Eight GPUs of which six are held for another ten minutes, and a job ahead that wants all of them.
fn crowded() -> (PendingJob, WorkerView, RunningJob) {
    let busy = WorkerView { free_gpus: 2, free_slots: 7, ..large(1, 8) };
    let holder = RunningJob { gpus: 6, ends_by: NOW + 600, ..running(90, 1) };
    (PendingJob { submitted_at: NOW - 50, ..sized(1, 8) }, busy, holder)
}

#[test]
fn a_worker_is_kept_for_a_job_that_does_not_fit_and_only_what_is_in_nobodys_way_starts_on_it() {
    let (wide, busy, holder) = crowded();
    let short = PendingJob { execution_timeout_s: 480, ..sized(2, 1) };
    let long = PendingJob { execution_timeout_s: 481, ..sized(3, 1) };
    let snapshot = Snapshot { running: vec![holder], ..snapshot(vec![wide, short, long], vec![busy]) };
    let policy = Policy { ordering: Ordering::Fifo, ..Policy::BALANCED };
    let kept = plan(&snapshot, &policy);
    assert_eq!(placed(&kept), [(2, 1)], "it ends by then; the other would end a second too late");
    let reservation = Reservation { worker_id: WorkerId(1), start_by: NOW + 600 };
    assert_eq!(kept.explanations[&JobId(1)].reservation, Some(reservation));
    assert_eq!(kept.explanations[&JobId(1)].outcome, Outcome::NoCapacity);
    assert_eq!(kept.explanations[&JobId(3)].rejections, [(Rejection::Reserved, 1)].into());
    assert_eq!(kept.explanations[&JobId(3)].outcome, Outcome::NoCapacity);
    let careless = plan(&snapshot, &Policy { reservations: 0, ..policy });
    assert_eq!(placed(&careless), [(2, 1), (3, 1)]);
}

#[test]
fn no_worker_is_kept_for_a_job_that_will_have_expired() {
    let (wide, busy, holder) = crowded();
    let hopeless = PendingJob { deadline: (NOW + 599, wide.deadline.1), ..wide };
    let long = PendingJob { execution_timeout_s: 5_000, ..sized(3, 1) };
    let snapshot = Snapshot { running: vec![holder], ..snapshot(vec![hopeless, long], vec![busy]) };
    let plan = plan(&snapshot, &Policy { ordering: Ordering::Fifo, ..Policy::BALANCED });
    assert_eq!(placed(&plan), [(3, 1)]);
    assert_eq!(plan.explanations[&JobId(1)].reservation, None);
}

#[test]
fn jobs_that_find_no_worker_to_keep_use_up_no_reservation() {
    // Sixteen jobs for one large worker that is full, then one for a smaller worker that is full too.
    let full = |id, gpus| WorkerView { free_gpus: 0, ..large(id, gpus) };
    let holders = [(1, 8), (2, 4)].map(|(worker_id, gpus)| RunningJob { gpus, ..running(90, worker_id) });
    let at = |id| PendingJob { submitted_at: NOW - 100 + id, ..sized(id, 8) };
    let mut jobs: Vec<_> = (1..=16).map(at).collect();
    jobs.push(PendingJob { submitted_at: NOW - 10, ..sized(17, 4) });
    let snapshot = Snapshot { running: holders.to_vec(), ..snapshot(jobs, vec![full(1, 8), full(2, 4)]) };
    let policy = Policy { ordering: Ordering::Fifo, reservations: 4, ..Policy::BALANCED };
    let found = plan(&snapshot, &policy).explanations;
    assert_eq!(found[&JobId(1)].reservation.unwrap().worker_id, WorkerId(1));
    assert!((2..=16).all(|id| found[&JobId(id)].reservation.is_none()));
    assert_eq!(found[&JobId(17)].reservation.map(|kept| kept.worker_id), None, "four times as many are looked for");
    let generous = Policy { reservations: 5, ..policy };
    let found = plan(&snapshot, &generous).explanations;
    assert_eq!(found[&JobId(17)].reservation.unwrap().worker_id, WorkerId(2));
}

#[test]
fn what_nobody_can_take_takes_no_places_and_no_shares() {
    let mut policy = Policy { ordering: Ordering::Fifo, ..Policy::BALANCED };
    policy.queues.default.max_jobs = 1;
    policy.queues.default.overflow = OverflowRule::Hold;
    let impossible = PendingJob { submitted_at: NOW - 90, ..sized(1, 63) };
    let plan = plan(&snapshot(vec![impossible, sized(2, 1)], vec![large(1, 8)]), &policy);
    assert_eq!(placed(&plan), [(2, 1)]);
    assert_eq!(plan.explanations[&JobId(1)].outcome, Outcome::NoFeasibleWorker);
}

#[test]
fn fair_share_counts_what_it_gives_at_once() {
    let of = |id, owner| PendingJob { client: client(owner), submitted_at: NOW - 100 + id, ..sized(id, 1) };
    let jobs = vec![of(1, 7), of(2, 7), of(3, 7), of(4, 8), of(5, 8)];
    assert_eq!(order(&planned(Ordering::FairShare, jobs, vec![large(1, 8)])), [1, 4, 2, 5, 3]);
}

#[test]
fn what_the_waiting_job_will_not_need_may_be_taken_for_longer() {
    let (wide, busy, holder) = crowded();
    let narrower = PendingJob { requirements: Requirements { gpu_count: 7, ..Requirements::default() }, ..wide };
    let long = |id| PendingJob { execution_timeout_s: 5_000, ..sized(id, 1) };
    let jobs = vec![narrower, long(2), long(3)];
    let snapshot = Snapshot { running: vec![holder], ..snapshot(jobs, vec![busy]) };
    let plan = plan(&snapshot, &Policy { ordering: Ordering::Fifo, ..Policy::BALANCED });
    assert_eq!(placed(&plan), [(2, 1)], "one of eight GPUs is to spare");
}

#[test]
fn an_exact_assignment_mends_what_greed_spoils() {
    // Both jobs score highest on worker 1, but only the second loses much elsewhere.
    let cheap = WorkerView { rate: Rate(100), ..worker(1) };
    let dear = WorkerView { rate: Rate(900), ..worker(2) };
    let rich = PendingJob { max_rate: Rate(100_000), submitted_at: NOW - 9, ..job(1) };
    let poor = PendingJob { max_rate: Rate(1_000), submitted_at: NOW - 8, ..job(2) };
    let snapshot = snapshot(vec![rich, poor], vec![cheap, dear]);
    let policy = Policy { ordering: Ordering::Fifo, ..Policy::BALANCED };
    assert_eq!(placed(&plan(&snapshot, &policy)), [(1, 1), (2, 2)]);
    let exact = plan(&snapshot, &Policy { assignment: Assignment::Exact, ..policy });
    assert_eq!(placed(&exact), [(1, 2), (2, 1)]);
    assert!(exact.items.iter().all(|item| item.strategy == Strategy::Batch));
    assert_eq!(exact.explanations[&JobId(1)].runner_up.unwrap().worker_id, WorkerId(1));
}

#[test]
fn a_worker_that_refuses_a_client_takes_others() {
    let refuses = Refusals { clients: [client(7)].into(), ..Refusals::default() };
    let picky = with_agent(1, |agent| agent.profile.refuses = refuses.clone());
    let unwanted = PendingJob { client: client(7), ..job(1) };
    assert_eq!(placed(&planned(Ordering::Fifo, vec![unwanted, job(2)], vec![picky])), [(2, 1)]);
}

/// When jobs arrive, in half minutes, with their GPUs and timeouts.
type Arrivals = Vec<(u64, u8, u32)>;

/// One worker with eight GPUs, a job that wants all of them, and small jobs that arrive meanwhile.
struct Busy {
    now: u64,
    waiting: Vec<PendingJob>,
    running: Vec<RunningJob>,
}

impl Busy {
    fn new(held: &[(u8, u64)]) -> Self {
        let held = (100..).zip(held);
        let running = held.map(|(id, (gpus, left))| RunningJob { gpus: *gpus, ends_by: NOW + left, ..running(id, 1) });
        let wide = PendingJob { submitted_at: NOW - 1, ..sized(1, 8) };
        Self { now: NOW, waiting: vec![patient(wide)], running: running.collect() }
    }

    fn round(&mut self) -> Plan {
        self.running.retain(|job| job.ends_by > self.now);
        let used: u8 = self.running.iter().map(|job| job.gpus).sum();
        let free_slots = 12 - u8::try_from(self.running.len()).unwrap();
        let roomy = WorkerView { slots: 12, free_slots, free_gpus: 8_u8.checked_sub(used).unwrap(), ..large(1, 8) };
        let snapshot = snapshot(self.waiting.clone(), vec![roomy]);
        let snapshot = Snapshot { now: self.now, running: self.running.clone(), ..snapshot };
        let plan = plan(&snapshot, &Policy { ordering: Ordering::Fifo, ..Policy::BALANCED });
        for item in &plan.items {
            let at = self.waiting.iter().position(|job| job.job_id == item.job_id).unwrap();
            let job = self.waiting.remove(at);
            // Included within half a minute, and due a minute after its timeout.
            let ends_by = self.now + 30 + u64::from(job.execution_timeout_s) + 60;
            let gpus = job.requirements.gpu_count;
            self.running.push(RunningJob { gpus, ends_by, ..running(job.job_id.0, 1) });
        }
        plan
    }
}

fn patient(job: PendingJob) -> PendingJob {
    PendingJob { deadline: (NOW + 1_000_000, job.deadline.1), ..job }
}

fn first_promise_holds(held: &[(u8, u64)], arrivals: &Arrivals) -> Result<(), TestCaseError> {
    let mut market = Busy::new(held);
    let mut promised = u64::MAX;
    for half_minute in 0_u64.. {
        market.now = NOW + half_minute * 30;
        let arriving = (2_u64..).zip(arrivals).filter(|(_, (after, ..))| *after == half_minute);
        let submitted = arriving.map(|(id, (_, gpus, timeout))| {
            patient(PendingJob { submitted_at: market.now, execution_timeout_s: *timeout, ..sized(id, *gpus) })
        });
        market.waiting.extend(submitted);
        let plan = market.round();
        let found = &plan.explanations[&JobId(1)];
        if matches!(found.outcome, Outcome::Placed { .. }) {
            prop_assert!(market.now <= promised.saturating_add(30), "started {}, promised {promised}", market.now);
            break;
        }
        let start_by = found.reservation.expect("the only wide job is kept a worker").start_by;
        prop_assert!(start_by <= promised, "{start_by} after {promised}");
        promised = start_by;
    }
    Ok(())
}

proptest! {
    #[test]
    fn a_promised_start_never_becomes_later(
        held in vec((1_u8..3, 1_u64..900), 1..4),
        arrivals in vec((0_u64..40, 1_u8..3, 1_u32..900), 0..40),
    ) {
        first_promise_holds(&held, &arrivals)?;
    }
}
