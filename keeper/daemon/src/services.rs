//! The keeper's services and their supervisor.
//!
//! ```text
//!  chain --> Following --(Believed)--> Allocating --> TaskAllocator.apply_batch
//!                          |   |
//!                          |   +-----> Exiting -----> expire_job, expire_attempt, settle
//!                          +---------> Dispatching -> worker agents
//!                          +---------> Admission: the account may no longer apply rounds
//! ```
//!
//! Each service owns its state; what the chain said reaches the others as an immutable [`Believed`]. A service
//! lives through everything that may pass (a node that does not answer); it returns an error only for what a
//! person must look at, and then the whole keeper stops, since half a keeper is worse than none.

mod admission;
mod allocating;
mod dispatching;
mod exiting;
mod following;
mod supervisor;

use std::sync::Arc;

use keeper_types::{BlockHeader, Market};
use tokio::sync::watch;

pub(crate) use self::{
    admission::Admission,
    allocating::Allocating,
    dispatching::Dispatching,
    exiting::Exiting,
    following::Following,
    supervisor::{Supervisor, stop_signal},
};

/// What the keeper believes as of a block, caught up with the chain.
#[derive(Debug)]
pub(crate) struct Believed {
    /// Jobs and workers.
    pub(crate) market: Market,
    /// The newest block.
    pub(crate) head: BlockHeader,
    /// How often the chain was reorganised since the keeper started. What was remembered of an earlier fork may
    /// be about other jobs of the same number.
    pub(crate) fork: u64,
}

/// The latest belief; `None` until the keeper has caught up for the first time.
pub(crate) type BelievedReceiver = watch::Receiver<Option<Arc<Believed>>>;

/// Now, in milliseconds since the epoch: for records that people read, never for decisions.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
