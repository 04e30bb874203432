//! What follows a failure: another attempt after a while, elsewhere, or no more attempts.

use std::collections::BTreeMap;

use keeper_types::{JobId, WorkerId};
use serde::{Deserialize, Serialize};

use super::dead_letters::DeadLetterReason;
use crate::sharing::SplitMix64;

/// Whose fault a failed attempt was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// The worker broke, left, or gave a wrong result.
    WorkerFault,
    /// The job itself is wrong: its manifest, its program, its limits. Another worker would fail as well.
    ClientFault,
    /// The network, the chain or the artifact store failed; worker and job may be sound.
    Infrastructure,
    /// The worker did not begin in time after the job had been assigned to it.
    AssignmentTimeout,
    /// The job ran past its limit.
    ExecutionTimeout,
    /// The worker fell silent while the job ran: the job is abandoned and goes to another worker.
    Abandoned,
    /// The job was taken off for another one. This is nobody's failure and costs no attempt.
    Preempted,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 7] = [
        Self::WorkerFault,
        Self::ClientFault,
        Self::Infrastructure,
        Self::AssignmentTimeout,
        Self::ExecutionTimeout,
        Self::Abandoned,
        Self::Preempted,
    ];

    /// Whether another attempt may end otherwise.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::ClientFault => false,
            Self::WorkerFault
            | Self::Infrastructure
            | Self::AssignmentTimeout
            | Self::ExecutionTimeout
            | Self::Abandoned
            | Self::Preempted => true,
        }
    }

    /// Whether the worker is not to be given the job again.
    pub fn excludes_worker(self) -> bool {
        match self {
            Self::WorkerFault | Self::AssignmentTimeout | Self::ExecutionTimeout | Self::Abandoned => true,
            Self::ClientFault | Self::Infrastructure | Self::Preempted => false,
        }
    }

    /// Whether the failure may be the job's own doing, so that it counts towards calling the job poison.
    pub fn is_suspect(self) -> bool {
        match self {
            Self::WorkerFault | Self::ExecutionTimeout | Self::Abandoned => true,
            Self::ClientFault | Self::Infrastructure | Self::AssignmentTimeout | Self::Preempted => false,
        }
    }
}

/// When and how often to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Attempts that a job has at most, the first included; at least 1.
    pub max_attempts: u8,
    /// Distinct workers that a job may fail on before it is poison; at least 1.
    pub poison_workers: u8,
    /// The wait before the second attempt, in seconds; it doubles with every further one.
    pub base_delay_s: u32,
    /// The longest wait, in seconds.
    pub max_delay_s: u32,
    /// How long a worker has to begin, in seconds.
    pub assignment_timeout_s: u32,
    /// How long a worker may be silent before what it runs is abandoned, in seconds.
    pub silence_timeout_s: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 5,
            poison_workers: 3,
            base_delay_s: 10,
            max_delay_s: 3_600,
            assignment_timeout_s: 30,
            silence_timeout_s: 60,
        }
    }
}

impl RetryPolicy {
    /// The wait before the next attempt after `failures` failures (at least 1), in seconds: half of
    /// `base * 2^(failures - 1)`, capped, plus an even draw from the other half, so that jobs that failed together do
    /// not return together. The draw depends on seed, job and number of failures alone.
    pub fn delay_s(&self, job_id: JobId, failures: u8, seed: u64) -> u32 {
        let doublings = u32::from(failures.max(1) - 1).min(31);
        let full = (u64::from(self.base_delay_s) << doublings).min(u64::from(self.max_delay_s));
        let half = full / 2;
        let bits = SplitMix64::mix(seed ^ SplitMix64::mix(job_id.0 ^ (u64::from(failures) << 56)));
        let draw = (u128::from(bits) * u128::from(full - half + 1)) >> 64;
        u32::try_from(u128::from(half) + draw).unwrap_or(u32::MAX)
    }

    /// How an assignment stands that was sent at `assigned_s`, whose worker began at `begun_s` (none: not yet) and
    /// was last heard of at `heard_s`, of a job that runs for `limit_s` at most. All times are Unix timestamps in
    /// seconds. `None` while nothing is wrong.
    pub fn overdue(&self, assignment: &Assignment, now_s: u32) -> Option<FailureClass> {
        let Some(begun_s) = assignment.begun_s else {
            let waited_s = now_s.saturating_sub(assignment.assigned_s);
            return (waited_s > self.assignment_timeout_s).then_some(FailureClass::AssignmentTimeout);
        };
        if now_s.saturating_sub(begun_s) > assignment.limit_s {
            return Some(FailureClass::ExecutionTimeout);
        }
        let silent_s = now_s.saturating_sub(assignment.heard_s.max(begun_s));
        (silent_s > self.silence_timeout_s).then_some(FailureClass::Abandoned)
    }
}

/// A job on its worker. Times are Unix timestamps in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The worker.
    pub worker_id: WorkerId,
    /// When the job was given to it.
    pub assigned_s: u32,
    /// When it said that it began.
    pub begun_s: Option<u32>,
    /// When it was last heard of.
    pub heard_s: u32,
    /// How long the job runs at most, in seconds.
    pub limit_s: u32,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// The job waits again, and may start then.
    Retry {
        /// Unix timestamp in seconds.
        not_before_s: u32,
    },
    /// The job goes to the dead letters.
    Dead(DeadLetterReason),
}

/// The failures of jobs that have any.
#[derive(Clone, Debug, Default)]
pub struct FailureLog {
    jobs: BTreeMap<JobId, Failures>,
}

/// The failures of one job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Attempts that counted.
    pub attempts: u8,
    /// Workers that are not to be given the job again, ascending.
    pub excluded: Vec<WorkerId>,
    /// Workers on which the job failed in a way that may be its own doing, ascending.
    suspects: Vec<WorkerId>,
}

impl FailureLog {
    /// A log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// What has happened to a job; none where nothing has.
    pub fn get(&self, job_id: JobId) -> Option<&Failures> {
        self.jobs.get(&job_id)
    }

    /// Whether the worker may be given the job.
    pub fn admits(&self, job_id: JobId, worker_id: WorkerId) -> bool {
        self.get(job_id).is_none_or(|failures| failures.excluded.binary_search(&worker_id).is_err())
    }

    /// Notes a failed attempt and says what follows. A job that goes to the dead letters keeps its entry until
    /// [`FailureLog::forget`].
    pub fn record(
        &mut self,
        (job_id, worker_id): (JobId, WorkerId),
        class: FailureClass,
        policy: &RetryPolicy,
        (now_s, seed): (u32, u64),
    ) -> AfterFailure {
        let failures = self.jobs.entry(job_id).or_default();
        if class.excludes_worker() {
            insert_sorted(&mut failures.excluded, worker_id);
        }
        if class.is_suspect() {
            insert_sorted(&mut failures.suspects, worker_id);
        }
        if class == FailureClass::Preempted {
            return AfterFailure::Retry { not_before_s: now_s };
        }
        failures.attempts = failures.attempts.saturating_add(1);
        if !class.is_retryable() {
            return AfterFailure::Dead(DeadLetterReason::Failed { class });
        }
        if failures.suspects.len() >= usize::from(policy.poison_workers.max(1)) {
            return AfterFailure::Dead(DeadLetterReason::Poison { workers: policy.poison_workers.max(1) });
        }
        if failures.attempts >= policy.max_attempts {
            return AfterFailure::Dead(DeadLetterReason::AttemptsSpent { last: class });
        }
        let delay_s = policy.delay_s(job_id, failures.attempts, seed);
        AfterFailure::Retry { not_before_s: now_s.saturating_add(delay_s) }
    }

    /// Drops a job's entry: it has succeeded, or its client has given it up.
    pub fn forget(&mut self, job_id: JobId) {
        self.jobs.remove(&job_id);
    }
}

fn insert_sorted(workers: &mut Vec<WorkerId>, worker_id: WorkerId) {
    if let Err(place) = workers.binary_search(&worker_id) {
        workers.insert(place, worker_id);
    }
}

#[cfg(test)]
#[path = "retry_tests.rs"]
mod tests;
