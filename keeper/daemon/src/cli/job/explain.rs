//! `keeper job explain`.

use std::cmp::Ordering;

use anyhow::{Error, Result, anyhow};
use keeper_chain::{ChainJob, Contracts};
use keeper_scheduler::{Balancing, Explanation, Outcome, Reservation, ScoreBreakdown};
use keeper_store::{ExplanationRecord, JobTimings, Location, StoreError, rebuild_market};
use keeper_types::{Job, JobId, JobState, Strategy};
use serde_json::json;

use super::{
    failure_text,
    fate::{self, Fate},
    known_job,
};
use crate::{context::Context, output, records};

/// Prints why the job was placed where it was, or why it is not placed.
///
/// # Errors
/// Fails where there is no such job, or no keeper has run here.
pub(super) async fn run(context: &Context, contracts: &Contracts, job_id: JobId) -> Result<()> {
    let job = known_job(contracts, job_id).await?;
    let Recorded { decision: record, fate, timings, job: followed } = recorded(context, contracts, job_id).await?;
    let failure = followed.as_ref().and_then(|job| job.last_failure).map(failure_text);
    let failed_on = followed.map(|job| job.excluded).unwrap_or_default();
    if context.json {
        return output::json(&json!({
            "job_id": job_id,
            "state": job.state,
            "attempt": job.attempt,
            "decision": record,
            "rule": record.as_ref().and_then(|record| rule_name(&record.explanation)),
            "fate": fate,
            "last_failure": failure,
            "failed_on": failed_on,
            "timings": timings,
        }));
    }
    println!("job {job_id} is {}, attempt {} of {}", job.state, job.attempt, job.spec.max_attempts);
    if let Some(failure) = failure {
        let workers: Vec<String> = failed_on.iter().map(ToString::to_string).collect();
        println!("failed    {failure}; on workers {}, which are not given it again", workers.join(", "));
    }
    match record {
        None if job.state == JobState::Queued => {
            println!("the keeper has not decided about it yet");
        }
        None => println!("this keeper did not decide about it"),
        Some(record) => print_decision(&job, &record, fate.as_ref()),
    }
    Ok(())
}

/// How the job's present attempt came to its worker, or why it has none.
pub(super) struct Placement {
    pub(super) decision: ExplanationRecord,
    pub(super) fate: Option<Fate>,
}

impl Placement {
    /// The lines of `keeper job show`.
    pub(super) fn print(&self) {
        let Explanation { outcome, winner, .. } = &self.decision.explanation;
        if let Some(fate) = &self.fate {
            println!("round             {fate}");
        }
        println!("decision          {} ({}), at block {}", outcome, outcome.code(), self.decision.snapshot_block);
        if let Some(winner) = winner {
            println!("score             {} of 10000, {}", winner.total, beside(&self.decision.explanation, winner));
            println!("rule              {}", rule(&self.decision.explanation));
        }
    }
}

/// What the keeper on this machine decided about the job's present attempt.
///
/// # Errors
/// Fails where no keeper has run here, or its records are of another chain.
pub(super) async fn placement(context: &Context, contracts: &Contracts, job: &ChainJob) -> Result<Option<Placement>> {
    let Recorded { decision, fate, .. } = recorded(context, contracts, job.job_id).await?;
    let decision = decision.filter(|decision| decision.explanation.attempt == job.attempt);
    Ok(decision.map(|decision| Placement { decision, fate }))
}

/// What the keeper on this machine recorded about a job.
struct Recorded {
    decision: Option<ExplanationRecord>,
    fate: Option<Fate>,
    timings: Vec<JobTimings>,
    job: Option<Job>,
}

async fn recorded(context: &Context, contracts: &Contracts, job_id: JobId) -> Result<Recorded> {
    let store = records::open(context, contracts).await.map_err(only_where_the_keeper_runs)?;
    let market = rebuild_market(&*store).await?;
    let decision = store.explanation(job_id).await?;
    let fate = match &decision {
        Some(record) => fate::of(&*store, record, market.paused.iter().copied()).await?,
        None => None,
    };
    Ok(Recorded { decision, fate, timings: store.timings(job_id).await?, job: market.jobs.get(&job_id).cloned() })
}

/// What a keeper decided is where it recorded it, and nowhere on chain.
fn only_where_the_keeper_runs(error: Error) -> Error {
    match error.downcast_ref() {
        Some(none @ StoreError::NoDatabase { database: Location::File(path) }) => anyhow!(
            "{none}\nhint: explanations are kept only where the keeper runs: run this there, with the keeper's own \
             --data-dir (or KEEPER_DATA_DIR); here it is {}",
            path.parent().unwrap_or(path).display()
        ),
        _ => error,
    }
}

fn print_decision(job: &ChainJob, record: &ExplanationRecord, fate: Option<&Fate>) {
    let Explanation { attempt, outcome, .. } = &record.explanation;
    if *attempt != job.attempt {
        println!("the latest decision was about attempt {attempt}");
    }
    match (outcome, fate) {
        // What was decided is not yet what is.
        (Outcome::Placed { worker_id }, Some(fate)) if !fate.is_applied() => {
            println!("decision  worker {worker_id} was chosen ({})", outcome.code());
        }
        _ => println!("decision  {} ({})", outcome, outcome.code()),
    }
    println!("taken     at block {}", record.snapshot_block);
    if let Some(fate) = fate {
        println!("round     {fate}");
    }
    print_findings(&record.explanation, None);
}

/// Prints what speaks against workers, and for the one that was chosen. What lies ahead is told from `now` on, in seconds
/// since the epoch, where that is known.
pub(super) fn print_findings(explanation: &Explanation, now: Option<u64>) {
    let Explanation { workers_evaluated, rejections, winner, runner_up, strategy, dropped, reservation, .. } =
        explanation;
    if matches!(explanation.outcome, Outcome::Placed { .. }) {
        println!("rule      {}", rule(explanation));
    }
    if let Some(nearness) = &explanation.nearness {
        println!("near      {nearness}");
    }
    if let Some(Reservation { worker_id, start_by }) = reservation {
        let time = super::time(*start_by);
        let wait = now.map(|now| format!(", in {} s", start_by.saturating_sub(now))).unwrap_or_default();
        println!("kept      worker {worker_id}, which has room at {time} at the latest{wait}");
    }
    if !dropped.is_empty() {
        let dropped: Vec<_> = dropped.iter().map(ToString::to_string).collect();
        println!("without   {}, which the job preferred", dropped.join(", "));
    }
    if *strategy != Strategy::Standard {
        println!("strategy  {strategy}");
    }
    if let Some(winner) = winner.as_ref().filter(|winner| runner_up.is_some_and(|other| other.total >= winner.total)) {
        println!("score     {} of 10000, {}", winner.total, beside(explanation, winner));
    }
    println!("workers   {workers_evaluated} evaluated");
    if !rejections.is_empty() {
        let mut table = output::table(&["WORKERS", "FAILED", "CODE"]);
        for (rejection, count) in rejections {
            table.add_row([count.to_string(), rejection.to_string(), rejection.code().to_owned()]);
        }
        println!("\n{table}");
        println!("a worker counts under everything that it fails");
    }
    if let Some(winner) = winner {
        let whose = match runner_up {
            Some(_) => "the winner's score beside the runner-up's; other workers' are not kept",
            None => "the winner's score; nobody else could have had the job",
        };
        println!("\n{whose}\n{}", score_table(winner, runner_up.as_ref()));
    }
}

/// The runner-up's score beside the winner's, and what decided where scores did not.
fn beside(explanation: &Explanation, winner: &ScoreBreakdown) -> String {
    let Some(ScoreBreakdown { worker_id: other, total, .. }) = explanation.runner_up else {
        return "nobody else could have had it".to_owned();
    };
    let by_sum = "the sum over the jobs of the round decided";
    match (explanation.chosen_by, explanation.strategy, winner.total.cmp(&total)) {
        // The rule that chose is told by itself.
        (Some(_), ..) => format!("beside worker {other} with {total}"),
        (None, _, Ordering::Greater) => format!("ahead of worker {other} with {total}"),
        (None, Strategy::Batch, Ordering::Equal) => format!("a tie with worker {other}: {by_sum}"),
        (None, Strategy::Batch, Ordering::Less) => format!("beside worker {other} with {total}: {by_sum}"),
        (None, _, Ordering::Equal) if winner.worker_id < other => {
            format!("a tie with worker {other}: the lower worker number decided")
        }
        (None, ..) => {
            format!("beside worker {other} with {total}: preferences and static workers come before scores")
        }
    }
}

/// `policy.balancing` as it was where a worker was chosen; none where none was.
fn rule_name(explanation: &Explanation) -> Option<Balancing> {
    let is_placed = matches!(explanation.outcome, Outcome::Placed { .. });
    is_placed.then(|| explanation.chosen_by.map_or(Balancing::Score, |chosen_by| chosen_by.rule))
}

/// By which rule the worker was chosen, as a person reads it.
fn rule(explanation: &Explanation) -> String {
    match (explanation.chosen_by, explanation.strategy) {
        (Some(chosen_by), _) => chosen_by.to_string(),
        (None, Strategy::Batch) => "score, the highest sum over the jobs of the round".to_owned(),
        (None, _) => "score, the highest".to_owned(),
    }
}

/// The winner's terms beside the runner-up's.
fn score_table(winner: &ScoreBreakdown, runner_up: Option<&ScoreBreakdown>) -> comfy_table::Table {
    let mut headings = vec!["TERM, OF 10000".to_owned(), format!("WORKER {}", winner.worker_id)];
    headings.extend(runner_up.map(|second| format!("WORKER {}", second.worker_id)));
    let mut table = output::table(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    for (index, (name, points)) in winner.terms.named().into_iter().enumerate() {
        let mut row = vec![name.to_owned(), points.to_string()];
        row.extend(runner_up.map(|second| second.terms.named()[index].1.to_string()));
        table.add_row(row);
    }
    let mut total = vec!["total".to_owned(), winner.total.to_string()];
    total.extend(runner_up.map(|second| second.total.to_string()));
    table.add_row(total);
    table
}

#[cfg(test)]
mod tests {
    use keeper_types::WorkerId;

    use super::*;

    fn score(worker_id: u32, total: u16) -> serde_json::Value {
        let terms = json!({ "fit": 1, "load": 1, "reputation": 1, "price": 1, "fragmentation": 1, "age": 1 });
        json!({ "worker_id": worker_id, "total": total, "terms": terms })
    }

    fn told(winner: (u32, u16), other: (u32, u16), strategy: &str) -> String {
        let explanation: Explanation = serde_json::from_value(json!({
            "job_id": 1, "attempt": 1, "outcome": Outcome::Placed { worker_id: WorkerId(winner.0) },
            "workers_evaluated": 2, "rejections": {}, "winner": score(winner.0, winner.1),
            "runner_up": score(other.0, other.1), "strategy": strategy,
        }))
        .unwrap();
        beside(&explanation, &explanation.winner.unwrap())
    }

    #[test]
    fn a_tie_is_said_to_be_one_and_what_decided_it() {
        assert_eq!(told((1, 7), (2, 6), "standard"), "ahead of worker 2 with 6");
        assert_eq!(told((1, 7), (2, 7), "standard"), "a tie with worker 2: the lower worker number decided");
        assert_eq!(told((2, 7), (1, 7), "batch"), "a tie with worker 1: the sum over the jobs of the round decided");
        assert_eq!(told((2, 6), (1, 7), "batch"), "beside worker 1 with 7: the sum over the jobs of the round decided");
        let before = "preferences and static workers come before scores";
        assert_eq!(told((2, 7), (1, 7), "standard"), format!("beside worker 1 with 7: {before}"));
        assert_eq!(told((1, 6), (2, 7), "fallback"), format!("beside worker 2 with 7: {before}"));
    }
}
