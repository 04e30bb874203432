//! The queues with all that happens to a job in them, from its submission to its end.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use keeper_types::{JobId, WorkerId};

use super::{
    cluster::Cluster,
    config::{Overflow, QueueConfig, QueueConfigError, resolve},
    dead_letters::{DeadLetter, DeadLetterReason, DeadLetters},
    dispatch::{Round, Rules, dispatch},
    metrics::QueueMetrics,
    ordering::{OrderingPolicy, OrderingView},
    pending::{NO_DEADLINE, PendingPool, PendingRecord, QueueIndex},
    retry::{AfterFailure, FailureClass, FailureLog, RetryPolicy},
    tenants::Tenants,
};

/// What became of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The job waits.
    Queued {
        /// Where: not where it asked to when that queue was full.
        queue: QueueIndex,
        /// The job that had to go for it.
        shed: Option<JobId>,
    },
    /// The queue is full, and so are those that it spills to.
    QueueFull {
        /// The last queue that was tried.
        queue: QueueIndex,
    },
    /// The job waits or runs already.
    Duplicate,
}

/// The queues: who waits, who runs, who failed how often, and who was given up.
///
/// Every job that was queued is in exactly one of four places: it waits, it runs, it is among the dead letters, or it
/// has left (succeeded or cancelled).
#[derive(Clone, Debug)]
pub struct Queues {
    configs: Vec<QueueConfig>,
    spills: Vec<Option<QueueIndex>>,
    weights: Vec<u32>,
    retry: RetryPolicy,
    pending: PendingPool,
    running: BTreeMap<JobId, PendingRecord>,
    /// Jobs of queues that shed, the first to go first.
    sheddable: BTreeSet<(QueueIndex, u8, Reverse<u32>, Reverse<JobId>)>,
    /// The tenants' accounts.
    pub tenants: Tenants,
    failures: FailureLog,
    dead_letters: DeadLetters,
    metrics: Vec<QueueMetrics>,
}

impl Queues {
    /// Empty queues.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(
        configs: Vec<QueueConfig>,
        tenants: Tenants,
        retry: RetryPolicy,
        max_dead_letters: usize,
    ) -> Result<Self, QueueConfigError> {
        let spills = resolve(&configs)?;
        Ok(Self {
            weights: configs.iter().map(|queue| queue.weight).collect(),
            metrics: configs.iter().map(|_| QueueMetrics::default()).collect(),
            dead_letters: DeadLetters::new(max_dead_letters),
            pending: PendingPool::new(),
            running: BTreeMap::new(),
            sheddable: BTreeSet::new(),
            failures: FailureLog::new(),
            configs,
            spills,
            retry,
            tenants,
        })
    }

    /// Queues a job. Its place, its submission and its promise are set here; the record brings the rest.
    ///
    /// # Panics
    /// Where the record names a queue or a tenant that does not exist.
    pub fn submit(&mut self, job: PendingRecord, now_s: u32) -> Admission {
        if self.pending.get(job.job_id).is_some() || self.running.contains_key(&job.job_id) {
            return Admission::Duplicate;
        }
        let mut queue = job.queue;
        let shed = loop {
            let place = usize::from(queue.0);
            let config = &self.configs[place];
            if self.metrics[place].length < config.max_jobs {
                break None;
            }
            let lowest = match config.overflow {
                Overflow::ShedLowest => self.lowest(queue).filter(|lowest| lowest.priority < job.priority),
                Overflow::Reject | Overflow::Spill { .. } => None,
            };
            match (lowest, self.spills[place]) {
                (Some(lowest), _) => break Some(lowest.job_id),
                (None, Some(next)) => queue = next,
                (None, None) => {
                    self.metrics[place].rejected += 1;
                    return Admission::QueueFull { queue };
                }
            }
        };
        if let Some(shed) = shed {
            self.give_up(shed, DeadLetterReason::Shed, now_s);
        }
        let promised_s = self.tenants.promise(job.tenant, job.area(), now_s);
        let max_wait_s = self.configs[usize::from(queue.0)].max_wait_s;
        let due_s = promised_s.saturating_add(max_wait_s);
        let metrics = &mut self.metrics[usize::from(queue.0)];
        metrics.queued += 1;
        metrics.spilled_in += u64::from(queue != job.queue);
        self.put(PendingRecord { queue, submitted_s: now_s, due_s, ..job });
        Admission::Queued { queue, shed }
    }

    /// Starts what fits; see [`dispatch`].
    pub fn dispatch(&mut self, cluster: &mut Cluster, policy: &dyn OrderingPolicy, now_s: u32) -> Round {
        let rules = Rules { policy, queue_weights: &self.weights, failures: &self.failures };
        let round = dispatch(&mut self.pending, cluster, &mut self.tenants, rules, now_s);
        for start in &round.starts {
            let is_first = self.failures.get(start.job.job_id).is_none();
            self.sheddable.remove(&shed_key(&start.job));
            let late = self.is_late(&start.job, now_s);
            let metrics = &mut self.metrics[usize::from(start.job.queue.0)];
            metrics.leave();
            metrics.started += 1;
            if is_first {
                metrics.wait_s.add(start.job.waited_s(now_s));
                metrics.sla_misses += u64::from(late);
            }
            self.running.insert(start.job.job_id, start.job);
        }
        round
    }

    /// A running job has succeeded. Its GPUs are given back in `cluster`. False where it does not run.
    pub fn succeed(&mut self, cluster: &mut Cluster, job_id: JobId, now_s: u32) -> bool {
        let Some(job) = self.stop(cluster, job_id, now_s) else { return false };
        self.failures.forget(job_id);
        self.metrics[usize::from(job.queue.0)].succeeded += 1;
        true
    }

    /// An attempt has failed: the job waits again, or is given up. None where it does not run.
    pub fn fail(
        &mut self,
        cluster: &mut Cluster,
        (job_id, worker_id): (JobId, WorkerId),
        class: FailureClass,
        (now_s, seed): (u32, u64),
    ) -> Option<AfterFailure> {
        let job = self.stop(cluster, job_id, now_s)?;
        let after = self.failures.record((job_id, worker_id), class, &self.retry, (now_s, seed));
        match after {
            AfterFailure::Retry { not_before_s } => {
                self.metrics[usize::from(job.queue.0)].retried += 1;
                // A retry keeps its place, even in a queue that is full by now: it was admitted once.
                self.put(PendingRecord { not_before_s, ..job });
            }
            AfterFailure::Dead(reason) => self.bury(job, reason, now_s),
        }
        Some(after)
    }

    /// A client takes its waiting job back. False where the job does not wait.
    pub fn cancel(&mut self, job_id: JobId, now_s: u32) -> bool {
        let Some(job) = self.take(job_id) else { return false };
        self.abandon(&job, now_s);
        self.failures.forget(job_id);
        true
    }

    /// Gives up every waiting job whose deadline has passed; their ids, ascending.
    pub fn expire(&mut self, now_s: u32) -> Vec<JobId> {
        let is_past = |job: &&PendingRecord| job.deadline_s != NO_DEADLINE && job.deadline_s < now_s;
        let mut past: Vec<JobId> = self.pending.iter().filter(is_past).map(|job| job.job_id).collect();
        past.sort_unstable();
        for job_id in &past {
            self.give_up(*job_id, DeadLetterReason::DeadlinePassed, now_s);
        }
        past
    }

    /// The jobs that wait.
    pub fn pending(&self) -> &PendingPool {
        &self.pending
    }

    /// The jobs that run.
    pub fn running(&self) -> &BTreeMap<JobId, PendingRecord> {
        &self.running
    }

    /// What has happened to jobs that failed.
    pub fn failures(&self) -> &FailureLog {
        &self.failures
    }

    /// The jobs that were given up.
    pub fn dead_letters(&self) -> &DeadLetters {
        &self.dead_letters
    }

    /// Every queue with its counts, in the order of the configuration.
    pub fn metrics(&self) -> impl Iterator<Item = (&QueueConfig, &QueueMetrics)> {
        self.configs.iter().zip(&self.metrics)
    }

    /// What an order depends on at this moment.
    pub fn view(&self, capacity_gpus: u32, now_s: u32) -> OrderingView<'_> {
        OrderingView { now_s, tenants: &self.tenants, capacity_gpus, queue_weights: &self.weights }
    }

    fn put(&mut self, job: PendingRecord) {
        if self.configs[usize::from(job.queue.0)].overflow == Overflow::ShedLowest {
            self.sheddable.insert(shed_key(&job));
        }
        self.metrics[usize::from(job.queue.0)].arrive();
        self.tenants.enqueue(job.tenant, job.gpus);
        self.pending.insert(job);
    }

    fn take(&mut self, job_id: JobId) -> Option<PendingRecord> {
        let job = self.pending.remove(job_id)?;
        self.sheddable.remove(&shed_key(&job));
        self.metrics[usize::from(job.queue.0)].leave();
        self.tenants.dequeue(job.tenant, job.gpus);
        Some(job)
    }

    fn stop(&mut self, cluster: &mut Cluster, job_id: JobId, now_s: u32) -> Option<PendingRecord> {
        let job = self.running.remove(&job_id)?;
        cluster.finish(job_id);
        self.tenants.release(job.tenant, u32::from(job.gpus), now_s);
        Some(job)
    }

    fn lowest(&self, queue: QueueIndex) -> Option<&PendingRecord> {
        let (of_queue, _, _, Reverse(job_id)) =
            self.sheddable.range((queue, 0, Reverse(u32::MAX), Reverse(JobId(u64::MAX)))..).next()?;
        if *of_queue == queue { self.pending.get(*job_id) } else { None }
    }

    fn give_up(&mut self, job_id: JobId, reason: DeadLetterReason, now_s: u32) {
        let Some(job) = self.take(job_id) else { return };
        match reason {
            DeadLetterReason::Shed => {
                let late = self.is_late(&job, now_s);
                let metrics = &mut self.metrics[usize::from(job.queue.0)];
                metrics.shed += 1;
                metrics.sla_misses += u64::from(late);
            }
            _ => self.abandon(&job, now_s),
        }
        self.failures.forget(job_id);
        self.dead_letters.push(DeadLetter { job, reason, at_s: now_s });
    }

    fn abandon(&mut self, job: &PendingRecord, now_s: u32) {
        let late = self.is_late(job, now_s) && self.failures.get(job.job_id).is_none();
        let metrics = &mut self.metrics[usize::from(job.queue.0)];
        metrics.abandoned += 1;
        metrics.sla_misses += u64::from(late);
    }

    fn bury(&mut self, job: PendingRecord, reason: DeadLetterReason, now_s: u32) {
        self.metrics[usize::from(job.queue.0)].dead += 1;
        self.failures.forget(job.job_id);
        self.dead_letters.push(DeadLetter { job, reason, at_s: now_s });
    }

    fn is_late(&self, job: &PendingRecord, now_s: u32) -> bool {
        job.waited_s(now_s) > self.configs[usize::from(job.queue.0)].max_wait_s
    }
}

fn shed_key(job: &PendingRecord) -> (QueueIndex, u8, Reverse<u32>, Reverse<JobId>) {
    (job.queue, job.priority, Reverse(job.submitted_s), Reverse(job.job_id))
}

#[cfg(test)]
#[path = "queues_tests.rs"]
mod tests;
