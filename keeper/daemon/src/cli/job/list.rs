//! `keeper job list`.

use anyhow::Result;
use clap::Args;
use keeper_chain::{ChainJob, Contracts};
use keeper_types::{Address, JobState, MAX_REPUTATION, Requirements};
use serde_json::{Value, json};

use crate::{context::Context, output};

/// Which jobs.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only jobs in this state, such as queued
    #[arg(long)]
    state: Option<JobState>,
    /// Only jobs of this client
    #[arg(long, value_name = "ADDRESS")]
    client: Option<Address>,
}

/// Lists the jobs.
///
/// # Errors
/// Fails where the node does not answer.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &ListArgs) -> Result<()> {
    let mut jobs = contracts.jobs().await?;
    jobs.retain(|job| args.state.is_none_or(|state| state == job.state));
    jobs.retain(|job| args.client.is_none_or(|client| client == job.client));
    if context.json {
        let jobs: Vec<Value> = jobs.iter().map(job_json).collect();
        return output::json(&json!({ "jobs": jobs }));
    }
    let mut table = output::table(&["JOB", "STATE", "ATTEMPT", "WORKER", "PRICE", "PRIORITY", "CLIENT"]);
    for job in &jobs {
        let price = price(job).map_or_else(|| format!("≤ {}", job.spec.max_price), |price| price.to_string());
        table.add_row([
            job.job_id.to_string(),
            job.state.to_string(),
            format!("{}/{}", job.attempt, job.spec.max_attempts),
            job.worker_id.map_or_else(|| "-".to_owned(), |worker_id| worker_id.to_string()),
            price,
            job.spec.priority.to_string(),
            output::short(job.client),
        ]);
    }
    println!("{table}");
    Ok(())
}

/// What the job's worker is paid, or was: `None` while there is none.
pub(super) fn price(job: &ChainJob) -> Option<keeper_types::Fri> {
    let agreed = matches!(
        job.state,
        JobState::Allocated | JobState::Committed | JobState::Revealed | JobState::Disputed | JobState::Settled
    );
    agreed.then(|| job.rate.cost(job.spec.requirements.billed_units(), job.spec.execution_timeout_s))
}

/// The job for programs: what the contract holds, and the price that follows from it.
pub(super) fn job_json(job: &ChainJob) -> Value {
    let mut value = serde_json::to_value(job).unwrap_or(Value::Null);
    if let Some(fields) = value.as_object_mut() {
        fields.insert("price_fri".to_owned(), json!(price(job)));
    }
    value
}

/// A job's requirements on one line.
pub(super) fn requirements(needs: &Requirements) -> String {
    let version = |number: u8| format!("{}.{}", number / 10, number % 10);
    let mut parts = Vec::new();
    if needs.gpu_count > 0 {
        parts.push(format!("{} GPU", needs.gpu_count));
    }
    if needs.vram_gib > 0 {
        parts.push(format!("{} GiB VRAM each", needs.vram_gib));
    }
    if needs.compute_capability > 0 {
        parts.push(format!("compute capability {}", version(needs.compute_capability)));
    }
    if needs.cuda_version > 0 {
        parts.push(format!("CUDA {}", version(needs.cuda_version)));
    }
    if needs.driver_version > 0 {
        parts.push(format!("driver {}", needs.driver_version));
    }
    if needs.cpu_cores > 0 {
        parts.push(format!("{} cores", needs.cpu_cores));
    }
    if needs.memory_gib > 0 {
        parts.push(format!("{} GiB memory", needs.memory_gib));
    }
    if needs.features.0 > 0 {
        parts.push(needs.features.to_string());
    }
    if let Some(region) = needs.region {
        parts.push(format!("region {region}"));
    }
    if needs.min_reputation > 0 {
        parts.push(format!("reputation {}/{MAX_REPUTATION}", needs.min_reputation));
    }
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}
