//! `keeper job watch`.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::Args;
use keeper_chain::{ChainJob, Contracts};
use keeper_types::{JobId, JobState};

use super::{known_job, list::job_json};
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
    let mut seen: BTreeMap<JobId, (JobState, u8)> = BTreeMap::new();
    let spinner = output::spinner("watching");
    loop {
        let jobs = match args.id {
            Some(job_id) => vec![known_job(contracts, job_id).await?],
            None => contracts.jobs().await?,
        };
        for job in &jobs {
            let now = (job.state, job.attempt.0);
            let first = !seen.contains_key(&job.job_id);
            // Of every job only the open ones are news; a job that is asked for by number always is.
            let news =
                if first { args.id.is_some() || !job.state.is_final() } else { seen.get(&job.job_id) != Some(&now) };
            if news {
                spinner.suspend(|| print_change(context, job))?;
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

fn print_change(context: &Context, job: &ChainJob) -> Result<()> {
    if context.json {
        return output::json_line(&job_json(job));
    }
    let worker = job.worker_id.map(|worker_id| format!(" by worker {worker_id}")).unwrap_or_default();
    println!("job {} {}, attempt {}{worker}", job.job_id, job.state, job.attempt);
    Ok(())
}
