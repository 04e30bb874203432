//! Jobs for tests.

use keeper_types::JobId;

use super::{NO_DEADLINE, PendingRecord, QueueIndex, TenantIndex};

/// A job of one GPU and a minute, submitted at the start of time.
pub(crate) fn record(id: u64) -> PendingRecord {
    PendingRecord {
        job_id: JobId(id),
        submitted_s: 0,
        deadline_s: NO_DEADLINE,
        due_s: u32::MAX,
        not_before_s: 0,
        limit_s: 60,
        tenant: TenantIndex(0),
        requirements: 0,
        gpus: 1,
        priority: 5,
        queue: QueueIndex(0),
    }
}
