//! One round: jobs in the policy's order start while they fit, then a reservation for the head, then backfill.

use keeper_types::JobId;

use super::{
    cluster::{Cluster, Gang, Reservation},
    ordering::{Backfill, OrderingPolicy, OrderingView},
    pending::{PendingPool, PendingRecord},
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

/// Starts what fits, in the policy's order: the head of the queue as long as it fits; then the head gets a
/// reservation, and what follows starts where the policy's [`Backfill`] allows it.
///
/// Started jobs leave `pending`, run in `cluster` and are counted as held by their tenants, so that the ranks of the
/// jobs that are left are the current ones after every start. Jobs that are too large for the cluster as a whole are
/// passed over, and so are those that back off after a failure.
///
/// A reservation is kept from round to round without being stored: the head's earliest start is computed from limits
/// that running jobs cannot exceed and that no backfilled job moves, so it never becomes later while the head stays
/// the head.
pub fn dispatch(
    pending: &mut PendingPool,
    cluster: &mut Cluster,
    tenants: &mut Tenants,
    (policy, queue_weights): (&dyn OrderingPolicy, &[u32]),
    now_s: u32,
) -> Round {
    let mut round = Round::default();
    if cluster.free() == 0 || pending.is_empty() {
        return round;
    }
    tenants.settle(now_s);
    tenants.measure(cluster.capacity());
    let mut desk = Desk { pending, cluster, tenants, policy, queue_weights, now_s };
    let head = loop {
        let Some(head) = desk.first(|_| true) else { return round };
        let Some(gang) = desk.cluster.find(u32::from(head.gpus)) else { break head };
        round.starts.push(desk.start(head, gang, false));
        if desk.cluster.free() == 0 {
            return round;
        }
    };
    round.reservation = desk.cluster.reserve(head.job_id, u32::from(head.gpus), now_s);
    if let Some(reservation) = &mut round.reservation {
        let rule = policy.backfill(&head, &desk.view());
        desk.backfill(rule, reservation, &mut round.starts);
    }
    round
}

struct Desk<'a> {
    pending: &'a mut PendingPool,
    cluster: &'a mut Cluster,
    tenants: &'a mut Tenants,
    policy: &'a dyn OrderingPolicy,
    queue_weights: &'a [u32],
    now_s: u32,
}

impl Desk<'_> {
    fn view(&self) -> OrderingView<'_> {
        OrderingView {
            now_s: self.now_s,
            tenants: self.tenants,
            capacity_gpus: self.cluster.capacity(),
            queue_weights: self.queue_weights,
        }
    }

    /// The job that goes first among those that may start and that `admits` lets through.
    fn first(&self, admits: impl Fn(&PendingRecord) -> bool) -> Option<PendingRecord> {
        let view = self.view();
        let largest = view.capacity_gpus;
        let eligible = self.pending.iter().filter(|job| job.not_before_s <= self.now_s);
        let admitted = eligible.filter(|job| u32::from(job.gpus) <= largest && admits(job));
        admitted.min_by_key(|job| self.policy.place(job, &view)).copied()
    }

    fn start(&mut self, job: PendingRecord, gang: Gang, is_backfilled: bool) -> Start {
        self.pending.remove(job.job_id);
        self.tenants.dequeue(job.tenant, job.gpus);
        self.tenants.hold(job.tenant, u32::from(job.gpus), self.now_s);
        self.cluster.start(job.job_id, gang.clone(), self.now_s.saturating_add(job.limit_s));
        Start { job, gang, is_backfilled }
    }

    fn backfill(&mut self, rule: Backfill, reservation: &mut Reservation, starts: &mut Vec<Start>) {
        if rule == Backfill::None {
            return;
        }
        let head = reservation.job_id;
        let mut misfits = Misfits::default();
        while self.cluster.free() > 0 {
            let candidate = self.first(|job| job.job_id != head && !misfits.include(job, self.ends_by_s(job) <= reservation.start_s));
            let Some(job) = candidate else { return };
            let ends_before = self.ends_by_s(&job) <= reservation.start_s;
            let gang = match (ends_before, rule) {
                (true, _) => self.cluster.find(u32::from(job.gpus)),
                (false, Backfill::Easy) => self.cluster.find_beside(reservation, u32::from(job.gpus)),
                (false, _) => None,
            };
            match gang {
                Some(gang) => {
                    if !ends_before {
                        reservation.take(&gang);
                    }
                    starts.push(self.start(job, gang, true));
                }
                None => misfits.add(&job, ends_before),
            }
        }
    }

    fn ends_by_s(&self, job: &PendingRecord) -> u32 {
        self.now_s.saturating_add(job.limit_s)
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
