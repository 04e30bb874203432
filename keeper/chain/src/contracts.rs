//! The contracts as the rest of the keeper sees them: views answered in the market's terms, and calls that a
//! [`Sender`](crate::Sender) sends.

mod calls;
mod failures;
mod views;

pub(crate) use calls::approval;
pub use calls::{Calls, Governance};

use keeper_types::{Address, Felt, JobId, MarketEvent};

use crate::{DecodeError, Deployment, Receipt, Rpc, decode::decode_event};

/// The STRK token, at the same address on every network.
pub const STRK_TOKEN: Address =
    Address(Felt::from_hex_unchecked("0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d"));

/// The contracts of one deployment.
#[derive(Clone, Debug)]
pub struct Contracts {
    rpc: Rpc,
    deployment: Deployment,
}

/// What TaskAllocator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AllocationStats {
    /// Rounds applied, by every keeper.
    pub rounds: u64,
    /// Items allocated.
    pub allocated: u64,
    /// Items skipped.
    pub skipped: u64,
    /// The block of the latest round.
    pub last_round_block: u64,
}

/// What a round that was sent did.
#[derive(Clone, Debug)]
pub struct RoundReceipt {
    /// The transaction's receipt.
    pub receipt: Receipt,
    /// Items that were allocated.
    pub allocated: u32,
    /// Items that were skipped.
    pub skipped: u32,
}

impl Contracts {
    /// The contracts of `deployment`, reached through `rpc`.
    pub fn new(rpc: &Rpc, deployment: &Deployment) -> Self {
        Self { rpc: rpc.clone(), deployment: deployment.clone() }
    }

    /// Where they stand.
    pub fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    /// The connection that they are reached through.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// What our contracts said in a transaction, in order.
    ///
    /// # Errors
    /// Fails where an event of theirs cannot be read.
    pub fn events(&self, receipt: &Receipt) -> Result<Vec<MarketEvent>, DecodeError> {
        let addresses = self.deployment.addresses();
        let ours = receipt.events.iter().filter(|event| addresses.contains(&event.from_address));
        ours.map(|event| decode_event(event, &addresses)).collect()
    }
}

/// Something that anyone may do to a job because its time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DueExit {
    /// The job's deadline has passed while it was queued.
    ExpireJob(JobId),
    /// The attempt's deadline has passed without a result, or without the reveal of one.
    ExpireAttempt(JobId),
    /// The challenge window has passed without a dispute, or the group has decided.
    Settle(JobId),
    /// The dispute can be ruled: by its committee's result, or by default.
    SettleDispute(JobId),
}

impl DueExit {
    /// The job.
    pub fn job_id(self) -> JobId {
        match self {
            Self::ExpireJob(job_id)
            | Self::ExpireAttempt(job_id)
            | Self::Settle(job_id)
            | Self::SettleDispute(job_id) => job_id,
        }
    }
}
