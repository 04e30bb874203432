//! Dial's queue: one list for every distance, because distances are small integers.

use super::instance::NONE;

/// What was put in, smallest distance first; within a distance, the last first.
#[derive(Clone, Debug, Default)]
pub(super) struct Buckets {
    heads: Vec<u32>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    next: u32,
    item: u32,
}

impl Buckets {
    /// Empties the queue and makes room for distances up to `max`.
    pub(super) fn reset(&mut self, max: i16) {
        self.heads.clear();
        self.heads.resize(usize::from(max.unsigned_abs()) + 1, NONE);
        self.entries.clear();
    }

    pub(super) fn push(&mut self, distance: i16, item: u32) {
        let head = &mut self.heads[usize::from(distance.unsigned_abs())];
        let entry = u32::try_from(self.entries.len()).expect("a search holds fewer than 2^32 entries");
        self.entries.push(Entry { next: *head, item });
        *head = entry;
    }

    pub(super) fn pop(&mut self, distance: i16) -> Option<u32> {
        let head = &mut self.heads[usize::from(distance.unsigned_abs())];
        let entry = *self.entries.get(*head as usize)?;
        *head = entry.next;
        Some(entry.item)
    }
}
