//! What an operator does with a database: look at the server, bring it to this version, check what it holds.

use std::collections::BTreeMap;

use futures::TryStreamExt as _;
use keeper_scheduler::Explanation;
use keeper_types::{BlockHeader, MarketEvent, TxHash};
use sqlx::{Connection as _, PgConnection};

use super::{
    MIGRATOR, PostgresStore, blocks, connect, durability,
    layout::{bring_up, known_layout, layout},
    options, pool, readers,
};
use crate::{
    DatabaseUrl, IntentState, Migrated, Purpose, RebuildError, Report, Stage, StoreError,
    block::check_follows,
    rebuild_market,
    sqlite::maintenance::check::{Findings, IntentRow, LOOK_UP, ONLY_SHOWN, REREAD, faults_of_intent},
};

impl PostgresStore {
    /// The server's version, where it can be reached and keeps what it commits.
    ///
    /// # Errors
    /// As [`PostgresStore::open`], but the database may be empty.
    pub async fn server_version(url: &DatabaseUrl) -> Result<String, StoreError> {
        let mut connection = connect(url, &options(url)).await?;
        durability::check(&mut connection).await?;
        let version = sqlx::query_scalar("SELECT current_setting('server_version')").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(version)
    }

    /// Brings the database to this version's layout. No copy is made: that is for PostgreSQL's own programs.
    ///
    /// # Errors
    /// [`StoreError::NoDatabase`] where no keeper has run there, [`StoreError::Layout`] where a newer version wrote
    /// it: nothing is changed then.
    pub async fn migrate(url: &DatabaseUrl) -> Result<Migrated, StoreError> {
        let options = Self::options_for_writing(url).await?;
        // None is laid out here: who migrates means one that is there.
        let reader = pool(1).connect_with(options.clone()).await?;
        layout(url, &reader).await?;
        reader.close().await;
        let from = bring_up(&MIGRATOR, url, &options).await?;
        Ok(Migrated { from, to: known_layout(), backup: None })
    }

    /// Checks what the database holds, as [`check`](crate::check) does for a file. Keepers may be running on it. Its
    /// pages are for the server to check, which does so where it was laid out with checksums.
    ///
    /// # Errors
    /// [`StoreError::NoDatabase`] and [`StoreError::Layout`] as [`PostgresStore::open_read_only`], and where it cannot
    /// be read at all. What is wrong inside it is no error but a finding.
    pub async fn check(url: &DatabaseUrl) -> Result<Report, StoreError> {
        let store = Self::open_read_only(url).await?;
        let mut report = Report { layout: known_layout(), ..Report::default() };
        let pool = readers(url);
        // One moment, so that what a running keeper writes meanwhile is not seen half.
        let mut moment = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        check_blocks(&mut moment, &store, &mut report).await?;
        check_events(&mut moment, &mut report).await?;
        check_intents(&mut moment, &mut report).await?;
        check_explanations(&mut moment, &mut report).await?;
        check_observations(&mut moment, &mut report).await?;
        moment.rollback().await?;
        pool.close().await;
        let mut findings = Findings::new("market", REREAD);
        match rebuild_market(&store).await {
            Ok(_) => {}
            Err(RebuildError::Apply(error)) => findings.push(error.to_string()),
            // Unreadable events were found above, each by its place.
            Err(RebuildError::Store(StoreError::Unreadable { .. })) if !report.findings.is_empty() => {}
            Err(RebuildError::Store(error)) => return Err(error),
        }
        report.findings.append(&mut findings.told());
        store.close().await;
        Ok(report)
    }
}

/// Every block comes after the one below it and, where it is the very next, builds on it.
async fn check_blocks(moment: &mut PgConnection, store: &PostgresStore, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("blocks", REREAD);
    let first = store.identity.deployment_block;
    let mut below: Option<BlockHeader> = None;
    let mut rows =
        sqlx::query_as("SELECT number, hash, parent_hash, timestamp FROM blocks ORDER BY number").fetch(moment);
    while let Some(row) = rows.try_next().await? {
        report.blocks += 1;
        let header = match blocks::header(row) {
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

/// Every event can be read. That each is a stored block's is the server's to hold.
async fn check_events(moment: &mut PgConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("events", REREAD);
    let mut rows = sqlx::query_as::<_, (i64, i64, String, String)>(
        "SELECT block, event_index, tx_hash, event FROM events ORDER BY block, event_index",
    )
    .fetch(moment);
    while let Some((block, index, tx_hash, event)) = rows.try_next().await? {
        report.events += 1;
        if tx_hash.parse::<TxHash>().is_err() {
            findings.push(format!("event {index} of block {block} has an unreadable transaction hash"));
        }
        if serde_json::from_str::<MarketEvent>(&event).is_err() {
            findings.push(format!("event {index} of block {block} cannot be read"));
        }
    }
    report.findings.append(&mut findings.told());
    Ok(())
}

/// Every intent can be read and says the same twice, and no nonce is two intents'.
async fn check_intents(moment: &mut PgConnection, report: &mut Report) -> Result<(), StoreError> {
    let mut findings = Findings::new("intents", LOOK_UP);
    let mut held = BTreeMap::new();
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
        "SELECT intent_id, tx_hash, purpose, l2_gas_price, max_fee FROM intent_transactions ORDER BY position",
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

async fn check_explanations(moment: &mut PgConnection, report: &mut Report) -> Result<(), StoreError> {
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

async fn check_observations(moment: &mut PgConnection, report: &mut Report) -> Result<(), StoreError> {
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
