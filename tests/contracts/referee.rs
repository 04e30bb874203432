//! Disputes about matrix products before the real Referee.

use std::sync::atomic::AtomicBool;

use keeper_types::{ContentHash, Felt, MatmulJob};
use keeper_worker::{MAX_JUDGED_SIZE, canonical_manifest, matmul};

use crate::{
    parties::{PRICE, Spec, outcome},
    stage::{Sent, Stage, felts, refused, said, told},
    world::{ADMIN, CLIENT, OTHER, STRK, W1, W2},
};

const BOND: u128 = 50 * STRK;

/// What somebody says a product is.
#[derive(Clone)]
pub(crate) struct Evidence {
    pub(crate) job: MatmulJob,
    pub(crate) entries: Vec<i32>,
}

impl Evidence {
    /// What a worker computes.
    pub(crate) fn right(size: u32, seed: u64) -> Self {
        let job = MatmulJob { size, seed };
        let output = matmul::product(job, &AtomicBool::new(false)).unwrap();
        let entries = output.chunks_exact(4).map(|bytes| i32::from_le_bytes(bytes.try_into().unwrap())).collect();
        Self { job, entries }
    }

    /// The same with something done to it.
    pub(crate) fn bent(&self, bend: impl FnOnce(&mut [i32])) -> Self {
        let mut bent = self.clone();
        bend(&mut bent.entries);
        assert_ne!(bent.entries, self.entries);
        bent
    }

    pub(crate) fn output(&self) -> Vec<u8> {
        self.entries.iter().flat_map(|entry| entry.to_le_bytes()).collect()
    }

    pub(crate) fn hash(&self) -> ContentHash {
        ContentHash::of(&self.output())
    }

    pub(crate) fn manifest_hash(&self) -> Felt {
        ContentHash::of(canonical_manifest(self.job).as_bytes()).to_felt()
    }

    /// 28 bytes to a felt, zeros after the last.
    pub(crate) fn felts(&self) -> Vec<Felt> {
        let mut bytes = self.output();
        bytes.resize(bytes.len().div_ceil(28) * 28, 0);
        bytes.chunks_exact(28).map(Felt::from_bytes_be_slice).collect()
    }

    fn arguments(&self) -> Vec<Felt> {
        let felts = self.felts();
        [felts![self.job.size, self.job.seed, felts.len()], felts].concat()
    }

    pub(crate) async fn judge(&self, stage: &Stage, account: usize, job: u64) -> Sent {
        stage.act(account, "Referee", "judge", &[felts![job], self.arguments()].concat()).await
    }

    async fn is_product(&self, stage: &Stage) -> bool {
        stage.ask("Referee", "is_product", &self.arguments()).await.is_true()
    }

    pub(crate) async fn spec(&self, stage: &Stage) -> Spec {
        let spec = stage.spec().await;
        let deadline = stage.now().await.at + 100_000;
        Spec { verification: 2, deadline, manifest_hash: self.manifest_hash(), ..spec }
    }

    /// A job whose worker has answered with this.
    pub(crate) async fn answered(&self, stage: &Stage, worker: u32) -> u64 {
        stage.answered(&self.spec(stage).await, W1, worker, self.hash().to_felt()).await
    }

    /// The same, and the client disputes it.
    pub(crate) async fn disputed(&self, stage: &Stage, worker: u32) -> u64 {
        let job = self.answered(stage, worker).await;
        stage.dispute(CLIENT, job, BOND).await.unwrap();
        job
    }
}

#[tokio::test]
async fn the_referee_knows_its_job_manager_and_its_limit() {
    let mut stage = Stage::bare(ADMIN);
    let class = stage.declare("Referee").await;
    refused(stage.place("Referee", class, &felts![0]).await, "Referee: zero address");
    stage.place("Referee", class, &felts![7]).await.unwrap();
    assert_eq!(stage.ask("Referee", "job_mgr", &[]).await.number(), 7);
    assert_eq!(stage.ask("Referee", "max_size", &[]).await.number(), MAX_JUDGED_SIZE.into());
}

#[tokio::test]
async fn a_right_product_is_paid_with_the_bond() {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let client = stage.address(CLIENT);
    let evidence = Evidence::right(5, 9);
    let job = evidence.disputed(&stage, worker).await;
    let before = [stage.balance(CLIENT).await, stage.balance(W1).await];
    // Anyone may show it.
    let done = evidence.judge(&stage, OTHER, job).await.unwrap();
    let expected = [
        said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![true, false]),
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![500, 510]),
        said("JobMgr", "JobSettled", &felts![job, worker, client], &felts![PRICE, STRK - PRICE]),
    ];
    assert_eq!(done.said, expected);
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (PRICE + BOND, STRK - PRICE));
    assert_eq!([stage.balance(CLIENT).await, stage.balance(W1).await], before);
    assert_eq!(stage.worker(worker).await.numbers(["stake", "holds"]), [10 * STRK, 0]);
    stage.all_conserved().await;
    for account in [W1, CLIENT] {
        let credit = stage.credit(account).await;
        let paid = told(stage.act(OTHER, "JobMgr", "withdraw", &[stage.address(account)]).await);
        assert_eq!(paid, [said("JobMgr", "CreditWithdrawn", &[stage.address(account)], &felts![credit])]);
    }
    assert_eq!(
        [stage.balance(CLIENT).await, stage.balance(W1).await],
        [before[0] + STRK - PRICE, before[1] + PRICE + BOND]
    );
    assert_eq!(stage.balance_at(stage.at("JobMgr")).await, 0);
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_wrong_product_costs_the_worker_its_stake() {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let client = stage.address(CLIENT);
    let wrong = Evidence::right(6, 10).bent(|entries| entries[17] += 1);
    let job = wrong.disputed(&stage, worker).await;
    let (before, burned) = (stage.balance(CLIENT).await, stage.burned().await);
    let done = wrong.judge(&stage, OTHER, job).await.unwrap();
    let (slashed, quarter) = (10 * PRICE, 10 * PRICE / 4);
    let expected = [
        said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![false, false]),
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![500, 333]),
        said("CdcPool", "WorkerSlashed", &felts![worker], &felts![2, slashed, slashed - 2 * quarter, quarter, quarter]),
        said("JobMgr", "ResultRejected", &felts![job, worker], &felts![3]),
        said("JobMgr", "JobFailed", &felts![job, client], &felts![STRK]),
    ];
    assert_eq!(done.said, expected);
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (0, STRK + BOND));
    assert_eq!(stage.balance(CLIENT).await, before + 2 * quarter);
    assert_eq!(stage.burned().await, burned + slashed - 2 * quarter);
    assert_eq!(stage.worker(worker).await.numbers(["stake", "holds"]), [10 * STRK - slashed, 0]);
    stage.all_conserved().await;
}

#[tokio::test]
async fn every_small_size_is_judged_as_it_is() {
    let stage = Stage::start_paying().await;
    let worker = stage.register_with(W1, 2, 200 * STRK).await;
    for (size, seed) in [(1, 0), (2, u64::MAX), (3, 1 << 63), (4, 1 << 16), (5, (1 << 48) + 5), (6, 6), (7, 7), (8, 8)]
    {
        let right = Evidence::right(size, seed);
        let wrong = right.bent(|entries| *entries.last_mut().unwrap() = i32::MIN);
        for (evidence, is_right) in [(right, true), (wrong, false)] {
            let job = evidence.disputed(&stage, worker).await;
            let events = told(evidence.judge(&stage, OTHER, job).await);
            let ruled = said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![is_right, false]);
            assert_eq!(events[0], ruled, "size {size}, seed {seed}");
            assert_eq!(stage.state(job).await, if is_right { "Settled" } else { "Failed" });
        }
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn no_way_of_being_wrong_passes() {
    let mut stage = Stage::bare(ADMIN);
    let class = stage.declare("Referee").await;
    stage.place("Referee", class, &felts![7]).await.unwrap();
    for (size, seed) in [(1, 3), (2, 4), (7, 5), (8, u64::MAX - 1), (13, 1 << 40)] {
        let right = Evidence::right(size, seed);
        assert!(right.is_product(&stage).await, "size {size}, seed {seed}");
        let last = right.entries.len() - 1;
        let mut wrong = vec![
            right.bent(|entries| entries[0] += 1),
            right.bent(|entries| entries[last] -= 1),
            right.bent(|entries| entries[last] = -entries[last] - 1),
            right.bent(|entries| entries[last / 2] ^= i32::MIN),
            right.bent(|entries| entries.fill(0)),
            Evidence { job: MatmulJob { size, seed: seed - 1 }, ..right.clone() },
        ];
        if size > 1 {
            wrong.push(right.bent(|entries| entries.swap(0, 1)));
            wrong.push(right.bent(|entries| entries.rotate_left(1)));
            // The sums over all, and over the first row, stay.
            wrong.push(right.bent(|entries| (entries[0], entries[1]) = (entries[0] + 1, entries[1] - 1)));
        }
        for (number, evidence) in wrong.iter().enumerate() {
            assert!(!evidence.is_product(&stage).await, "size {size}, seed {seed}, number {number}");
        }
    }
    stage.ask_refused("Referee", "is_product", &felts![0, 1, 0], "Referee: bad size").await;
    stage.ask_refused("Referee", "is_product", &felts![35, 1, 0], "Referee: bad size").await;
    stage.ask_refused("Referee", "is_product", &felts![2, 1, 0], "Referee: malformed output").await;
}

#[tokio::test]
async fn what_is_no_evidence_rules_nothing() {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let right = Evidence::right(5, 9);
    let job = right.answered(&stage, worker).await;
    let judge =
        async |arguments: Vec<Felt>| stage.act(OTHER, "Referee", "judge", &[felts![job], arguments].concat()).await;
    let out = right.felts();
    let with = |size: u32, seed: u64, out: &[Felt]| [felts![size, seed, out.len()], out.to_vec()].concat();
    refused(right.judge(&stage, OTHER, 99).await, "Referee: not disputed");
    refused(judge(with(5, 9, &out)).await, "Referee: not disputed");
    stage.dispute(CLIENT, job, BOND).await.unwrap();
    for size in [0, MAX_JUDGED_SIZE + 1, u32::MAX] {
        refused(judge(with(size, 9, &[])).await, "Referee: bad size");
    }
    for (size, seed) in [(5, 8), (6, 9), (4, 9)] {
        refused(judge(with(size, seed, &[])).await, "Referee: other manifest");
    }
    let big = Felt::TWO.pow(224_u32);
    let changed = |index: usize, felt: Felt| {
        let mut changed = out.clone();
        changed[index] = felt;
        changed
    };
    let malformed = [
        Vec::new(),
        out[..3].to_vec(),
        [out.clone(), vec![Felt::ZERO]].concat(),
        changed(0, out[0] + big),
        changed(0, out[0] + Felt::TWO.pow(250_u32)),
        // Five by five are 25 words: the last felt has four of them, and nothing after them.
        changed(3, out[3] + Felt::ONE),
        changed(3, out[3] + Felt::TWO.pow(95_u32)),
        changed(3, out[3] + big),
    ];
    for felts in malformed {
        refused(judge(with(5, 9, &felts)).await, "Referee: malformed output");
    }
    for bent in [right.bent(|entries| entries[0] += 1), right.bent(|entries| entries[24] ^= 1)] {
        refused(judge(with(5, 9, &bent.felts())).await, "Referee: other output");
    }
    assert_eq!(stage.state(job).await, "Disputed");
    judge(with(5, 9, &out)).await.unwrap();
    refused(judge(with(5, 9, &out)).await, "Referee: not disputed");
    stage.all_conserved().await;
}

#[tokio::test]
async fn only_disputes_of_products_are_the_referees() {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let right = Evidence::right(2, 3);
    let rerun = Spec { verification: 1, ..right.spec(&stage).await };
    let job = stage.answered(&rerun, W1, worker, right.hash().to_felt()).await;
    stage.dispute(CLIENT, job, 3 * STRK).await.unwrap();
    assert_eq!(stage.state(job).await, "Disputed");
    refused(right.judge(&stage, OTHER, job).await, "Referee: not disputed");
    // A Referee of one's own is none: the job manager knows one only.
    let job = right.disputed(&stage, worker).await;
    let class = keeper_chain::built_in_class("Referee").unwrap().class_hash;
    let (deploy, other) = e2e::deployment_of(class, 2, &[stage.at("JobMgr")]);
    stage.send(OTHER, vec![deploy]).await.unwrap();
    let mut judge = stage.call("Referee", "judge", &[felts![job], right.arguments()].concat());
    judge.to = other.0;
    refused(stage.send(OTHER, vec![judge]).await, "JobMgr: caller not referee");
    right.judge(&stage, OTHER, job).await.unwrap();
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_worker_that_shows_nothing_is_wrong_by_default() {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let client = stage.address(CLIENT);
    let right = Evidence::right(4, 4);
    // It computed the product, and submitted something else: nobody has what would defend that.
    let job = stage.answered(&right.spec(&stage).await, W1, worker, outcome("something else")).await;
    let ends = stage.now().await.after(crate::stage::DISPUTE_S);
    stage.dispute(CLIENT, job, BOND).await.unwrap();
    refused(right.judge(&stage, W1, job).await, "Referee: other output");
    let before = stage.balance(CLIENT).await;
    let done =
        stage.only_after(ends, "JobMgr: dispute open", async || stage.on_job(W2, "settle_dispute", job).await).await;
    let (slashed, quarter) = (10 * PRICE, 10 * PRICE / 4);
    let expected = [
        said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![false, true]),
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![500, 333]),
        said("CdcPool", "WorkerSlashed", &felts![worker], &felts![2, slashed, slashed - 2 * quarter, quarter, quarter]),
        said("JobMgr", "ResultRejected", &felts![job, worker], &felts![3]),
        said("JobMgr", "JobFailed", &felts![job, client], &felts![STRK]),
    ];
    assert_eq!(done.said, expected);
    assert_eq!(stage.balance(CLIENT).await, before + 2 * quarter);
    assert_eq!((stage.credit(CLIENT).await, stage.credit(W1).await), (STRK + BOND, 0));
    refused(right.judge(&stage, W1, job).await, "Referee: not disputed");

    // One that shows it late is still right, unless somebody was quicker.
    let job = right.disputed(&stage, worker).await;
    let ends = stage.now().await.after(crate::stage::DISPUTE_S);
    stage.pass(ends).await;
    let events = told(right.judge(&stage, W1, job).await);
    assert_eq!(events[0], said("JobMgr", "DisputeRuled", &felts![job, worker], &felts![true, false]));
    stage.all_conserved().await;
}
