//! The Philly trace: 82,247 training jobs of 15 virtual clusters, replayed on machines of eight GPUs.
//!
//! ```text
//! philly.csv -> trace -> workload (limits, deadlines: seeded) -> replay (events) -> outcome
//!                                                                   ^
//!                                     keeper_scheduler::queueing::dispatch with a policy
//! ```
//!
//! Nothing is preempted and nothing fails here; every job runs once, to its end, as long as the trace says.

mod comparison;
mod fairness;
mod outcome;
mod peers;
mod replay;
mod trace;
mod workload;

pub use comparison::{OURS, Verdict, compare, policies, settings, verdicts};
pub(crate) use fairness::HourlyFairness;
pub use fairness::{entitlements, jain};
pub use outcome::Outcome;
pub use peers::SlurmMultifactor;
pub use replay::{ReplaySettings, replay};
pub use trace::{Trace, TraceError, TraceJob};
pub use workload::{GPUS_PER_MACHINE, Workload, WorkloadJob, machines_for_load};
