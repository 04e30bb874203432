//! What every implementation of [`WorkQueue`] must do.

use std::{collections::BTreeSet, time::Duration};

use crate::{Claim, ClaimTerms, Failed, ItemId, NewItem, QueueStats, RetryPolicy, StoreError, WorkQueue};

/// Long enough for no claim to run out.
const HOUR: Duration = Duration::from_hours(1);

/// Runs the suite. `open` gives a new, empty store each time.
///
/// # Panics
/// Panics where the store does not do what [`WorkQueue`] says.
pub async fn exercise_queue<S: WorkQueue>(open: impl AsyncFn() -> S) {
    items_come_out_in_order_and_once(&open().await).await;
    a_key_is_taken_once(&open().await).await;
    a_claim_that_ran_out_is_the_next_claimers(&open().await).await;
    a_claim_is_kept_by_extending_it(&open().await).await;
    what_fails_is_tried_again_and_then_dead(&open().await).await;
    what_is_never_finished_dies(&open().await).await;
    dead_letters_come_back_as_new(&open().await).await;
    queues_are_apart_and_counted(&open().await).await;
    what_is_wrong_is_refused(&open().await).await;
    claimers_at_the_same_time_share_the_work(&open().await).await;
}

/// Items with the keys `PREFIX-0` and so on, whose payloads say the same with a byte that is no text.
pub fn items(prefix: &str, count: usize) -> Vec<NewItem> {
    let item = |index: usize| {
        let key = format!("{prefix}-{index:06}");
        NewItem { payload: [key.as_bytes(), &[0, 0xff]].concat(), key }
    };
    (0..count).map(item).collect()
}

fn terms(limit: u32, visibility: Duration) -> ClaimTerms {
    ClaimTerms { claimer: "me".to_owned(), limit, visibility, max_attempts: 3 }
}

fn retry(max_attempts: u32) -> RetryPolicy {
    RetryPolicy { max_attempts, backoff: Duration::ZERO, max_backoff: Duration::ZERO }
}

async fn claim(queue: &dyn WorkQueue, limit: u32, visibility: Duration) -> Vec<Claim> {
    queue.claim("work", &terms(limit, visibility)).await.expect("writes")
}

async fn stats(queue: &dyn WorkQueue) -> QueueStats {
    queue.stats("work").await.expect("reads")
}

fn keys(claims: &[Claim]) -> Vec<&str> {
    claims.iter().map(|claim| claim.key.as_str()).collect()
}

async fn items_come_out_in_order_and_once(queue: &dyn WorkQueue) {
    let all = items("job", 700);
    assert_eq!(queue.enqueue("work", all.clone()).await.expect("writes"), 700);
    assert!(claim(queue, 0, HOUR).await.is_empty());
    let (first, second) = (claim(queue, 300, HOUR).await, claim(queue, 1_000, HOUR).await);
    assert_eq!((first.len(), second.len()), (300, 400));
    let out: Vec<NewItem> = first
        .iter()
        .chain(&second)
        .map(|claim| NewItem { key: claim.key.clone(), payload: claim.payload.clone() })
        .collect();
    assert_eq!(out, all);
    assert!(first.iter().chain(&second).all(|claim| claim.attempt == 1 && claim.enqueued_ms > 0));
    assert!(claim(queue, 1, HOUR).await.is_empty());

    let tokens = |claims: &[Claim]| claims.iter().map(Claim::token).collect::<Vec<_>>();
    assert_eq!(queue.acknowledge(tokens(&first)).await.expect("writes"), []);
    let again = queue.acknowledge(tokens(&first)).await.expect("writes");
    assert_eq!(again, first.iter().map(|claim| claim.item_id).collect::<Vec<_>>(), "they are gone");
    assert_eq!(queue.acknowledge(Vec::new()).await.expect("writes"), []);
    assert_eq!(stats(queue).await, QueueStats { claimed: 400, ..QueueStats::default() });
    assert_eq!(queue.acknowledge(tokens(&second)).await.expect("writes"), []);
    assert_eq!(stats(queue).await, QueueStats::default());
}

async fn a_key_is_taken_once(queue: &dyn WorkQueue) {
    let mut twice = items("job", 3);
    twice.push(NewItem { key: twice[0].key.clone(), payload: vec![9] });
    assert_eq!(queue.enqueue("work", twice).await.expect("writes"), 3, "the first stands");
    assert_eq!(queue.enqueue("work", items("job", 5)).await.expect("writes"), 2);
    assert_eq!(queue.enqueue("work", Vec::new()).await.expect("writes"), 0);
    let claims = claim(queue, 9, HOUR).await;
    assert_eq!(claims.len(), 5);
    assert_eq!(claims[0].payload, items("job", 1)[0].payload);
    assert_eq!(queue.enqueue("work", items("job", 5)).await.expect("writes"), 0, "a claimed one is there too");
    queue.acknowledge(vec![claims[0].token()]).await.expect("writes");
    assert_eq!(queue.enqueue("work", items("job", 5)).await.expect("writes"), 1, "one that is done may come again");
    assert!(claim(queue, 9, HOUR).await[0].item_id > claims[4].item_id, "as another item");
}

async fn a_claim_that_ran_out_is_the_next_claimers(queue: &dyn WorkQueue) {
    queue.enqueue("work", items("job", 2)).await.expect("writes");
    let lost = claim(queue, 2, Duration::ZERO).await;
    let taken = claim(queue, 1, HOUR).await;
    assert_eq!((taken[0].item_id, taken[0].attempt), (lost[0].item_id, 2));
    let refused = queue.acknowledge(lost.iter().map(Claim::token).collect()).await.expect("writes");
    assert_eq!(refused, [lost[0].item_id], "nobody took the other one over");
    let refused = queue.extend(vec![lost[0].token()], HOUR).await.expect("writes");
    assert_eq!(refused, [lost[0].item_id]);
    let error = queue.fail(lost[0].token(), "late", &retry(9)).await.expect_err("it is another's");
    assert!(matches!(error, StoreError::ClaimLost { item_id } if item_id == lost[0].item_id), "{error}");
    assert_eq!(queue.acknowledge(vec![taken[0].token()]).await.expect("writes"), []);
    assert_eq!(stats(queue).await, QueueStats::default());
}

async fn a_claim_is_kept_by_extending_it(queue: &dyn WorkQueue) {
    queue.enqueue("work", items("job", 1)).await.expect("writes");
    let claims = claim(queue, 1, Duration::ZERO).await;
    assert_eq!(queue.extend(vec![claims[0].token()], HOUR).await.expect("writes"), []);
    assert!(claim(queue, 1, HOUR).await.is_empty());
    assert_eq!(queue.extend(vec![claims[0].token()], Duration::ZERO).await.expect("writes"), []);
    assert_eq!(claim(queue, 1, HOUR).await[0].attempt, 2);
}

async fn what_fails_is_tried_again_and_then_dead(queue: &dyn WorkQueue) {
    queue.enqueue("work", items("job", 1)).await.expect("writes");
    for attempt in 1..=2 {
        let claims = claim(queue, 1, HOUR).await;
        assert_eq!(claims[0].attempt, attempt);
        let failed = queue.fail(claims[0].token(), "broken", &retry(3)).await.expect("writes");
        assert!(matches!(failed, Failed::Retry { visible_ms } if visible_ms > 0), "{failed:?}");
        let refused = queue.acknowledge(vec![claims[0].token()]).await.expect("writes");
        assert_eq!(refused, [claims[0].item_id], "it was given back");
        queue.fail(claims[0].token(), "twice", &retry(3)).await.expect_err("it was given back");
    }
    let last = claim(queue, 1, HOUR).await;
    let failed = queue.fail(last[0].token(), "broken\0for good", &retry(3)).await.expect("writes");
    assert_eq!(failed, Failed::Dead);
    queue.fail(last[0].token(), "again", &retry(3)).await.expect_err("it is dead");
    let dead = queue.dead_letters("work", 9).await.expect("reads");
    assert_eq!((dead.len(), dead[0].item_id, dead[0].attempt), (1, last[0].item_id, 3));
    assert!(dead[0].error.starts_with("broken") && dead[0].payload == last[0].payload);
    assert!(dead[0].died_ms >= dead[0].enqueued_ms);

    let slow = RetryPolicy { max_attempts: 9, backoff: HOUR, max_backoff: HOUR };
    queue.enqueue("work", items("slow", 1)).await.expect("writes");
    let claims = claim(queue, 1, HOUR).await;
    queue.fail(claims[0].token(), "not now", &slow).await.expect("writes");
    assert_eq!(stats(queue).await, QueueStats { delayed: 1, dead: 1, ..QueueStats::default() });
    assert!(claim(queue, 1, HOUR).await.is_empty());
}

async fn what_is_never_finished_dies(queue: &dyn WorkQueue) {
    queue.enqueue("work", items("poison", 2)).await.expect("writes");
    for _ in 0..3 {
        assert_eq!(claim(queue, 2, Duration::ZERO).await.len(), 2);
    }
    queue.enqueue("work", items("job", 1)).await.expect("writes");
    assert_eq!(keys(&claim(queue, 2, HOUR).await), ["job-000000"], "what is dead stands in nobody's way");
    let dead = queue.dead_letters("work", 9).await.expect("reads");
    assert_eq!(dead.iter().map(|dead| dead.attempt).collect::<Vec<_>>(), [3, 3]);
    assert!(dead[0].error.contains("never finished"), "{}", dead[0].error);
    assert!(claim(queue, 2, HOUR).await.is_empty());
}

async fn dead_letters_come_back_as_new(queue: &dyn WorkQueue) {
    queue.enqueue("work", items("job", 3)).await.expect("writes");
    for claim in claim(queue, 3, HOUR).await {
        queue.fail(claim.token(), "broken", &retry(1)).await.expect("writes");
    }
    assert_eq!(queue.enqueue("work", items("job", 3)).await.expect("writes"), 0, "an operator has to look first");
    let dead: Vec<ItemId> =
        queue.dead_letters("work", 2).await.expect("reads").iter().map(|dead| dead.item_id).collect();
    assert_eq!(dead.len(), 2);
    assert_eq!(queue.requeue("elsewhere", dead.clone()).await.expect("writes"), 0);
    assert_eq!(queue.requeue("work", dead.clone()).await.expect("writes"), 2);
    assert_eq!(queue.requeue("work", dead.clone()).await.expect("writes"), 0);
    let claims = claim(queue, 9, HOUR).await;
    assert_eq!(keys(&claims), ["job-000000", "job-000001"]);
    assert!(claims.iter().all(|claim| claim.attempt == 1 && !dead.contains(&claim.item_id)));
    assert_eq!(stats(queue).await, QueueStats { claimed: 2, dead: 1, ..QueueStats::default() });
}

async fn queues_are_apart_and_counted(queue: &dyn WorkQueue) {
    assert_eq!(stats(queue).await, QueueStats::default());
    queue.enqueue("work", items("job", 2)).await.expect("writes");
    assert_eq!(queue.enqueue("other", items("job", 2)).await.expect("writes"), 2, "keys are a queue's own");
    assert_eq!(claim(queue, 1, HOUR).await.len(), 1);
    let counted = stats(queue).await;
    assert_eq!((counted.ready, counted.claimed, counted.delayed, counted.dead), (1, 1, 0, 0));
    assert!(counted.oldest_ready_ms.is_some());
    assert_eq!(queue.stats("other").await.expect("reads").ready, 2);
    assert_eq!(queue.claim("other", &terms(9, HOUR)).await.expect("writes").len(), 2);
}

async fn what_is_wrong_is_refused(queue: &dyn WorkQueue) {
    let long = "k".repeat(256);
    for key in ["", "with\0zero", &long] {
        let mut some = items("job", 2);
        some.push(NewItem { key: key.to_owned(), payload: Vec::new() });
        let error = queue.enqueue("work", some).await.expect_err("a key has a length");
        assert!(matches!(error, StoreError::Length { field: "an item's key", .. }), "{error}");
    }
    queue.enqueue("", items("job", 1)).await.expect_err("a queue has a name");
    queue.claim(&long, &terms(1, HOUR)).await.expect_err("a queue's name has a length");
    queue.claim("work", &terms(1, Duration::MAX)).await.expect_err("a claim ends");
    assert_eq!(stats(queue).await, QueueStats::default());
}

async fn claimers_at_the_same_time_share_the_work(queue: &dyn WorkQueue) {
    const COUNT: usize = 600;
    let enqueuing = (0..6).map(|part| queue.enqueue("work", items(&format!("part-{part}"), COUNT / 6)));
    let added = futures::future::join_all(enqueuing).await;
    assert!(added.into_iter().all(|count| count.expect("writes") == COUNT as u64 / 6));
    let claiming = (0..6).map(|_| async {
        let mut done = Vec::new();
        while done.len() < COUNT {
            let claims = claim(queue, 7, HOUR).await;
            if claims.is_empty() {
                break;
            }
            let refused = queue.acknowledge(claims.iter().map(Claim::token).collect()).await.expect("writes");
            assert_eq!(refused, []);
            done.extend(claims.into_iter().map(|claim| claim.key));
        }
        done
    });
    let done: Vec<String> = futures::future::join_all(claiming).await.into_iter().flatten().collect();
    assert_eq!(done.len(), COUNT);
    assert_eq!(done.iter().collect::<BTreeSet<_>>().len(), COUNT, "each once");
    assert_eq!(stats(queue).await, QueueStats::default());
}
