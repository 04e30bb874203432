//! Finding a round on chain.

use anyhow::{Context as _, Result, bail, ensure};
use keeper_chain::{Follower, Step};
use keeper_types::{
    Address, AllocationItem, Attempt, BlockEvents, BlockNumber, FeltParseError, JobId, MarketEvent, RoundHeader,
    TxHash, WorkerId,
};

use crate::output;

/// Which round is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Job(JobId),
    Transaction(TxHash),
}

/// A round as the chain has it.
#[derive(Clone, Debug)]
pub(super) struct AppliedRound {
    pub(super) keeper: Address,
    pub(super) header: RoundHeader,
    pub(super) block: BlockNumber,
    pub(super) tx_hash: TxHash,
    pub(super) allocated: Vec<AllocationItem>,
    pub(super) skipped: Vec<(JobId, WorkerId, Attempt)>,
}

impl Which {
    /// What the text names.
    ///
    /// # Errors
    /// Fails where it is neither a job's number nor a transaction's hash.
    pub(super) fn parse(text: &str) -> Result<Self> {
        if let Ok(job_id) = text.parse() {
            return Ok(Self::Job(JobId(job_id)));
        }
        match text.parse() {
            Ok(hash) => Ok(Self::Transaction(hash)),
            Err(error @ FeltParseError::NotBelowPrime(_)) => Err(error.into()),
            Err(FeltParseError::Malformed(_)) => {
                bail!("`{text}` is neither a job's number nor a transaction's hash (0x...)")
            }
        }
    }
}

/// Everything that the contracts said so far.
///
/// # Errors
/// Fails where the node does not answer.
pub(in crate::cli) async fn read(follower: &Follower) -> Result<Vec<BlockEvents>> {
    let mut blocks: Vec<BlockEvents> = Vec::new();
    let spinner = output::spinner("reading the chain");
    loop {
        match follower.step(blocks.last().map(|block| block.header)).await? {
            Step::UpToDate => break,
            Step::Extended { blocks: more, .. } => blocks.extend(more),
            Step::Reorganised => bail!("the chain was reorganised while it was read\nhint: try again"),
        }
    }
    spinner.finish_and_clear();
    Ok(blocks)
}

/// The round that is asked for.
///
/// # Errors
/// Fails where there is none.
pub(super) fn find(blocks: &[BlockEvents], which: Which) -> Result<AppliedRound> {
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
