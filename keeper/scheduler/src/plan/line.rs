//! Who is next: queued jobs in the policy's order, with what their clients hold by then.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
};

use keeper_types::{Address, JobId, RunningJob, USAGE_HALF_LIFE_S, WorkerStatus};

use super::is_emergency;
use crate::{
    Ordering, PendingJob, Policy, Snapshot,
    queueing::{
        Admission, Backfill, Balanced, EarliestDeadline, FairShare, Fifo, JobPrioritizer, MarketLimits, OrderingPolicy,
        OrderingView, PendingRecord, QueueIndex, Queues, Rank, RetryPolicy, TenantIndex, Tenants,
    },
};

/// The jobs that have not been considered in this round.
///
/// A start puts the other jobs of its client further back, each as far, so that they keep their order among
/// themselves: every client has a line of its own, and only the heads of those are compared.
pub(super) struct Line<'a> {
    ordering: Box<dyn OrderingPolicy>,
    jobs: &'a BTreeMap<JobId, &'a PendingJob>,
    queues: Queues,
    outside: Vec<&'a PendingJob>,
    /// Each client's jobs, the first to go last.
    lines: BTreeMap<TenantIndex, Vec<PendingRecord>>,
    /// The places of the lines' heads, the first to go first.
    heads: BinaryHeap<Reverse<(Place, TenantIndex)>>,
    capacity_gpus: u32,
    now_s: u32,
    policy: &'a Policy,
}

/// A place among all, the lowest first: overdue, emergency or neither; then the policy's order.
type Place = (u8, (Rank, u32, u64));

impl<'a> Line<'a> {
    /// Lets everybody line up, by what the queues admit. Jobs that no worker could take are not among `jobs`: they would
    /// take places and shares from those that can be served.
    pub(super) fn new(jobs: &'a BTreeMap<JobId, &'a PendingJob>, snapshot: &'a Snapshot, policy: &'a Policy) -> Self {
        let limits = limits(jobs, snapshot);
        let (tenants, numbers, holders) = tenants(jobs, snapshot, policy, &limits);
        let queues = Queues::new(policy.queues.configs(), tenants, RetryPolicy::default(), jobs.len());
        let mut line = Self {
            ordering: ordering(policy),
            jobs,
            queues: queues.expect("the policy was validated"),
            outside: Vec::new(),
            lines: BTreeMap::new(),
            heads: BinaryHeap::new(),
            capacity_gpus: limits.capacity_gpus,
            now_s: seconds(snapshot.now),
            policy,
        };
        line.admit(snapshot, &numbers, &holders);
        line.queues.tenants.measure(limits.capacity_gpus);
        line.line_up();
        line
    }

    /// The jobs that their queue, and those that it spills to, had no room for.
    pub(super) fn left_outside(&self) -> impl Iterator<Item = &'a PendingJob> {
        self.outside.iter().copied()
    }

    /// The job that goes next, and what may start before it where it does not fit.
    pub(super) fn next(&mut self) -> Option<(&'a PendingJob, Backfill)> {
        loop {
            let Reverse((stood, client)) = self.heads.pop()?;
            let head = *self.lines.get(&client)?.last()?;
            let place = self.place(&head);
            // A start before may have put the client's jobs further back.
            if place > stood {
                self.heads.push(Reverse((place, client)));
                continue;
            }
            let line = self.lines.get_mut(&client)?;
            line.pop();
            if let Some(second) = line.last().copied() {
                self.heads.push(Reverse((self.place(&second), client)));
            }
            let job = self.jobs.get(&head.job_id)?;
            return Some((job, self.ordering.backfill(&head, &self.view())));
        }
    }

    /// A job has started: its client holds more.
    pub(super) fn started(&mut self, job: &PendingJob) {
        let Some(record) = self.queues.pending().get(job.job_id).copied() else { return };
        let tenants = &mut self.queues.tenants;
        tenants.dequeue(record.tenant, record.gpus);
        tenants.hold(record.tenant, u32::from(record.gpus), self.now_s);
        if self.policy.ordering == Ordering::FairShare {
            tenants.charge(record.tenant, record.area().saturating_mul(1_000));
        }
    }

    fn line_up(&mut self) {
        let placed = self.queues.pending().iter().map(|record| (self.place(record), *record));
        let mut placed: Vec<_> = placed.collect();
        placed.sort_unstable_by_key(|(place, _)| Reverse(*place));
        for (_, record) in placed {
            self.lines.entry(record.tenant).or_default().push(record);
        }
        let heads = self.lines.iter().filter_map(|(client, line)| Some((self.place(line.last()?), *client)));
        self.heads = heads.map(Reverse).collect();
    }

    fn place(&self, record: &PendingRecord) -> Place {
        let place = self.ordering.place(record, &self.view());
        let is_overdue = self.policy.ordering == Ordering::Balanced && record.is_due(self.now_s);
        let is_urgent = self.jobs.get(&record.job_id).is_some_and(|job| is_emergency(job, self.policy));
        let class = match (is_overdue, is_urgent) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        };
        (class, place)
    }

    fn view(&self) -> OrderingView<'_> {
        self.queues.view(self.capacity_gpus, self.now_s)
    }

    /// Queues all jobs in the order of their submission. Jobs that run count towards what their clients were promised.
    fn admit(&mut self, snapshot: &Snapshot, numbers: &Numbers, holders: &[TenantIndex]) {
        enum Open<'a> {
            Queued(&'a PendingJob),
            Running(&'a RunningJob),
        }
        let queued = self.jobs.values().map(|job| (numbers.of(job.client), Open::Queued(job)));
        let running = counted(snapshot).zip(holders).map(|(job, client)| (*client, Open::Running(job)));
        let mut open: Vec<_> = queued.chain(running).collect();
        open.sort_by_key(|(_, job)| match job {
            Open::Queued(job) => (job.submitted_at, job.job_id),
            Open::Running(job) => (job.submitted_at, job.job_id),
        });
        // What a client was served lately counts against its share, as if submitted before all that is open.
        let mut is_charged = vec![false; numbers.0.len()];
        for (number, job) in &open {
            if !std::mem::replace(&mut is_charged[number.0 as usize], true) {
                let (client, submitted_at) = match job {
                    Open::Queued(job) => (job.client, job.submitted_at),
                    Open::Running(job) => (job.client, job.submitted_at),
                };
                let used = snapshot.used_milli.get(&client).copied().unwrap_or(0) / 1_000;
                self.queues.tenants.promise(*number, used, seconds(submitted_at));
            }
        }
        let mut outside = BTreeSet::new();
        for (number, job) in open {
            match job {
                Open::Running(job) => {
                    let area = u64::from(job.gpus.max(1)) * u64::from(job.execution_timeout_s);
                    self.queues.tenants.promise(number, area, seconds(job.submitted_at));
                }
                Open::Queued(job) => {
                    let job_id = job.job_id;
                    match self.queues.submit(record(job, number), seconds(job.submitted_at)) {
                        Admission::Queued { shed, .. } => outside.extend(shed),
                        Admission::QueueFull { .. } => _ = outside.insert(job_id),
                        Admission::Duplicate => {}
                    }
                }
            }
        }
        self.outside = outside.iter().filter_map(|job_id| self.jobs.get(job_id)).copied().collect();
    }
}

fn limits(jobs: &BTreeMap<JobId, &PendingJob>, snapshot: &Snapshot) -> MarketLimits {
    let active = snapshot.workers.iter().filter(|worker| worker.status == WorkerStatus::Active);
    let capacity = active.map(|worker| u32::from(worker.capabilities.gpu_count.max(1))).sum();
    let queued = jobs.values().map(|job| job.requirements.gpu_count);
    let widest = queued.chain(snapshot.running.iter().map(|job| job.gpus)).max().unwrap_or(1).max(1);
    MarketLimits {
        capacity_gpus: capacity,
        widest_gpus: u32::from(widest),
        longest_limit_s: 0,
        tenants: 0,
        max_wait_spread_s: 0,
    }
}

/// Clients' numbers, in the order of their addresses. Each running job's is looked up, and to order two addresses takes a
/// multiplication for each: so they are found by how they lie in memory, which has another order.
#[derive(Default)]
struct Numbers(BTreeMap<[u64; 4], TenantIndex>);

impl Numbers {
    fn of(&self, client: Address) -> TenantIndex {
        self.0[&client.0.to_raw()]
    }
}

/// The accounts of all clients with open jobs, numbered by address, and those of the running jobs that count, in their
/// order.
fn tenants(
    jobs: &BTreeMap<JobId, &PendingJob>,
    snapshot: &Snapshot,
    policy: &Policy,
    limits: &MarketLimits,
) -> (Tenants, Numbers, Vec<TenantIndex>) {
    let now_s = seconds(snapshot.now);
    let clients = jobs.values().map(|job| job.client).chain(counted(snapshot).map(|job| job.client));
    let distinct: BTreeMap<_, Address> = clients.map(|client| (client.0.to_raw(), client)).collect();
    let mut clients: Vec<Address> = distinct.into_values().collect();
    clients.sort_unstable();
    let half_life_s = u32::try_from(USAGE_HALF_LIFE_S).expect("a day is short");
    let mut tenants = Tenants::new(half_life_s, limits.promised_gpus());
    let mut numbers = Numbers::default();
    for client in clients {
        let number = tenants.add(policy.client_weights.get(&client).copied().unwrap_or(1), now_s);
        tenants.charge(number, snapshot.used_milli.get(&client).copied().unwrap_or(0));
        numbers.0.insert(client.0.to_raw(), number);
    }
    let holders: Vec<_> = counted(snapshot).map(|job| numbers.of(job.client)).collect();
    for (job, client) in counted(snapshot).zip(&holders) {
        let gpus = u32::from(job.gpus.max(1));
        tenants.hold(*client, gpus, now_s);
        if policy.ordering == Ordering::FairShare {
            // What it may still use counts already, or whoever has just been served would be served again.
            let left_s = job.ends_by.saturating_sub(snapshot.now);
            tenants.charge(*client, u64::from(gpus).saturating_mul(left_s).saturating_mul(1_000));
        }
    }
    (tenants, numbers, holders)
}

/// Running jobs that count for what their clients hold.
fn counted(snapshot: &Snapshot) -> impl Iterator<Item = &RunningJob> {
    snapshot.running.iter().filter(|job| snapshot.counts_for_its_client(job))
}

fn record(job: &PendingJob, tenant: TenantIndex) -> PendingRecord {
    PendingRecord {
        job_id: job.job_id,
        submitted_s: seconds(job.submitted_at),
        deadline_s: seconds(job.deadline.0),
        due_s: 0,
        not_before_s: 0,
        limit_s: job.execution_timeout_s,
        tenant,
        requirements: 0,
        // A job without GPUs counts as one with one, as it does for its price.
        gpus: u16::from(job.requirements.gpu_count.max(1)),
        priority: job.priority,
        queue: QueueIndex(job.queue as u8),
    }
}

/// Unix seconds in 32 bits, which last until 2106.
fn seconds(at: u64) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

fn ordering(policy: &Policy) -> Box<dyn OrderingPolicy> {
    match policy.ordering {
        Ordering::Balanced => Box::new(Balanced::default()),
        Ordering::Fifo => Box::new(Fifo::default()),
        Ordering::Priority => Box::new(QueueFirst(JobPrioritizer {
            aging_interval_s: policy.aging_interval_s,
            ..JobPrioritizer::default()
        })),
        Ordering::FairShare => Box::new(FairShare::default()),
        Ordering::EarliestDeadline => Box::new(EarliestDeadline::default()),
    }
}

/// The high queue before the default one, that before the low one; in each by priority.
#[derive(Debug)]
struct QueueFirst(JobPrioritizer);

impl OrderingPolicy for QueueFirst {
    fn name(&self) -> &str {
        "priority"
    }

    fn rank(&self, job: &PendingRecord, view: &OrderingView<'_>) -> Rank {
        // By number on chain: default, high, low.
        let class = [1, 0, 2].get(usize::from(job.queue.0)).copied().unwrap_or(3);
        Rank { class, ..self.0.rank(job, view) }
    }
}
