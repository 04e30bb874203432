//! When this keeper saw jobs move.

use keeper_store::{Observation, Stage};
use keeper_types::{Attempt, BlockEvents, Market, MarketEvent};

/// What was seen in blocks, of which `market` is the outcome. The first time counts, so a second one does no harm.
pub(crate) fn observations(blocks: &[BlockEvents], market: &Market, observed_ms: u64) -> Vec<Observation> {
    let attempt_of = |job_id| market.jobs.get(&job_id).map_or(Attempt(1), |job| job.attempt);
    let events = blocks.iter().flat_map(|block| &block.events);
    let stages = events.flat_map(|(position, event)| {
        let reached = match event {
            MarketEvent::JobSubmitted { job_id, .. } => vec![(*job_id, Attempt(1), Stage::Submitted)],
            MarketEvent::JobsAllocated { items } => {
                items.iter().map(|item| (item.job_id, item.attempt, Stage::Allocated)).collect()
            }
            MarketEvent::ResultSubmitted { job_id, attempt, .. } => vec![(*job_id, *attempt, Stage::Revealed)],
            MarketEvent::JobSettled { job_id, .. } => vec![(*job_id, attempt_of(*job_id), Stage::Settled)],
            _ => Vec::new(),
        };
        let block = position.block;
        reached.into_iter().map(move |(job_id, attempt, stage)| Observation {
            job_id,
            attempt,
            stage,
            block,
            observed_ms,
        })
    });
    stages.collect()
}
