//! Clients that submit jobs, steadily, while keepers die.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use keeper_types::{ContentHash, JobId};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

use super::{
    sight::Seen,
    stage::{CLIENT, Stage},
};

/// Jobs of one submission.
const BURST: u32 = 5;
/// Jobs that may be open at a time: fewer than there are slots, so that a queued job can always be placed.
const MOST_OPEN: usize = 40;
/// How often it is looked whether more may be submitted.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How far submissions may be ahead of the kills, in kills.
const AHEAD: u32 = 2;

/// Keeps kills and submissions in step: of both, the same share is done at any time.
#[derive(Debug)]
pub(crate) struct Pace {
    jobs: u32,
    kills: u32,
    submitted: AtomicU32,
    killed: AtomicU32,
    stopped: AtomicBool,
}

impl Pace {
    pub(crate) fn new(jobs: u32, kills: u32) -> Arc<Self> {
        Arc::new(Self {
            jobs,
            kills,
            submitted: AtomicU32::new(0),
            killed: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
        })
    }

    /// The jobs that are submitted before this many kills are over.
    fn jobs_before(&self, kills: u32) -> u32 {
        let jobs = u64::from(self.jobs) * u64::from(kills) / u64::from(self.kills);
        u32::try_from(jobs).unwrap_or(u32::MAX).min(self.jobs)
    }

    /// Waits until so many jobs are submitted as belong before this kill.
    pub(crate) async fn wait_for(&self, kill: u32, submitting: &Submitting) {
        self.killed.store(kill, Ordering::Relaxed);
        // Where clients have failed, the end tells why.
        while self.submitted.load(Ordering::Relaxed) < self.jobs_before(kill) && !submitting.task.is_finished() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Nothing more is to be submitted.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// Every kill is over.
    pub(crate) fn kills_are_over(&self) {
        self.killed.store(self.kills, Ordering::Relaxed);
    }

    fn allows(&self, submitted: u32) -> bool {
        submitted < self.jobs_before(self.killed.load(Ordering::Relaxed).saturating_add(AHEAD))
    }
}

/// A job whose submission was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acknowledged {
    pub(crate) job_id: JobId,
    /// What its result has to be.
    pub(crate) result: ContentHash,
}

/// The clients.
pub(crate) struct Submitting {
    task: JoinHandle<Result<Vec<Acknowledged>>>,
}

impl Submitting {
    /// Begins to submit.
    pub(crate) fn begin(stage: &Arc<Stage>, pace: &Arc<Pace>, seen: watch::Receiver<Seen>) -> Self {
        Self { task: tokio::spawn(submit_all(Arc::clone(stage), Arc::clone(pace), seen)) }
    }

    /// Waits until everything is submitted; where nothing moves any more, returns what was acknowledged until then.
    pub(crate) async fn finish(self) -> Result<Vec<Acknowledged>> {
        self.task.await.context("the clients failed")?
    }
}

async fn submit_all(stage: Arc<Stage>, pace: Arc<Pace>, seen: watch::Receiver<Seen>) -> Result<Vec<Acknowledged>> {
    let mut acknowledged = Vec::new();
    while let Some(first) = next(&pace, &seen, u32::try_from(acknowledged.len())?).await {
        let count = BURST.min(pace.jobs - first);
        acknowledged.extend(submit(&stage, first, count).await?);
        pace.submitted.store(u32::try_from(acknowledged.len())?, Ordering::Relaxed);
    }
    Ok(acknowledged)
}

/// Waits until the next jobs may be submitted; `None` where all are, or nothing moves any more.
async fn next(pace: &Pace, seen: &watch::Receiver<Seen>, submitted: u32) -> Option<u32> {
    let (mut last, mut since) = (*seen.borrow(), Instant::now());
    loop {
        if submitted >= pace.jobs || pace.stopped.load(Ordering::Relaxed) {
            return None;
        }
        let now = *seen.borrow();
        // What was just submitted may not be seen yet.
        let open = now.open + (submitted as usize).saturating_sub(now.submitted);
        if open < MOST_OPEN && pace.allows(submitted) {
            return Some(submitted);
        }
        if now != last {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > super::STUCK_AFTER {
            return None;
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Submits jobs by the command line. Each leaves a line behind whenever it runs, and has an output of its own.
pub(crate) async fn submit(stage: &Stage, first: u32, count: u32) -> Result<Vec<Acknowledged>> {
    let mut arguments: Vec<String> = ["job", "submit", "--max-price", "1"].map(ToOwned::to_owned).to_vec();
    let mut results = Vec::new();
    for number in first..first + count {
        let output = format!("the result of job {number}");
        let run = format!("echo \"$JOB_ID $ATTEMPT\" >> {}; cat", stage.runs().join("runs").display());
        let manifest = json!({
            "version": 1,
            "executor": { "kind": "process", "command": ["sh", "-c", run], "stdin": output },
            "limits": { "time_s": 30 },
        });
        let path = stage.place.write(&format!("job-{}.json", number - first), &manifest.to_string());
        arguments.extend(["--manifest".to_owned(), path.display().to_string()]);
        results.push(ContentHash::of(output.as_bytes()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = stage.place.finish(stage.command(CLIENT, &arguments)).await;
    ensure!(outcome.success, "jobs cannot be submitted: {}", outcome.stderr);
    let submitted: Value = serde_json::from_str(&outcome.stdout).context("reading what was submitted")?;
    let ids = submitted["jobs"].as_array().context("no jobs in the answer")?;
    if ids.len() != results.len() {
        bail!("{} jobs were submitted, {} acknowledged", results.len(), ids.len());
    }
    let job_id = |job: &Value| job["job_id"].as_u64().map(JobId).context("a job without a number");
    ids.iter().zip(results).map(|(job, result)| Ok(Acknowledged { job_id: job_id(job)?, result })).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kills_and_submissions_keep_step() {
        let pace = Pace::new(2_000, 200);
        assert_eq!((pace.jobs_before(0), pace.jobs_before(1), pace.jobs_before(200)), (0, 10, 2_000));
        assert!(pace.allows(19) && !pace.allows(20));
        pace.killed.store(10, Ordering::Relaxed);
        assert!(pace.allows(119) && !pace.allows(120));
        pace.kills_are_over();
        assert!(pace.allows(1_999) && !pace.allows(2_000));
    }
}
