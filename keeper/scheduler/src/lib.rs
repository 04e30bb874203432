//! Which worker gets which job, and why: a [`Snapshot`] and a [`Policy`] in, a [`Plan`] out.
//!
//! This crate is pure. It reads no clock, draws no lots, opens nothing and computes with integers only, so
//! that the same snapshot and policy give the same plan, bit for bit, on every machine. The contracts check
//! again what protects money and fit; a plan that came too late is skipped there, never wrong.
//!
//! ```text
//!  queued jobs                                      workers, by id
//!  queues: sizes, overflow; back-off of retries         |
//!  order: emergencies, then the policy's                |
//!        |                                              |
//!        +-----> feasibility <-------------------------+   requirements on chain, manifest and agent, both ways;
//!                     |                                     workers kept for a job before; each counted (Rejection)
//!                preferences, static before dynamic
//!                     |
//!                   score                  six terms, 0 to 10,000 each, weighted in basis points
//!                     |
//!              best worker, lowest id on a tie; its slot and GPUs are gone for the jobs that follow
//!                     |                    no room: a worker is kept, others start beside it
//!            AllocationItem + Explanation
//! ```
//!
//! [`policy_id`], [`snapshot_root`] and [`plan_root`] name policy, snapshot and plan in a round's header, so that
//! anybody can recompute what a keeper claims to have decided.
//!
//! [`plan`](plan()) goes through [`matching`] for the best worker, [`queueing`] for the order of jobs, [`assignment`]
//! where the policy wants a round's sum of scores to be the highest there is, and [`balancing`] where it goes by another
//! rule than the score.
//!
//! [`sharing`] places jobs on GPUs that are shared, [`geography`], [`reputation`] and [`strategy`] choose among workers
//! in other ways, and [`metrics`] counts what came of it; [`plan`](plan()) does not use them.
//!
//! Where several keepers decide at once, [`shard_of_job`] and [`shard_of_worker`] say who decides about what, and a round's
//! snapshot is cut to its [`Portion`].
//!
//! Every job of the snapshot gets exactly one [`Explanation`], placed or not.

#![deny(clippy::float_arithmetic)]

pub mod assignment;
pub mod balancing;
mod commitment;
mod explanation;
mod feasibility;
pub mod geography;
mod inputs;
pub mod matching;
pub mod metrics;
mod plan;
mod policy;
pub mod queueing;
pub mod reputation;
mod score;
mod shard;
pub mod sharing;
mod snapshot;
pub mod strategy;

pub use commitment::{Both, SnapshotHasher, plan_root, policy_id, snapshot_root};
pub use explanation::{ChosenBy, Explanation, Nearness, Outcome, Reservation};
pub use feasibility::Rejection;
pub use inputs::{InputsError, RoundInputs, seed_of};
pub use plan::{Plan, WaitingBound, plan};
pub use policy::{
    Assignment, Balancing, FULL_BPS, Ordering, OverflowRule, Policy, PolicyError, QueueRule, QueueRules, Weights,
};
pub use score::{ScoreBreakdown, Terms};
pub use shard::{
    MAX_SHARDS, Misplaced, Portion, ROTATION_BLOCKS, ShardError, ShardSet, shard_of_account, shard_of_job,
    shard_of_worker,
};
pub use snapshot::{ManifestStatus, PendingJob, Snapshot, WorkerView};
