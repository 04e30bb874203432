//! The snapshot's root, hashed by threads of its own while the plan is made from the same snapshot, and what the next
//! round will hash, hashed ahead while this one is on its way.

use std::{sync::Arc, time::Instant};

use keeper_scheduler::{Both, Snapshot, SnapshotHasher};
use keeper_types::Felt;
use tokio::task::{JoinHandle, spawn_blocking};

/// Hashes one snapshot after the other. A root that nobody asks for is waited for before the next one is begun: what was
/// hashed for it is what makes the next one quick.
#[derive(Debug, Default)]
pub(super) struct Hashing {
    /// What was hashed before; with the thread as long as there is one.
    hasher: SnapshotHasher,
    thread: Option<JoinHandle<(SnapshotHasher, Rooted)>>,
}

/// At the same time, each by a thread.
struct AtOnce;

impl Both for AtOnce {
    fn both<A, B: Send>(&self, here: impl FnOnce() -> A, beside: impl FnOnce() -> B + Send) -> (A, B) {
        std::thread::scope(|scope| {
            let beside = scope.spawn(beside);
            let here = here();
            (here, beside.join().unwrap_or_else(|panicked| std::panic::resume_unwind(panicked)))
        })
    }
}

/// A snapshot's root, and when it was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rooted {
    pub(super) root: Felt,
    pub(super) at: Instant,
}

impl Hashing {
    /// Begins with a snapshot.
    pub(super) async fn begin(&mut self, snapshot: Arc<Snapshot>) {
        self.end().await;
        let mut hasher = std::mem::take(&mut self.hasher);
        self.thread = Some(spawn_blocking(move || {
            let root = hasher.root_by(&snapshot, &AtOnce);
            (hasher, Rooted { root, at: Instant::now() })
        }));
    }

    /// The root of the snapshot that was begun with; `None` where there is none, or it was asked for before.
    pub(super) async fn end(&mut self) -> Option<Rooted> {
        let thread = self.thread.as_mut()?;
        // Nobody ends it from elsewhere, so what it does not return is a panic.
        let done = thread.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()));
        self.thread = None;
        let (hasher, rooted) = done;
        self.hasher = hasher;
        Some(rooted)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use keeper_scheduler::snapshot_root;
    use keeper_types::BlockNumber;

    use super::*;

    fn snapshot(block: u64) -> Snapshot {
        Snapshot {
            now: 1_000,
            block: BlockNumber(block),
            seed: 0,
            jobs: Vec::new(),
            workers: Vec::new(),
            running: Vec::new(),
            used_milli: BTreeMap::new(),
            turn: None,
            portion: None,
        }
    }

    #[tokio::test]
    async fn a_root_is_that_of_the_snapshot_that_was_begun_with_last() {
        let mut hashing = Hashing::default();
        assert!(hashing.end().await.is_none());
        hashing.begin(Arc::new(snapshot(1))).await;
        hashing.begin(Arc::new(snapshot(2))).await;
        assert_eq!(hashing.end().await.map(|rooted| rooted.root), Some(snapshot_root(&snapshot(2))));
        assert!(hashing.end().await.is_none(), "it was asked for");
    }
}
