//! What the rows say, and whether they can all be true.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use keeper_scheduler::Explanation;
use keeper_types::{Address, BlockHeader, MarketEvent, TxHash};
use sqlx::SqliteConnection;

use super::{ENQUEUE_AGAIN, Findings, LOOK_UP, ONLY_SHOWN, REREAD, Report};
use crate::{IntentAction, IntentState, Purpose, SqliteStore, Stage, Store as _, StoreError, block::check_follows};

/// Reads every row of every table once, and adds what is wrong.
pub(super) async fn check(
    moment: &mut SqliteConnection,
    store: &SqliteStore,
    report: &mut Report,
) -> Result<(), StoreError> {
    check_blocks(moment, store, report).await?;
    check_events(moment, report).await?;
    check_intents(moment, report).await?;
    check_explanations(moment, report).await?;
    check_observations(moment, report).await?;
    check_queues(moment, report).await
}

/// Every block comes after the one below it and, where it is the very next, builds on it. The highest is the cursor.
async fn check_blocks(
    moment: &mut SqliteConnection,
    store: &SqliteStore,
    report: &mut Report,
) -> Result<(), StoreError> {
    let mut findings = Findings::new("blocks", REREAD);
    let first = store.identity().deployment_block;
    let mut below: Option<BlockHeader> = None;
    let mut rows =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number").fetch(moment);
    while let Some(row) = rows.try_next().await? {
        report.blocks += 1;
        let header = match crate::sqlite::blocks::header(row) {
            Ok(header) => header,
            Err(error) => {
                findings.push(error.to_string());
                continue;
            }
        };
        if header.number < first {
            findings.push(format!("block {} is below the deployment's first, {first}", header.number));
        }
        if let Some(below) = &below {
            if let Err(error) = check_follows(&header, below) {
                findings.push(error.to_string());
            }
            if header.timestamp < below.timestamp {
                findings.push(format!("block {} is earlier than the block below it", header.number));
            }
        }
        below = Some(header);
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

/// Every event can be read, and is a stored block's.
async fn check_events(moment: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("events", REREAD);
    let mut rows = sqlx::query_as::<_, (i64, i64, String, String, bool)>(
        "SELECT block, event_index, tx_hash, event, EXISTS (SELECT 1 FROM blocks WHERE number = block) FROM events",
    )
    .fetch(moment);
    while let Some((block, index, tx_hash, event, has_block)) = rows.try_next().await? {
        report.events += 1;
        let mut note = |what: &str| findings.push(format!("event {index} of block {block} {what}"));
        if !has_block {
            note("belongs to a block that is not stored");
        }
        if tx_hash.parse::<TxHash>().is_err() {
            note("has an unreadable transaction hash");
        }
        if serde_json::from_str::<MarketEvent>(&event).is_err() {
            note("cannot be read");
        }
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

pub(crate) type IntentRow =
    (i64, String, Option<i64>, String, Option<i64>, Option<String>, String, String, i64, i64, bool);

/// Every intent can be read and says the same twice, and no nonce is two intents'.
async fn check_intents(moment: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("intents", LOOK_UP);
    let mut held: BTreeMap<(String, i64), i64> = BTreeMap::new();
    let mut rows = sqlx::query_as::<_, IntentRow>(
        "SELECT intent_id, kind, round, account, nonce, landed_tx, action, state, created_ms, updated_ms, \
         EXISTS (SELECT 1 FROM intent_transactions AS signed WHERE signed.intent_id = intents.intent_id \
         AND (landed_tx IS NULL OR tx_hash = landed_tx)) FROM intents ORDER BY intent_id",
    )
    .fetch(&mut *moment);
    while let Some(row) = rows.try_next().await? {
        report.intents += 1;
        for fault in faults_of_intent(&row) {
            findings.push(format!("intent {} {fault}", row.0));
        }
        let (intent_id, account, nonce) = (row.0, row.3, row.4);
        let holds = row.7.parse().is_ok_and(IntentState::holds_nonce);
        if let Some(nonce) = nonce.filter(|_| holds)
            && let Some(other) = held.insert((account, nonce), intent_id)
        {
            findings.push(format!("intents {other} and {intent_id} both hold nonce {nonce}"));
        }
    }
    drop(rows);
    let mut rows = sqlx::query_as::<_, (i64, String, String, String, String)>(
        "SELECT intent_id, tx_hash, purpose, l2_gas_price, max_fee FROM intent_transactions",
    )
    .fetch(moment);
    while let Some((intent_id, tx_hash, purpose, price, fee)) = rows.try_next().await? {
        let numbers = price.parse::<u128>().is_ok() && fee.parse::<u128>().is_ok();
        if tx_hash.parse::<TxHash>().is_err() || purpose.parse::<Purpose>().is_err() || !numbers {
            findings.push(format!("intent {intent_id} has a transaction that cannot be read"));
        }
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

/// What is wrong with an intent, whichever database it is from.
pub(crate) fn faults_of_intent(row: &IntentRow) -> Vec<&'static str> {
    let (_, kind, round, account, nonce, landed, action, state, created_ms, updated_ms, has_transaction) = row;
    let mut faults = Vec::new();
    match serde_json::from_str::<IntentAction>(action) {
        Ok(action) => {
            let same_round = action.round().and_then(|round| i64::try_from(round).ok()) == *round;
            if action.kind() != kind || !same_round {
                faults.push("has another kind or round than its action");
            }
        }
        Err(_) => faults.push("has an unreadable action"),
    }
    match state.parse::<IntentState>() {
        Ok(IntentState::Planned | IntentState::Lost) => {}
        Ok(_) if nonce.is_none() || !has_transaction => faults.push("was signed, but has no nonce or transaction"),
        Ok(state) if state.is_landed() != landed.is_some() => faults.push("is in a block and is not"),
        Ok(_) => {}
        Err(_) => faults.push("is in an unknown state"),
    }
    if account.parse::<Address>().is_err() || nonce.is_some_and(|nonce| nonce < 0) {
        faults.push("has an unreadable account or nonce");
    }
    if updated_ms < created_ms {
        faults.push("changed before it was made");
    }
    faults
}

async fn check_explanations(moment: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("explanations", ONLY_SHOWN);
    let mut rows = sqlx::query_as::<_, (i64, String)>("SELECT job_id, explanation FROM explanations").fetch(moment);
    while let Some((job_id, explanation)) = rows.try_next().await? {
        report.explanations += 1;
        match serde_json::from_str::<Explanation>(&explanation) {
            Ok(explanation) if i64::try_from(explanation.job_id.0) == Ok(job_id) => {}
            Ok(_) => findings.push(format!("the explanation of job {job_id} is another job's")),
            Err(_) => findings.push(format!("the explanation of job {job_id} cannot be read")),
        }
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

async fn check_observations(moment: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("observations", ONLY_SHOWN);
    let mut rows =
        sqlx::query_as::<_, (i64, i64, String, i64)>("SELECT job_id, attempt, stage, observed_ms FROM observations")
            .fetch(moment);
    while let Some((job_id, attempt, stage, observed_ms)) = rows.try_next().await? {
        report.observations += 1;
        if stage.parse::<Stage>().is_err() || observed_ms < 0 {
            findings.push(format!("an observation of job {job_id}, attempt {attempt}, cannot be read"));
        }
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

/// Every item was claimed before and lies below its queue's mark, or was not and does not: no other is ever claimed, or it
/// is claimed twice.
async fn check_queues(moment: &mut SqliteConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("queues", ENQUEUE_AGAIN);
    let mut rows = sqlx::query_as::<_, (i64, String, String)>(
        "SELECT item.item_id, item.queue, item.key FROM queue_items AS item \
             LEFT JOIN queue_attempts AS tried ON tried.item_id = item.item_id AND tried.queue = item.queue \
             LEFT JOIN queue_marks AS mark ON mark.queue = item.queue \
         WHERE (tried.item_id IS NULL) <> (item.item_id >= coalesce(mark.fresh_from, 0))",
    )
    .fetch(moment);
    while let Some((item_id, queue, key)) = rows.try_next().await? {
        findings.push(format!("item {item_id} of queue {queue}, with the key {key}, is not where claims look for it"));
    }
    report.findings.append(&mut findings.told());
    Ok(())
}
