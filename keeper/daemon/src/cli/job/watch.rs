//! `keeper job watch`.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use clap::Args;
use keeper_chain::{ChainJob, Contracts};
use keeper_types::{Attempt, JobId, JobState, MarketEvent, WorkerId};
use serde::Serialize;
use serde_json::json;

use super::{failure_text, known_job, list::job_json};
use crate::{context::Context, output};

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The job's number [default: every job that is not final]
    id: Option<JobId>,
}

/// Prints every change of state until the job, or every job, is final.
///
/// # Errors
/// Fails where there is no such job, or the node does not answer.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &WatchArgs) -> Result<()> {
    let mut seen: BTreeMap<JobId, (JobState, Attempt)> = BTreeMap::new();
    let spinner = output::spinner("watching");
    loop {
        let jobs = match args.id {
            Some(job_id) => vec![known_job(contracts, job_id).await?],
            None => contracts.jobs().await?,
        };
        for job in &jobs {
            let now = (job.state, job.attempt);
            let before = seen.get(&job.job_id).copied();
            let first = before.is_none();
            // Of every job only the open ones are news; a job that is asked for by number always is.
            let news = if first { args.id.is_some() || !job.state.is_final() } else { before != Some(now) };
            if news {
                let failures = if has_failed(before, now) { contracts.failures(job.job_id).await? } else { Vec::new() };
                // What was printed before is not printed again.
                let since = before.map_or(Attempt(1), |(_, attempt)| attempt);
                let failures: Vec<Failure> = failures.iter().filter_map(|event| Failure::of(event, since)).collect();
                spinner.suspend(|| print_change(context, job, &failures))?;
            }
            seen.insert(job.job_id, now);
        }
        if jobs.iter().all(|job| job.state.is_final()) {
            spinner.finish_and_clear();
            return Ok(());
        }
        tokio::time::sleep(context.settings.poll()).await;
    }
}

/// Whether attempts have come to nothing since the job was last looked at.
fn has_failed(before: Option<(JobState, Attempt)>, (state, attempt): (JobState, Attempt)) -> bool {
    state == JobState::Failed || attempt > before.map_or(Attempt(1), |(_, attempt)| attempt)
}

/// An attempt, or its result, that came to nothing.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Failure {
    /// `None` where the result was rejected: that ends the job.
    attempt: Option<Attempt>,
    worker_id: WorkerId,
    reason: String,
}

impl Failure {
    /// What the event tells of an attempt from `since` on.
    fn of(event: &MarketEvent, since: Attempt) -> Option<Self> {
        match event {
            MarketEvent::AttemptFailed { worker_id, attempt, reason, .. } if *attempt >= since => {
                Some(Self { attempt: Some(*attempt), worker_id: *worker_id, reason: failure_text(*reason) })
            }
            MarketEvent::ResultRejected { worker_id, cause, .. } => {
                Some(Self { attempt: None, worker_id: *worker_id, reason: cause.to_string() })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker_id, reason, .. } = self;
        match self.attempt {
            Some(attempt) => write!(f, "attempt {attempt} by worker {worker_id} failed: {reason}"),
            None => write!(f, "the result of worker {worker_id} was rejected: {reason}"),
        }
    }
}

fn print_change(context: &Context, job: &ChainJob, failures: &[Failure]) -> Result<()> {
    if context.json {
        let mut value = job_json(job);
        if let Some(fields) = value.as_object_mut() {
            fields.insert("failures".to_owned(), json!(failures));
        }
        return output::json_line(&value);
    }
    for failure in failures {
        println!("job {} {failure}", job.job_id);
    }
    let worker = job.worker_id.map(|worker_id| format!(" by worker {worker_id}")).unwrap_or_default();
    println!("job {} {}, attempt {}{worker}", job.job_id, job.state, job.attempt);
    Ok(())
}

#[cfg(test)]
mod tests {
    use keeper_types::{Felt, RejectionCause};

    use super::*;

    fn failed(attempt: u8, reason: &[u8]) -> MarketEvent {
        MarketEvent::AttemptFailed {
            job_id: JobId(1),
            worker_id: WorkerId(2),
            attempt: Attempt(attempt),
            expired: reason.is_empty(),
            reason: Felt::from_bytes_be_slice(reason),
            requeued: true,
        }
    }

    #[test]
    fn a_failure_is_looked_for_where_an_attempt_is_over() {
        let (queued, first, second) = (JobState::Queued, Attempt(1), Attempt(2));
        assert!(!has_failed(None, (queued, first)));
        assert!(has_failed(None, (queued, second)), "it failed before anybody watched");
        assert!(has_failed(Some((JobState::Allocated, first)), (queued, second)));
        assert!(!has_failed(Some((queued, second)), (JobState::Allocated, second)));
        assert!(has_failed(Some((JobState::Allocated, second)), (JobState::Failed, second)));
    }

    #[test]
    fn a_failure_says_who_and_why_and_only_once() {
        let text = |event: &MarketEvent, since| Failure::of(event, Attempt(since)).map(|failure| failure.to_string());
        assert_eq!(text(&failed(1, b"EXIT_CODE"), 1).unwrap(), "attempt 1 by worker 2 failed: EXIT_CODE");
        assert_eq!(text(&failed(2, b""), 1).unwrap(), "attempt 2 by worker 2 failed: DEADLINE_PASSED");
        assert_eq!(text(&failed(1, b"EXIT_CODE"), 2), None);
        let (job_id, worker_id) = (JobId(1), WorkerId(2));
        let rejected = MarketEvent::ResultRejected { job_id, worker_id, cause: RejectionCause::Ruled };
        assert_eq!(text(&rejected, 2).unwrap(), "the result of worker 2 was rejected: the dispute was lost");
    }
}
