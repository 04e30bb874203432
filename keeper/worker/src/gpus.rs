//! Which of the machine's GPUs are free. A GPU runs one job at a time.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The machine's GPUs, by index.
#[derive(Clone, Debug)]
pub(crate) struct GpuPool {
    // Guards the set of free indices; never held across an await.
    free: Arc<Mutex<BTreeSet<u8>>>,
}

/// GPUs that a job holds; free again on drop.
#[derive(Debug)]
pub(crate) struct HeldGpus {
    indices: Vec<u8>,
    pool: GpuPool,
}

impl GpuPool {
    pub(crate) fn new(gpus: u8) -> Self {
        Self { free: Arc::new(Mutex::new((0..gpus).collect())) }
    }

    /// Takes `count` GPUs, the lowest first, or none where fewer are free.
    pub(crate) fn take(&self, count: u8) -> Option<HeldGpus> {
        let mut free = self.free();
        if free.len() < usize::from(count) {
            return None;
        }
        let indices: Vec<u8> = free.iter().copied().take(usize::from(count)).collect();
        for index in &indices {
            free.remove(index);
        }
        Some(HeldGpus { indices, pool: self.clone() })
    }

    fn free(&self) -> MutexGuard<'_, BTreeSet<u8>> {
        // The set is whole whenever the lock is released.
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HeldGpus {
    pub(crate) fn indices(&self) -> &[u8] {
        &self.indices
    }
}

impl Drop for HeldGpus {
    fn drop(&mut self) {
        self.pool.free().extend(&self.indices);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_held_by_one_job() {
        let pool = GpuPool::new(3);
        let first = pool.take(2).unwrap();
        assert_eq!(first.indices(), [0, 1]);
        assert!(pool.take(2).is_none());
        assert_eq!(pool.take(1).unwrap().indices(), [2]);
        drop(first);
        assert_eq!(pool.take(3).unwrap().indices(), [0, 1, 2]);
        assert!(pool.take(0).unwrap().indices().is_empty());
    }
}
