//! A long run in which workers fail, jobs fail, clients give up, and everything still comes to an end.
//!
//! Machines of eight GPUs leave at random, with what runs on them, and come back. One job in fifty fails wherever it
//! runs, others fail once in a while, are never begun, run past their limit, or are cancelled while they wait. Once as
//! many attempts have started as asked for, no more jobs are submitted, and the run goes on until nothing waits or
//! runs.

use std::{cmp::Reverse, collections::BTreeMap, collections::BinaryHeap};

use keeper_scheduler::queueing::{
    Admission, AfterFailure, Balanced, Cluster, DeadLetterReason, FailureClass, PendingRecord, QueueConfig, QueueIndex,
    Queues, RetryPolicy, Start, TenantIndex, Tenants,
};
use keeper_types::{JobId, WorkerId};
use serde::Serialize;

use crate::draws::draw;

const GPUS_PER_MACHINE: u16 = 8;
const MACHINES: u32 = 64;
const TENANTS: u32 = 20;
const DAY_S: u32 = 86_400;
const HOUR_S: u32 = 3_600;

/// What the run came to. Every job submitted is in exactly one of the final counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ending {
    /// Attempts that started.
    pub allocations: u64,
    /// Jobs that were submitted.
    pub submitted: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Jobs that were cancelled while they waited.
    pub cancelled: u64,
    /// Jobs that found no room.
    pub refused: u64,
    /// Jobs that were given up, by reason.
    pub dead: BTreeMap<String, u64>,
    /// Jobs that wait or run at the end; none.
    pub not_final: u64,
    /// Attempts that failed, by class.
    pub failed_attempts: BTreeMap<String, u64>,
    /// How often a machine failed.
    pub machine_failures: u64,
    /// 95th percentile of the wait, in seconds.
    pub p95_wait_s: u32,
    /// Days that the run covers.
    pub days: u32,
}

impl Ending {
    /// Whether every job that was submitted came to exactly one end.
    pub fn is_complete(&self) -> bool {
        let dead: u64 = self.dead.values().sum();
        self.not_final == 0 && self.submitted == self.succeeded + self.cancelled + self.refused + dead
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrival,
    /// A job's attempt ends, with this number of starts before it in the run.
    End(JobId, u64),
    Cancel(JobId),
    MachineFails(u32),
    MachineReturns(u32),
    /// A retry's delay is over, so that a round may start it.
    RetryDue,
    Expire,
}

/// Runs until `allocations` attempts have started and everything that was submitted has ended.
///
/// # Panics
/// When the configuration of the queues, which is fixed here, were invalid.
pub fn run(allocations: u64, seed: u64) -> Ending {
    let mut run = Run::new(allocations, seed);
    while let Some(Reverse((now_s, event))) = run.events.pop() {
        run.now_s = now_s;
        run.happen(event);
        // Events of one second are decided on together.
        if run.events.peek().is_none_or(|Reverse((next_s, _))| *next_s > now_s) {
            run.decide();
        }
    }
    run.ending()
}

struct Run {
    seed: u64,
    allocations: u64,
    queues: Queues,
    cluster: Cluster,
    events: BinaryHeap<Reverse<(u32, Event)>>,
    /// Which start of the run each running job is.
    attempts: BTreeMap<JobId, (u64, u32)>,
    ending: Ending,
    now_s: u32,
    draws: u64,
}

impl Run {
    fn new(allocations: u64, seed: u64) -> Self {
        let cluster = Cluster::new(vec![GPUS_PER_MACHINE; MACHINES as usize]);
        let mut tenants = Tenants::new(DAY_S, cluster.capacity());
        for index in 0..TENANTS {
            tenants.add(1 + index % 3, 0);
        }
        let queues = Queues::new(QueueConfig::market(), tenants, RetryPolicy::default(), 0);
        let mut run = Self {
            queues: queues.expect("the market's queues are valid"),
            events: BinaryHeap::from([Reverse((0, Event::Arrival)), Reverse((HOUR_S, Event::Expire))]),
            attempts: BTreeMap::new(),
            ending: Ending::default(),
            now_s: 0,
            draws: 0,
            allocations,
            seed,
            cluster,
        };
        for machine in 0..MACHINES {
            let after_s = run.draw(1, 2 * 20_000);
            run.at(after_s, Event::MachineFails(machine));
        }
        run
    }

    fn draw(&mut self, low: u32, high: u32) -> u32 {
        self.draws += 1;
        draw(self.seed, self.draws, low, high)
    }

    fn at(&mut self, after_s: u32, event: Event) {
        self.events.push(Reverse((self.now_s + after_s, event)));
    }

    fn is_open(&self) -> bool {
        self.ending.allocations < self.allocations
    }

    fn is_idle(&self) -> bool {
        !self.is_open() && self.queues.pending().is_empty() && self.queues.running().is_empty()
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrival => self.arrive(),
            Event::End(job_id, attempt) => self.end(job_id, attempt),
            Event::Cancel(job_id) => self.ending.cancelled += u64::from(self.queues.cancel(job_id, self.now_s)),
            Event::MachineFails(machine) => self.machine_fails(machine),
            Event::MachineReturns(machine) => {
                self.cluster.add_machine(WorkerId(machine), GPUS_PER_MACHINE);
                let after_s = self.draw(1, 2 * 20_000);
                if !self.is_idle() {
                    self.at(after_s, Event::MachineFails(machine));
                }
            }
            Event::RetryDue => {}
            Event::Expire => {
                let expired = self.queues.expire(self.now_s).len() as u64;
                self.count_dead("deadline_passed", expired);
                if !self.is_idle() {
                    self.at(HOUR_S, Event::Expire);
                }
            }
        }
    }

    fn arrive(&mut self) {
        if !self.is_open() {
            return;
        }
        self.ending.submitted += 1;
        let job_id = JobId(self.ending.submitted);
        let gpus = [1, 1, 1, 1, 1, 1, 2, 4, 8, 16][self.draw(0, 9) as usize];
        let job = PendingRecord {
            job_id,
            submitted_s: self.now_s,
            deadline_s: self.now_s + DAY_S,
            due_s: 0,
            not_before_s: 0,
            limit_s: self.draw(60, HOUR_S),
            tenant: TenantIndex(self.draw(0, TENANTS - 1)),
            requirements: 0,
            gpus,
            priority: u8::try_from(self.draw(1, 10)).unwrap_or(1),
            queue: QueueIndex(u8::try_from(self.draw(0, 2)).unwrap_or(0)),
        };
        match self.queues.submit(job, self.now_s) {
            Admission::Queued { shed, .. } => self.count_dead("shed", u64::from(shed.is_some())),
            Admission::QueueFull { .. } | Admission::Duplicate => self.ending.refused += 1,
        }
        if self.draw(1, 100) == 1 {
            let after_s = self.draw(1, 600);
            self.at(after_s, Event::Cancel(job_id));
        }
        // 3.6 GPUs for 17 minutes on average, every 9 seconds, is four fifths of 512 GPUs.
        let after_s = self.draw(1, 17);
        self.at(after_s, Event::Arrival);
    }

    fn decide(&mut self) {
        let round = self.queues.dispatch(&mut self.cluster, &Balanced::default(), self.now_s);
        for start in round.starts {
            self.begin(&start);
        }
    }

    fn begin(&mut self, start: &Start) {
        self.ending.allocations += 1;
        let attempt = self.ending.allocations;
        let machine = start.gang.first().map_or(0, |(machine, _)| *machine);
        self.attempts.insert(start.job.job_id, (attempt, machine));
        let percent = self.draw(5, 103).min(100);
        self.at((start.job.limit_s * percent / 100).max(1), Event::End(start.job.job_id, attempt));
    }

    /// How an attempt ends that no machine's failure ended before.
    fn end(&mut self, job_id: JobId, attempt: u64) {
        let Some((_, machine)) = self.attempts.get(&job_id).copied().filter(|(current, _)| *current == attempt) else {
            return;
        };
        let class = match (job_id.0 % 50, self.draw(1, 100)) {
            (0, _) => FailureClass::WorkerFault,
            (_, 1) => FailureClass::ClientFault,
            (_, 2..=3) => FailureClass::Infrastructure,
            (_, 4) => FailureClass::AssignmentTimeout,
            (_, 5..=6) => FailureClass::ExecutionTimeout,
            (_, 7) => FailureClass::Preempted,
            _ => {
                self.attempts.remove(&job_id);
                self.ending.succeeded += u64::from(self.queues.succeed(&mut self.cluster, job_id, self.now_s));
                return;
            }
        };
        self.fail(job_id, machine, class);
    }

    fn machine_fails(&mut self, machine: u32) {
        self.ending.machine_failures += 1;
        for job_id in self.cluster.remove_machine(WorkerId(machine)) {
            self.fail(job_id, machine, FailureClass::Abandoned);
        }
        let after_s = self.draw(60, 1_200);
        self.at(after_s, Event::MachineReturns(machine));
    }

    fn fail(&mut self, job_id: JobId, machine: u32, class: FailureClass) {
        self.attempts.remove(&job_id);
        *self.ending.failed_attempts.entry(format!("{class:?}")).or_default() += 1;
        let (worker, at) = ((job_id, WorkerId(machine)), (self.now_s, self.seed));
        match self.queues.fail(&mut self.cluster, worker, class, at) {
            Some(AfterFailure::Retry { not_before_s }) => {
                self.at(not_before_s - self.now_s, Event::RetryDue);
            }
            Some(AfterFailure::Dead(reason)) => self.count_dead(name(reason), 1),
            None => {}
        }
    }

    fn count_dead(&mut self, reason: &str, jobs: u64) {
        if jobs > 0 {
            *self.ending.dead.entry(reason.to_owned()).or_default() += jobs;
        }
    }

    fn ending(mut self) -> Ending {
        self.ending.not_final = (self.queues.pending().len() + self.queues.running().len()) as u64;
        let waits = self.queues.metrics().map(|(_, metrics)| metrics.wait_s.quantile(9_500));
        self.ending.p95_wait_s = waits.max().unwrap_or(0);
        self.ending.days = self.now_s / DAY_S;
        self.ending
    }
}

fn name(reason: DeadLetterReason) -> &'static str {
    match reason {
        DeadLetterReason::Failed { .. } => "failed",
        DeadLetterReason::Poison { .. } => "poison",
        DeadLetterReason::AttemptsSpent { .. } => "attempts_spent",
        DeadLetterReason::DeadlinePassed => "deadline_passed",
        DeadLetterReason::Shed => "shed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_comes_to_an_end_and_the_same_seed_to_the_same_one() {
        let ending = run(5_000, 7);
        assert!(ending.is_complete(), "{ending:?}");
        assert!(ending.allocations >= 5_000 && ending.machine_failures > 0);
        assert!(ending.dead.contains_key("poison") && ending.dead.contains_key("failed"));
        assert_eq!(ending, run(5_000, 7));
        assert_ne!(ending, run(5_000, 8));
    }
}
