//! Jobs that wait, packed: 40 bytes each and an index by job id.
//!
//! What every decision reads stands in [`PendingRecord`]. What few jobs have (failed attempts, excluded workers)
//! stands elsewhere ([`FailureLog`](super::FailureLog)), and what many jobs share (requirements) is a number of the
//! caller's table.

use std::collections::BTreeMap;

use keeper_types::JobId;

/// Jobs whose records share one allocation, so that a growing pool never copies what it has.
const CHUNK: usize = 4_096;

/// A deadline that is none.
pub const NO_DEADLINE: u32 = u32::MAX;

/// A tenant: a client, by its number in [`Tenants`](super::Tenants).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantIndex(pub u32);

/// A queue, by its place in the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueIndex(pub u8);

/// A job that waits. Times are Unix timestamps in seconds, which 32 bits hold until 2106.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingRecord {
    /// Its number.
    pub job_id: JobId,
    /// When it was submitted.
    pub submitted_s: u32,
    /// When it should have ended; [`NO_DEADLINE`] for never.
    pub deadline_s: u32,
    /// When it goes before every job that is not due; see [`Tenants::promise`](super::Tenants::promise).
    pub due_s: u32,
    /// When it may start: later than now while a retry backs off.
    pub not_before_s: u32,
    /// How long it runs at most, in seconds. It is ended after that, so that reservations can count on it.
    pub limit_s: u32,
    /// Who submitted it.
    pub tenant: TenantIndex,
    /// What it needs besides GPUs, as a number in the caller's table of requirements.
    pub requirements: u32,
    /// GPUs that it needs at once; at least 1.
    pub gpus: u16,
    /// 1 to 10, higher first.
    pub priority: u8,
    /// Where it waits.
    pub queue: QueueIndex,
}

impl PendingRecord {
    /// How long the job has waited, in seconds.
    pub fn waited_s(&self, now_s: u32) -> u32 {
        now_s.saturating_sub(self.submitted_s)
    }

    /// The GPU-seconds that it takes at most.
    pub fn area(&self) -> u64 {
        u64::from(self.gpus) * u64::from(self.limit_s)
    }

    /// Whether it goes before every job that is not due.
    pub fn is_due(&self, now_s: u32) -> bool {
        now_s >= self.due_s
    }
}

/// Pending jobs, in no particular order: decisions sort them by a total order, never by their place here.
#[derive(Clone, Debug, Default)]
pub struct PendingPool {
    chunks: Vec<Vec<PendingRecord>>,
    places: BTreeMap<JobId, u32>,
}

impl PendingPool {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many jobs wait.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The job's record, if it waits.
    pub fn get(&self, job_id: JobId) -> Option<&PendingRecord> {
        self.places.get(&job_id).and_then(|place| self.at(*place as usize))
    }

    /// The record at a place below [`PendingPool::len`].
    pub fn at(&self, place: usize) -> Option<&PendingRecord> {
        self.chunks.get(place / CHUNK)?.get(place % CHUNK)
    }

    /// Adds a job, or replaces it where it waits already; the record that was there.
    ///
    /// # Panics
    /// With more than 2^32 jobs, 160 GiB of them.
    pub fn insert(&mut self, record: PendingRecord) -> Option<PendingRecord> {
        if let Some(place) = self.places.get(&record.job_id).copied() {
            return self.slot(place as usize).map(|slot| std::mem::replace(slot, record));
        }
        let place = u32::try_from(self.len()).expect("memory ends before 2^32 records do");
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        if let Some(chunk) = self.chunks.last_mut() {
            chunk.push(record);
        }
        self.places.insert(record.job_id, place);
        None
    }

    /// Takes a job out; the last job moves to its place.
    pub fn remove(&mut self, job_id: JobId) -> Option<PendingRecord> {
        let place = self.places.remove(&job_id)? as usize;
        let last = self.chunks.last_mut()?.pop()?;
        if self.chunks.last().is_some_and(Vec::is_empty) {
            self.chunks.pop();
        }
        if last.job_id == job_id {
            return Some(last);
        }
        self.places.insert(last.job_id, u32::try_from(place).expect("places are 32 bits wide"));
        self.slot(place).map(|slot| std::mem::replace(slot, last))
    }

    /// All records, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = &PendingRecord> {
        self.chunks.iter().flatten()
    }

    fn slot(&mut self, place: usize) -> Option<&mut PendingRecord> {
        self.chunks.get_mut(place / CHUNK)?.get_mut(place % CHUNK)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::queueing::fixtures::record;

    #[test]
    fn a_record_is_forty_bytes() {
        assert_eq!(size_of::<PendingRecord>(), 40);
    }

    #[test]
    fn replacing_a_job_keeps_one_of_it() {
        let mut pool = PendingPool::new();
        assert_eq!(pool.insert(record(7)), None);
        let again = PendingRecord { priority: 9, ..record(7) };
        assert_eq!(pool.insert(again), Some(record(7)));
        assert_eq!((pool.len(), pool.get(JobId(7))), (1, Some(&again)));
    }

    proptest! {
        #[test]
        fn the_pool_holds_what_a_map_holds(steps in prop::collection::vec((any::<bool>(), 0_u64..50), 0..300)) {
            let (mut pool, mut model) = (PendingPool::new(), BTreeMap::new());
            for (add, id) in steps {
                if add {
                    prop_assert_eq!(pool.insert(record(id)), model.insert(JobId(id), record(id)));
                } else {
                    prop_assert_eq!(pool.remove(JobId(id)), model.remove(&JobId(id)));
                }
                let mut held: Vec<_> = pool.iter().map(|record| record.job_id).collect();
                held.sort_unstable();
                prop_assert_eq!(held, model.keys().copied().collect::<Vec<_>>());
                prop_assert!(model.keys().all(|id| pool.get(*id).is_some_and(|record| record.job_id == *id)));
            }
        }
    }
}
