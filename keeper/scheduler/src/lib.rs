//! Which worker gets which job, and why: a [`Snapshot`] and a [`Policy`] in, a [`Plan`] out.
//!
//! This crate is pure. It reads no clock, draws no lots, opens nothing and computes with integers only, so
//! that the same snapshot and policy give the same plan, bit for bit, on every machine. The contracts check
//! again what protects money and fit; a plan that came too late is skipped there, never wrong.
//!
//! ```text
//!  jobs, in order                workers, by id
//!  queue, effective priority,          |
//!  deadline, job id                    |
//!        |                             |
//!        +-----> feasibility <---------+   every requirement that fails is counted (Rejection)
//!                     |
//!                   score                  six terms, 0 to 10,000 each, weighted in basis points
//!                     |
//!              best worker, lowest id on a tie; its slot and GPUs are gone for the jobs that follow
//!                     |
//!            AllocationItem + Explanation
//! ```
//!
//! [`policy_id`], [`snapshot_root`] and [`plan_root`] name policy, snapshot and plan in a round's header, so that
//! anybody can recompute what a keeper claims to have decided.
//!
//! [`matching`] finds the best worker without looking at every one, and is what [`plan`](plan()) uses; [`assignment`]
//! assigns a whole batch at once. [`PackedJobs`] holds pending jobs by the million.
//!
//! [`balancing`], [`geography`], [`reputation`] and [`strategy`] choose among workers by other rules, and [`metrics`]
//! counts what came of it; [`plan`](plan()) does not use them yet.
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
mod packed_jobs;
mod plan;
mod policy;
pub mod queueing;
pub mod reputation;
mod score;
pub mod sharing;
mod snapshot;
pub mod strategy;

pub use commitment::{plan_root, policy_id, snapshot_root};
pub use explanation::{Explanation, Outcome};
pub use feasibility::Rejection;
pub use inputs::{InputsError, RoundInputs, seed_of};
pub use packed_jobs::PackedJobs;
pub use plan::{Plan, plan};
pub use policy::{FULL_BPS, Policy, PolicyError, Weights};
pub use score::{ScoreBreakdown, Terms};
pub use snapshot::{ManifestStatus, PendingJob, Snapshot, WorkerView};
