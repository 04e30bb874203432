//! What ends a turn.

use keeper_chain::RpcError;
use keeper_store::{RebuildError, StoreError};

/// Why a turn could not be made.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The chain cannot be read.
    #[error(transparent)]
    Chain(#[from] RpcError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The stored events do not follow from each other.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The chain's events do not follow from each other, also when all of them are read anew.
    #[error("the chain's events do not fit together, also when read anew: {0}")]
    Inconsistent(String),
    /// None of the recorded blocks is part of the chain any more: another chain is at the node's place.
    #[error("the chain began anew: none of the recorded blocks is on it")]
    BeganAnew,
}
