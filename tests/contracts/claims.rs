//! Workers that take jobs themselves while no keeper is at work.

use crate::{
    parties::{Item, PRICE, Spec, item, outcome},
    stage::{POLICY, Sent, Stage, felts, refused, said, told},
    world::{CLIENT, KEEPER, OTHER, RATE, STRK, W1, W2},
};

/// Blocks without a round after which workers may help themselves.
const QUIET: u64 = 100;

async fn claim(stage: &Stage, account: usize, job: u64) -> Sent {
    stage.on_job(account, "claim_job", job).await
}

/// No keeper has said anything for long enough.
async fn silence(stage: &Stage) {
    let last = stage.ask("TaskAllocator", "last_round_block", &[]).await.number();
    stage.reach_block(u64::try_from(last).unwrap() + QUIET + 1).await;
}

async fn spec(stage: &Stage) -> Spec {
    Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await }
}

#[tokio::test]
async fn a_worker_claims_a_job_when_the_keepers_are_silent() {
    let stage = Stage::start().await;
    let (worker, other) = (stage.register(W1).await, stage.register(W2).await);
    let job = stage.submit(&spec(&stage).await).await;
    let second = stage.submit(&spec(&stage).await).await;
    stage.allocate(second, other).await;
    let last = u64::try_from(stage.ask("TaskAllocator", "last_round_block", &[]).await.number()).unwrap();
    for stranger in [CLIENT, KEEPER, OTHER] {
        refused(claim(&stage, stranger, 99).await, "JobMgr: caller not the worker");
    }
    refused(claim(&stage, W1, 99).await, "JobMgr: keepers active");
    stage.reach_block(last + QUIET).await;
    refused(claim(&stage, W1, job).await, "JobMgr: keepers active");
    stage.reach_block(last + QUIET + 1).await;
    refused(claim(&stage, W1, 0).await, "JobMgr: no such job");
    refused(claim(&stage, W1, 99).await, "JobMgr: no such job");
    refused(claim(&stage, W1, second).await, "JobMgr: not queued");
    let events = told(claim(&stage, W1, job).await);
    let packed = Item { strategy: 3, score: 0, ..item(job, worker) }.pack();
    let expected = [
        said("JobMgr", "JobsAllocated", &[], &felts![1, packed]),
        said("JobMgr", "JobClaimed", &felts![job, worker], &[]),
    ];
    assert_eq!(events, expected);
    let shown = stage.job(job).await;
    assert_eq!(shown["state"].variant(), "Allocated");
    let seen = shown.numbers(["worker_id", "rate_gfri", "score", "strategy", "attempt"]);
    assert_eq!(seen, [worker.into(), RATE.into(), 0, 3, 1]);
    assert_eq!(stage.worker(worker).await.numbers(["free_slots", "free_gpus"]), [1, 3]);
    refused(claim(&stage, W1, job).await, "JobMgr: not queued");
    stage.submit_result(W1, job, 1, outcome("right")).await.unwrap();
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    assert_eq!(stage.credit(W1).await, PRICE);

    // A round, even one that allocates nothing, ends the silence.
    let third = stage.submit(&spec(&stage).await).await;
    assert_eq!(stage.skip_reason(item(99, worker)).await, 1);
    refused(claim(&stage, W1, third).await, "JobMgr: keepers active");
    stage.conserved().await;
}

#[tokio::test]
async fn a_market_that_never_had_a_keeper_serves_itself() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let job = stage.submit(&spec(&stage).await).await;
    assert_eq!(stage.ask("TaskAllocator", "last_round_block", &[]).await.number(), 0);
    silence(&stage).await;
    claim(&stage, W1, job).await.unwrap();
    assert_eq!(stage.job(job).await["worker_id"].number(), worker.into());
    stage.conserved().await;
}

#[tokio::test]
async fn a_claim_is_held_to_what_an_allocation_is() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let good = spec(&stage).await;
    silence(&stage).await;
    type Bend = fn(&mut Spec);
    let cases: [(Bend, &str); 9] = [
        (|spec| spec.max_price = PRICE - 1, "JobMgr: rate too high"),
        (|spec| spec.needs.gpus = 5, "JobMgr: no free GPU"),
        (|spec| spec.needs.vram = 81, "JobMgr: requirement unmet"),
        (|spec| spec.needs.cuda = 125, "JobMgr: requirement unmet"),
        (|spec| spec.needs.features = 8, "JobMgr: requirement unmet"),
        (|spec| spec.needs.reputation = 501, "JobMgr: reputation too low"),
        (|spec| spec.needs.region = keeper_types::Felt::from_bytes_be_slice(b"us"), "JobMgr: region mismatch"),
        // With more wrong than one thing, the first in order is named.
        (|spec| (spec.max_price, spec.needs.gpus, spec.needs.vram) = (PRICE, 5, 81), "JobMgr: rate too high"),
        (|spec| (spec.needs.gpus, spec.needs.vram, spec.max_price) = (5, 81, 5 * STRK), "JobMgr: no free GPU"),
    ];
    for (bend, words) in cases {
        let mut spec = good.clone();
        bend(&mut spec);
        let job = stage.submit(&spec).await;
        refused(claim(&stage, W1, job).await, words);
    }
    let (a, b, c) = (stage.submit(&good).await, stage.submit(&good).await, stage.submit(&good).await);
    claim(&stage, W1, a).await.unwrap();
    claim(&stage, W1, b).await.unwrap();
    refused(claim(&stage, W1, c).await, "JobMgr: no free slot");
    // An attempt that was given up excludes it.
    stage.fail_attempt(W1, b, 1).await.unwrap();
    refused(claim(&stage, W1, b).await, "JobMgr: worker excluded");
    stage.act(W1, "CdcPool", "drain_worker", &[]).await.unwrap();
    refused(claim(&stage, W1, c).await, "JobMgr: worker unavailable");
    stage.act(W1, "CdcPool", "resume_worker", &[]).await.unwrap();
    let soon = Spec { deadline: stage.now().await.at + 100, ..good };
    let job = stage.submit(&soon).await;
    let later = stage.now().await.after(100);
    stage.pass(later).await;
    refused(claim(&stage, W1, job).await, "JobMgr: deadline passed");
    assert_eq!(stage.worker(worker).await["free_slots"].number(), 1);
    stage.conserved().await;
}

#[tokio::test]
async fn no_member_of_a_group_or_a_committee_is_claimed() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    stage.register(W2).await;
    let group = stage.submit(&Spec { replicas: 3, quorum: 2, ..spec(&stage).await }).await;
    let rerun = Spec { verification: 1, ..spec(&stage).await };
    let disputed = stage.answered(&rerun, W1, worker, outcome("disputed")).await;
    stage.dispute(CLIENT, disputed, 3 * STRK).await.unwrap();
    let committee = disputed + 1;
    refused(claim(&stage, W2, group).await, "JobMgr: keepers active");
    silence(&stage).await;
    refused(claim(&stage, W2, disputed).await, "JobMgr: not queued");
    for job in (group..group + 3).chain(committee..committee + 3) {
        refused(claim(&stage, W2, job).await, "JobMgr: is a replica");
    }
    // Without keepers a group has its other ways out.
    stage.on_job(CLIENT, "cancel_job", group).await.unwrap();
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK);
    stage.conserved().await;
}

#[tokio::test]
async fn the_keepers_that_come_back_find_claimed_jobs_taken() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let other = stage.register(W2).await;
    let job = stage.submit(&spec(&stage).await).await;
    silence(&stage).await;
    claim(&stage, W1, job).await.unwrap();
    assert_eq!(stage.skip_reason(item(job, other)).await, 2);
    assert_eq!(stage.job(job).await["worker_id"].number(), worker.into());
    // Even a batch that is refused as a whole ends no silence.
    let stale = Stage::batch(1, 0, POLICY, &[item(job, other).pack()]);
    refused(stage.act(KEEPER, "TaskAllocator", "apply_batch", &stale).await, "TaskAllocator: stale round");
    stage.conserved().await;
}
