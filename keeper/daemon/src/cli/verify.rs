//! `keeper verify`.
//!
//! Nothing that the keeper says is believed. The market is rebuilt from the chain's events up to the block that the
//! round names; what the keeper published fills in what no chain tells, and counts only where it gives the snapshot
//! root that the round has on chain; then the plan is made anew.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use keeper_chain::{Deployment, Follower, Step};
use keeper_dispatch::ArtifactStore;
use keeper_scheduler::{RoundInputs, plan, plan_root, policy_id, snapshot_root};
use keeper_types::{
    Address, AllocationItem, Attempt, BlockEvents, BlockNumber, Felt, JobId, Market, MarketEvent, PolicyId,
    RoundHeader, TxHash, WorkerId,
};
use serde_json::json;

use super::{Global, replay::Recording};
use crate::{context::Context, output};

/// What to recompute.
#[derive(Debug, Subcommand)]
pub(crate) enum VerifyCommand {
    /// The round that allocated a job
    Allocation(AllocationArgs),
}

/// Which round.
#[derive(Debug, Args)]
pub(crate) struct AllocationArgs {
    /// A job's number, for its latest allocation, or the hash of a round's transaction
    #[arg(value_name = "JOB|TX")]
    which: String,
    /// What the keeper published about the round [default: found in the artifact store]
    #[arg(long, value_name = "FILE")]
    inputs: Option<PathBuf>,
    /// Write the snapshot and its policy to a file, for `keeper replay`
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
}

/// Which round is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Job(JobId),
    Transaction(TxHash),
}

/// A round as the chain has it.
#[derive(Clone, Debug)]
struct AppliedRound {
    keeper: Address,
    header: RoundHeader,
    block: BlockNumber,
    tx_hash: TxHash,
    allocated: Vec<AllocationItem>,
    skipped: Vec<(JobId, WorkerId, Attempt)>,
}

/// Recomputes it.
///
/// # Errors
/// Says where what was recomputed first differs from what the chain has, or why it cannot be recomputed.
pub(super) async fn run(global: &Global, command: VerifyCommand) -> Result<()> {
    let VerifyCommand::Allocation(args) = command;
    let which = parse(&args.which)?;
    let context = Context::connect(global).await?;
    let deployment = Deployment::load(&context.settings.deployment, context.settings.network)?;
    let follower = Follower::new(&context.rpc, &deployment);
    let blocks = read(&follower).await?;
    let round = find(&blocks, which)?;

    let bytes = match &args.inputs {
        Some(path) => tokio::fs::read(path).await.with_context(|| format!("reading {}", path.display()))?,
        None => published(&context, round.header.snapshot_root).await?,
    };
    let inputs = RoundInputs::parse(&bytes)?;
    check_policy(policy_id(&inputs.policy), &round)?;

    let market = market_at(&blocks, round.header.snapshot_block)?;
    let header = follower.header(round.header.snapshot_block).await?;
    let header = header.with_context(|| format!("block {} is not there any more", round.header.snapshot_block))?;
    let snapshot = inputs.snapshot(&market, (header.number, header.timestamp), header.hash);
    if let Some(path) = &args.save {
        Recording { policy: inputs.policy.clone(), snapshot: snapshot.clone() }.save(path)?;
    }
    let root = snapshot_root(&snapshot);
    if root != round.header.snapshot_root {
        bail!(
            "DIFFERENT: the snapshot. Chain and published inputs give the root {root:#066x}, the round says {:#066x}",
            round.header.snapshot_root
        );
    }
    if RoundInputs::of(&snapshot, &inputs.policy) != inputs {
        bail!("DIFFERENT: the inputs. They name workers or jobs that the market did not have at the round's block");
    }
    let batch = plan(&snapshot, &inputs.policy).batch();
    check_items(&batch, &round)?;
    let plan_root = plan_root(&batch);
    if plan_root != round.header.plan_root {
        bail!("DIFFERENT: the plan's name. It is {plan_root:#066x}, the round says {:#066x}", round.header.plan_root);
    }
    report(&context, &round, (snapshot.jobs.len(), snapshot.workers.len()))
}

fn parse(text: &str) -> Result<Which> {
    if let Ok(job_id) = text.parse() {
        return Ok(Which::Job(JobId(job_id)));
    }
    match text.strip_prefix("0x").map(|_| Felt::from_hex(text)) {
        Some(Ok(hash)) => Ok(Which::Transaction(TxHash(hash))),
        _ => bail!("`{text}` is neither a job's number nor a transaction's hash (0x...)"),
    }
}

/// Everything that the contracts said so far.
async fn read(follower: &Follower) -> Result<Vec<BlockEvents>> {
    let mut blocks: Vec<BlockEvents> = Vec::new();
    let spinner = output::spinner("reading the chain");
    loop {
        match follower.step(blocks.last().map(|block| block.header.reference())).await? {
            Step::UpToDate => break,
            Step::Extended { blocks: more, .. } => blocks.extend(more),
            Step::Reorganised => bail!("the chain was reorganised while it was read\nhint: try again"),
        }
    }
    spinner.finish_and_clear();
    Ok(blocks)
}

/// The round that is asked for.
fn find(blocks: &[BlockEvents], which: Which) -> Result<AppliedRound> {
    let events = || blocks.iter().flat_map(|block| &block.events);
    let tx_hash = match which {
        Which::Transaction(hash) => hash,
        Which::Job(job_id) => {
            let allocation = events().rev().find(|(_, event)| {
                matches!(event, MarketEvent::JobsAllocated { .. }) && event.job_ids().contains(&job_id)
            });
            allocation.with_context(|| format!("job {job_id} was not allocated yet, or does not exist\nhint: `keeper job show {job_id}` says which"))?.0.tx_hash
        }
    };
    let mut round = None;
    let (mut allocated, mut skipped) = (Vec::new(), Vec::new());
    for (position, event) in events().filter(|(position, _)| position.tx_hash == tx_hash) {
        match event {
            MarketEvent::JobsAllocated { items } => allocated.extend(items.iter().copied()),
            MarketEvent::AllocationSkipped { job_id, worker_id, attempt, .. } => {
                skipped.push((*job_id, *worker_id, *attempt));
            }
            MarketEvent::JobClaimed { job_id, worker_id } => {
                bail!("worker {worker_id} took job {job_id} itself, while no keeper was at work: no round decided it")
            }
            MarketEvent::RoundApplied {
                keeper,
                round: number,
                snapshot_block,
                snapshot_root,
                policy_id,
                plan_root,
                ..
            } => {
                ensure!(round.is_none(), "transaction {tx_hash} applied several rounds, which no keeper of ours does");
                let header = RoundHeader {
                    round: *number,
                    snapshot_block: *snapshot_block,
                    snapshot_root: *snapshot_root,
                    policy_id: *policy_id,
                    plan_root: *plan_root,
                };
                round = Some((*keeper, header, position.block));
            }
            _ => {}
        }
    }
    let (keeper, header, block) = round.with_context(|| format!("transaction {tx_hash} applied no round"))?;
    Ok(AppliedRound { keeper, header, block, tx_hash, allocated, skipped })
}

async fn published(context: &Context, snapshot_root: Felt) -> Result<Vec<u8>> {
    let artifacts = ArtifactStore::open(&context.settings.artifacts)?;
    let hint =
        "hint: the keeper that sent the round keeps them in its artifact store; pass --artifacts, or --inputs FILE";
    match artifacts.round(snapshot_root).await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(error) => bail!("{error}\n{hint}"),
    }
}

/// The market as of the end of a block.
fn market_at(blocks: &[BlockEvents], last: BlockNumber) -> Result<Market> {
    let mut market = Market::default();
    for (position, event) in
        blocks.iter().take_while(|block| block.header.number <= last).flat_map(|block| &block.events)
    {
        market.apply(event, position)?;
    }
    Ok(market)
}

fn check_policy(inputs: PolicyId, round: &AppliedRound) -> Result<()> {
    if inputs != round.header.policy_id {
        bail!("DIFFERENT: the policy. The published one is {inputs}, the round says {}", round.header.policy_id);
    }
    Ok(())
}

/// What was sent must be what the plan says: each item allocated as planned, or skipped by the contract.
fn check_items(planned: &[AllocationItem], round: &AppliedRound) -> Result<()> {
    let mut sent: BTreeSet<JobId> = round.allocated.iter().map(|item| item.job_id).collect();
    sent.extend(round.skipped.iter().map(|(job_id, ..)| *job_id));
    for item in planned {
        let AllocationItem { job_id, worker_id, attempt, .. } = item;
        if round.allocated.contains(item) || round.skipped.contains(&(*job_id, *worker_id, *attempt)) {
            sent.remove(job_id);
            continue;
        }
        let found = round.allocated.iter().find(|found| found.job_id == *job_id);
        let found =
            found.map_or("nothing".to_owned(), |found| format!("worker {}, score {}", found.worker_id, found.score));
        bail!("DIFFERENT: job {job_id}. The plan says worker {worker_id}, score {}; sent was {found}", item.score);
    }
    if let Some(job_id) = sent.first() {
        bail!("DIFFERENT: job {job_id}. The plan does not place it, the round does");
    }
    Ok(())
}

fn report(context: &Context, round: &AppliedRound, (jobs, workers): (usize, usize)) -> Result<()> {
    let AppliedRound { keeper, header, block, tx_hash, allocated, skipped } = round;
    if context.json {
        return output::json(&json!({
            "verdict": "match",
            "keeper": keeper,
            "header": header,
            "block": block,
            "tx_hash": tx_hash,
            "allocated": allocated.len(),
            "skipped": skipped.len(),
            "jobs": jobs,
            "workers": workers,
        }));
    }
    println!("round     {} of keeper {keeper}, block {block}, transaction {tx_hash}", header.round);
    println!("policy    {}, as announced", header.policy_id);
    println!(
        "snapshot  {:#066x}: {jobs} jobs and {workers} workers at block {}",
        header.snapshot_root, header.snapshot_block
    );
    println!("plan      {:#066x}: {} allocated, {} skipped", header.plan_root, allocated.len(), skipped.len());
    println!("MATCH     the chain and the published inputs give the same plan");
    Ok(())
}
