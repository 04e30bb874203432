//! Jobs that are given up, with the reason, for people to look at.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{pending::PendingRecord, retry::FailureClass};

/// Why a job was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case", deny_unknown_fields)]
pub enum DeadLetterReason {
    /// It failed in a way that another attempt would not change.
    Failed {
        /// How.
        class: FailureClass,
    },
    /// It failed on so many distinct workers that it is itself suspected.
    Poison {
        /// How many.
        workers: u8,
    },
    /// All its attempts failed.
    AttemptsSpent {
        /// How the last one failed.
        last: FailureClass,
    },
    /// Its deadline passed while it waited.
    DeadlinePassed,
    /// Its queue was full and it had the lowest priority.
    Shed,
}

/// A job that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The job, as it waited last.
    pub job: PendingRecord,
    /// Why.
    pub reason: DeadLetterReason,
    /// When: Unix timestamp in seconds.
    pub at_s: u32,
}

/// The latest dead letters, the oldest first. When there is no room, the oldest is dropped and counted.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    letters: VecDeque<DeadLetter>,
    max_letters: usize,
    dropped: u64,
}

impl DeadLetters {
    /// Room for `max_letters`.
    pub fn new(max_letters: usize) -> Self {
        Self { letters: VecDeque::new(), max_letters, dropped: 0 }
    }

    /// Adds a letter.
    pub fn push(&mut self, letter: DeadLetter) {
        self.letters.push_back(letter);
        while self.letters.len() > self.max_letters {
            self.letters.pop_front();
            self.dropped += 1;
        }
    }

    /// The letters, the oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &DeadLetter> {
        self.letters.iter()
    }

    /// All letters there ever were.
    pub fn count(&self) -> u64 {
        self.dropped + self.letters.len() as u64
    }
}
