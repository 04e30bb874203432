//! A market simulated: virtual workers, jobs, failures and a network around the real schedulers.
//!
//! ```text
//!  Parameters: workers, workload, network, faults, sets        (a TOML file; docs/simulator.md)
//!       |
//!  Jobs (drawn, or a trace) --+
//!  Machines (fail, return)  --+--> Events --> Run --> Tally --> Figures
//!                                     ^        |
//!                 rounds, delays, ----+        v
//!                 losses, timeouts          Engine: keeper_scheduler::queueing, or keeper_scheduler::plan
//! ```
//!
//! An event is handled at its millisecond; the scheduler is told of it when a keeper would hear of it, and in whole
//! seconds. What is drawn for a job, an attempt or a worker depends on the seed and its number alone, so that all sets
//! meet the same jobs and the same failures of workers, and two runs of a seed are the same bit for bit.

mod compare;
mod engine;
mod events;
mod figures;
mod jobs;
mod machines;
mod parameters;
mod plan_engine;
mod plots;
mod queue_engine;
mod run;
mod table;
mod tally;
mod timeline;

pub use compare::{Comparison, SetFigures, Summary, compare};
pub use figures::{Better, Counts, Figures, METRICS, Metric, RegionFigures, Spread};
pub use jobs::Job;
pub use parameters::{
    Arrivals, BackfillKind, Clients, Deadline, Duration, Factor, Faults, Horizon, Network, Ordering, ParameterError,
    ParameterSet, Parameters, PhillyTrace, PlanSet, QueuesSet, Shape, Synthetic, TenantKind, WorkerKind, WorkloadKind,
};
pub use plots::plots;
pub use run::{Happening, run, watch};
pub use table::table;
pub use timeline::Point;
