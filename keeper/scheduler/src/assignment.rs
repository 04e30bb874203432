//! Exact assignment of a whole batch: every job to at most one worker, no worker over its slots, the highest sum of
//! scores that is possible, and the proof that it is.
//!
//! ```text
//!  Instance          jobs, workers with slots, a score for every pair that fits
//!     |
//!  guessed prices    what a slot is worth to the average job
//!     |
//!  auction           free jobs bid; steps of 64, 16, 4, 1          fast, nearly right
//!     |
//!  search + augment  shortest ways over Dial's buckets, then       exact; a batch that was changed
//!     |              disjoint ways without slack, until done       a little starts here, and goes on from
//!     |                                                            both ends where a search gets long
//!     |
//!  Solution          allocations, sum, Certificate (prices, values) checked by Solution::verify
//! ```
//!
//! Scores are small integers, and everything here computes with 16-bit ones: a price, the gain of a pair at it, a
//! distance. A row of scores is therefore looked through in vector instructions, and a queue of distances is an
//! array. A row is looked through once to find a few candidates and a bound on all the rest; until prices have
//! moved past the bound only the candidates are looked at, and then a larger pool of them that a row keeps. Columns have
//! slots, not copies.
//!
//! # Sources
//!
//! The auction with steps that shrink is Bertsekas's (*The auction algorithm*, 1988), for workers with slots
//! Bertsekas and Castañon's (*The auction algorithm for the transportation problem*, 1989). The exact end is the
//! primal-dual method: shortest augmenting ways as in Jonker and Volgenant (*A shortest augmenting path algorithm
//! for dense and sparse linear assignment problems*, 1987), from all free rows at once and then as many disjoint
//! ways as there are, as in Hopcroft and Karp (1973) and Gabow and Tarjan (*Faster scaling algorithms for network
//! problems*, 1989); the queue is Dial's (1969). A search from both ends stops as in Pohl's (*Bi-directional search*,
//! 1971). That prices prove a sum optimal is linear programming duality.
//!
//! # What holds
//!
//! - The same batch solved from nothing gives the same solution, bit for bit, whatever order it was listed in:
//!   jobs are taken by id, and of equal candidates the lowest worker id.
//! - The auction only chooses where the exact part starts. An error in it could cost time, never the optimum.
//! - A job is never allocated at a score of 0.

mod auction;
mod augment;
mod blocks;
mod buckets;
mod by_column;
mod candidates;
mod certificate;
mod instance;
mod matcher;
mod meet;
mod search;
mod state;

pub use certificate::{Certificate, CertificateError, Solution};
pub use instance::{Instance, InstanceError, JobScores};
pub use matcher::Matcher;

/// The highest score of a pair.
pub const MAX_SCORE: u32 = 10_000;
/// No slot costs more: at this price nobody gains anything.
const MAX_PRICE: i16 = 10_000;

#[cfg(test)]
mod hungarian;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
