//! No job waits longer than [`WaitingBound`] says, whatever is submitted, round by round through [`plan`].

use std::collections::BTreeMap;

use keeper_types::{Address, BlockNumber, Felt, RunningJob, Usage, WorkerId};
use proptest::{
    prelude::*,
    strategy::Strategy,
    test_runner::{Config, TestRunner},
};

use super::{fixtures::*, *};
use crate::{QueueRules, WaitingBound, WorkerView};

/// Seconds between two rounds.
const PAUSE_S: u32 = 5;
/// The longest limit of a job, in seconds.
const LONGEST_S: u32 = 120;
/// GPUs of the widest job. Workers have as many for each slot, so that a free slot is room for any job.
const WIDEST: u8 = 2;
const CLIENTS: u8 = 8;

/// Jobs that one client submits one after the other.
#[derive(Clone, Debug)]
struct Burst {
    client: u64,
    /// Rounds before the first one.
    from_round: u64,
    count: u64,
    /// Rounds until the next one.
    after_rounds: u64,
    gpus: u8,
    limit_s: u32,
    /// Run time in percent of the limit.
    percent: u32,
    queue: Queue,
    priority: u8,
    /// Whether only the larger workers will do.
    is_demanding: bool,
}

fn bursts() -> impl Strategy<Value = Vec<Burst>> {
    let queue = prop_oneof![Just(Queue::Default), Just(Queue::High), Just(Queue::Low)];
    let limit = prop_oneof![3 => 1_u32..15, 1 => 1..=LONGEST_S];
    let job = (1..=WIDEST, limit, 1_u32..=100, queue, 1_u8..=10, proptest::bool::weighted(0.3));
    let when = (0_u64..20, prop_oneof![1_u64..4, 1_u64..80], 0_u64..3);
    let burst = (0..u64::from(CLIENTS), when, job).prop_map(|(client, (from_round, count, after_rounds), job)| {
        let (gpus, limit_s, percent, queue, priority, is_demanding) = job;
        Burst { client, from_round, count, after_rounds, gpus, limit_s, percent, queue, priority, is_demanding }
    });
    proptest::collection::vec(burst, 1..16)
}

/// A long job of the lowest priority, and what aims at it: short ones of high priorities, many a round, from all others.
fn siege() -> impl Strategy<Value = Vec<Burst>> {
    let victim = (60..=LONGEST_S, 1..=WIDEST, any::<bool>());
    let flood = (40_u64..120, 1_u32..8, 7_u8..=10, 0_u64..3);
    (victim, proptest::collection::vec(flood, usize::from(CLIENTS) - 1)).prop_map(
        |((limit_s, gpus, is_demanding), floods)| {
            let (queue, priority) = (Queue::Default, 1);
            let (from_round, count, after_rounds, percent) = (0, 1, 1, 100);
            let victim = Burst {
                client: 0,
                from_round,
                count,
                after_rounds,
                gpus,
                limit_s,
                percent,
                queue,
                priority,
                is_demanding,
            };
            let flood = |(client, (count, limit_s, priority, from_round)): (u64, _)| Burst {
                client,
                from_round,
                count,
                limit_s,
                priority,
                ..victim.clone()
            };
            [victim.clone()].into_iter().chain((1..).zip(floods).map(flood)).collect()
        },
    )
}

fn any_bursts() -> impl Strategy<Value = Vec<Burst>> {
    prop_oneof![3 => bursts(), 1 => siege()]
}

/// A market and what became of its jobs.
struct Market {
    policy: Policy,
    workers: Vec<WorkerView>,
    /// Run times by job.
    runs_s: BTreeMap<JobId, u64>,
    pending: BTreeMap<JobId, PendingJob>,
    running: BTreeMap<JobId, (RunningJob, u64)>,
    usage: BTreeMap<Address, Usage>,
    records: BTreeMap<JobId, Record>,
}

/// What is known of a job afterwards.
struct Record {
    job: PendingJob,
    /// Decayed GPU-seconds that its client had been served when it came, rounded up.
    used_gpu_s: u64,
    start: Option<u64>,
    end: Option<u64>,
}

impl Record {
    fn area(&self) -> u64 {
        u64::from(self.job.requirements.gpu_count) * u64::from(self.job.execution_timeout_s)
    }
}

/// Three workers for every job and one for the demanding ones too, with two slots.
fn workers() -> Vec<WorkerView> {
    let sized = |id: u32, slots: u8, vram_gib: u16| {
        let mut worker = worker(id);
        worker.capabilities.vram_gib = vram_gib;
        worker.capabilities.gpu_count = slots * WIDEST;
        (worker.slots, worker.free_slots, worker.free_gpus) = (slots, slots, slots * WIDEST);
        worker
    };
    vec![sized(1, 1, 40), sized(2, 1, 40), sized(3, 1, 40), sized(4, 2, 80)]
}

impl Market {
    /// Runs all that the bursts bring to its end, with a round every [`PAUSE_S`].
    fn run(bursts: &[Burst], policy: Policy) -> Self {
        let mut market = Self {
            policy,
            workers: workers(),
            runs_s: BTreeMap::new(),
            pending: BTreeMap::new(),
            running: BTreeMap::new(),
            usage: BTreeMap::new(),
            records: BTreeMap::new(),
        };
        let mut arrivals: BTreeMap<u64, Vec<&Burst>> = BTreeMap::new();
        for burst in bursts {
            for index in 0..burst.count {
                let round = burst.from_round + index * burst.after_rounds;
                arrivals.entry(NOW + round * u64::from(PAUSE_S)).or_default().push(burst);
            }
        }
        let mut now = NOW;
        while !(arrivals.is_empty() && market.pending.is_empty() && market.running.is_empty()) {
            market.end(now);
            arrivals.remove(&now).into_iter().flatten().for_each(|burst| market.submit(burst, now));
            market.decide(now);
            now += u64::from(PAUSE_S);
        }
        market
    }

    fn submit(&mut self, burst: &Burst, now: u64) {
        let id = self.records.len() as u64 + 1;
        let mut job = PendingJob {
            client: Address(Felt::from(burst.client + 1)),
            queue: burst.queue,
            priority: burst.priority,
            execution_timeout_s: burst.limit_s,
            submitted_at: now,
            queued_at: now,
            ..job(id)
        };
        job.requirements.gpu_count = burst.gpus;
        job.requirements.vram_gib = if burst.is_demanding { 80 } else { 40 };
        job.deadline = (u64::MAX, BlockNumber(u64::MAX));
        let used_gpu_s = self.usage.get(&job.client).map_or(0, |usage| usage.used_milli(now)).div_ceil(1_000);
        self.runs_s.insert(job.job_id, u64::from(burst.limit_s * burst.percent).div_ceil(100));
        self.records.insert(job.job_id, Record { job: job.clone(), used_gpu_s, start: None, end: None });
        self.pending.insert(job.job_id, job);
    }

    /// Ends what has run its time.
    fn end(&mut self, now: u64) {
        let is_over = |(_, (_, end)): &(&JobId, &(RunningJob, u64))| *end <= now;
        let over: Vec<JobId> = self.running.iter().filter(is_over).map(|(job_id, _)| *job_id).collect();
        for job_id in over {
            let (job, _) = self.running.remove(&job_id).unwrap();
            self.usage.entry(job.client).or_default().release(u32::from(job.gpus), now);
            self.records.get_mut(&job_id).unwrap().end = Some(now);
            let worker = self.worker(job.worker_id);
            worker.free_slots += 1;
            worker.free_gpus += job.gpus;
        }
    }

    fn decide(&mut self, now: u64) {
        // Without room or without jobs a round starts nothing.
        if self.pending.is_empty() || self.workers.iter().all(|worker| worker.free_slots == 0) {
            return;
        }
        let used = self.usage.iter().map(|(client, usage)| (*client, usage.used_milli(now)));
        let snapshot = Snapshot {
            now,
            running: self.running.values().map(|(job, _)| *job).collect(),
            used_milli: used.filter(|(_, used)| *used > 0).collect(),
            ..snapshot(self.pending.values().cloned().collect(), self.workers.clone())
        };
        for item in plan(&snapshot, &self.policy).items {
            let job = self.pending.remove(&item.job_id).unwrap();
            let gpus = job.requirements.gpu_count;
            let worker = self.worker(item.worker_id);
            worker.free_slots -= 1;
            worker.free_gpus -= gpus;
            self.usage.entry(job.client).or_default().hold(u32::from(gpus), now);
            self.records.get_mut(&job.job_id).unwrap().start = Some(now);
            let running = RunningJob {
                client: job.client,
                gpus,
                execution_timeout_s: job.execution_timeout_s,
                submitted_at: job.submitted_at,
                ends_by: now + u64::from(job.execution_timeout_s),
                ..running(job.job_id.0, item.worker_id.0)
            };
            self.running.insert(job.job_id, (running, now + self.runs_s[&job.job_id]));
        }
    }

    fn worker(&mut self, worker_id: WorkerId) -> &mut WorkerView {
        self.workers.iter_mut().find(|worker| worker.worker_id == worker_id).unwrap()
    }

    /// When the job has to start by the bound, with the longest waits of `queues`, which need not be the policy's.
    fn start_by(&self, record: &Record, queues: &QueueRules) -> u64 {
        let (job, came) = (&record.job, record.job.submitted_at);
        let place = |record: &Record| (record.job.submitted_at, record.job.job_id);
        let mut own_gpu_s = record.used_gpu_s + record.area();
        let mut own_jobs = 1;
        for other in self.records.values().filter(|other| other.job.client == job.client) {
            let times = match place(other) < place(record) {
                true if other.end.is_none_or(|end| end > came) => 2,
                false if place(other) > place(record) && other.start <= record.start => 1,
                _ => 0,
            };
            own_gpu_s += times * other.area();
            own_jobs += times;
        }
        let fits = |worker: &&WorkerView| worker.capabilities.vram_gib >= job.requirements.vram_gib;
        let weight = |client: &Address| self.policy.client_weights.get(client).copied().unwrap_or(1);
        let gpus: u32 = self.workers.iter().map(|worker| u32::from(worker.capabilities.gpu_count)).sum();
        let bound = WaitingBound {
            weight: weight(&job.client),
            weights: (1..=u64::from(CLIENTS)).map(|client| u64::from(weight(&Address(Felt::from(client))))).sum(),
            promised_gpus: gpus + 1 - u32::from(WIDEST),
            slots: self.workers.iter().filter(fits).map(|worker| u32::from(worker.slots)).sum(),
            // What ends between two rounds is seen by the next.
            longest_limit_s: LONGEST_S.next_multiple_of(PAUSE_S),
            pause_s: PAUSE_S,
        };
        let max_wait_s = |queue| match queue {
            Queue::Default => queues.default.max_wait_s,
            Queue::High => queues.high.max_wait_s,
            Queue::Low => queues.low.max_wait_s,
        };
        let due_by = bound.due_by(came, max_wait_s(job.queue), own_gpu_s, own_jobs);
        let is_ahead = |other: &&Record| {
            other.job.job_id != job.job_id
                && other.start.is_none_or(|start| start >= due_by)
                && other.job.submitted_at + u64::from(max_wait_s(other.job.queue)) <= due_by
        };
        let held = |other: &Record| u64::from(other.job.execution_timeout_s) + u64::from(PAUSE_S);
        bound.start_by(due_by, self.records.values().filter(is_ahead).map(held).sum())
    }
}

/// A market whose longest waits are short enough to be reached.
fn policy(weights: &[u32]) -> Policy {
    let clients = (1_u64..).map(|client| Address(Felt::from(client)));
    let mut policy = Policy { client_weights: clients.zip(weights.iter().copied()).collect(), ..Policy::BALANCED };
    (policy.queues.high.max_wait_s, policy.queues.default.max_wait_s, policy.queues.low.max_wait_s) = (10, 30, 90);
    policy
}

/// Nobody ever falls due.
fn without_aging(policy: &Policy) -> Policy {
    let mut policy = policy.clone();
    let QueueRules { default, high, low } = &mut policy.queues;
    [default, high, low].into_iter().for_each(|rule| rule.max_wait_s = u32::MAX);
    policy
}

/// Runs the bursts under a policy and compares every start with the bound by these queues.
fn check(bursts: &[Burst], policy: Policy, queues: &QueueRules) -> Result<(), TestCaseError> {
    let market = Market::run(bursts, policy);
    for (job_id, record) in &market.records {
        let (start, by) = (record.start.unwrap(), market.start_by(record, queues));
        prop_assert!(start <= by, "job {job_id} came at {}, started at {start}, bound {by}", record.job.submitted_at);
    }
    Ok(())
}

fn weights() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(1_u32..5, usize::from(CLIENTS))
}

proptest! {
    #![proptest_config(Config::with_cases(64))]

    #[test]
    fn no_job_waits_longer_than_the_bound(bursts in any_bursts(), weights in weights()) {
        let policy = policy(&weights);
        check(&bursts, policy.clone(), &policy.queues)?;
    }
}

/// The property is one that can fail: with aging switched off, the same search finds a job that waits too long.
#[test]
fn with_aging_switched_off_the_search_finds_a_job_that_waits_too_long() {
    let mut runner = TestRunner::new_with_rng(
        Config { max_shrink_iters: 0, failure_persistence: None, ..Config::with_cases(128) },
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    let found = runner.run(&(any_bursts(), weights()), |(bursts, weights)| {
        let policy = policy(&weights);
        check(&bursts, without_aging(&policy), &policy.queues)
    });
    let found = found.expect_err("every job started in time without aging");
    assert!(found.to_string().contains("bound"), "{found}");
}

/// Seven clients go on sending short jobs of the highest priority; another sent a long one of the lowest.
#[test]
fn a_flood_of_short_jobs_of_many_clients_does_not_keep_a_long_one_waiting() {
    let burst = |client, count, limit_s, priority| Burst {
        client,
        from_round: 0,
        count,
        after_rounds: 1,
        gpus: 2,
        limit_s,
        percent: 100,
        queue: Queue::Default,
        priority,
        is_demanding: false,
    };
    // Each round brings more than the five slots take.
    let flood = (0..7).map(|client| burst(client, 200, 5, 10));
    let bursts: Vec<Burst> = [burst(7, 1, LONGEST_S, 1)].into_iter().chain(flood).collect();
    let policy = policy(&[1; CLIENTS as usize]);
    let wait_s = |rules: Policy| {
        let market = Market::run(&bursts, rules);
        let record = &market.records[&JobId(1)];
        (record.start.unwrap() - NOW, market.start_by(record, &policy.queues) - NOW)
    };
    let (with_s, bound_s) = wait_s(policy.clone());
    let (without_s, bound_without_s) = wait_s(without_aging(&policy));
    assert!(with_s <= bound_s, "{with_s} of {bound_s} s with aging");
    assert!(without_s > bound_without_s, "{without_s} of {bound_without_s} s without aging");
}
