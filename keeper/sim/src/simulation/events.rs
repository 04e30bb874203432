//! What is going to happen, the earliest first.

use std::{cmp::Reverse, collections::BinaryHeap};

use keeper_scheduler::queueing::FailureClass;
use keeper_types::JobId;

/// An attempt: the job and which try it is.
pub(crate) type Try = (JobId, u32);

/// Something that happens. At the same millisecond, the first of these happens first, and rounds come last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// An attempt ends by itself; how, where it fails.
    End(Try, Option<FailureClass>),
    /// A worker fails.
    Fail(u32),
    /// A worker is back.
    Return(u32),
    /// The keeper notices that a worker is silent, if this is still its failure.
    Notice(u32, u32),
    /// An assignment arrives.
    Begin(Try),
    /// The keeper looks whether an attempt is overdue.
    Check(Try),
    /// A client's patience is at its end.
    Cancel(JobId),
    /// A job's deadline has passed.
    Deadline(JobId),
    /// A retry's delay is over.
    Wake,
    /// The next job arrives.
    Arrival,
    /// The scheduler decides.
    Round,
}

/// Events in order of time, in milliseconds from the start of the run.
#[derive(Debug, Default)]
pub(crate) struct Events(BinaryHeap<Reverse<(u64, Event)>>);

impl Events {
    pub(crate) fn at(&mut self, at_ms: u64, event: Event) {
        self.0.push(Reverse((at_ms, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(u64, Event)> {
        self.0.pop().map(|Reverse(next)| next)
    }
}
