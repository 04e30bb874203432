//! Whether a database is whole: what SQLite can tell of its pages, and what only the keeper can tell of its contents.

mod contents;

pub(crate) use self::contents::{IntentRow, faults_of_intent};

use std::path::Path;

use serde::Serialize;
use sqlx::SqliteConnection;

use crate::{RebuildError, SqliteStore, StoreError, rebuild_market, sqlite::layout::known_layout};

/// What to do where the file itself, or what it says of the chain, is wrong.
pub(crate) const REREAD: &str = "stop the keeper, then put a backup in the file's place, or remove it: `keeper run` reads the \
                      chain again, but explanations and observed times are lost";
/// What to do where it is not clear what was sent.
pub(crate) const LOOK_UP: &str = "stop the keeper, look up on chain what became of the account's latest transactions, then put \
                       a backup in the file's place, or remove it";
/// What to do where something is wrong that is only shown.
pub(crate) const ONLY_SHOWN: &str = "nothing is decided by it; a backup from before has it right";
/// What to do where items of a queue would not be claimed.
const ENQUEUE_AGAIN: &str = "stop the keeper, then put a backup in the file's place, or enqueue again what is named";
/// How many findings of one kind are told one by one.
const MOST_TOLD: usize = 10;

/// Something that is wrong with a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked: `pages`, `references`, `identity`, `blocks`, `events`, `market`, `intents`,
    /// `explanations`, `observations` or `queues`.
    pub check: &'static str,
    /// What is wrong.
    pub detail: String,
    /// What to do about it.
    pub remedy: &'static str,
}

/// What a check has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The database's layout.
    pub layout: i64,
    /// Stored blocks.
    pub blocks: u64,
    /// Stored events.
    pub events: u64,
    /// Stored intents.
    pub intents: u64,
    /// Stored explanations.
    pub explanations: u64,
    /// Stored observations.
    pub observations: u64,
    /// What is wrong; nothing where the database is whole.
    pub findings: Vec<Finding>,
}

/// Checks the database at `path`. A keeper may be running on it.
///
/// # Errors
/// [`StoreError::NoDatabase`] and [`StoreError::Layout`] as [`SqliteStore::open_read_only`], and where the file cannot
/// be read at all. What is wrong inside it is no error but a [`Finding`].
pub async fn check(path: &Path) -> Result<Report, StoreError> {
    let mut report = Report { layout: known_layout(), ..Report::default() };
    let store = match SqliteStore::open_read_only(path).await {
        Ok(store) => store,
        Err(error) => {
            report.findings.push(finding_of("identity", error)?);
            return Ok(report);
        }
    };
    if let Err(error) = check_store(&store, &mut report).await {
        report.findings.push(finding_of("pages", error)?);
    }
    store.close().await;
    Ok(report)
}

async fn check_store(store: &SqliteStore, report: &mut Report) -> Result<(), StoreError> {
    // One transaction, so that what a running keeper writes meanwhile is not seen half.
    let mut moment = store.readers.begin().await?;
    report.findings.append(&mut check_pages(&mut moment).await?);
    if !report.findings.is_empty() {
        // What damaged pages say is not worth a finding of its own.
        return Ok(());
    }
    contents::check(&mut moment, store, report).await?;
    moment.rollback().await?;
    match rebuild_market(store).await {
        Ok(_) => {}
        Err(RebuildError::Apply(error)) => {
            report.findings.push(Finding { check: "market", detail: error.to_string(), remedy: REREAD });
        }
        // Unreadable events were found above, each by its place.
        Err(RebuildError::Store(StoreError::Unreadable { .. })) if !report.findings.is_empty() => {}
        Err(RebuildError::Store(error)) => report.findings.push(finding_of("market", error)?),
    }
    Ok(())
}

/// What SQLite itself finds: damaged pages and indices, and rows that refer to others that are not there.
pub(super) async fn check_pages(connection: &mut SqliteConnection) -> Result<Vec<Finding>, StoreError> {
    let answers: Vec<String> = match sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *connection).await {
        Ok(answers) => answers,
        Err(error) => return Ok(vec![finding_of("pages", error.into())?]),
    };
    let damages = answers.into_iter().filter(|answer| answer != "ok");
    let mut findings = Findings::new("pages", REREAD);
    damages.for_each(|damage| findings.push(damage));
    let mut found = findings.told();
    if found.is_empty() {
        let dangling: Vec<(String, Option<i64>, String, i64)> =
            sqlx::query_as("PRAGMA foreign_key_check").fetch_all(connection).await?;
        let mut findings = Findings::new("references", REREAD);
        for (table, _, parent, _) in dangling {
            findings.push(format!("a row of {table} refers to a row of {parent} that is not there"));
        }
        found.append(&mut findings.told());
    }
    Ok(found)
}

/// The finding that an error is, or the error where it says nothing of the database's content.
fn finding_of(check: &'static str, error: StoreError) -> Result<Finding, StoreError> {
    let is_content = match &error {
        StoreError::Unreadable { .. } => true,
        StoreError::Database(error) => is_damage(error),
        _ => false,
    };
    if is_content { Ok(Finding { check, detail: in_full(&error), remedy: REREAD }) } else { Err(error) }
}

/// SQLite's result codes for "the disk image is malformed" and "not a database".
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_NOTADB: u32 = 26;

fn is_damage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => error
            .code()
            .and_then(|code| code.parse::<u32>().ok())
            .is_some_and(|code| matches!(code & 0xff, SQLITE_CORRUPT | SQLITE_NOTADB)),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::ColumnNotFound(_) | sqlx::Error::Decode(_) => true,
        _ => false,
    }
}

fn in_full(error: &StoreError) -> String {
    let cause = std::error::Error::source(error);
    cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// Findings of one kind: the first few one by one, the others by their number.
pub(crate) struct Findings {
    check: &'static str,
    remedy: &'static str,
    details: Vec<String>,
    more: usize,
}

impl Findings {
    pub(crate) fn new(check: &'static str, remedy: &'static str) -> Self {
        Self { check, remedy, details: Vec::new(), more: 0 }
    }

    pub(crate) fn push(&mut self, detail: String) {
        if self.details.len() < MOST_TOLD {
            self.details.push(detail);
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn told(mut self) -> Vec<Finding> {
        if self.more > 0 {
            self.details.push(format!("{} more of this kind", self.more));
        }
        let (check, remedy) = (self.check, self.remedy);
        self.details.into_iter().map(|detail| Finding { check, detail, remedy }).collect()
    }
}
