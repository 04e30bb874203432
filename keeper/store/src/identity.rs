//! Which deployment a database follows.

use std::fmt;

use keeper_types::{Address, BlockNumber, ChainId};
use serde::{Deserialize, Serialize};

/// The chain and the contracts that a database's events come from. A database is never used for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The chain.
    pub chain_id: ChainId,
    /// The contract that holds the jobs.
    pub job_mgr: Address,
    /// The contract that holds the workers.
    pub cdc_pool: Address,
    /// The contract that keepers send their decisions to.
    pub task_allocator: Address,
    /// The block that deployed the first of them: where reading the chain begins.
    pub deployment_block: BlockNumber,
}

impl Identity {
    /// Whether the contracts are the same. The first block may differ: the same contracts stand in another block
    /// where a local chain began anew, or where a deployment file was written again.
    pub fn is_same_market(&self, other: &Self) -> bool {
        Self { deployment_block: other.deployment_block, ..self.clone() } == *other
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "JobMgr {}, CdcPool {} and TaskAllocator {} on {} from block {}",
            self.job_mgr,
            self.cdc_pool,
            self.task_allocator,
            self.chain_id.name(),
            self.deployment_block
        )
    }
}
