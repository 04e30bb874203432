//! What is known of attempts that were offered.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::AtomicBool},
};

use keeper_dispatch::Outcome;
use tokio_util::sync::CancellationToken;

use super::Key;

/// Outcomes that are remembered, in case a keeper asks again. The chain remembers all that are on it.
const REMEMBERED: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Runs {
    known: BTreeMap<Key, Known>,
    finished: VecDeque<Key>,
}

#[derive(Debug)]
pub(super) enum Known {
    Live {
        stop: CancellationToken,
        /// Whether its executor was begun.
        has_begun: Arc<AtomicBool>,
    },
    Finished(Outcome),
}

impl Runs {
    pub(super) fn get(&self, key: Key) -> Option<&Known> {
        self.known.get(&key)
    }

    pub(super) fn start(&mut self, key: Key, stop: CancellationToken, has_begun: Arc<AtomicBool>) {
        self.known.insert(key, Known::Live { stop, has_begun });
    }

    pub(super) fn forget(&mut self, key: Key) {
        self.known.remove(&key);
    }

    pub(super) fn finish(&mut self, key: Key, outcome: Outcome) {
        self.known.insert(key, Known::Finished(outcome));
        self.finished.push_back(key);
        if self.finished.len() > REMEMBERED
            && let Some(oldest) = self.finished.pop_front()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{Attempt, JobId};

    use super::*;

    #[test]
    fn the_oldest_outcome_is_forgotten_first() {
        let mut runs = Runs::default();
        let key = |job: u64| (JobId(job), Attempt(1));
        runs.start(key(0), CancellationToken::new(), Arc::default());
        for job in 1..=REMEMBERED as u64 + 1 {
            runs.start(key(job), CancellationToken::new(), Arc::default());
            runs.finish(key(job), Outcome::Failed { reason: job.to_string() });
        }
        assert!(runs.get(key(1)).is_none());
        assert!(matches!(runs.get(key(2)), Some(Known::Finished(_))));
        assert!(matches!(runs.get(key(0)), Some(Known::Live { .. })));
    }
}
