//! One round: jobs in the policy's order start while they fit, then a reservation for the head, then backfill.

use std::{cmp::Reverse, collections::BinaryHeap};

use keeper_types::{JobId, WorkerId};

use super::{
    cluster::{Cluster, Gang, Reservation},
    ordering::{Backfill, OrderingPolicy, OrderingView, Rank},
    pending::{PendingPool, PendingRecord},
    retry::FailureLog,
    tenants::Tenants,
};

/// A job that starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The job.
    pub job: PendingRecord,
    /// Where it runs.
    pub gang: Gang,
    /// Whether it went before the head of the queue.
    pub is_backfilled: bool,
}

/// What a round decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// The jobs that start, in the order of the decisions.
    pub starts: Vec<Start>,
    /// What is kept for the head of the queue, where that does not fit.
    pub reservation: Option<Reservation>,
}

/// What a round goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The order of jobs.
    pub policy: &'a dyn OrderingPolicy,
    /// The queues' weights; see [`OrderingView::queue_weights`].
    pub queue_weights: &'a [u32],
    /// Which workers are excluded for which jobs.
    pub failures: &'a FailureLog,
}

/// Starts what fits, in the policy's order: the head of the queue as long as it fits; then the head gets a
/// reservation, and what follows starts where the policy's [`Backfill`] allows it.
///
/// Started jobs leave `pending`, run in `cluster` and are counted as held by their tenants, so that the ranks of the
/// jobs that are left are the current ones after every start. Jobs that would not fit even an empty cluster, less the
/// workers that are excluded for them, are passed over, and so are those that back off after a failure.
///
/// A reservation is kept from round to round without being stored: the head's earliest start is computed from limits
/// that running jobs cannot exceed and that no backfilled job moves, so it never becomes later while the head stays
/// the head and no machine leaves.
pub fn dispatch(
    pending: &mut PendingPool,
    cluster: &mut Cluster,
    tenants: &mut Tenants,
    rules: Rules<'_>,
    now_s: u32,
) -> Round {
    let mut round = Round::default();
    if cluster.free() == 0 || pending.is_empty() {
        return round;
    }
    tenants.settle(now_s);
    tenants.measure(cluster.capacity());
    let mut desk = Desk { line: BinaryHeap::new(), pending, cluster, tenants, rules, now_s };
    desk.line_up();
    let (head, mut reservation) = loop {
        let Some(head) = desk.next() else { return round };
        if let Some(gang) = desk.cluster.find(u32::from(head.gpus), desk.excluded(&head)) {
            round.starts.push(desk.start(head, gang, false));
            if desk.cluster.free() == 0 {
                return round;
            }
        } else if let Some(reservation) = desk.reserve(&head) {
            break (head, reservation);
        }
    };
    let rule = rules.policy.backfill(&head, &desk.view());
    desk.backfill(rule, &mut reservation, &mut round.starts);
    round.reservation = Some(reservation);
    round
}

struct Desk<'a> {
    /// The jobs that have not been considered in this round, the first to go first.
    line: BinaryHeap<Reverse<Candidate>>,
    pending: &'a mut PendingPool,
    cluster: &'a mut Cluster,
    tenants: &'a mut Tenants,
    rules: Rules<'a>,
    now_s: u32,
}

impl<'a> Desk<'a> {
    fn view(&self) -> OrderingView<'_> {
        OrderingView {
            now_s: self.now_s,
            tenants: self.tenants,
            capacity_gpus: self.cluster.capacity(),
            queue_weights: self.rules.queue_weights,
        }
    }

    /// Lets everybody line up who may start now.
    fn line_up(&mut self) {
        let view = self.view();
        let eligible = self.pending.iter().filter(|job| job.not_before_s <= self.now_s);
        let candidates = eligible.map(|job| {
            let place = self.rules.policy.place(job, &view);
            Reverse(Candidate { place, limit_s: job.limit_s, gpus: job.gpus })
        });
        self.line = candidates.collect::<Vec<_>>().into();
    }

    /// Takes the job that goes first out of the line.
    fn next(&mut self) -> Option<PendingRecord> {
        loop {
            let Reverse(candidate) = self.line.pop()?;
            let Some(job) = self.pending.get(candidate.job_id()).copied() else { continue };
            // A start before may have put its tenant's jobs further back: the line is put right where it is looked at.
            let place = self.rules.policy.place(&job, &self.view());
            if place > candidate.place {
                self.line.push(Reverse(Candidate { place, ..candidate }));
                continue;
            }
            return Some(job);
        }
    }

    fn excluded(&self, job: &PendingRecord) -> &'a [WorkerId] {
        self.rules.failures.get(job.job_id).map_or(&[], |failures| &failures.excluded)
    }

    fn reserve(&self, job: &PendingRecord) -> Option<Reservation> {
        self.cluster.reserve(job.job_id, u32::from(job.gpus), self.excluded(job), self.now_s)
    }

    fn start(&mut self, job: PendingRecord, gang: Gang, is_backfilled: bool) -> Start {
        self.pending.remove(job.job_id);
        self.tenants.dequeue(job.tenant, job.gpus);
        self.tenants.hold(job.tenant, u32::from(job.gpus), self.now_s);
        self.cluster.start(job.job_id, gang.clone(), self.ends_by_s(&job));
        Start { job, gang, is_backfilled }
    }

    /// Starts jobs beside the reservation.
    fn backfill(&mut self, rule: Backfill, reservation: &mut Reservation, starts: &mut Vec<Start>) {
        if rule == Backfill::None {
            return;
        }
        // Most of a long line fits neither before nor beside the reservation: what cannot is not even sorted.
        let (before, beside) = (self.cluster.room(), self.cluster.room_beside(reservation));
        let window_s = reservation.start_s.saturating_sub(self.now_s);
        self.line.retain(|Reverse(candidate)| match (candidate.limit_s <= window_s, rule) {
            (true, _) => before.may_hold(candidate.gpus),
            (false, Backfill::Easy) => beside.may_hold(candidate.gpus),
            (false, _) => false,
        });
        let mut misfits = Misfits::default();
        while self.cluster.free() > 0 {
            let Some(job) = self.next() else { return };
            let ends_before = job.limit_s <= window_s;
            if misfits.include(&job, ends_before) {
                continue;
            }
            let (gpus, excluded) = (u32::from(job.gpus), self.excluded(&job));
            let gang = match ends_before {
                true => self.cluster.find(gpus, excluded),
                false => self.cluster.find_beside(reservation, gpus, excluded),
            };
            match gang {
                Some(gang) => {
                    if !ends_before {
                        reservation.take(&gang);
                    }
                    starts.push(self.start(job, gang, true));
                }
                // That a job with excluded workers does not fit says nothing about the others.
                None if excluded.is_empty() => misfits.add(&job, ends_before),
                None => {}
            }
        }
    }

    fn ends_by_s(&self, job: &PendingRecord) -> u32 {
        self.now_s.saturating_add(job.limit_s)
    }
}

/// A job in the line, with what tells whether it may fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    place: (Rank, u32, u64),
    limit_s: u32,
    gpus: u16,
}

impl Candidate {
    fn job_id(&self) -> JobId {
        JobId(self.place.2)
    }
}

/// What was found not to fit in this round. Room only shrinks within a round, so that a job as large fits no more.
#[derive(Debug, Default)]
struct Misfits {
    before: Option<u16>,
    beside: Option<u16>,
}

impl Misfits {
    fn include(&self, job: &PendingRecord, ends_before: bool) -> bool {
        let smallest = if ends_before { self.before } else { self.beside };
        smallest.is_some_and(|smallest| job.gpus >= smallest)
    }

    fn add(&mut self, job: &PendingRecord, ends_before: bool) {
        let smallest = if ends_before { &mut self.before } else { &mut self.beside };
        *smallest = Some(smallest.map_or(job.gpus, |gpus| gpus.min(job.gpus)));
    }
}

/// The jobs of a pool in the policy's order, the first to go first.
pub fn in_order(pending: &PendingPool, policy: &dyn OrderingPolicy, view: &OrderingView<'_>) -> Vec<JobId> {
    let mut jobs: Vec<_> = pending.iter().map(|job| (policy.place(job, view), job.job_id)).collect();
    jobs.sort_unstable();
    jobs.into_iter().map(|(_, job_id)| job_id).collect()
}
