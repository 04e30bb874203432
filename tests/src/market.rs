//! A chain with the contracts on it, and market roles that act on them directly.

use keeper_chain::{Contracts, Deployer, Deployment, DeploymentTerms, Network, SendError, Sender};
use keeper_types::{
    AllocationItem, Attempt, BlockNumber, Capabilities, ContentHash, Felt, Fri, JobId, JobSpec, PolicyId, Queue, Rate,
    Requirements, RoundHeader, Verification, WorkerId,
};

use crate::{Localnet, LocalnetOptions};

/// The policy by which the market's keeper may apply rounds.
pub const POLICY: PolicyId = PolicyId(Felt::from_hex_unchecked("0x706f6c696379"));

/// A chain, the contracts on it, and who acts: account 1 is the admin, 2 the keeper, 3 the client, 4 and up
/// are workers.
#[derive(Debug)]
pub struct Market {
    /// The chain.
    pub chain: Localnet,
    /// The contracts.
    pub contracts: Contracts,
    /// Deployed the contracts.
    pub admin: Sender,
    /// May apply rounds.
    pub keeper: Sender,
    /// Submits jobs.
    pub client: Sender,
}

impl Market {
    /// A chain that makes a block for each transaction, with the contracts deployed on it.
    pub async fn start() -> Self {
        Self::start_with(LocalnetOptions::default()).await
    }

    /// As [`Market::start`], on a chain of another kind.
    pub async fn start_with(options: LocalnetOptions) -> Self {
        Self::start_on(options, DeploymentTerms::of(Network::Devnet)).await
    }

    /// As [`Market::start_with`], with contracts on terms of one's own.
    pub async fn start_on(options: LocalnetOptions, terms: DeploymentTerms) -> Self {
        let chain = Localnet::start(options);
        let admin = chain.sender(1).await;
        let keeper = chain.sender(2).await;
        let client = chain.sender(3).await;
        let deployer = Deployer::new(&admin, terms);
        let deployed = deployer.run(&[keeper.address()], &[POLICY], &mut |_| {}).await;
        let contracts = Contracts::new(&chain.rpc().await, &deployed.expect("deploying the contracts"));
        if terms.min_keeper_bond > Fri::ZERO {
            contracts.post_bond(&keeper, terms.min_keeper_bond).await.expect("posting the keeper's bond");
        }
        Self { chain, contracts, admin, keeper, client }
    }

    /// Where the contracts stand.
    pub fn deployment(&self) -> &Deployment {
        self.contracts.deployment()
    }

    /// Registers the n-th account as a worker.
    pub async fn register(&self, account: usize, capabilities: &Capabilities, slots: u8) -> (WorkerId, Sender) {
        let sender = self.chain.sender(account).await;
        let stake = Fri(u128::from(slots) * 10_000_000_000_000_000_000);
        let registered = self.contracts.register_worker(&sender, capabilities, slots, Rate(1_000), stake).await;
        (registered.expect("registering a worker").0, sender)
    }

    /// Submits a job as the client.
    pub async fn submit(&self, spec: &JobSpec) -> JobId {
        self.try_submit(spec).await.expect("submitting a job")
    }

    /// Submits a job that may be refused.
    ///
    /// # Errors
    /// Whatever the contract says.
    pub async fn try_submit(&self, spec: &JobSpec) -> Result<JobId, SendError> {
        let (job_ids, _) = self.contracts.submit_jobs(&self.client, std::slice::from_ref(spec)).await?;
        Ok(job_ids[0])
    }

    /// Applies a round that gives jobs to workers, at attempt 1; returns how many were allocated and skipped.
    pub async fn allocate(&self, pairs: &[(JobId, WorkerId)]) -> (u32, u32) {
        let attempts: Vec<_> = pairs.iter().map(|(job_id, worker_id)| (*job_id, Attempt(1), *worker_id)).collect();
        self.allocate_attempts(&attempts).await
    }

    /// Applies a round that gives attempts to workers; returns how many were allocated and skipped.
    pub async fn allocate_attempts(&self, items: &[(JobId, Attempt, WorkerId)]) -> (u32, u32) {
        let mut allocations = Vec::new();
        for (job_id, attempt, worker_id) in items {
            let worker = self.contracts.worker(*worker_id).await.expect("the worker");
            allocations.push(AllocationItem {
                job_id: *job_id,
                worker_id: *worker_id,
                attempt: *attempt,
                strategy: keeper_types::Strategy::Standard,
                score: 5_000,
                rate: worker.map_or(Rate(1), |worker| worker.rate),
            });
        }
        let round = self.contracts.last_round(self.keeper.address()).await.expect("the last round") + 1;
        let sent = self.contracts.send_round(&self.keeper, &round_header(round), &allocations).await;
        let receipt = self.keeper.receipt(sent.expect("sending a round")).await.expect("the round's receipt");
        let done = self.contracts.round_receipt(receipt);
        (done.allocated, done.skipped)
    }

    /// Submits a result as the worker's account.
    pub async fn submit_result(&self, worker: &Sender, job_id: JobId) -> ContentHash {
        let result = ContentHash::of(format!("result of {job_id}").as_bytes());
        let submitted = self.contracts.submit_result(worker, job_id, Attempt(1), result).await;
        submitted.expect("submitting a result");
        result
    }

    /// The newest block's timestamp.
    pub async fn now(&self) -> u64 {
        let follower = keeper_chain::Follower::new(self.contracts.rpc(), self.deployment());
        follower.head().await.expect("the newest block").timestamp
    }
}

/// The header of a round that was decided by hand.
pub fn round_header(round: u64) -> RoundHeader {
    RoundHeader {
        round,
        snapshot_block: BlockNumber(0),
        snapshot_root: Felt::ONE,
        policy_id: POLICY,
        plan_root: Felt::TWO,
    }
}

/// Capabilities of a modest GPU worker.
pub fn capabilities() -> Capabilities {
    Capabilities {
        gpu_count: 4,
        vram_gib: 80,
        compute_capability: 90,
        cuda_version: 124,
        driver_version: 550,
        cpu_cores: 64,
        memory_gib: 512,
        features: keeper_types::Features(7),
        region: Some("eu-w1".parse().expect("five characters")),
    }
}

/// A job that any worker can run, due an hour after `now`.
pub fn job_spec(now: u64) -> JobSpec {
    JobSpec {
        manifest_hash: ContentHash::of(b"a manifest").to_felt(),
        model_id: Felt::ZERO,
        requirements: Requirements::default(),
        priority: 5,
        queue: Queue::Default,
        max_price: Fri(1_000_000_000_000_000_000),
        deadline: now + 3_600,
        execution_timeout_s: 60,
        max_attempts: 3,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    }
}
