//! A whole round of a keeper, stage by stage, again and again on a market that goes on.

use std::{
    collections::{BTreeMap, VecDeque},
    hint::black_box,
    time::Instant,
};

use anyhow::{Result, ensure};
use keeper_scheduler::{
    Explanation, ManifestStatus, PendingJob, Plan, Policy, RoundInputs, Snapshot, SnapshotHasher, WorkerView, plan,
    plan_root, policy_id, snapshot_root,
};
use keeper_types::{
    AgentView, BlockNumber, EventPosition, Felt, Fri, Job, JobId, JobSpec, ManifestView, Market, MarketEvent, TxHash,
    Verification, WorkerId,
};
use serde_json::{Map, Value, json};

use crate::workload::{self, Fleet, Lots};

/// Jobs that have ended and are still known: a market forgets nothing.
const ENDED: u64 = 10_000;
/// Seconds between two blocks.
const BLOCK_S: u64 = 2;
/// Of so many agents one has a round trip that is news in a round; small changes are not told.
const MEASURED_IN: u64 = 100;
/// Rounds before the first that is measured, once nothing more fits.
const WARM_UP: usize = 5;

/// What is measured.
pub(crate) struct Case {
    pub(crate) workers: u32,
    /// Jobs that wait at the beginning of every round.
    pub(crate) pending: usize,
    /// Jobs that end from one round to the next, at least, where as many run.
    pub(crate) turnover: usize,
    /// Jobs that run all the time, at least; workers have room for them.
    pub(crate) running: usize,
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
}

/// A market, what its agents say, and what a keeper remembers.
struct Keeper {
    market: Market,
    agents: BTreeMap<WorkerId, AgentView>,
    running: VecDeque<JobId>,
    explained: BTreeMap<JobId, Explanation>,
    hasher: SnapshotHasher,
    policy: Policy,
    block: u64,
    next_job: u64,
    lots: Lots,
}

/// Times of one stage in microseconds, by stage in the order in which they come.
type Stages = Vec<(&'static str, Vec<f64>)>;

/// Measures rounds and gives the median and the 99th percentile of every stage.
pub(crate) fn measure(case: &Case) -> Result<Value> {
    let mut keeper = Keeper::new(case);
    // A backlog is one: first everything is filled.
    let is_backlog = case.running == 0 && case.pending > 2 * case.turnover;
    let mut is_filling = is_backlog || case.running > 0;
    while is_filling {
        keeper.refill(case.pending);
        is_filling =
            !keeper.round(&mut Stages::new()).items.is_empty() && (is_backlog || keeper.running.len() < case.running);
    }
    ensure!(keeper.running.len() >= case.running, "no more than {} jobs can run", keeper.running.len());
    let mut stages = Stages::new();
    let mut placed = 0;
    for round in 0..WARM_UP + case.rounds {
        if round == WARM_UP {
            (stages, placed) = (Stages::new(), 0);
        }
        keeper.go_on(case);
        placed += keeper.round(&mut stages).items.len();
    }
    // What was remembered made no difference.
    let snapshot = keeper.snapshot();
    let start = Instant::now();
    let anew = snapshot_root(&snapshot);
    let anew_us = start.elapsed().as_secs_f64() * 1e6;
    ensure!(anew == keeper.hasher.root(&snapshot), "the remembered root is another one");
    let mut figures: Map<String, Value> = stages
        .into_iter()
        .map(|(stage, mut times)| {
            times.sort_unstable_by(f64::total_cmp);
            let at = |percent: usize| times[(times.len() - 1) * percent / 100].round();
            (stage.to_owned(), json!({ "p50_us": at(50), "p99_us": at(99) }))
        })
        .collect();
    figures.insert("placed_per_round".to_owned(), json!(placed as f64 / case.rounds as f64));
    figures.insert("running".to_owned(), json!(keeper.running.len()));
    figures.insert("root_from_nothing_us".to_owned(), json!(anew_us.round()));
    Ok(Value::Object(figures))
}

impl Keeper {
    fn new(case: &Case) -> Self {
        let mut lots = Lots(case.seed);
        let mut views = workload::workers(case.workers, Fleet::Kinds, &mut lots);
        // Twice of what runs on each on average, since no job fits all of them.
        let room = 2 * case.running / usize::try_from(case.workers).unwrap_or(usize::MAX).max(1);
        for view in views.iter_mut().filter(|_| room > 0) {
            view.slots = view.slots.saturating_add(u8::try_from(room).unwrap_or(u8::MAX));
            view.capabilities.gpu_count = u8::MAX;
        }
        let agents =
            views.iter().map(|view| (view.worker_id, AgentView { latency_ms: Some(20), ..view.agent.clone() }));
        let mut keeper = Self {
            agents: agents.collect(),
            market: Market::default(),
            running: VecDeque::new(),
            explained: BTreeMap::new(),
            hasher: SnapshotHasher::default(),
            policy: Policy::BALANCED,
            block: 1_000,
            next_job: 1,
            lots,
        };
        views.iter().flat_map(registration).for_each(|event| keeper.tell(&event));
        keeper.refill(usize::try_from(ENDED).unwrap_or(usize::MAX));
        let ended: Vec<_> = keeper.market.queued_jobs().map(cancellation).collect();
        ended.iter().for_each(|event| keeper.tell(event));
        keeper
    }

    fn now(&self) -> u64 {
        workload::NOW + self.block * BLOCK_S
    }

    /// The next block: jobs end, others come, some round trips are measured anew.
    fn go_on(&mut self, case: &Case) {
        self.block += 1;
        let most = case.running.max(3 * usize::try_from(case.workers).unwrap_or(usize::MAX) / 2);
        let is_backlog = case.running == 0 && case.pending > 2 * case.turnover;
        let ending = if is_backlog { case.turnover } else { self.running.len().saturating_sub(most) };
        for _ in 0..ending {
            if let Some(job_id) = self.running.pop_front() {
                self.end(job_id);
            }
        }
        self.refill(case.pending);
        for (worker_id, agent) in &mut self.agents {
            if (u64::from(worker_id.0) + self.block).is_multiple_of(MEASURED_IN) {
                agent.latency_ms = Some(20 + u32::try_from(self.lots.below(10)).unwrap_or(0));
            }
        }
    }

    fn refill(&mut self, pending: usize) {
        let waiting = self.market.queued_jobs().count();
        for _ in waiting..pending {
            let pending = workload::job(self.next_job, &mut self.lots);
            self.tell(&submission(pending, self.now(), BlockNumber(self.block)));
            self.next_job += 1;
        }
    }

    /// The chain says so in this block.
    fn tell(&mut self, event: &MarketEvent) {
        let hash = TxHash(Felt::ZERO);
        let at = EventPosition { block: BlockNumber(self.block), timestamp: self.now(), index: 0, tx_hash: hash };
        self.market.apply(event, &at).expect("events follow from one another");
    }

    fn end(&mut self, job_id: JobId) {
        let Some(job) = self.market.jobs.get(&job_id) else { return };
        let (Some(worker_id), attempt, client) = (job.worker_id, job.attempt, job.client) else { return };
        self.tell(&MarketEvent::ResultSubmitted {
            job_id,
            worker_id,
            attempt,
            result_hash: Felt::ONE,
            challenge_ends_at: self.now(),
            challenge_ends_block: BlockNumber(self.block),
        });
        self.tell(&MarketEvent::JobSettled { job_id, worker_id, client, paid: Fri(0), refunded: Fri(0) });
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::of_market(
            &self.market,
            (BlockNumber(self.block), self.now()),
            self.block,
            |_| (ManifestStatus::Available, ManifestView::default()),
            |worker_id| self.agents.get(&worker_id).cloned(),
        );
        snapshot.with_turn(&self.market, &self.policy).without_idle_measures(&self.policy)
    }

    /// One round, as `keeper run` makes it but for the disk and the network, and one stage after the other: the keeper hashes
    /// while it plans, by two threads.
    fn round(&mut self, stages: &mut Stages) -> Plan {
        let begin = Instant::now();
        let mut before = begin;
        let mut mark = |stage: &'static str, from: &mut Instant| {
            let now = Instant::now();
            push(stages, stage, now.duration_since(*from).as_secs_f64() * 1e6);
            *from = now;
        };
        let snapshot = self.snapshot();
        mark("snapshot", &mut before);
        let plan = plan(&snapshot, &self.policy);
        mark("plan", &mut before);
        let root = self.hasher.root(&snapshot);
        mark("root", &mut before);
        self.explain(&plan);
        mark("explanations", &mut before);
        let inputs = serde_json::to_vec(&RoundInputs::of(&snapshot, &self.policy));
        black_box((root, inputs.map(|inputs| inputs.len()).unwrap_or(0)));
        mark("inputs", &mut before);
        let batch = plan.batch();
        let felts: Vec<Felt> = batch.iter().map(keeper_types::AllocationItem::pack).collect();
        black_box((policy_id(&self.policy), plan_root(&batch), felts));
        mark("calldata", &mut before);
        mark("all", &mut { begin });
        self.apply(&plan);
        plan
    }

    /// Writes what is news as the store gets it.
    fn explain(&mut self, plan: &Plan) {
        self.explained.retain(|job_id, _| plan.explanations.contains_key(job_id));
        let is_news = |explanation: &&Explanation| self.explained.get(&explanation.job_id) != Some(*explanation);
        let news: Vec<Explanation> = plan.explanations.values().filter(is_news).cloned().collect();
        for explanation in news {
            black_box(serde_json::to_string(&explanation).map(|json| json.len()).unwrap_or(0));
            self.explained.insert(explanation.job_id, explanation);
        }
    }

    /// What the chain makes of a round.
    fn apply(&mut self, plan: &Plan) {
        if !plan.items.is_empty() {
            self.tell(&MarketEvent::JobsAllocated { items: plan.items.clone() });
            self.running.extend(plan.items.iter().map(|item| item.job_id));
        }
    }
}

fn push(stages: &mut Stages, stage: &'static str, us: f64) {
    match stages.iter_mut().find(|(name, _)| *name == stage) {
        Some((_, times)) => times.push(us),
        None => stages.push((stage, vec![us])),
    }
}

/// What the chain said of the worker.
fn registration(view: &WorkerView) -> Vec<MarketEvent> {
    let worker_id = view.worker_id;
    let mut events = vec![
        MarketEvent::WorkerRegistered {
            worker_id,
            owner: keeper_types::Address(Felt::from(worker_id.0)),
            capabilities: view.capabilities.clone(),
            slots: view.slots,
            rate: view.rate,
            stake: Fri(0),
        },
        MarketEvent::ReputationChanged { worker_id, old_reputation: view.reputation, new_reputation: view.reputation },
    ];
    if view.is_static {
        events.push(MarketEvent::WorkerAdmitted { worker_id });
    }
    events
}

fn cancellation(job: &Job) -> MarketEvent {
    MarketEvent::JobCancelled { job_id: job.job_id, client: job.client, refunded: Fri(0) }
}

/// What the chain says of the job where it is submitted now.
fn submission(pending: PendingJob, now: u64, block: BlockNumber) -> MarketEvent {
    let units = pending.requirements.billed_units();
    let spec = JobSpec {
        manifest_hash: Felt::from(pending.job_id.0),
        model_id: pending.model_id,
        max_price: pending.max_rate.cost(units, pending.execution_timeout_s),
        requirements: pending.requirements,
        priority: pending.priority,
        queue: pending.queue,
        deadline: now + 86_400,
        execution_timeout_s: pending.execution_timeout_s,
        max_attempts: 3,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    MarketEvent::JobSubmitted {
        job_id: pending.job_id,
        client: pending.client,
        spec: Box::new(spec),
        deadline_block: BlockNumber(block.0 + 43_200),
        group_id: None,
    }
}
