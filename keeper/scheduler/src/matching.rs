//! The stream engine: the best worker for one job after the other, found exactly without looking at every worker.
//!
//! ```text
//!  WorkerView --pack--> Slot      lanes, rate, points for reputation and load, room
//!                        |        16 alike: the same capabilities, then near in rate and reputation
//!                       Node      the most and the least of what its workers have
//!                        |        8 nodes make a node above
//!  PendingJob --pack--> Need      one subtraction and one AND: can anybody below take it?
//!                        |        what would the best of everything below score?
//!                     search      best bound first; ends where no bound is above the second best found
//!                        |
//!                    Decision     winner and runner-up, each with its terms
//! ```
//!
//! Requirements and capabilities stand side by side in one number, lane by lane, as the contracts pack them
//! (`contracts/src/math/lanes.cairo`), with lanes as wide as the types here. Divisions by what a worker has or a job
//! pays are multiplications by reciprocals that give the same floor. A decision updates one leaf and the nodes above
//! it. The search is branch and bound (Land and Doig 1960): a bound is never below the score of a worker under its
//! node, so that leaving a node out cannot lose the best.
//!
//! What stands against workers is counted without looking at them: each requirement is one number, and how many
//! workers have less of it is looked up ([`WorkerIndex::rejections`]).

mod arrange;
mod columns;
mod counts;
mod index;
mod lanes;
mod need;
mod node;
mod reciprocal;
mod search;

pub use index::WorkerIndex;
pub use need::Need;
pub use search::Decision;

#[cfg(test)]
mod property_tests;
