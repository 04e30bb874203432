//! Clients and workers: what they do follows from what the chain holds, whatever becomes of what they sent before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
};

use keeper_types::{
    Address, Attempt, Capabilities, Felt, JobId, JobSpec, JobState, Queue, Rate, Requirements, TxHash, Verification,
    WorkerId,
};

use super::{
    chain::{Body, Chain, EPOCH_S},
    contracts::{Call, Contracts},
    executor::Sim,
    keeper::Online,
    setting::Setting,
};

/// The highest rate that jobs pay.
const MAX_RATE: Rate = Rate(2_000);

/// A client's job.
#[derive(Debug)]
struct Submission {
    client: Address,
    spec: Arc<JobSpec>,
    due_ms: u64,
    hash: TxHash,
    /// Milliseconds after which the client wants it no more, if it still waits.
    patience_ms: Option<u64>,
    accepts: bool,
}

/// What a worker does with an attempt.
#[derive(Clone, Copy, Debug)]
struct Run {
    ends_ms: u64,
    end: End,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Answers,
    Fails,
    Vanishes,
}

#[derive(Debug)]
struct WorkerSide {
    owner: Address,
    commits: bool,
    away_until_ms: u64,
    runs: BTreeMap<(JobId, Attempt), Run>,
}

/// Everybody but keepers.
#[derive(Debug)]
pub(super) struct People {
    sim: Sim,
    submissions: Vec<Submission>,
    workers: BTreeMap<WorkerId, WorkerSide>,
    /// What was sent for a purpose, so that it is sent once at a time.
    sent: BTreeMap<(Address, u64), TxHash>,
    made: u64,
    online: Online,
}

impl People {
    /// Draws who there is, and registers the workers.
    pub(super) fn new(
        sim: Sim,
        setting: &Setting,
        contracts: &mut Contracts,
        online: Online,
    ) -> (Self, Vec<keeper_types::MarketEvent>) {
        let (mut workers, mut events) = (BTreeMap::new(), Vec::new());
        for number in 1..=setting.workers {
            let owner = Address(Felt::from(0x2000 + number));
            let gpus = u8::try_from(sim.draw(1..5)).unwrap_or(1);
            let capabilities = Capabilities { gpu_count: gpus, vram_gib: 24, ..Capabilities::default() };
            let (slots, rate) = (u8::try_from(sim.draw(1..4)).unwrap_or(1), Rate(sim.draw(500..1_900)));
            let now = super::contracts::Moment { timestamp: EPOCH_S, block: super::chain::FIRST };
            let registered = contracts.call(now, owner, &Call::Register { capabilities, slots, rate });
            events.extend(registered.unwrap_or_default());
            let commits = sim.chance(300);
            let side = WorkerSide { owner, commits, away_until_ms: 0, runs: BTreeMap::new() };
            workers.insert(WorkerId(number), side);
        }
        let submissions = (0..setting.jobs).map(|number| Submission::draw(&sim, number, setting.faults_ms)).collect();
        let people = Self { sim, submissions, workers, sent: BTreeMap::new(), made: 0, online };
        (people, events)
    }

    /// Everybody looks at the chain, and does what is to be done.
    pub(super) fn act(&mut self, chain: &mut Chain) {
        let contracts = chain.head().contracts.clone();
        self.clients(chain, &contracts);
        self.runs(chain, &contracts);
        let now_ms = self.sim.now_ms();
        let here = self.workers.iter().filter(|(_, side)| side.away_until_ms <= now_ms);
        let here: BTreeSet<WorkerId> = here.map(|(worker_id, _)| *worker_id).collect();
        *self.online.lock().unwrap_or_else(PoisonError::into_inner) = here;
    }

    fn clients(&mut self, chain: &mut Chain, contracts: &Contracts) {
        let now_ms = self.sim.now_ms();
        let mut calls = Vec::new();
        for one in self.submissions.iter().filter(|one| one.due_ms <= now_ms) {
            let Some((job_id, job)) = contracts.submission(&one.spec) else {
                chain.send_of_wallet(one.hash, Body::Wallet(one.client, Arc::new(Call::Submit(one.spec.clone()))));
                continue;
            };
            let is_over = one.patience_ms.is_some_and(|patience| now_ms > one.due_ms + patience);
            match job.state {
                JobState::Queued if is_over => calls.push((one.client, job_id.0, Call::Cancel(job_id))),
                JobState::Revealed if one.accepts => calls.push((one.client, job_id.0 | 1 << 32, Call::Accept(job_id))),
                _ => {}
            }
        }
        for (caller, purpose, call) in calls {
            self.send(chain, caller, purpose, call);
        }
    }

    /// Workers run what is allocated to them, and answer.
    fn runs(&mut self, chain: &mut Chain, contracts: &Contracts) {
        let now_ms = self.sim.now_ms();
        let mut calls = Vec::new();
        for (job_id, job) in &contracts.jobs {
            let Some(worker) = job.worker.and_then(|worker_id| self.workers.get_mut(&worker_id)) else { continue };
            let of = (*job_id, job.attempt);
            let purpose = job_id.0 << 8 | u64::from(job.attempt.0);
            if job.state == JobState::Committed {
                // Who is committed comes back to show it: the penalty is ten times the price.
                calls.push((worker.owner, purpose | 1 << 40, Call::Reveal(of.0, of.1)));
            }
            if job.state != JobState::Allocated || worker.away_until_ms > now_ms {
                continue;
            }
            let sim = self.sim.clone();
            let run = *worker.runs.entry(of).or_insert_with(|| {
                sim.note("run", [of.0.0, u64::from(of.1.0), 0], || format!("{}/{}", of.0, of.1));
                Run::draw(&sim, job.spec.execution_timeout_s)
            });
            if run.ends_ms > now_ms {
                continue;
            }
            match run.end {
                End::Answers if worker.commits => calls.push((worker.owner, purpose, Call::Commit(of.0, of.1))),
                End::Answers => calls.push((worker.owner, purpose, Call::Submitted(of.0, of.1))),
                End::Fails => calls.push((worker.owner, purpose, Call::Fail(of.0, of.1))),
                End::Vanishes => {}
            }
        }
        for (caller, purpose, call) in calls {
            self.send(chain, caller, purpose, call);
        }
    }

    /// Sends a call, unless one for the same purpose waits to be included.
    fn send(&mut self, chain: &mut Chain, caller: Address, purpose: u64, call: Call) {
        let before = self.sent.get(&(caller, purpose));
        if before.is_some_and(|hash| chain.wallets.iter().any(|tx| tx.hash == *hash)) {
            return;
        }
        self.made += 1;
        let hash = TxHash(Felt::from(1_u128 << 100 | u128::from(self.made)));
        self.sent.insert((caller, purpose), hash);
        chain.send_of_wallet(hash, Body::Wallet(caller, Arc::new(call)));
    }

    /// Workers go away, and change what they offer.
    pub(super) fn disturb(&mut self, chain: &mut Chain) {
        let now_ms = self.sim.now_ms();
        let mut calls = Vec::new();
        for (worker_id, side) in &mut self.workers {
            if self.sim.fault("worker away", |faults| faults.worker_death) {
                let is_for_good = self.sim.chance(200);
                side.away_until_ms = if is_for_good { u64::MAX } else { now_ms + self.sim.draw(2_000..90_000) };
            }
            if self.sim.fault("worker changes", |faults| faults.worker_change) {
                let call = match self.sim.draw(0..3) {
                    0 => Call::Drain,
                    1 => Call::Resume,
                    _ => Call::SetRate(Rate(self.sim.draw(500..2_400))),
                };
                calls.push((side.owner, u64::from(worker_id.0) | 1 << 48, call));
            }
        }
        for (caller, purpose, call) in calls {
            self.send(chain, caller, purpose, call);
        }
    }

    /// Submissions that the chain does not have.
    pub(super) fn missing(&self, contracts: &Contracts) -> usize {
        self.submissions.iter().filter(|one| contracts.submission(&one.spec).is_none()).count()
    }

    /// The manifest of each submission.
    pub(super) fn submitted(&self) -> impl Iterator<Item = Felt> {
        self.submissions.iter().map(|one| one.spec.manifest_hash)
    }
}

impl Submission {
    fn draw(sim: &Sim, number: u64, faults_ms: u64) -> Self {
        let due_ms = sim.draw(0..faults_ms);
        let timeout_s = u32::try_from(sim.draw(2..30)).unwrap_or(2);
        let gpu_count = u8::try_from(sim.draw(0..4)).unwrap_or(1);
        let min_reputation = if sim.chance(150) { 450 } else { 0 };
        let requirements = Requirements { gpu_count, min_reputation, ..Requirements::default() };
        let spec = JobSpec {
            manifest_hash: Felt::from(1_000 + number),
            model_id: Felt::ZERO,
            max_price: MAX_RATE.cost(requirements.billed_units(), timeout_s),
            requirements,
            priority: u8::try_from(sim.draw(1..11)).unwrap_or(5),
            queue: [Queue::Default, Queue::High, Queue::Low][usize::try_from(sim.draw(0..3)).unwrap_or_default()],
            deadline: EPOCH_S + due_ms / 1_000 + sim.draw(60..360),
            execution_timeout_s: timeout_s,
            max_attempts: u8::try_from(sim.draw(1..5)).unwrap_or(1),
            max_latency_ms: 0,
            verification: Verification::None,
            replicas: 1,
            quorum: 1,
        };
        let patience_ms = sim.chance(200).then(|| sim.draw(3_000..60_000));
        Self {
            client: Address(Felt::from(0x3000 + sim.draw(0..4))),
            spec: Arc::new(spec),
            due_ms,
            hash: TxHash(Felt::from(2_u128 << 100 | u128::from(number))),
            patience_ms,
            accepts: sim.chance(400),
        }
    }
}

impl Run {
    fn draw(sim: &Sim, timeout_s: u32) -> Self {
        let end = match sim.draw(0..100) {
            0..80 => End::Answers,
            80..92 => End::Fails,
            _ => End::Vanishes,
        };
        // Some take longer than they may.
        let longest_ms = u64::from(timeout_s) * 1_000 + if sim.chance(50) { 150_000 } else { 1_000 };
        Self { ends_ms: sim.now_ms() + sim.draw(500..longest_ms), end }
    }
}
