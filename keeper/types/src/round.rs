//! What a keeper says about a round besides its items.

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{BlockNumber, PolicyId};

/// What a round was decided from, by which policy, and what was decided. Recorded on chain, so that anybody with the
/// same snapshot and policy can recompute the plan and compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundHeader {
    /// The account's round, higher than every one before.
    pub round: u64,
    /// The block that the snapshot was taken at.
    pub snapshot_block: BlockNumber,
    /// The Merkle root over the snapshot's jobs and workers.
    pub snapshot_root: Felt,
    /// The policy, which must have been announced.
    pub policy_id: PolicyId,
    /// The hash of the round's items, in the order in which they are sent.
    pub plan_root: Felt,
}
