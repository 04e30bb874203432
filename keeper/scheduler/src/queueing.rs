//! Queues: who waits where, who goes first, and what happens to jobs that fail.
//!
//! ```text
//!  submit --> Queues: sizes, overflow --> PendingPool --+
//!               ^           |                           |  OrderingPolicy: a rank for every job
//!         retry |           v                           v
//!        FailureLog    DeadLetters            dispatch: heads, a reservation, backfill
//!               ^                                       |
//!               +----- fail ------ Cluster <---- starts-+----> succeed
//! ```
//!
//! As everywhere in this crate there is no clock, no chance and no fraction: time comes in as Unix seconds, draws from
//! a seed, and ratios are fixed point. `docs/design/0011-queues.md` gives the reasons, and the theorem that bounds how
//! long a job waits under [`Balanced`], the default policy.

mod bound;
mod cluster;
mod config;
mod dead_letters;
mod dispatch;
mod histogram;
mod metrics;
mod ordering;
mod pending;
mod profile;
mod queues;
mod retry;
mod tenants;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod property_tests;

pub use bound::MarketLimits;
pub use cluster::{Cluster, Gang, Reservation, Running};
pub(crate) use config::resolve;
pub use config::{Overflow, QueueConfig, QueueConfigError};
pub use dead_letters::{DeadLetter, DeadLetterReason, DeadLetters};
pub use dispatch::{Round, Rules, Start, dispatch, in_order};
pub use histogram::Histogram;
pub use metrics::QueueMetrics;
pub use ordering::{
    Backfill, Balanced, EarliestDeadline, FairShare, Fifo, JobPrioritizer, MAX_PRIORITY, OrderingPolicy, OrderingView,
    Rank,
};
pub use pending::{NO_DEADLINE, PendingPool, PendingRecord, QueueIndex, TenantIndex};
pub use profile::{CapacityProfile, DeadlineVerdict, deadline_holds};
pub use queues::{Admission, Queues};
pub use retry::{AfterFailure, Assignment, FailureClass, FailureLog, Failures, RetryPolicy};
pub use tenants::{Tenant, Tenants};
