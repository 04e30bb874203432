//! Which of the workers that could take a job gets it: the one whose turn it is, the idlest, the quickest, or one by
//! lot.
//!
//! ```text
//!  snapshot --begin_round--> LoadBalancer { cursor, lots, loads, response times, mode }
//!                                 |  ^
//!        feasible workers --choose+  +--start, finish: what the round decides, and what ends
//!                                 |
//!                                 v
//!                              Choice: a worker, and the strategy that chose it
//! ```
//!
//! The balancer judges no requirements: it is given the workers that a job may go to, in any order. All that a choice
//! depends on is in [`LoadBalancer`], which is compared, written and read as a whole; from a state and the calls that
//! followed, every choice can be made again.
//!
//! [`plan`](crate::plan()) asks a balancer where [`Policy::balancing`](crate::Policy::balancing) names a rule other than
//! the score; the balancer then knows what the snapshot says and nothing else ([`LoadBalancer::of_snapshot`]).
//! `docs/design/0013-balancing.md` says what each strategy is for.

mod adaptive;
mod balancer;
mod config;
mod load;

pub use adaptive::{AdaptiveMode, AdaptiveRule, Imbalance};
pub use balancer::{BalancingError, Choice, LoadBalancer};
pub use config::{BalancingConfig, BalancingConfigError, LoadBalancingStrategy};
pub use load::{MAX_RESPONSE_US, ResponseTime, Share, Tightness, WorkerLoad, WorkerSize};

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
