//! What every store must forget, and what it must not.

use keeper_types::{Attempt, BlockNumber, JobId};

use super::intents::{ACCOUNT, OTHER, batch, exits, landed, new, signed};
use crate::{ExplanationRecord, IntentState, IntentUpdate, Observation, Stage, Store};

/// Old is what is before this.
const CUT: u64 = 1_000;
/// More rows than there are.
const ALL: u32 = 100;

/// Only what is over, and old, and not the newest round of its account goes.
pub(super) async fn what_is_over_is_forgotten_after_a_while(store: &dyn Store) {
    let mut nonce = 0;
    let mut record = async |action, account, state, updated_ms| {
        nonce += 1;
        let intent_id =
            store.record_intent(&new(action, account, Some((nonce, signed(nonce, 1))))).await.expect("writes");
        let landed = Some(landed(nonce, nonce)).filter(|_| state == IntentState::AcceptedL1);
        let update = IntentUpdate { state, sent: None, landed, updated_ms };
        store.update_intent(intent_id, &update).await.expect("writes");
    };
    record(batch(1), ACCOUNT, IntentState::AcceptedL1, CUT - 1).await;
    record(exits(&[7]), ACCOUNT, IntentState::Lost, CUT - 1).await;
    // Young, open, not accepted on L1 yet, and the newest rounds of their accounts.
    record(batch(2), ACCOUNT, IntentState::AcceptedL1, CUT).await;
    record(batch(3), ACCOUNT, IntentState::MaybeSent, CUT - 1).await;
    record(exits(&[8]), ACCOUNT, IntentState::AcceptedL2, CUT - 1).await;
    record(batch(4), ACCOUNT, IntentState::AcceptedL1, CUT - 1).await;
    record(batch(9), OTHER, IntentState::AcceptedL1, CUT - 1).await;
    // Job 6 is not over; job 5 is.
    let below = JobId(6);
    let explain = |job_id, time_ms| ExplanationRecord { time_ms, ..super::explanation(job_id, None, 12) };
    store.save_explanations(&[explain(4, CUT), explain(5, CUT - 1), explain(6, CUT - 1)]).await.expect("writes");
    let observe = |job_id, observed_ms| Observation {
        job_id: JobId(job_id),
        attempt: Attempt(1),
        stage: Stage::Submitted,
        block: BlockNumber(12),
        observed_ms,
    };
    store.observe(&[observe(4, CUT), observe(5, CUT - 1), observe(6, CUT - 1)]).await.expect("writes");

    assert_eq!(store.forget_history(CUT, below, 1).await.expect("writes"), 3, "one of each kind");
    assert_eq!(store.forget_history(CUT, below, ALL).await.expect("writes"), 1, "the rest");
    assert_eq!(store.forget_history(CUT, below, ALL).await.expect("writes"), 0);

    let left = async |account| {
        let left = store.intents_since(account, 0).await.expect("reads");
        left.iter().map(|intent| intent.nonce.expect("they are signed")).collect::<Vec<_>>()
    };
    assert_eq!((left(ACCOUNT).await, left(OTHER).await), (vec![3, 4, 5, 6], vec![7]));
    assert_eq!(store.last_round(ACCOUNT).await.expect("reads"), Some(4));
    for (job_id, is_left) in [(4, true), (5, false), (6, true)] {
        assert_eq!(store.explanation(JobId(job_id)).await.expect("reads").is_some(), is_left, "job {job_id}");
        assert_eq!(!store.timings(JobId(job_id)).await.expect("reads").is_empty(), is_left, "job {job_id}");
    }
}
