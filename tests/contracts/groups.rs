//! Jobs that several workers run: who is paid, who is slashed, and when nobody is.

use keeper_types::Felt;

use crate::{
    parties::{Item, PRICE, Spec, item, names, outcome, the},
    stage::{Moment, Said, Stage, W3, W4, felts, refused, said, told},
    world::{CLIENT, GRACE_S, OTHER, STRK, W1, W2},
};

const REVEAL_S: u64 = 21_600;
const WORKERS: [usize; 3] = [W1, W2, W3];
/// The reason for which a worker gets no second member of a group.
const EXCLUDED: u128 = 13;

async fn three(stage: &Stage) -> Spec {
    Spec { replicas: 3, quorum: 2, deadline: stage.now().await.at + 100_000, ..stage.spec().await }
}

/// A group of three that three workers run, one member each; the first member and the workers.
async fn running(stage: &Stage) -> (u64, [u32; 3]) {
    let mut workers = [0; 3];
    for (worker, account) in workers.iter_mut().zip(WORKERS) {
        *worker = stage.register(account).await;
    }
    let group = stage.submit(&three(stage).await).await;
    for (job, worker) in (group..).zip(workers) {
        stage.allocate(job, worker).await;
    }
    (group, workers)
}

/// Members commit to these results, in order.
async fn commit(stage: &Stage, group: u64, results: [Felt; 3]) {
    for ((job, account), result) in (group..).zip(WORKERS).zip(results) {
        stage.commit(account, job, 1, result).await.unwrap();
    }
}

fn settled(stage: &Stage, job: u64, worker: u32) -> Said {
    said("JobMgr", "JobSettled", &felts![job, worker, stage.address(CLIENT)], &felts![PRICE, STRK - PRICE])
}

#[tokio::test]
async fn a_group_is_submitted_as_its_members() {
    let stage = Stage::start().await;
    let spec = three(&stage).await;
    stage.submit(&stage.spec().await).await;
    let now = stage.now().await;
    let before = stage.balance(CLIENT).await;
    let done = stage.try_submit(CLIENT, &spec).await.unwrap();
    let deadline_block = now.block + (spec.deadline - now.at).div_ceil(10);
    let submitted = |job: u64| {
        let data = [spec.felts(), felts![deadline_block, 2]].concat();
        said("JobMgr", "JobSubmitted", &felts![job, stage.address(CLIENT)], &data)
    };
    assert_eq!(done.said, [submitted(2), submitted(3), submitted(4)]);
    assert_eq!(stage.balance(CLIENT).await, before - 3 * STRK - done.fee);
    let group = stage.group(2).await;
    assert_eq!(
        group.numbers(["group_id", "replicas", "quorum", "pending", "revealed", "opened_at"]),
        [2, 3, 2, 3, 0, 0]
    );
    assert!(!group["started"].is_true() && !group["decided"].is_true());
    for job in 2..=4_u64 {
        let shown = stage.job(job).await;
        assert_eq!((shown["state"].variant(), shown["group_id"].number()), ("Queued", 2));
        assert_eq!(shown["spec"].numbers(["replicas", "quorum", "max_price"]), [3, 2, STRK]);
    }
    assert_eq!(stage.job(1).await["group_id"].number(), 0);
    assert_eq!(stage.group(1).await["replicas"].number(), 0);
    assert_eq!(stage.group(3).await["replicas"].number(), 0);
    stage.conserved().await;
}

#[tokio::test]
async fn what_a_quorum_agrees_on_is_paid_and_an_outlier_slashed() {
    let stage = Stage::start().await;
    let (group, workers) = running(&stage).await;
    let [right, wrong] = [outcome("right"), outcome("wrong")];
    let client = stage.address(CLIENT);
    for (job, account) in (group..).zip(WORKERS) {
        refused(stage.submit_result(account, job, 1, right).await, "JobMgr: is a replica");
    }
    // The third will not reveal; the other two decide all the same.
    commit(&stage, group, [right, right, wrong]).await;
    assert_eq!(stage.group(group).await.numbers(["pending", "revealed"]), [0, 0]);
    let submitted = |index: usize, result: Felt| {
        said("JobMgr", "ResultSubmitted", &felts![group + index as u64, workers[index]], &felts![1, result, 0, 0])
    };
    assert_eq!(told(stage.reveal(W1, group, 1, right).await), [submitted(0, right)]);
    refused(stage.on_job(OTHER, "settle", group).await, "JobMgr: group open");
    refused(stage.on_job(CLIENT, "accept_result", group).await, "JobMgr: is a replica");
    refused(stage.dispute(CLIENT, group, STRK).await, "JobMgr: is a replica");
    let decided = said("JobMgr", "GroupDecided", &felts![group], &felts![right]);
    assert_eq!(told(stage.reveal(W2, group + 1, 1, right).await), [submitted(1, right), decided]);
    let shown = stage.group(group).await;
    assert!(shown["decided"].is_true());
    assert_eq!((shown["winner"].felt(), shown["revealed"].number()), (right, 2));

    // Another group, where the third answers otherwise.
    let second = stage.submit(&three(&stage).await).await;
    for (job, worker) in (second..).zip(workers) {
        stage.allocate(job, worker).await;
    }
    commit(&stage, second, [right, right, wrong]).await;
    for ((job, account), result) in (second..).zip(WORKERS).zip([right, right, wrong]) {
        stage.reveal(account, job, 1, result).await.unwrap();
    }
    let before = stage.balance(CLIENT).await;
    let events = told(stage.on_job(OTHER, "settle", second + 2).await);
    let expected = [
        said("CdcPool", "ReputationChanged", &felts![workers[2]], &felts![500, 333]),
        said("CdcPool", "WorkerSlashed", &felts![workers[2]], &felts![2, STRK, STRK, 0, 0]),
        said("JobMgr", "ResultRejected", &felts![second + 2, workers[2]], &felts![1]),
        said("JobMgr", "JobFailed", &felts![second + 2, client], &felts![STRK]),
    ];
    assert_eq!(events, expected);
    // By votes nobody gains, the client neither.
    assert_eq!(stage.balance(CLIENT).await, before);
    assert_eq!((stage.burned().await, stage.stake(workers[2]).await), (STRK, 9 * STRK));
    let events = told(stage.on_job(OTHER, "settle", second).await);
    let rose = said("CdcPool", "ReputationChanged", &felts![workers[0]], &felts![500, 510]);
    assert_eq!(events, [rose, settled(&stage, second, workers[0])]);
    stage.on_job(OTHER, "settle", second + 1).await.unwrap();
    assert_eq!([stage.credit(W1).await, stage.credit(W2).await, stage.credit(W3).await], [PRICE, PRICE, 0]);
    // Two refunds of what the price leaves, and one of all.
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK - 2 * PRICE);
    // Of the first group two commitments and one that was never revealed still hold a stake.
    for worker in workers {
        assert_eq!(stage.worker(worker).await["holds"].number(), 1);
    }
    stage.conserved().await;
}

#[tokio::test]
async fn reveals_open_when_no_member_is_pending() {
    let stage = Stage::start().await;
    let (group, workers) = running(&stage).await;
    let right = outcome("right");
    stage.commit(W1, group, 1, right).await.unwrap();
    refused(stage.reveal(W1, group, 1, right).await, "JobMgr: reveals closed");
    stage.commit(W2, group + 1, 1, right).await.unwrap();
    assert_eq!(stage.group(group).await["pending"].number(), 1);
    // A member that is queued again is still pending, however long that takes.
    stage.fail_attempt(W3, group + 2, 1).await.unwrap();
    refused(stage.reveal(W1, group, 1, right).await, "JobMgr: reveals closed");
    let later = stage.now().await.after(5_000);
    stage.pass(later).await;
    refused(stage.on_job(OTHER, "expire_attempt", group).await, "JobMgr: deadline not passed");
    let fourth = stage.register(W4).await;
    for worker in workers {
        let again = Item { attempt: 2, ..item(group + 2, worker) };
        assert_eq!(stage.skip_reason(again).await, EXCLUDED);
    }
    stage.allocate(group + 2, fourth).await;
    let opened = stage.now().await;
    stage.commit(W4, group + 2, 2, right).await.unwrap();
    let shown = stage.group(group).await;
    let expected = [0, opened.at.into(), opened.block.into()];
    assert_eq!(shown.numbers(["pending", "opened_at", "opened_block"]), expected);
    for (job, account, attempt) in [(group, W1, 1), (group + 1, W2, 1), (group + 2, W4, 2)] {
        stage.reveal(account, job, attempt, right).await.unwrap();
        refused(stage.reveal(account, job, attempt, right).await, "JobMgr: not committed");
    }
    for (job, worker) in (group..).zip([workers[0], workers[1], fourth]) {
        let events = told(stage.on_job(OTHER, "settle", job).await);
        assert_eq!(events[1], settled(&stage, job, worker));
    }
    stage.conserved().await;
}

#[tokio::test]
async fn a_worker_gets_one_member_of_a_group_and_no_more() {
    let stage = Stage::start().await;
    let (first, second) = (stage.register(W1).await, stage.register(W2).await);
    let group = stage.submit(&three(&stage).await).await;
    // Not even within a batch.
    let events = stage.apply(&[item(group, first), item(group + 1, first), item(group + 1, second)]).await;
    let skipped = said("TaskAllocator", "AllocationSkipped", &felts![group + 1, first], &felts![1, EXCLUDED]);
    assert_eq!(the(&events, "AllocationSkipped"), &skipped);
    let allocated = felts![2, item(group, first).pack(), item(group + 1, second).pack()];
    assert_eq!(the(&events, "JobsAllocated"), &said("JobMgr", "JobsAllocated", &[], &allocated));
    for job in group..group + 3 {
        for worker in [first, second] {
            assert!(stage.ask("JobMgr", "is_excluded", &felts![job, worker]).await.is_true());
        }
    }
    assert_eq!(stage.skip_reason(item(group + 2, second)).await, EXCLUDED);
    // A worker that the pool refuses has had nothing, and may come again.
    stage.act(W2, "CdcPool", "drain_worker", &[]).await.unwrap();
    let third = stage.register(W3).await;
    stage.act(W3, "CdcPool", "drain_worker", &[]).await.unwrap();
    assert_eq!(stage.skip_reason(item(group + 2, third)).await, 6);
    assert!(!stage.ask("JobMgr", "is_excluded", &felts![group, third]).await.is_true());
    stage.act(W3, "CdcPool", "resume_worker", &[]).await.unwrap();
    stage.allocate(group + 2, third).await;
    stage.conserved().await;
}

#[tokio::test]
async fn who_copies_a_commitment_cannot_reveal_it() {
    let stage = Stage::start().await;
    let (group, workers) = running(&stage).await;
    let right = outcome("right");
    let copied = stage.commitment(W1, group, 1, right);
    stage.commit_felt(W1, group, 1, copied).await.unwrap();
    stage.commit_felt(W2, group + 1, 1, copied).await.unwrap();
    let opened = stage.now().await;
    stage.commit(W3, group + 2, 1, right).await.unwrap();
    stage.reveal(W1, group, 1, right).await.unwrap();
    // Now that the result and the salt are known.
    refused(stage.reveal(W2, group + 1, 1, right).await, "JobMgr: wrong reveal");
    refused(stage.reveal(W1, group + 1, 1, right).await, "JobMgr: wrong reveal");
    refused(stage.reveal(W1, group + 2, 1, right).await, "JobMgr: wrong reveal");
    stage.reveal(W3, group + 2, 1, right).await.unwrap();
    let expire = async || stage.on_job(OTHER, "expire_attempt", group + 1).await;
    let done = stage.only_after(opened.after(REVEAL_S), "JobMgr: deadline not passed", expire).await;
    let client = stage.address(CLIENT);
    let expected = [
        said("CdcPool", "ReputationChanged", &felts![workers[1]], &felts![500, 400]),
        said("CdcPool", "WorkerSlashed", &felts![workers[1]], &felts![1, STRK / 2, STRK / 4, STRK / 8, STRK / 8]),
        // However many attempts are left: the result is known by now.
        said("JobMgr", "AttemptFailed", &felts![group + 1, workers[1]], &felts![1, true, 0, false]),
        said("JobMgr", "JobFailed", &felts![group + 1, client], &felts![STRK]),
    ];
    assert_eq!(done.said, expected);
    assert_eq!(stage.worker(workers[1]).await["holds"].number(), 0);
    for job in [group, group + 2] {
        stage.on_job(OTHER, "settle", job).await.unwrap();
    }
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK - 2 * PRICE);
    stage.conserved().await;
}

#[tokio::test]
async fn reveals_close_for_replicas() {
    let stage = Stage::start().await;
    let (group, _) = running(&stage).await;
    let right = outcome("right");
    commit(&stage, group, [right; 3]).await;
    let opened = stage.group(group).await.numbers(["opened_at", "opened_block"]).map(|n| u64::try_from(n).unwrap());
    let opened = Moment { at: opened[0], block: opened[1] };
    // At the very end it is still time.
    stage.reach_block(opened.block + REVEAL_S / 10 + 1).await;
    stage.set_time(opened.at + REVEAL_S).await;
    stage.reveal(W1, group, 1, right).await.unwrap();
    stage.set_time(opened.at + REVEAL_S + 1).await;
    refused(stage.reveal(W2, group + 1, 1, right).await, "JobMgr: reveals closed");
    // One voice is no quorum: nobody is paid.
    let events = told(stage.on_job(OTHER, "settle", group).await);
    assert_eq!(names(&events), ["GroupDecided", "ResultRejected", "JobFailed"]);
    for job in [group + 1, group + 2] {
        stage.on_job(OTHER, "expire_attempt", job).await.unwrap();
    }
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK);
    stage.conserved().await;
}

#[tokio::test]
async fn without_a_quorum_everyone_is_refunded_and_nobody_slashed() {
    let stage = Stage::start().await;
    let (group, workers) = running(&stage).await;
    let results = [outcome("a"), outcome("b"), outcome("c")];
    commit(&stage, group, results).await;
    let opened = stage.group(group).await.numbers(["opened_at", "opened_block"]).map(|n| u64::try_from(n).unwrap());
    let opened = Moment { at: opened[0], block: opened[1] };
    for ((job, account), result) in (group..).zip(WORKERS).zip(results) {
        stage.reveal(account, job, 1, result).await.unwrap();
    }
    let client = stage.address(CLIENT);
    let rejected = |job: u64, worker: u32| {
        [
            said("JobMgr", "ResultRejected", &felts![job, worker], &felts![2]),
            said("JobMgr", "JobFailed", &felts![job, client], &felts![STRK]),
        ]
    };
    let settle = async || stage.on_job(OTHER, "settle", group + 1).await;
    let done = stage.only_after(opened.after(REVEAL_S), "JobMgr: group open", settle).await;
    assert_eq!(done.said[0], said("JobMgr", "GroupDecided", &felts![group], &felts![0]));
    assert_eq!(done.said[1..], rejected(group + 1, workers[1]));
    // It is said once.
    for index in [0, 2] {
        let job = group + index as u64;
        assert_eq!(told(stage.on_job(OTHER, "settle", job).await), rejected(job, workers[index]));
        refused(stage.on_job(OTHER, "settle", job).await, "JobMgr: not revealed");
    }
    for worker in workers {
        assert_eq!(stage.worker(worker).await.numbers(["stake", "reputation", "holds"]), [10 * STRK, 500, 0]);
    }
    assert!(stage.group(group).await["decided"].is_true());
    assert_eq!((stage.credit(CLIENT).await, stage.burned().await), (3 * STRK, 0));
    stage.conserved().await;
}

#[tokio::test]
async fn a_group_is_cancelled_whole_until_it_has_started() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let client = stage.address(CLIENT);
    let group = stage.submit(&three(&stage).await).await;
    refused(stage.on_job(OTHER, "cancel_job", group + 1).await, "JobMgr: caller not client");
    let cancelled = |job: u64| said("JobMgr", "JobCancelled", &felts![job, client], &felts![STRK]);
    let events = told(stage.on_job(CLIENT, "cancel_job", group + 1).await);
    assert_eq!(events, [cancelled(group), cancelled(group + 1), cancelled(group + 2)]);
    assert_eq!(stage.credit(CLIENT).await, 3 * STRK);
    refused(stage.on_job(CLIENT, "cancel_job", group).await, "JobMgr: not queued");
    assert_eq!(stage.skip_reason(item(group, worker)).await, 2);

    let group = stage.submit(&three(&stage).await).await;
    assert_eq!(stage.credit(CLIENT).await, 0);
    stage.allocate(group + 2, worker).await;
    refused(stage.on_job(CLIENT, "cancel_job", group + 2).await, "JobMgr: not queued");
    refused(stage.on_job(CLIENT, "cancel_job", group).await, "JobMgr: group started");
    stage.fail_attempt(W1, group + 2, 1).await.unwrap();
    for job in group..group + 3 {
        refused(stage.on_job(CLIENT, "cancel_job", job).await, "JobMgr: group started");
    }
    stage.conserved().await;
}

#[tokio::test]
async fn members_that_find_no_worker_or_fail_do_not_block_the_others() {
    let stage = Stage::start().await;
    let (first, second) = (stage.register(W1).await, stage.register(W2).await);
    let deadline = stage.now().await.after(600);
    let spec = Spec { deadline: deadline.at, max_attempts: 1, ..three(&stage).await };
    let group = stage.submit(&spec).await;
    stage.allocate(group, first).await;
    let allocated = stage.now().await;
    stage.allocate(group + 1, second).await;
    stage.commit(W1, group, 1, outcome("right")).await.unwrap();
    // The second fails for good, the third is never allocated.
    stage.pass(allocated.after(u64::from(spec.timeout) + GRACE_S)).await;
    let events = told(stage.on_job(OTHER, "expire_attempt", group + 1).await);
    assert_eq!(names(&events), ["ReputationChanged", "AttemptFailed", "JobFailed"]);
    assert_eq!(stage.group(group).await["pending"].number(), 1);
    stage.pass(deadline).await;
    let opened = stage.now().await;
    let events = told(stage.on_job(OTHER, "expire_job", group + 2).await);
    assert_eq!(names(&events), ["JobExpired"]);
    assert_eq!(stage.group(group).await.numbers(["pending", "opened_at"]), [0, opened.at.into()]);
    stage.reveal(W1, group, 1, outcome("right")).await.unwrap();
    stage.pass(opened.after(REVEAL_S)).await;
    let events = told(stage.on_job(OTHER, "settle", group).await);
    assert_eq!(names(&events), ["GroupDecided", "ResultRejected", "JobFailed"]);
    assert_eq!((stage.credit(CLIENT).await, stage.reputation(first).await), (3 * STRK, 500));
    stage.conserved().await;
}
