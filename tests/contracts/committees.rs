//! Results that the client disputes and a committee of three other workers runs again.

use keeper_types::Felt;

use crate::{
    abi::Shown,
    parties::{PRICE, Spec, item, names, outcome, the},
    stage::{DISPUTE_S, Moment, Said, Stage, W3, W4, felts, refused, said, told},
    world::{CLIENT, OTHER, STRK, W1, W2},
};

const REVEAL_S: u64 = 21_600;
const MEMBERS: [usize; 3] = [W2, W3, W4];
/// What the committee is paid at most.
const ESCROW: u128 = 3 * STRK;
const DISPUTED: &str = "disputed";

async fn spec(stage: &Stage) -> Spec {
    Spec { verification: 1, deadline: stage.now().await.at + 100_000, max_latency_ms: 1_234, ..stage.spec().await }
}

/// A dispute: the accused worker, its job, the committee's first job and when the dispute ends.
struct Case {
    stage: Stage,
    accused: u32,
    job: u64,
    committee: u64,
    ends: Moment,
}

async fn disputed() -> Case {
    let stage = Stage::start().await;
    let accused = stage.register(W1).await;
    let job = stage.answered(&spec(&stage).await, W1, accused, outcome(DISPUTED)).await;
    let now = stage.now().await;
    stage.dispute(CLIENT, job, ESCROW).await.unwrap();
    let ends = now.after(2 * DISPUTE_S + 3 * 100 + REVEAL_S + 3_600);
    Case { stage, accused, job, committee: job + 1, ends }
}

/// The committee's members answer so.
async fn answer(case: &Case, results: [&str; 3]) {
    let Case { stage, committee, .. } = case;
    for ((job, account), result) in (*committee..).zip(MEMBERS).zip(results) {
        let worker = stage.register(account).await;
        stage.allocate(job, worker).await;
        stage.commit(account, job, 1, outcome(result)).await.unwrap();
    }
    for ((job, account), result) in (*committee..).zip(MEMBERS).zip(results) {
        stage.reveal(account, job, 1, outcome(result)).await.unwrap();
    }
}

fn ruled(case: &Case, is_right: bool, by_default: bool) -> Said {
    said("JobMgr", "DisputeRuled", &felts![case.job, case.accused], &felts![is_right, by_default])
}

async fn opened(case: &Case) -> Moment {
    let shown: Shown = case.stage.group(case.committee).await;
    let [at, block] = shown.numbers(["opened_at", "opened_block"]).map(|number| u64::try_from(number).unwrap());
    Moment { at, block }
}

#[tokio::test]
async fn a_dispute_forms_a_committee_that_its_client_pays() {
    let stage = Stage::start().await;
    let accused = stage.register(W1).await;
    let spec = spec(&stage).await;
    let job = stage.answered(&spec, W1, accused, outcome(DISPUTED)).await;
    // What the committee will need is still there.
    let shown = stage.job(job).await;
    assert_eq!(shown["spec"]["requirements"].numbers(["vram_gib", "cpu_cores", "features"]), [24, 8, 3]);
    assert_eq!(shown["result_hash"].felt(), outcome(DISPUTED));
    refused(stage.dispute(CLIENT, job, ESCROW - 1).await, "ERC20: insufficient allowance");

    let now = stage.now().await;
    let (client, before) = (stage.address(CLIENT), stage.balance(CLIENT).await);
    let done = stage.dispute(CLIENT, job, ESCROW).await.unwrap();
    let deadline = now.after(DISPUTE_S);
    let again = Spec { verification: 0, replicas: 3, quorum: 2, deadline: deadline.at, ..spec };
    let submitted = |job: u64| {
        let data = [again.felts(), felts![deadline.block, 2]].concat();
        said("JobMgr", "JobSubmitted", &felts![job, client], &data)
    };
    let ends = now.after(2 * DISPUTE_S + 3 * 100 + REVEAL_S + 3_600);
    let data = [felts![ESCROW], ends.felts().to_vec(), felts![2]].concat();
    let opened = said("JobMgr", "ResultDisputed", &felts![job, client], &data);
    assert_eq!(done.said, [submitted(2), submitted(3), submitted(4), opened]);
    assert_eq!(stage.balance(CLIENT).await, before - ESCROW - done.fee);
    let dispute = stage.ask("JobMgr", "get_dispute", &felts![job]).await;
    assert_eq!(dispute.numbers(["bond", "committee"]), [ESCROW, 2]);
    assert_eq!(stage.group(2).await.numbers(["replicas", "quorum", "pending"]), [3, 2, 3]);
    for member in 2..=4_u64 {
        assert!(stage.ask("JobMgr", "is_excluded", &felts![member, accused]).await.is_true());
        assert_eq!(stage.skip_reason(item(member, accused)).await, 13);
        refused(stage.on_job(CLIENT, "cancel_job", member).await, "JobMgr: is a committee");
    }
    refused(stage.on_job(OTHER, "settle_dispute", job).await, "JobMgr: dispute open");
    stage.conserved().await;
}

#[tokio::test]
async fn a_committee_that_agrees_with_the_worker_settles_its_job() {
    let case = disputed().await;
    let Case { stage, accused, job, committee, .. } = &case;
    answer(&case, [DISPUTED, DISPUTED, "else"]).await;
    let client = stage.address(CLIENT);
    let events = told(stage.on_job(OTHER, "settle_dispute", *job).await);
    let expected = [
        ruled(&case, true, false),
        said("CdcPool", "ReputationChanged", &felts![*accused], &felts![500, 510]),
        said("JobMgr", "JobSettled", &felts![*job, *accused, client], &felts![PRICE, STRK - PRICE]),
    ];
    assert_eq!(events, expected);
    for member in *committee..committee + 3 {
        stage.on_job(OTHER, "settle", member).await.unwrap();
    }
    assert_eq!([stage.credit(W1).await, stage.credit(W2).await, stage.credit(W4).await], [PRICE, PRICE, 0]);
    assert_eq!(stage.credit(CLIENT).await, 4 * STRK - 3 * PRICE);
    assert_eq!(stage.worker(*accused).await.numbers(["holds", "stake"]), [0, 10 * STRK]);
    stage.conserved().await;
}

#[tokio::test]
async fn a_committee_that_agrees_on_another_result_rejects_the_workers() {
    let case = disputed().await;
    let Case { stage, accused, job, committee, .. } = &case;
    answer(&case, ["else", DISPUTED, "else"]).await;
    let (before, burned) = (stage.balance(CLIENT).await, stage.burned().await);
    let events = told(stage.on_job(OTHER, "settle_dispute", *job).await);
    // By votes nobody gains, the client that called for them neither.
    let (client, slashed) = (stage.address(CLIENT), 10 * PRICE);
    assert_eq!((stage.balance(CLIENT).await, stage.burned().await), (before, burned + slashed));
    let expected = [
        ruled(&case, false, false),
        said("CdcPool", "ReputationChanged", &felts![*accused], &felts![500, 333]),
        said("CdcPool", "WorkerSlashed", &felts![*accused], &felts![2, slashed, slashed, 0, 0]),
        said("JobMgr", "ResultRejected", &felts![*job, *accused], &felts![3]),
        said("JobMgr", "JobFailed", &felts![*job, client], &felts![STRK]),
    ];
    assert_eq!(events, expected);
    for member in *committee..committee + 3 {
        stage.on_job(OTHER, "settle", member).await.unwrap();
    }
    assert_eq!([stage.credit(W1).await, stage.credit(W2).await, stage.credit(W3).await], [0, PRICE, 0]);
    assert_eq!(stage.credit(CLIENT).await, 4 * STRK - 2 * PRICE);
    stage.conserved().await;
}

#[tokio::test]
async fn a_committee_without_a_quorum_leaves_the_worker_right_by_default() {
    let case = disputed().await;
    let Case { stage, accused, job, committee, .. } = &case;
    answer(&case, ["one", "two", "three"]).await;
    let closes = opened(&case).await.after(REVEAL_S);
    let settle = async || stage.on_job(OTHER, "settle_dispute", *job).await;
    let done = stage.only_after(closes, "JobMgr: dispute open", settle).await;
    assert_eq!(the(&done.said, "DisputeRuled"), &ruled(&case, true, true));
    assert_eq!(done.said.last().unwrap().name, "JobSettled");
    for member in *committee..committee + 3 {
        stage.on_job(OTHER, "settle", member).await.unwrap();
    }
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (PRICE, 4 * STRK - PRICE));
    assert_eq!(stage.worker(*accused).await["holds"].number(), 0);
    stage.conserved().await;
}

#[tokio::test]
async fn a_committee_that_nobody_joins_leaves_the_worker_right_by_default() {
    let case = disputed().await;
    let Case { stage, accused, job, committee, ends } = &case;
    // One member is run by a worker that never answers, and so the group never closes before the end.
    let second = stage.register(W2).await;
    stage.allocate(*committee, second).await;
    let settle = async || stage.on_job(OTHER, "settle_dispute", *job).await;
    let done = stage.only_after(*ends, "JobMgr: dispute open", settle).await;
    assert_eq!(done.said[0], ruled(&case, true, true));
    assert_eq!(names(&done.said), ["DisputeRuled", "ReputationChanged", "JobSettled"]);
    stage.on_job(OTHER, "expire_attempt", *committee).await.unwrap();
    for member in *committee..committee + 3 {
        assert_eq!(names(&told(stage.on_job(OTHER, "expire_job", member).await)), ["JobExpired"]);
    }
    assert_eq!(stage.credit(CLIENT).await, 4 * STRK - PRICE);
    assert_eq!(stage.worker(*accused).await["holds"].number(), 0);
    stage.conserved().await;
}

#[tokio::test]
async fn a_committee_may_run_longer_than_a_group_that_a_client_submits() {
    let stage = Stage::start().await;
    let accused = stage.register(W1).await;
    let long = Spec { timeout: 86_401, max_price: 100 * STRK, ..spec(&stage).await };
    let group = Spec { replicas: 3, quorum: 2, verification: 0, ..long.clone() };
    refused(stage.try_submit(CLIENT, &group).await, "JobMgr: timeout too long");
    let job = stage.answered(&long, W1, accused, outcome(DISPUTED)).await;
    stage.dispute(CLIENT, job, 300 * STRK).await.unwrap();
    let second = stage.register(W2).await;
    stage.allocate(job + 1, second).await;
    assert_eq!(stage.job(job + 1).await["spec"]["execution_timeout_s"].number(), 86_401);
    stage.conserved().await;
}

#[tokio::test]
async fn credit_pays_for_a_committee_first() {
    let stage = Stage::start().await;
    let accused = stage.register(W1).await;
    let other = stage.submit(&Spec { max_price: 2 * STRK, ..spec(&stage).await }).await;
    stage.on_job(CLIENT, "cancel_job", other).await.unwrap();
    // Half of the credit goes into the job itself.
    let job = stage.answered(&spec(&stage).await, W1, accused, outcome(DISPUTED)).await;
    assert_eq!(stage.credit(CLIENT).await, STRK);
    let done = stage.dispute(CLIENT, job, 2 * STRK).await.unwrap();
    let client: Felt = stage.address(CLIENT);
    assert_eq!(done.said[0], said("JobMgr", "CreditSpent", &felts![client], &felts![STRK]));
    assert_eq!(the(&done.said, "ResultDisputed").data[0], Felt::from(ESCROW));
    assert_eq!(stage.credit(CLIENT).await, 0);
    stage.conserved().await;
}
