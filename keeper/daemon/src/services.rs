//! The keeper's services and their supervisor.
//!
//! ```text
//!  chain --> Following --(Believed)--> Allocating --> apply_batch --------------------+
//!                          |   |                                                      +--> Sending --> chain
//!                          |   +-----> Exiting -----> expire_job, expire_attempt, settle
//!                          +---------> Dispatching -> worker agents
//!                          +---------> Admission: the account may no longer apply rounds
//! ```
//!
//! Where several keepers share a database, Leasing says which of them leads what; Allocating, Exiting and Dispatching see
//! to that only, and Sending sends from an account only under the account's lease ([`leading`]).
//!
//! Each service owns its state; what the chain said reaches the others as an immutable [`Believed`]. A service waits out
//! what it expects (a node that does not answer). What it does not expect it returns as a [`Failure`], which says whether
//! the supervisor may start it again: then it begins with what the database and the chain say, and each module says why
//! nothing is lost or done twice by that. What a person must look at stops the whole keeper, since half a keeper is worse
//! than none.

mod admission;
mod allocating;
mod dispatching;
mod exiting;
mod failure;
mod following;
mod health;
mod leading;
mod noticing;
mod probing;
mod restarts;
mod sending;
mod serving;
mod signals;
mod storing;
mod supervisor;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use keeper_types::{BlockHeader, BlockNumber, Market};
use tokio::{sync::watch, time::sleep};
use tokio_util::sync::CancellationToken;

pub(crate) use self::{
    admission::Admission,
    allocating::Allocating,
    dispatching::Dispatching,
    exiting::Exiting,
    failure::{CannotListen, Failure, Stopped},
    following::Following,
    health::{ALLOCATING, Health},
    leading::{Claim, Duty, Leadership, Leasing, ShardLed, led, refuse_other_numbers, shard_of_lease},
    noticing::Noticing,
    probing::Probing,
    sending::Sending,
    serving::Serving,
    signals::Signals,
    storing::Storing,
    supervisor::{Stage, Supervisor},
};

/// How long what is being sent may take to be finished once the keeper was told to stop. What is left of a stage's time
/// is for writing down how far it came.
const DRAIN_LIMIT: Duration = Duration::from_secs(6);

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
    /// When that block and its events were at hand: what the keeper takes of its own for a round is counted from here.
    pub(crate) seen: Instant,
    /// The highest block known as accepted on L1.
    pub(crate) final_block: Option<BlockNumber>,
}

/// The latest belief; `None` until the keeper has caught up for the first time.
pub(crate) type BelievedReceiver = watch::Receiver<Option<Arc<Believed>>>;

/// Finishes what was begun, also where the service is told to stop meanwhile; `None` where that takes too long.
async fn finish<T>(cancel: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    let overdue = async {
        cancel.cancelled().await;
        sleep(DRAIN_LIMIT).await;
    };
    tokio::select! {
        biased;
        done = work => Some(done),
        () = overdue => None,
    }
}

/// Now, in milliseconds since the epoch: for records that people read, never for decisions.
pub(crate) fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
