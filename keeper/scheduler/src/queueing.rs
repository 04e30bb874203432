//! Queues: who waits where, who goes first, and what happens to jobs that fail.

mod cluster;
mod decay;
mod dispatch;
mod ordering;
mod pending;
mod tenants;

#[cfg(test)]
mod fixtures;

pub use cluster::{Cluster, Gang, Reservation, Running};
pub use dispatch::{Round, Start, dispatch, in_order};
pub use ordering::{
    Backfill, Balanced, EarliestDeadline, FairShare, Fifo, JobPrioritizer, MAX_PRIORITY, OrderingPolicy, OrderingView,
    Rank,
};
pub use pending::{NO_DEADLINE, PendingPool, PendingRecord, QueueIndex, TenantIndex};
pub use tenants::{Tenant, Tenants};
