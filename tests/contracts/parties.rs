//! What the parties of [`Stage`] do, and what always holds there.

use keeper_types::{ContentHash, Felt};

use crate::{
    abi::Shown,
    stage::{BURN, POLICY, Said, Sent, Stage, felts},
    world::{CLIENT, KEEPER, RATE, STRK},
};

/// What [`Spec::new`] costs at [`RATE`].
pub(crate) const PRICE: u128 = STRK / 10;
/// The salt of every commitment here.
pub(crate) const SALT: u64 = 99;

/// A job's spec, every field of which can be bent.
#[derive(Clone, Debug)]
pub(crate) struct Spec {
    pub(crate) manifest_hash: Felt,
    pub(crate) model_id: Felt,
    pub(crate) needs: Needs,
    pub(crate) priority: u8,
    pub(crate) queue: u8,
    pub(crate) max_price: u128,
    pub(crate) deadline: u64,
    pub(crate) timeout: u32,
    pub(crate) max_attempts: u8,
    pub(crate) max_latency_ms: u16,
    pub(crate) verification: u8,
    pub(crate) replicas: u8,
    pub(crate) quorum: u8,
}

/// What a job requires; an offer is the same without a reputation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Needs {
    pub(crate) gpus: u8,
    pub(crate) vram: u16,
    pub(crate) compute_capability: u8,
    pub(crate) cuda: u8,
    pub(crate) driver: u16,
    pub(crate) cores: u16,
    pub(crate) memory: u16,
    pub(crate) reputation: u16,
    pub(crate) features: u16,
    pub(crate) region: Felt,
}

impl Needs {
    pub(crate) fn felts(&self) -> Vec<Felt> {
        let Self { gpus, vram, compute_capability, cuda, driver, cores, memory, reputation, features, region } = *self;
        felts![gpus, vram, compute_capability, cuda, driver, cores, memory, reputation, features, region]
    }

    pub(crate) fn offer(&self) -> Vec<Felt> {
        let mut felts = self.felts();
        felts.remove(7);
        felts
    }
}

/// What workers offer.
pub(crate) fn offer() -> Needs {
    let region = Felt::from_bytes_be_slice(b"eu");
    let (compute_capability, cuda, driver, reputation) = (90, 124, 550, 0);
    Needs {
        gpus: 4,
        vram: 80,
        compute_capability,
        cuda,
        driver,
        cores: 64,
        memory: 512,
        reputation,
        features: 7,
        region,
    }
}

impl Spec {
    /// A job for one GPU, at ten times what the worker asks.
    pub(crate) fn new(now: u64) -> Self {
        Self {
            manifest_hash: Felt::from(0x3a11_f357_u64),
            model_id: Felt::ZERO,
            needs: Needs { gpus: 1, vram: 24, compute_capability: 89, cores: 8, memory: 32, features: 3, ..offer() },
            priority: 5,
            queue: 0,
            max_price: STRK,
            deadline: now + 600,
            timeout: 100,
            max_attempts: 3,
            max_latency_ms: 0,
            verification: 0,
            replicas: 1,
            quorum: 1,
        }
    }

    pub(crate) fn felts(&self) -> Vec<Felt> {
        [
            vec![self.manifest_hash, self.model_id],
            self.needs.felts(),
            felts![self.priority, self.queue, self.max_price, self.deadline, self.timeout, self.max_attempts],
            felts![self.max_latency_ms, self.verification, self.replicas, self.quorum],
        ]
        .concat()
    }
}

/// An item of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Item {
    pub(crate) job: u64,
    pub(crate) worker: u32,
    pub(crate) attempt: u8,
    pub(crate) strategy: u8,
    pub(crate) score: u16,
    pub(crate) rate: u64,
}

/// The first attempt of a job for a worker at [`RATE`].
pub(crate) fn item(job: u64, worker: u32) -> Item {
    Item { job, worker, attempt: 1, strategy: 0, score: 777, rate: RATE }
}

impl Item {
    pub(crate) fn pack(self) -> Felt {
        let shifted = |value: Felt, bits: u32| value * Felt::TWO.pow(bits);
        Felt::from(self.job)
            + shifted(self.worker.into(), 64)
            + shifted(self.attempt.into(), 96)
            + shifted(self.strategy.into(), 104)
            + shifted(self.score.into(), 108)
            + shifted(self.rate.into(), 124)
    }
}

/// A result that a worker may have.
pub(crate) fn outcome(text: &str) -> Felt {
    ContentHash::of(text.as_bytes()).to_felt()
}

impl Stage {
    // The client

    pub(crate) async fn spec(&self) -> Spec {
        Spec::new(self.now().await.at)
    }

    pub(crate) async fn try_submit(&self, account: usize, spec: &Spec) -> Sent {
        let escrow = spec.max_price.saturating_mul(u128::from(spec.replicas.max(1)));
        let calls = vec![self.approve("JobMgr", escrow), self.call("JobMgr", "submit_job", &spec.felts())];
        self.send(account, calls).await
    }

    /// Submits as the client and returns the (first) job.
    pub(crate) async fn submit(&self, spec: &Spec) -> u64 {
        let done = self.try_submit(CLIENT, spec).await.expect("submitting a job");
        let first = done.said.iter().find(|said| said.name == "JobSubmitted").expect("it is told");
        u64::try_from(first.keys[0]).unwrap()
    }

    /// Disputes a result, with so much approved for what that takes.
    pub(crate) async fn dispute(&self, account: usize, job: u64, bond: u128) -> Sent {
        let calls = vec![self.approve("JobMgr", bond), self.call("JobMgr", "dispute_result", &felts![job])];
        self.send(account, calls).await
    }

    /// A function of JobMgr that takes nothing but a job.
    pub(crate) async fn on_job(&self, account: usize, function: &str, job: u64) -> Sent {
        self.act(account, "JobMgr", function, &felts![job]).await
    }

    // The workers

    pub(crate) async fn try_register(&self, account: usize, slots: u8, rate: u64, stake: u128) -> Sent {
        let arguments = [offer().offer(), felts![slots, rate, stake]].concat();
        let calls = vec![self.approve("CdcPool", stake), self.call("CdcPool", "register_worker", &arguments)];
        self.send(account, calls).await
    }

    /// Two slots at [`RATE`], with ten STRK of stake.
    pub(crate) async fn register(&self, account: usize) -> u32 {
        self.register_with(account, 2, 10 * STRK).await
    }

    pub(crate) async fn register_with(&self, account: usize, slots: u8, stake: u128) -> u32 {
        let done = self.try_register(account, slots, RATE, stake).await.expect("registering a worker");
        u32::try_from(done.said[0].keys[0]).unwrap()
    }

    pub(crate) async fn submit_result(&self, account: usize, job: u64, attempt: u8, result: Felt) -> Sent {
        self.act(account, "JobMgr", "submit_result", &felts![job, attempt, result]).await
    }

    pub(crate) async fn fail_attempt(&self, account: usize, job: u64, attempt: u8) -> Sent {
        let reason = Felt::from_bytes_be_slice(b"oom");
        self.act(account, "JobMgr", "fail_attempt", &felts![job, attempt, reason]).await
    }

    /// What binds an account to a result, computed as `docs/job-lifecycle.md` says.
    pub(crate) fn commitment(&self, account: usize, job: u64, attempt: u8, result: Felt) -> Felt {
        let domain = Felt::from_bytes_be_slice(b"ciro-commit-v1");
        let chain = keeper_chain::Network::Devnet.chain_id().0;
        let (manager, owner) = (self.at("JobMgr"), self.address(account));
        starknet_crypto::poseidon_hash_many(&felts![domain, chain, manager, job, attempt, owner, result, SALT])
    }

    /// Commits to anything, even what another account computed.
    pub(crate) async fn commit_felt(&self, account: usize, job: u64, attempt: u8, commitment: Felt) -> Sent {
        self.act(account, "JobMgr", "commit_result", &felts![job, attempt, commitment]).await
    }

    pub(crate) async fn commit(&self, account: usize, job: u64, attempt: u8, result: Felt) -> Sent {
        self.commit_felt(account, job, attempt, self.commitment(account, job, attempt, result)).await
    }

    pub(crate) async fn reveal(&self, account: usize, job: u64, attempt: u8, result: Felt) -> Sent {
        self.act(account, "JobMgr", "reveal_result", &felts![job, attempt, result, SALT]).await
    }

    // The keeper

    pub(crate) async fn post_bond(&self, account: usize, amount: u128) -> Sent {
        let calls =
            vec![self.approve("TaskAllocator", amount), self.call("TaskAllocator", "post_bond", &felts![amount])];
        self.send(account, calls).await
    }

    pub(crate) async fn last_round(&self, account: usize) -> u64 {
        let round = self.ask("TaskAllocator", "last_round", &[self.address(account)]).await;
        u64::try_from(round.felt()).unwrap()
    }

    /// The arguments of `apply_batch`: a header with nothing of note, and the items.
    pub(crate) fn batch(round: u64, snapshot: u64, policy: Felt, items: &[Felt]) -> Vec<Felt> {
        let [snapshot_root, plan_root] = [Felt::from(0x5a), Felt::from(0x9a)];
        [felts![round, snapshot, snapshot_root, policy, plan_root, items.len()], items.to_vec()].concat()
    }

    /// Applies the keeper's next round, whatever its items, and returns what the contracts said.
    pub(crate) async fn apply(&self, items: &[Item]) -> Vec<Said> {
        let felts: Vec<_> = items.iter().map(|item| item.pack()).collect();
        let round = self.last_round(KEEPER).await + 1;
        let arguments = Self::batch(round, 0, POLICY, &felts);
        self.act(KEEPER, "TaskAllocator", "apply_batch", &arguments).await.expect("the round is taken").said
    }

    /// Gives the job's next attempt to a worker, which must go through.
    pub(crate) async fn allocate(&self, job: u64, worker: u32) {
        let attempt = self.job(job).await["attempt"].number();
        let offered = self.worker(worker).await["rate_gfri"].number();
        let (attempt, rate) = (u8::try_from(attempt).unwrap(), u64::try_from(offered).unwrap());
        let said = self.apply(&[Item { attempt, rate, ..item(job, worker) }]).await;
        assert_eq!(said[0].name, "JobsAllocated", "not allocated: {said:?}");
    }

    /// The reason for which the item is skipped.
    pub(crate) async fn skip_reason(&self, item: Item) -> u128 {
        let said = self.apply(&[item]).await;
        assert_eq!(said[0].name, "AllocationSkipped", "not skipped: {said:?}");
        u128::try_from(said[0].data[1]).unwrap()
    }

    /// A job that a worker runs.
    pub(crate) async fn running(&self, spec: &Spec, worker: u32) -> u64 {
        let job = self.submit(spec).await;
        self.allocate(job, worker).await;
        job
    }

    /// A job that a worker has answered.
    pub(crate) async fn answered(&self, spec: &Spec, account: usize, worker: u32, result: Felt) -> u64 {
        let job = self.running(spec, worker).await;
        self.submit_result(account, job, 1, result).await.unwrap();
        job
    }

    // What there is to see

    pub(crate) async fn job(&self, job: u64) -> Shown {
        self.ask("JobMgr", "get_job", &felts![job]).await
    }

    pub(crate) async fn state(&self, job: u64) -> String {
        self.job(job).await["state"].variant().to_owned()
    }

    pub(crate) async fn worker(&self, worker: u32) -> Shown {
        self.ask("CdcPool", "get_worker", &felts![worker]).await
    }

    pub(crate) async fn stake(&self, worker: u32) -> u128 {
        self.worker(worker).await["stake"].number()
    }

    pub(crate) async fn reputation(&self, worker: u32) -> u128 {
        self.worker(worker).await["reputation"].number()
    }

    pub(crate) async fn group(&self, group: u64) -> Shown {
        self.ask("JobMgr", "get_group", &felts![group]).await
    }

    pub(crate) async fn credit(&self, account: usize) -> u128 {
        self.ask("JobMgr", "credit_of", &[self.address(account)]).await.number()
    }

    /// Every fri that the contracts hold is owed to somebody, and no more is owed than they hold.
    pub(crate) async fn conserved(&self) {
        let (mut owed, jobs) = (0, self.ask("JobMgr", "job_count", &[]).await.number());
        for first in (1..=jobs).step_by(50) {
            for job in self.ask("JobMgr", "get_jobs", &felts![first, 50]).await.list() {
                let state = job["state"].variant();
                if !["Settled", "Cancelled", "Expired", "Failed"].contains(&state) {
                    owed += job["spec"]["max_price"].number();
                }
                if state == "Disputed" {
                    let dispute = self.ask("JobMgr", "get_dispute", &[job["job_id"].felt()]).await;
                    owed += if dispute["committee"].number() == 0 { dispute["bond"].number() } else { 0 };
                }
            }
        }
        for account in 1..=self.accounts() {
            owed += self.credit(account).await;
        }
        assert_eq!(self.balance_at(self.at("JobMgr")).await, owed, "JobMgr");

        let (mut staked, workers) = (0, self.ask("CdcPool", "worker_count", &[]).await.number());
        for first in (1..=workers).step_by(50) {
            let page = self.ask("CdcPool", "get_workers", &felts![first, 50]).await;
            staked += page.list().iter().map(|worker| worker["stake"].number()).sum::<u128>();
        }
        assert_eq!(self.balance_at(self.at("CdcPool")).await, staked, "CdcPool");

        let mut bonds = 0;
        for account in 1..=self.accounts() {
            bonds += self.ask("TaskAllocator", "get_keeper", &[self.address(account)]).await["bond"].number();
        }
        assert_eq!(self.balance_at(self.at("TaskAllocator")).await, bonds, "TaskAllocator");
    }

    pub(crate) async fn burned(&self) -> u128 {
        self.balance_at(BURN).await
    }
}

/// The names of what was said, in order.
pub(crate) fn names(said: &[Said]) -> Vec<&str> {
    said.iter().map(|said| said.name.as_str()).collect()
}

/// The only event of that name.
#[track_caller]
pub(crate) fn the<'a>(done: &'a [Said], name: &str) -> &'a Said {
    let mut found = done.iter().filter(|said| said.name == name);
    let first = found.next();
    match (first, found.next()) {
        (Some(said), None) => said,
        _ => panic!("not one {name} in {done:?}"),
    }
}
