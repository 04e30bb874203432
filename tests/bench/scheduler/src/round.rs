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
    AgentView, Attempt, BlockNumber, Felt, Fri, Job, JobId, JobSpec, JobState, ManifestView, Market, Verification,
    Worker, WorkerId,
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
    let is_backlog = case.pending > 2 * case.turnover;
    let mut is_filling = is_backlog;
    while is_filling {
        keeper.refill(case.pending);
        is_filling = !keeper.round(&mut Stages::new()).items.is_empty();
    }
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
    figures.insert("root_from_nothing_us".to_owned(), json!(anew_us.round()));
    Ok(Value::Object(figures))
}

impl Keeper {
    fn new(case: &Case) -> Self {
        let mut lots = Lots(case.seed);
        let views = workload::workers(case.workers, Fleet::Kinds, &mut lots);
        let agents =
            views.iter().map(|view| (view.worker_id, AgentView { latency_ms: Some(20), ..view.agent.clone() }));
        let mut keeper = Self {
            agents: agents.collect(),
            market: Market {
                workers: views.iter().map(|view| (view.worker_id, worker(view))).collect(),
                ..Market::default()
            },
            running: VecDeque::new(),
            explained: BTreeMap::new(),
            hasher: SnapshotHasher::default(),
            policy: Policy::BALANCED,
            block: 1_000,
            next_job: 1,
            lots,
        };
        keeper.refill(usize::try_from(ENDED).unwrap_or(usize::MAX));
        keeper.market.jobs.values_mut().for_each(|job| job.state = JobState::Settled);
        keeper
    }

    fn now(&self) -> u64 {
        workload::NOW + self.block * BLOCK_S
    }

    /// The next block: jobs end, others come, some round trips are measured anew.
    fn go_on(&mut self, case: &Case) {
        self.block += 1;
        let most = 3 * usize::try_from(case.workers).unwrap_or(usize::MAX) / 2;
        let is_backlog = case.pending > 2 * case.turnover;
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
        let waiting = self.market.jobs.values().filter(|job| job.state == JobState::Queued).count();
        for _ in waiting..pending {
            let pending = workload::job(self.next_job, &mut self.lots);
            self.market.jobs.insert(pending.job_id, job(pending, self.now(), BlockNumber(self.block)));
            self.next_job += 1;
        }
    }

    fn end(&mut self, job_id: JobId) {
        let Some(job) = self.market.jobs.get_mut(&job_id) else { return };
        job.state = JobState::Settled;
        let gpus = job.spec.requirements.gpu_count;
        if let Some(worker) = job.worker_id.and_then(|worker_id| self.market.workers.get_mut(&worker_id)) {
            worker.used_slots -= 1;
            worker.used_gpus -= gpus;
        }
        let (client, now) = (job.client, self.now());
        self.market.usage.entry(client).or_default().release(u32::from(gpus), now);
    }

    fn snapshot(&self) -> Snapshot {
        let snapshot = Snapshot::of_market(
            &self.market,
            (BlockNumber(self.block), self.now()),
            self.block,
            |_| (ManifestStatus::Available, ManifestView::default()),
            |worker_id| self.agents.get(&worker_id).cloned(),
        );
        snapshot.with_turn(&self.market, &self.policy)
    }

    /// One round, as `keeper run` makes it but for the disk and the network.
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
        let (now, block) = (self.now(), BlockNumber(self.block));
        for item in &plan.items {
            let Some(job) = self.market.jobs.get_mut(&item.job_id) else { continue };
            job.state = JobState::Allocated;
            job.worker_id = Some(item.worker_id);
            let ends_by = now + u64::from(job.spec.execution_timeout_s) + 60;
            (job.allocated_at, job.attempt_deadline) = (Some(now), Some((ends_by, block)));
            let gpus = job.spec.requirements.gpu_count;
            self.market.usage.entry(job.client).or_default().hold(u32::from(gpus), now);
            if let Some(worker) = self.market.workers.get_mut(&item.worker_id) {
                worker.used_slots += 1;
                worker.used_gpus += gpus;
            }
            self.running.push_back(item.job_id);
        }
    }
}

fn push(stages: &mut Stages, stage: &'static str, us: f64) {
    match stages.iter_mut().find(|(name, _)| *name == stage) {
        Some((_, times)) => times.push(us),
        None => stages.push((stage, vec![us])),
    }
}

/// The worker as the chain has it.
fn worker(view: &WorkerView) -> Worker {
    Worker {
        worker_id: view.worker_id,
        owner: keeper_types::Address(Felt::from(view.worker_id.0)),
        status: view.status,
        capabilities: view.capabilities.clone(),
        slots: view.slots,
        used_slots: 0,
        used_gpus: 0,
        rate: view.rate,
        stake: Fri(0),
        reputation: view.reputation,
        reputation_at: workload::NOW,
        is_static: view.is_static,
        holds: 0,
    }
}

/// The job as the chain has it, submitted now.
fn job(pending: PendingJob, now: u64, block: BlockNumber) -> Job {
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
    Job {
        job_id: pending.job_id,
        client: pending.client,
        spec,
        state: JobState::Queued,
        attempt: Attempt(1),
        deadline_block: BlockNumber(block.0 + 43_200),
        submitted_at: now,
        queued_at: now,
        submitted_block: block,
        worker_id: None,
        allocated_at: None,
        allocated_block: None,
        rate: None,
        score: None,
        strategy: None,
        attempt_deadline: None,
        group_id: None,
        commitment: None,
        result_hash: None,
        challenge_ends: None,
        is_held: false,
        dispute: None,
        rejected: None,
        excluded: Vec::new(),
        paid: Fri(0),
        refunded: Fri(0),
        last_failure: None,
    }
}
