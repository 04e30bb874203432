//! One transaction of each kind in the lives of jobs and workers.

use keeper_chain::DueExit;
use keeper_types::{Attempt, ContentHash, Felt, Fri, JobId, JobSpec, Verification, WorkerId};

use super::{Cost, Costs, crew::Crew};

const STRK: u128 = 1_000_000_000_000_000_000;
/// How long a job that is to expire may be allocated.
const SHORT_DEADLINE_S: u64 = 120;
/// Workers that one batch of heartbeats speaks for: as many as a group has, registered or not.
const HEARTBEATS: u32 = 100;
const FIRST: Attempt = Attempt(1);
const SALT: Felt = Felt::THREE;

impl Crew {
    /// The ordinary ways of a job: submitted, answered, settled, given up, expired, cancelled.
    pub(crate) async fn measure_lives(&self) -> Costs {
        println!("measuring the lives of single jobs");
        let (contracts, client, admin) = (&self.market.contracts, &self.market.client, &self.market.admin);
        let mut costs = Costs::new();
        let transfer = admin.transfer(client.address(), Fri(STRK)).await.expect("a transfer");
        costs.insert("strk_transfer", Cost::of(&transfer));

        // The escrow's first job makes its balance, and a client's first job its number: no later one does.
        self.submit(1).await;
        costs.insert("submit", self.submit(1).await.1);
        let with_model = JobSpec { model_id: Felt::ONE, ..self.spec().await };
        let (with_model, cost) = self.submit_specs(&[with_model]).await;
        costs.insert("submit_with_model", cost);
        let cancelled = contracts.cancel_job(client, with_model[0]).await.expect("cancelling");
        costs.insert("cancel", Cost::of(&cancelled));
        costs.insert("submit_from_credit", self.submit(1).await.1);

        let jobs = self.submit(5).await.0;
        self.allocate_to_first(&jobs).await;
        let result = ContentHash::of(b"a result");
        for (index, job_id) in jobs.iter().enumerate().take(3) {
            let answered = contracts.submit_result(self.worker(index), *job_id, FIRST, result).await;
            costs.insert("result", Cost::of(&answered.expect("a result")));
        }
        let accepted = contracts.accept_result(client, jobs[2]).await.expect("accepting");
        costs.insert("accept", Cost::of(&accepted));
        let failed = contracts.fail_attempt(self.worker(3), jobs[3], FIRST, Felt::ONE).await.expect("failing");
        costs.insert("fail_attempt", Cost::of(&failed));

        let soon = JobSpec { deadline: self.market.now().await + SHORT_DEADLINE_S, ..self.spec().await };
        let unplaced = self.market.submit(&soon).await;
        self.market.chain.pass_time(SHORT_DEADLINE_S + 60).await;
        for (name, due) in [
            // The first payment makes an owner's credit, which no later one does; but every owner here is new.
            ("settle_first", DueExit::Settle(jobs[0])),
            ("settle_first", DueExit::Settle(jobs[1])),
            ("expire_attempt", DueExit::ExpireAttempt(jobs[4])),
            ("expire_job", DueExit::ExpireJob(unplaced)),
        ] {
            costs.insert(name, Cost::of(&contracts.exit_due(admin, &[due]).await.expect("it is due")));
        }
        costs.insert("settle", self.measure_later_settlement().await);
        let paid = contracts.withdraw_credit(admin, &[self.worker(0).address()]).await.expect("there is credit");
        costs.insert("withdraw", Cost::of(&paid));
        costs.extend(self.measure_pool().await);
        costs
    }

    /// The second payment to an owner: a life like all but the first.
    async fn measure_later_settlement(&self) -> Cost {
        let (contracts, admin) = (&self.market.contracts, &self.market.admin);
        let jobs = self.submit(1).await.0;
        self.allocate_to_first(&jobs).await;
        let result = ContentHash::of(b"another result");
        contracts.submit_result(self.worker(0), jobs[0], FIRST, result).await.expect("a result");
        self.market.chain.pass_time(60).await;
        Cost::of(&contracts.exit_due(admin, &[DueExit::Settle(jobs[0])]).await.expect("it is due"))
    }

    /// What workers and keepers do with the pool.
    async fn measure_pool(&self) -> Costs {
        let (contracts, keeper) = (&self.market.contracts, &self.market.keeper);
        let late = self.market.chain.sender(5).await;
        let stake = Fri(10 * STRK);
        let registered = contracts.register_worker(&late, &e2e::capabilities(), 1, super::crew::RATE, stake).await;
        let alive: Vec<_> = (1..=HEARTBEATS).map(WorkerId).collect();
        // The first batch makes the slot that later ones write.
        contracts.heartbeat_batch(keeper, &alive).await.expect("heartbeats");
        let beats = contracts.heartbeat_batch(keeper, &alive).await.expect("heartbeats");
        Costs::from([
            ("register", Cost::of(&registered.expect("registering").1)),
            ("heartbeat_batch", Cost::of(&beats)),
            ("heartbeat", Cost::of(&contracts.heartbeat(&late).await.expect("a heartbeat"))),
        ])
    }

    /// Results that are committed to, voted on or disputed.
    pub(crate) async fn measure_results(&self) -> Costs {
        println!("measuring commitments, groups and disputes");
        let contracts = &self.market.contracts;
        let mut costs = Costs::new();
        let replicas = JobSpec { replicas: 3, quorum: 2, ..self.spec().await };
        let (group, cost) = self.submit_specs(&[replicas]).await;
        costs.insert("submit_three_replicas", cost);
        self.allocate_to_first(&group).await;
        let result = ContentHash::of(b"a result");
        for (index, job_id) in group.iter().enumerate() {
            let worker = self.worker(index);
            let commitment = contracts.commitment(*job_id, FIRST, worker.address(), result, SALT);
            let committed = contracts.commit_result(worker, *job_id, FIRST, commitment).await.expect("committing");
            costs.insert("commit", Cost::of(&committed));
        }
        for (index, job_id) in group.iter().enumerate() {
            let revealed = contracts.reveal_result(self.worker(index), *job_id, FIRST, result, SALT).await;
            costs.insert("reveal", Cost::of(&revealed.expect("revealing")));
        }
        let settled = contracts.exit_due(&self.market.admin, &[DueExit::Settle(group[0])]).await;
        costs.insert("settle_replica", Cost::of(&settled.expect("the group has decided")));
        costs.insert("dispute", self.measure_dispute(Verification::Matmul).await);
        costs.insert("dispute_by_rerun", self.measure_dispute(Verification::Rerun).await);
        costs
    }

    async fn measure_dispute(&self, verification: Verification) -> Cost {
        let (contracts, client) = (&self.market.contracts, &self.market.client);
        let spec = JobSpec { verification, ..self.spec().await };
        let (jobs, _) = self.submit_specs(&[spec]).await;
        self.allocate_to_first(&jobs).await;
        let result = ContentHash::of(b"a doubtful result");
        contracts.submit_result(self.worker(0), jobs[0], FIRST, result).await.expect("a result");
        let job = contracts.job(jobs[0]).await.expect("the node answers").expect("the job");
        Cost::of(&contracts.dispute_result(client, &job).await.expect("disputing"))
    }

    /// Gives the jobs to the first workers, one each.
    pub(crate) async fn allocate_to_first(&self, jobs: &[JobId]) {
        let workers = self.workers.iter().map(|(worker_id, _)| *worker_id);
        self.allocate(jobs.iter().copied().zip(workers)).await;
    }

    fn worker(&self, index: usize) -> &keeper_chain::Sender {
        &self.workers[index].1
    }
}
