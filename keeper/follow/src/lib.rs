//! Keeps the store in step with the chain, and knows when that cannot be trusted.
//!
//! ```text
//!            read what comes next            append, fold
//!  chain ----------------------------> Fold --------------> store, market
//!    |                                  ^ |
//!    |  the last block is gone          | |  find the fork, revert, fold again
//!    +----------------------------------+ |
//!    |  a block accepted on L1 is gone    v
//!    +--------------------------------> Latch: nothing is sent until it is there again
//! ```
//!
//! * [`Fold`] takes the chain's blocks into the store and their events into the market, a [turn](Fold::turn) at a time.
//! * [`Latch`] is what senders ask before they send.
//! * [`Fold::reconcile`] compares the market with what the contracts hold: events are a hint, their state is the truth.
//! * `simulation` (feature) is a chain in memory, on which all of it is tried.

mod error;
mod fold;
mod fork;
mod history;
mod latch;
mod observe;
mod policy;
mod reconcile;
#[cfg(any(test, feature = "simulation"))]
pub mod simulation;

pub use error::FollowError;
pub use fold::{Fold, Turn};
pub use latch::{Latch, LatchState, Violation};
pub use policy::FinalityPolicy;
pub use reconcile::{Difference, Reconciled};
