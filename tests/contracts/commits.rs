//! Committing to a result and revealing it later, for a job that runs once.

use keeper_types::Felt;

use crate::{
    parties::{PRICE, SALT, Spec, outcome},
    stage::{Moment, Stage, felts, refused, said, told},
    world::{CHALLENGE_S, CLIENT, GRACE_S, KEEPER, OTHER, STRK, W1, W2},
};

/// How long a commitment may stay unrevealed.
const REVEAL_S: u64 = 21_600;
const TIMEOUT_S: u64 = 100;

/// A job of the first worker, allocated at the moment that is returned.
async fn running(stage: &Stage, spec: &Spec, worker: u32) -> (u64, Moment) {
    let job = stage.submit(spec).await;
    let now = stage.now().await;
    stage.allocate(job, worker).await;
    (job, now)
}

#[tokio::test]
async fn a_result_is_committed_to_and_revealed() {
    let stage = Stage::start().await;
    let (worker, _) = (stage.register(W1).await, stage.register(W2).await);
    let result = outcome("right");
    refused(stage.commit_felt(OTHER, 1, 9, Felt::ZERO).await, "JobMgr: no such job");
    refused(stage.reveal(OTHER, 1, 9, result).await, "JobMgr: no such job");
    let job = stage.submit(&stage.spec().await).await;
    refused(stage.commit_felt(OTHER, job, 9, Felt::ZERO).await, "JobMgr: not allocated");
    stage.allocate(job, worker).await;
    for attempt in [0, 2, 255] {
        refused(stage.commit_felt(OTHER, job, attempt, Felt::ZERO).await, "JobMgr: wrong attempt");
    }
    for stranger in [OTHER, CLIENT, KEEPER, W2] {
        refused(stage.commit_felt(stranger, job, 1, Felt::ZERO).await, "JobMgr: caller not the worker");
    }
    refused(stage.commit_felt(W1, job, 1, Felt::ZERO).await, "JobMgr: zero commitment");
    refused(stage.reveal(OTHER, job, 9, result).await, "JobMgr: not committed");

    let commitment = stage.commitment(W1, job, 1, result);
    let asked = felts![job, 1, stage.address(W1), result, SALT];
    assert_eq!(stage.ask("JobMgr", "commitment_of", &asked).await.felt(), commitment);
    let committed = said("JobMgr", "ResultCommitted", &felts![job, worker], &felts![1, commitment]);
    assert_eq!(told(stage.commit(W1, job, 1, result).await), [committed]);
    let shown = stage.job(job).await;
    assert_eq!((shown["state"].variant(), shown["commitment"].felt()), ("Committed", commitment));
    assert_eq!(shown["result_hash"].felt(), Felt::ZERO);
    assert_eq!(stage.worker(worker).await.numbers(["free_slots", "free_gpus", "holds"]), [2, 4, 1]);
    for function in ["accept_result", "settle", "dispute_result"] {
        refused(stage.on_job(CLIENT, function, job).await, "JobMgr: not revealed");
    }
    refused(stage.commit(W1, job, 1, result).await, "JobMgr: not allocated");
    refused(stage.submit_result(W1, job, 1, result).await, "JobMgr: not allocated");
    refused(stage.fail_attempt(W1, job, 1).await, "JobMgr: not allocated");
    refused(stage.on_job(CLIENT, "cancel_job", job).await, "JobMgr: not queued");

    // Neither by another, nor another result, nor with another salt, nor as another attempt.
    refused(stage.reveal(W1, job, 2, result).await, "JobMgr: wrong attempt");
    refused(stage.reveal(W2, job, 1, result).await, "JobMgr: wrong reveal");
    refused(stage.reveal(W1, job, 1, outcome("other")).await, "JobMgr: wrong reveal");
    refused(stage.reveal(W1, job, 1, Felt::ZERO).await, "JobMgr: wrong reveal");
    let salted = felts![job, 1, result, SALT + 1];
    refused(stage.act(W1, "JobMgr", "reveal_result", &salted).await, "JobMgr: wrong reveal");

    let ends = stage.now().await.after(CHALLENGE_S);
    let submitted = |ends: Moment| {
        let data = [felts![1, result], ends.felts().to_vec()].concat();
        said("JobMgr", "ResultSubmitted", &felts![job, worker], &data)
    };
    assert_eq!(told(stage.reveal(W1, job, 1, result).await), [submitted(ends)]);
    let shown = stage.job(job).await;
    assert_eq!((shown["state"].variant(), shown["result_hash"].felt()), ("Revealed", result));
    refused(stage.reveal(W1, job, 1, result).await, "JobMgr: not committed");
    assert_eq!(stage.worker(worker).await["holds"].number(), 1);

    let settle = async || stage.on_job(OTHER, "settle", job).await;
    let done = stage.only_after(ends, "JobMgr: challenge window open", settle).await;
    let client = stage.address(CLIENT);
    let expected = [
        said("CdcPool", "ReputationChanged", &felts![worker], &felts![500, 510]),
        said("JobMgr", "JobSettled", &felts![job, worker, client], &felts![PRICE, STRK - PRICE]),
    ];
    assert_eq!(done.said, expected);
    assert_eq!(stage.worker(worker).await["holds"].number(), 0);
    assert_eq!((stage.credit(W1).await, stage.credit(CLIENT).await), (PRICE, STRK - PRICE));
    stage.conserved().await;
}

#[tokio::test]
async fn a_commitment_to_nothing_cannot_be_revealed() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let (job, _) = running(&stage, &stage.spec().await, worker).await;
    stage.commit(W1, job, 1, Felt::ZERO).await.unwrap();
    refused(stage.reveal(W1, job, 1, Felt::ZERO).await, "JobMgr: zero result hash");
    stage.conserved().await;
}

#[tokio::test]
async fn who_does_not_reveal_is_slashed_by_half_and_the_job_goes_on() {
    let stage = Stage::start().await;
    let (first, second) = (stage.register(W1).await, stage.register(W2).await);
    let spec = Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await };
    let (job, allocated) = running(&stage, &spec, first).await;
    stage.commit(W1, job, 1, outcome("kept to itself")).await.unwrap();
    let before = [stage.balance(OTHER).await, stage.balance(CLIENT).await];

    let due = allocated.after(TIMEOUT_S + GRACE_S + REVEAL_S);
    let expire = async || stage.on_job(OTHER, "expire_attempt", job).await;
    let done = stage.only_after(due, "JobMgr: deadline not passed", expire).await;
    // Ten times the price is the least stake of a slot here, so half of that is taken.
    let (amount, quarter) = (STRK / 2, STRK / 8);
    let expected = [
        said("CdcPool", "ReputationChanged", &felts![first], &felts![500, 400]),
        said("CdcPool", "WorkerSlashed", &felts![first], &felts![1, amount, 2 * quarter, quarter, quarter]),
        said("JobMgr", "AttemptFailed", &felts![job, first], &felts![1, true, 0, true]),
    ];
    assert_eq!(done.said, expected);
    let fee = done.fee;
    assert_eq!(stage.balance(OTHER).await, before[0] + quarter - fee);
    assert_eq!(stage.balance(CLIENT).await, before[1] + quarter);
    assert_eq!(stage.burned().await, 2 * quarter);
    assert_eq!(stage.worker(first).await.numbers(["stake", "holds", "free_slots"]), [10 * STRK - amount, 0, 2]);
    let shown = stage.job(job).await;
    assert_eq!((shown["state"].variant(), shown["commitment"].felt()), ("Queued", Felt::ZERO));
    assert_eq!(shown.numbers(["attempt", "worker_id"]), [2, 0]);
    assert!(stage.ask("JobMgr", "is_excluded", &felts![job, first]).await.is_true());
    refused(stage.reveal(W1, job, 1, outcome("kept to itself")).await, "JobMgr: not committed");

    stage.allocate(job, second).await;
    stage.submit_result(W2, job, 2, outcome("right")).await.unwrap();
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    assert_eq!(stage.credit(W2).await, PRICE);
    stage.conserved().await;
}

#[tokio::test]
async fn the_last_commitment_that_is_not_revealed_ends_the_job() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let spec = Spec { max_attempts: 1, ..stage.spec().await };
    let (job, allocated) = running(&stage, &spec, worker).await;
    stage.commit(W1, job, 1, outcome("kept to itself")).await.unwrap();
    stage.pass(allocated.after(TIMEOUT_S + GRACE_S + REVEAL_S)).await;
    let events = told(stage.on_job(OTHER, "expire_attempt", job).await);
    let client = stage.address(CLIENT);
    assert_eq!(events[2], said("JobMgr", "AttemptFailed", &felts![job, worker], &felts![1, true, 0, false]));
    assert_eq!(events[3], said("JobMgr", "JobFailed", &felts![job, client], &felts![STRK]));
    assert_eq!(stage.state(job).await, "Failed");
    assert_eq!(stage.credit(CLIENT).await, STRK);
    stage.conserved().await;
}

#[tokio::test]
async fn a_late_reveal_counts_until_someone_expires_the_attempt() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let (job, allocated) = running(&stage, &stage.spec().await, worker).await;
    // Late to commit, and late to reveal.
    stage.pass(allocated.after(TIMEOUT_S + GRACE_S)).await;
    stage.commit(W1, job, 1, outcome("late")).await.unwrap();
    stage.pass(allocated.after(TIMEOUT_S + GRACE_S + 2 * REVEAL_S)).await;
    stage.reveal(W1, job, 1, outcome("late")).await.unwrap();
    refused(stage.on_job(OTHER, "expire_attempt", job).await, "JobMgr: not allocated");
    stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    assert_eq!(stage.credit(W1).await, PRICE);
    stage.conserved().await;
}

#[tokio::test]
async fn a_late_commitment_has_its_whole_time_to_reveal() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let spec = Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await };
    let (job, allocated) = running(&stage, &spec, worker).await;
    // As after a chain that stood still, longer than the time to reveal.
    stage.pass(allocated.after(TIMEOUT_S + GRACE_S + REVEAL_S)).await;
    let committed = stage.now().await;
    stage.commit(W1, job, 1, outcome("late")).await.unwrap();
    // When it must be revealed is no challenge window.
    assert_eq!(stage.job(job).await.numbers(["challenge_ends_at", "challenge_ends_block"]), [0, 0]);
    let expire = async || stage.on_job(OTHER, "expire_attempt", job).await;
    let done = stage.only_after(committed.after(REVEAL_S), "JobMgr: deadline not passed", expire).await;
    assert_eq!(done.said[2], said("JobMgr", "AttemptFailed", &felts![job, worker], &felts![1, true, 0, true]));
    let shown = stage.job(job).await;
    assert_eq!((shown["state"].variant(), shown.numbers(["challenge_ends_at"])), ("Queued", [0]));
    stage.conserved().await;
}
