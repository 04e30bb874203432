//! Why a job was placed where it was, or why it was not placed.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, UNIX_EPOCH},
};

use keeper_types::{Attempt, JobId, Preference, Region, Strategy, WorkerId};
use serde::{Deserialize, Serialize};

use crate::{Balancing, PendingJob, Rejection, ScoreBreakdown, balancing::LoadBalancingStrategy};

/// What a plan decided about one job, and what it found on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The job.
    pub job_id: JobId,
    /// The attempt that was queued.
    pub attempt: Attempt,
    /// What was decided.
    pub outcome: Outcome,
    /// Workers that were looked at: none where the job itself ruled out placing it.
    pub workers_evaluated: u32,
    /// How many of them each rejection applied to, given what the plan had given away before this job. A
    /// worker counts under everything that it fails, so the counts may add up to more than the workers.
    pub rejections: BTreeMap<Rejection, u32>,
    /// The chosen worker's score.
    pub winner: Option<ScoreBreakdown>,
    /// The next best worker's score, where a job was placed and another worker could have had it.
    pub runner_up: Option<ScoreBreakdown>,
    /// How the job was placed.
    #[serde(default)]
    pub strategy: Strategy,
    /// Preferences that the job does without, in the order in which they were dropped.
    #[serde(default)]
    pub dropped: Vec<Preference>,
    /// By which rule the worker was chosen, where scores did not decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_by: Option<ChosenBy>,
    /// How near the worker is to where the job's client is, where the job says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearness: Option<Nearness>,
    /// The worker that is kept for the job, where it does not fit now and others might take its place.
    #[serde(default)]
    pub reservation: Option<Reservation>,
}

/// The rule by which a worker was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChosenBy {
    /// What the policy says.
    pub rule: Balancing,
    /// What that came to: under [`Balancing::Adaptive`] the strategy that decided this time.
    pub strategy: LoadBalancingStrategy,
    /// The workers among which it chose: that had room, and nothing else to tell them apart.
    pub among: u32,
}

/// As a person reads it: `round_robin, among 3 workers`.
impl fmt::Display for ChosenBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rule, strategy, among } = self;
        rule.fmt(f)?;
        if *rule == Balancing::Adaptive {
            write!(f, ", which was {strategy} this time")?;
        }
        write!(f, ", among {among} worker{}", if *among == 1 { "" } else { "s" })
    }
}

/// How near the chosen worker is, by the policy's latencies between regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nearness {
    /// The region that the job prefers to be near.
    pub to: Region,
    /// The round trip in milliseconds.
    pub latency_ms: u32,
    /// The workers that are as near, of those that had room and nothing before it to tell them apart.
    pub among: u32,
}

/// As a person reads it: `90 ms from eu-w1, the least of those with room; 2 workers are as near`.
impl fmt::Display for Nearness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { to, latency_ms, among } = self;
        write!(f, "{latency_ms} ms from {to}, the least of those with room; ")?;
        match among {
            1 => f.write_str("no other worker is as near"),
            among => write!(f, "{among} workers are as near"),
        }
    }
}

/// A worker that is kept for a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reservation {
    /// The worker.
    pub worker_id: WorkerId,
    /// When it has room for the job at the latest: Unix timestamp in seconds.
    pub start_by: u64,
}

impl Explanation {
    /// Nothing found yet.
    pub(crate) fn new(job: &PendingJob, outcome: Outcome) -> Self {
        Self {
            job_id: job.job_id,
            attempt: job.attempt,
            outcome,
            workers_evaluated: 0,
            rejections: BTreeMap::new(),
            winner: None,
            runner_up: None,
            strategy: Strategy::Standard,
            dropped: Vec::new(),
            chosen_by: None,
            nearness: None,
            reservation: None,
        }
    }
}

/// One line for people: the outcome, then the rejections with their counts.
impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "job {}, attempt {}: {}", self.job_id, self.attempt, self.outcome)?;
        if let Some(Reservation { worker_id, start_by }) = self.reservation {
            write!(f, "; worker {worker_id} is kept for it, free at {} at the latest", time(start_by))?;
        }
        if self.workers_evaluated == 0 {
            return Ok(());
        }
        let plural = if self.workers_evaluated == 1 { "" } else { "s" };
        write!(f, " ({} worker{plural} evaluated", self.workers_evaluated)?;
        for (index, (rejection, count)) in self.rejections.iter().enumerate() {
            write!(f, "{} {count} {rejection}", if index == 0 { ":" } else { "," })?;
        }
        f.write_str(")")
    }
}

/// The last second of the year 9999, up to which a date has four digits for the year.
const LAST_SECOND: u64 = 253_402_300_799;

/// Seconds since the epoch as a date and time, in UTC.
fn time(seconds: u64) -> humantime::Rfc3339Timestamp {
    let since = Duration::from_secs(seconds.min(LAST_SECOND));
    humantime::format_rfc3339_seconds(UNIX_EPOCH + since)
}

/// What a plan decided about a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// A worker gets it.
    Placed {
        /// The worker.
        worker_id: WorkerId,
    },
    /// No worker is registered.
    NoWorkers,
    /// Every worker fails something that waiting does not change.
    NoFeasibleWorker,
    /// At least one worker that fits is online, but each of those is full now, kept for another job, or not known well
    /// enough yet.
    NoCapacity,
    /// At least one worker fits, but none that does is online.
    WorkersOffline,
    /// The artifact store does not have the job's manifest.
    ManifestMissing,
    /// The job's manifest cannot be read.
    ManifestMalformed {
        /// Why.
        reason: String,
    },
    /// The job's deadline has passed; it can only expire.
    DeadlinePassed,
    /// A worker could take it, but the batch is full: it is first in line for the next.
    BatchFull,
    /// It failed a while ago, and waits before it is tried again.
    BackingOff {
        /// When it is tried again: Unix timestamp in seconds.
        until: u64,
    },
    /// Its queue has more jobs than are considered.
    QueueFull,
    /// There is room for it, but it waits for a worker that it prefers and that is busy ([`Policy::preference_wait_s`]).
    ///
    /// [`Policy::preference_wait_s`]: crate::Policy::preference_wait_s
    PreferredBusy {
        /// When it makes do with another: Unix timestamp in seconds.
        until: u64,
    },
}

impl Outcome {
    /// The reason code that the command line and the API write.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Placed { .. } => "placed",
            Self::NoWorkers => "no_workers",
            Self::NoFeasibleWorker => "no_feasible_worker",
            Self::NoCapacity => "no_capacity",
            Self::WorkersOffline => "workers_offline",
            Self::ManifestMissing => "manifest_missing",
            Self::ManifestMalformed { .. } => "manifest_malformed",
            Self::DeadlinePassed => "deadline_passed",
            Self::BatchFull => "batch_full",
            Self::BackingOff { .. } => "backing_off",
            Self::QueueFull => "queue_full",
            Self::PreferredBusy { .. } => "preferred_busy",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Placed { worker_id } => write!(f, "placed on worker {worker_id}"),
            Self::NoWorkers => f.write_str("no worker is registered"),
            Self::NoFeasibleWorker => {
                f.write_str("no worker meets every requirement, and waiting alone will not change that")
            }
            Self::NoCapacity => f.write_str("the workers that fit cannot take it now; the job waits for one that can"),
            Self::WorkersOffline => f.write_str("there are workers that fit, but none of them is connected"),
            Self::ManifestMissing => f.write_str("the job's manifest is not in the artifact store"),
            Self::ManifestMalformed { reason } => write!(f, "the job's manifest cannot be read: {reason}"),
            Self::DeadlinePassed => f.write_str("the job's deadline has passed; it can only expire"),
            Self::BatchFull => f.write_str("a worker could take the job, but this batch is full; the next one follows"),
            Self::BackingOff { until } => {
                write!(f, "the last attempt failed; the next may start from {} on", time(*until))
            }
            Self::QueueFull => f.write_str("the job's queue is full; the job waits outside until there is room"),
            Self::PreferredBusy { until } => {
                write!(f, "the workers that the job prefers are busy; it makes do with another from {until} on")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_what_is_serialised() {
        for outcome in [
            Outcome::Placed { worker_id: WorkerId(3) },
            Outcome::NoWorkers,
            Outcome::NoFeasibleWorker,
            Outcome::NoCapacity,
            Outcome::WorkersOffline,
            Outcome::ManifestMissing,
            Outcome::ManifestMalformed { reason: "not JSON".to_owned() },
            Outcome::DeadlinePassed,
            Outcome::BatchFull,
            Outcome::BackingOff { until: 7 },
            Outcome::QueueFull,
            Outcome::PreferredBusy { until: 8 },
        ] {
            let json = serde_json::to_value(&outcome).unwrap();
            assert_eq!(json["code"], outcome.code());
            assert_eq!(serde_json::from_value::<Outcome>(json).unwrap(), outcome);
        }
    }

    #[test]
    fn it_reads_as_a_sentence_and_survives_json() {
        let explanation = Explanation {
            job_id: JobId(7),
            attempt: Attempt(2),
            outcome: Outcome::NoFeasibleWorker,
            workers_evaluated: 3,
            rejections: [(Rejection::Rate, 1), (Rejection::Vram, 2)].into(),
            winner: None,
            runner_up: None,
            strategy: Strategy::Standard,
            dropped: Vec::new(),
            chosen_by: None,
            nearness: None,
            reservation: None,
        };
        assert_eq!(
            explanation.to_string(),
            "job 7, attempt 2: no worker meets every requirement, and waiting alone will not change that \
             (3 workers evaluated: 2 too little GPU memory, 1 asks more than the job pays)"
        );
        let json = serde_json::to_string(&explanation).unwrap();
        assert!(!json.contains("chosen_by") && !json.contains("nearness"), "what goes by scores is written as before");
        assert_eq!(serde_json::from_str::<Explanation>(&json).unwrap(), explanation);

        let reservation = Some(Reservation { worker_id: WorkerId(4), start_by: 1_795_285_800 });
        let kept = Explanation { outcome: Outcome::NoCapacity, workers_evaluated: 0, reservation, ..explanation };
        assert!(kept.to_string().ends_with("kept for it, free at 2026-11-21T18:30:00Z at the latest"), "{kept}");
    }

    #[test]
    fn times_are_dates_and_none_is_too_late_to_be_one() {
        assert!(Outcome::BackingOff { until: 0 }.to_string().ends_with("from 1970-01-01T00:00:00Z on"));
        assert!(Outcome::BackingOff { until: u64::MAX }.to_string().ends_with("from 9999-12-31T23:59:59Z on"));
    }

    #[test]
    fn nearness_reads_with_the_region_and_how_many_are_as_near() {
        let told = |among| Nearness { to: "eu-w1".parse().unwrap(), latency_ms: 90, among }.to_string();
        assert_eq!(told(1), "90 ms from eu-w1, the least of those with room; no other worker is as near");
        assert!(told(2).ends_with("; 2 workers are as near"));
    }

    #[test]
    fn a_rule_reads_as_it_is_set_with_what_it_came_to() {
        let strategy = LoadBalancingStrategy::LeastLoaded;
        let told = |rule, among| ChosenBy { rule, strategy, among }.to_string();
        assert_eq!(told(Balancing::LeastLoaded, 1), "least_loaded, among 1 worker");
        assert_eq!(told(Balancing::Adaptive, 3), "adaptive, which was least_loaded this time, among 3 workers");
    }
}
