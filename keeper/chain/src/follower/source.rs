//! What the follower asks of a chain, whoever answers: a node, or a simulation in a test.

use std::{collections::BTreeMap, fmt};

use async_trait::async_trait;
use keeper_types::{Attempt, BlockEvents, BlockHeader, BlockNumber, BlockRef, Felt, JobId, JobState, WorkerId};

use crate::{ChainJob, RpcError};

/// How often our contracts spoke in a block, by the event index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indexed {
    /// The block's hash as the index has it; none where it does not say.
    pub hash: Option<Felt>,
    /// Events of our contracts.
    pub events: usize,
}

/// The blocks in which our contracts spoke.
pub type Index = BTreeMap<BlockNumber, Indexed>;

/// Where a job stands, as the contract holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobStanding {
    /// Its number.
    pub job_id: JobId,
    /// Its state.
    pub state: JobState,
    /// The attempt that is queued, running or was the last.
    pub attempt: Attempt,
    /// The worker of the running or last attempt.
    pub worker_id: Option<WorkerId>,
}

impl From<ChainJob> for JobStanding {
    fn from(job: ChainJob) -> Self {
        Self { job_id: job.job_id, state: job.state, attempt: job.attempt, worker_id: job.worker_id }
    }
}

/// A chain with one deployment of the contracts on it. Every answer is of its own moment: what two of them say together
/// is only known once it was checked.
#[async_trait]
pub trait ChainSource: fmt::Debug + Send + Sync {
    /// The block from which on the contracts are there.
    fn first(&self) -> BlockNumber;

    /// Checks anew that whoever answers is on the right network.
    async fn check(&self) -> Result<(), RpcError>;

    /// The newest block.
    async fn head(&self) -> Result<BlockHeader, RpcError>;

    /// The block of this height, or `None` where there is none.
    async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError>;

    /// The newest block that is accepted on L1, or `None` where none is.
    async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError>;

    /// The blocks from `first` to `last` in which our contracts spoke, or `None` where not all of these blocks are there.
    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError>;

    /// The block of this height with what our contracts said in it, or `None` where there is none.
    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError>;

    /// Checks with others who know the chain that this is a block of it, where there are others.
    async fn cross_check(&self, block: BlockRef) -> Result<(), RpcError>;

    /// How the contract holds up to `count` jobs from number `first` on, as of the end of a block. Fewer where there are
    /// no more.
    async fn jobs_at(&self, at: BlockRef, first: JobId, count: u8) -> Result<Vec<JobStanding>, RpcError>;
}
