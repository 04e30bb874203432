//! `keeper job ...`.

mod check;
mod explain;
mod fate;
mod judge;
mod list;
mod pricing;
mod submit;
mod watch;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::{ChainJob, Contracts, DueExit, Receipt};
use keeper_types::{Felt, JobId, JobState};
use serde_json::json;

use super::Global;
use crate::{context::Context, output};

/// What to do with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobCommand {
    /// Submit a job: store its manifest, put the highest price into escrow
    Submit(Box<submit::SubmitArgs>),
    /// Say whether a job would be placed now, where, when and at what price; nothing is sent
    Check(Box<check::CheckArgs>),
    /// List jobs
    List(list::ListArgs),
    /// Show one job as the contract holds it
    Show(JobArgs),
    /// Say why a job was placed where it was, or why it is not placed
    Explain(JobArgs),
    /// Withdraw a queued job and get the escrow back
    Cancel(JobArgs),
    /// Accept a result before its challenge window ends
    Accept(JobArgs),
    /// End a queued job whose deadline has passed, or an attempt whose time is up; anyone may
    Expire(JobArgs),
    /// Pay for a result whose challenge window has ended; anyone may
    Settle(JobArgs),
    /// Dispute a result: what decides is the job's --verification; it costs a bond, or three more runs of the job
    Dispute(JobArgs),
    /// Post the evidence in a dispute about a matrix product; anyone may, the worker's owner must
    Judge(judge::JudgeArgs),
    /// End a dispute that nobody has ruled in time, or as its committee found; anyone may
    SettleDispute(JobArgs),
    /// Take a queued job for the account's worker, while no keeper is at work
    Claim(JobArgs),
    /// Follow a job, or every open one, until it is final
    Watch(watch::WatchArgs),
}

/// Which job.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job's number
    id: JobId,
}

/// Runs a job command.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: JobCommand) -> Result<()> {
    if let JobCommand::Submit(args) = &command {
        // A manifest that is wrong is wrong also where no node answers.
        submit::read_manifests(args)?;
    }
    if let JobCommand::Check(args) = &command {
        args.manifest()?;
    }
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    match command {
        JobCommand::Check(args) => check::run(&context, &contracts, &args).await,
        JobCommand::Submit(args) => submit::run(&context, &contracts, &args).await,
        JobCommand::List(args) => list::run(&context, &contracts, &args).await,
        JobCommand::Show(args) => show(&context, &contracts, args.id).await,
        JobCommand::Explain(args) => explain::run(&context, &contracts, args.id).await,
        JobCommand::Cancel(args) => {
            known_job(&contracts, args.id).await?;
            let receipt = contracts.cancel_job(&context.sender().await?, args.id).await?;
            done(&context, &receipt, args.id, "cancelled")
        }
        JobCommand::Accept(args) => {
            known_job(&contracts, args.id).await?;
            let receipt = contracts.accept_result(&context.sender().await?, args.id).await?;
            done(&context, &receipt, args.id, "accepted")
        }
        JobCommand::Expire(args) => expire(&context, &contracts, args.id).await,
        JobCommand::Settle(args) => {
            known_job(&contracts, args.id).await?;
            let receipt = contracts.exit_due(&context.sender().await?, &[DueExit::Settle(args.id)]).await?;
            done(&context, &receipt, args.id, "settled")
        }
        JobCommand::Dispute(args) => {
            let job = known_job(&contracts, args.id).await?;
            let receipt = contracts.dispute_result(&context.sender().await?, &job).await?;
            done(&context, &receipt, args.id, "disputed")
        }
        JobCommand::Judge(args) => judge::run(&context, &contracts, &args).await,
        JobCommand::SettleDispute(args) => {
            known_job(&contracts, args.id).await?;
            let receipt = contracts.exit_due(&context.sender().await?, &[DueExit::SettleDispute(args.id)]).await?;
            done(&context, &receipt, args.id, "no longer in dispute")
        }
        JobCommand::Claim(args) => {
            known_job(&contracts, args.id).await?;
            let receipt = contracts.claim_job(&context.sender().await?, args.id).await?;
            done(&context, &receipt, args.id, "claimed")
        }
        JobCommand::Watch(args) => watch::run(&context, &contracts, &args).await,
    }
}

/// The job, or an error that says how many there are.
///
/// # Errors
/// Fails where there is no such job.
async fn known_job(contracts: &Contracts, job_id: JobId) -> Result<ChainJob> {
    match contracts.job(job_id).await? {
        Some(job) => Ok(job),
        None => bail!(
            "job {job_id} does not exist on {}\nhint: `keeper job list` shows the jobs that do",
            contracts.deployment().network
        ),
    }
}

async fn expire(context: &Context, contracts: &Contracts, job_id: JobId) -> Result<()> {
    let job = known_job(contracts, job_id).await?;
    let exit = match job.state {
        JobState::Queued => DueExit::ExpireJob(job_id),
        JobState::Allocated | JobState::Committed => DueExit::ExpireAttempt(job_id),
        state => bail!("job {job_id} is {state}: only queued, allocated and committed jobs have a deadline to pass"),
    };
    let receipt = contracts.exit_due(&context.sender().await?, &[exit]).await?;
    done(context, &receipt, job_id, "expired")
}

fn done(context: &Context, receipt: &Receipt, job_id: JobId, what: &str) -> Result<()> {
    if context.json {
        return output::json(&json!({ "job_id": job_id, "tx_hash": receipt.hash, "fee_fri": receipt.fee }));
    }
    println!("job {job_id} {what} in block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

async fn show(context: &Context, contracts: &Contracts, job_id: JobId) -> Result<()> {
    let job = known_job(contracts, job_id).await?;
    let placement = explain::placement(context, contracts, &job).await;
    if context.json {
        let mut value = list::job_json(&job);
        let placement = placement.ok().flatten();
        if let Some(fields) = value.as_object_mut() {
            let (decision, fate) = placement.map(|placement| (placement.decision, placement.fate)).unzip();
            fields.insert("decision".to_owned(), json!(decision));
            fields.insert("fate".to_owned(), json!(fate.flatten()));
        }
        return output::json(&value);
    }
    let spec = &job.spec;
    let needs = &spec.requirements;
    println!("job               {job_id}");
    println!("state             {}", job.state);
    println!("client            {}", job.client);
    println!("attempt           {} of {}", job.attempt, spec.max_attempts);
    if let Some(worker_id) = job.worker_id {
        println!(
            "worker            {worker_id}, allocated at {} with a score of {}",
            time(job.allocated_at),
            job.score
        );
    }
    match placement {
        Ok(Some(placement)) => placement.print(),
        Ok(None) => println!("decision          this keeper has recorded none about attempt {}", job.attempt),
        Err(_) if job.worker_id.is_some() => {
            println!(
                "decision          not recorded here; `keeper verify allocation {job_id}` reads it from the chain"
            );
        }
        Err(_) => println!("decision          not recorded here; `keeper job explain {job_id}` says why"),
    }
    if let Some(price) = list::price(&job) {
        println!("agreed price      {price}");
    }
    println!("highest price     {}", spec.max_price);
    println!("priority          {} in the {} queue", spec.priority, spec.queue);
    println!("deadline          {} and block {}", time(spec.deadline), job.deadline_block);
    println!("execution timeout {} s", spec.execution_timeout_s);
    println!("verification      {}", spec.verification);
    if let Some(group_id) = job.group_id {
        println!("replica           of group {group_id}: {} of {} must agree", spec.quorum, spec.replicas);
    }
    if let Some(dispute) = contracts.dispute(job_id).await? {
        let judge =
            dispute.committee.map_or_else(|| "the referee".to_owned(), |id| format!("the committee of job {id}"));
        println!("dispute           until {} and block {}, {judge} decides", time(dispute.ends_at), dispute.ends_block);
    }
    println!(
        "manifest          {}",
        spec.manifest().map_or_else(|| format!("{:#x}", spec.manifest_hash), |hash| hash.to_string())
    );
    // The contract keeps the result in the place of the requirements.
    if job.result_hash == Felt::ZERO {
        println!("requirements      {}", list::requirements(needs));
    } else {
        println!("GPUs              {}", needs.gpu_count);
    }
    if job.result_hash != Felt::ZERO {
        let result = keeper_types::ContentHash::from_felt(job.result_hash);
        println!(
            "result            {}",
            result.map_or_else(|_| format!("{:#x}", job.result_hash), |hash| hash.to_string())
        );
    }
    Ok(())
}

/// Why an attempt failed: the reason code that the worker wrote; an attempt that ran out of time has none.
fn failure_text(reason: Felt) -> String {
    let bytes: Vec<u8> = reason.to_bytes_be().into_iter().skip_while(|byte| *byte == 0).collect();
    match String::from_utf8(bytes) {
        Ok(text) if text.is_empty() => "DEADLINE_PASSED".to_owned(),
        Ok(text) if text.chars().all(|character| character.is_ascii_graphic()) => text,
        _ => format!("{reason:#x}"),
    }
}

/// Seconds since the epoch as a date and time, in UTC.
fn time(seconds: u64) -> String {
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(time).to_string()
}
