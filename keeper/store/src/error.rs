//! What goes wrong with a store.

use std::path::PathBuf;

use keeper_types::{BlockHeader, BlockNumber, BlockRef, EventPosition};
use sqlx::{migrate::MigrateError, postgres::PgDatabaseError};

use crate::{DatabaseUrl, Identity, IntentId, ItemId, Location};

/// What went wrong. Nothing was written where an error is returned, but for [`StoreError::CommitUnknown`] and
/// [`StoreError::Unanswered`]: a server that is lost from sight may have written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is no database to read.
    #[error("{}: `{database}` does not exist or is empty", no_keeper(.database))]
    NoDatabase {
        /// Where it would be.
        database: Location,
    },
    /// The server has no such database.
    #[error("the PostgreSQL server has no database of that name: --database is `{database}`")]
    NoSuchDatabase {
        /// What was asked for.
        database: DatabaseUrl,
    },
    /// The server does not let this keeper in.
    #[error("the PostgreSQL server does not let the keeper in: {reason}; --database is `{database}`")]
    NotLetIn {
        /// What was asked for.
        database: DatabaseUrl,
        /// The server's words, in which there is no password.
        reason: String,
    },
    /// The server cannot be connected to.
    #[error("the PostgreSQL server cannot be reached: {reason}; --database is `{database}`")]
    Unreachable {
        /// What was asked for.
        database: DatabaseUrl,
        /// Why not.
        reason: String,
    },
    /// Another process has the database open for writing.
    #[error("another keeper is running on `{path}`")]
    InUse {
        /// The database's file.
        path: PathBuf,
    },
    /// The database follows other contracts, or another chain.
    #[error(
        "`{database}` belongs to another deployment: it follows {}, but this keeper is set up for {}; \
         use another {}", .found, .expected, .database.option()
    )]
    IdentityMismatch {
        /// Where the database is.
        database: Location,
        /// What the database follows.
        found: Box<Identity>,
        /// What was asked for.
        expected: Box<Identity>,
    },
    /// The database was laid out by another version of the keeper.
    #[error(
        "`{database}` has layout {found}, which {} version of the keeper wrote; this one knows layout {known}",
        if .found > .known { "a newer" } else { "an earlier" }
    )]
    Layout {
        /// Where the database is.
        database: Location,
        /// The database's layout.
        found: i64,
        /// The newest layout that this version knows.
        known: i64,
    },
    /// The database would not survive a power loss.
    #[error("the database is not durable: {setting} is {found}, not {expected}")]
    NotDurable {
        /// The setting.
        setting: &'static str,
        /// What it is.
        found: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// There is a file already where one was to be written.
    #[error("`{path}` exists already")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A copy of the database is not whole, and so neither is the database.
    #[error("the copy does not pass the check, with {findings} findings, first: {first}")]
    Damaged {
        /// How many things are wrong.
        findings: usize,
        /// The first of them.
        first: String,
    },
    /// The lease under which something was to be written is another's by now, or nobody's. Nothing was written.
    #[error("the lease `{name}` is not held under term {term} any more; acquire it again before writing under it")]
    Fenced {
        /// The lease.
        name: String,
        /// The term that the writer had.
        term: u64,
    },
    /// A claimed item is another claimer's by now, or gone. Nothing was written.
    #[error(
        "the claim of item {item_id} does not stand any more: it ran out and another was made, or the item is gone"
    )]
    ClaimLost {
        /// The item.
        item_id: ItemId,
    },
    /// A name or key is not of a length that is taken.
    #[error("{field} has {length} bytes, but must have 1 to {longest}, none of them zero")]
    Length {
        /// What it is.
        field: &'static str,
        /// How long it is.
        length: usize,
        /// How long it may be.
        longest: usize,
    },
    /// The connection was lost while a write was being committed.
    #[error("the connection to the database was lost during a commit: read back whether it was written")]
    CommitUnknown(#[source] sqlx::Error),
    /// The database did not answer. Where it was asked to write, it is not known whether it did.
    #[error("the database did not answer within {limit_s} s: read back whether anything was written")]
    Unanswered {
        /// How long was waited.
        limit_s: u64,
    },
    /// The store was opened for reading.
    #[error("the store was opened for reading only")]
    ReadOnly,
    /// A block does not build on the stored block below it.
    #[error(
        "block {} ({:#x}) builds on {:#x}, but the stored block {} is {:#x}: the chain has forked",
        .block.number, .block.hash, .block.parent_hash, .below.number, .below.hash
    )]
    Fork {
        /// The refused block.
        block: BlockHeader,
        /// The stored block below it.
        below: BlockRef,
    },
    /// A block is not above the last one.
    #[error("block {block} does not come after block {cursor}, the last that is stored")]
    NotAfterCursor {
        /// The refused block.
        block: BlockNumber,
        /// The last stored block.
        cursor: BlockNumber,
    },
    /// What was to be appended was read after another block than the last that is stored.
    #[error("{} was the last stored block when this was read, {} is now: read again", shown(.expected), shown(.found))]
    CursorMoved {
        /// The last block when what is refused was read.
        expected: Option<BlockNumber>,
        /// The last block now.
        found: Option<BlockNumber>,
    },
    /// The chain has another block where one was recorded as accepted on L1, which is final.
    #[error(
        "block {} was accepted on L1 as {:#x}, but is now {:#x}: the finality of the chain was violated, or the node is \
         on another chain", .recorded.number, .recorded.hash, .told.hash
    )]
    FinalityViolation {
        /// The block that was recorded.
        recorded: BlockRef,
        /// What is there now.
        told: BlockRef,
    },
    /// An event was given with a block that it is not in, or out of order.
    #[error("event {} of block {} does not belong at this place of block {block}", .position.index, .position.block)]
    MisplacedEvent {
        /// The block that it was given with.
        block: BlockNumber,
        /// Where it says it is.
        position: Box<EventPosition>,
    },
    /// No such intent.
    #[error("there is no intent {0}")]
    IntentUnknown(IntentId),
    /// An open intent does the same.
    #[error("intent {intent_id} does `{key}` already")]
    IntentExists {
        /// What both would do.
        key: String,
        /// The one that is open.
        intent_id: IntentId,
    },
    /// A nonce is another intent's.
    #[error("nonce {nonce} of the account is held by intent {intent_id}")]
    NonceHeld {
        /// The nonce.
        nonce: u64,
        /// The intent that holds it.
        intent_id: IntentId,
    },
    /// An intent has another nonce.
    #[error("intent {intent_id} was signed under another nonce than {nonce}")]
    NonceChanged {
        /// The intent.
        intent_id: IntentId,
        /// The nonce that it was to have.
        nonce: u64,
    },
    /// A number does not fit the database's 63 bits.
    #[error("{field} {value} is more than the database holds")]
    OutOfRange {
        /// What the number is.
        field: &'static str,
        /// The number.
        value: u64,
    },
    /// Something that was written cannot be read back.
    #[error("the database holds `{text}`, which is no {field}")]
    Unreadable {
        /// What it should be.
        field: &'static str,
        /// What it is.
        text: String,
    },
    /// A value cannot be written as JSON.
    #[error("writing {field} as JSON")]
    Unwritable {
        /// What the value is.
        field: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
    /// The database's file or folder cannot be used.
    #[error("opening `{path}`")]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The database could not be brought to this version's layout.
    #[error("migrating the database")]
    Migrate(#[source] Box<sqlx::migrate::MigrateError>),
    /// The layout cannot be changed while somebody else uses what is to be changed. Nothing was.
    #[error("`{database}` cannot be migrated: somebody has used it for more than 10 s without a pause")]
    MigrationBlocked {
        /// The database.
        database: Location,
    },
    /// The database failed.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// Whether the same call may succeed later, without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(error) => is_transient(error),
            Self::Unreachable { .. }
            | Self::CommitUnknown(_)
            | Self::Unanswered { .. }
            | Self::MigrationBlocked { .. } => true,
            Self::Migrate(error) => match error.as_ref() {
                MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => is_transient(error),
                _ => false,
            },
            Self::NoDatabase { .. }
            | Self::NoSuchDatabase { .. }
            | Self::NotLetIn { .. }
            | Self::InUse { .. }
            | Self::IdentityMismatch { .. }
            | Self::Layout { .. }
            | Self::NotDurable { .. }
            | Self::Exists { .. }
            | Self::Damaged { .. }
            | Self::Fenced { .. }
            | Self::ClaimLost { .. }
            | Self::Length { .. }
            | Self::ReadOnly
            | Self::Fork { .. }
            | Self::NotAfterCursor { .. }
            | Self::CursorMoved { .. }
            | Self::FinalityViolation { .. }
            | Self::MisplacedEvent { .. }
            | Self::IntentUnknown(_)
            | Self::IntentExists { .. }
            | Self::NonceHeld { .. }
            | Self::NonceChanged { .. }
            | Self::OutOfRange { .. }
            | Self::Unreadable { .. }
            | Self::Unwritable { .. }
            | Self::File { .. } => false,
        }
    }

    /// What to do about it, where that is always the same.
    pub fn remedy(&self) -> Option<String> {
        match self {
            Self::NoDatabase { database: Location::File(path) } => Some(format!(
                "name the keeper's own data directory with --data-dir (or KEEPER_DATA_DIR), on the machine where it \
                 runs; here it is {}",
                path.parent().unwrap_or(path).display()
            )),
            Self::NoDatabase { database: Location::Server(_) } => Some(
                "make the database with PostgreSQL's `createdb`, and `keeper run` lays it out; or name the one that \
                 the keepers use, with --database (or KEEPER_DATABASE)"
                    .to_owned(),
            ),
            Self::NoSuchDatabase { database } => Some(format!(
                "make it with PostgreSQL's `createdb {}`, and `keeper run` lays it out; or name another with --database \
                 (or KEEPER_DATABASE)",
                database.name()
            )),
            Self::NotLetIn { .. } => Some(
                "are user and password right? The password is in the URL of --database (or KEEPER_DATABASE), in \
                 PGPASSWORD, or in PostgreSQL's password file; the server's pg_hba.conf says who may come from where"
                    .to_owned(),
            ),
            Self::Unreachable { .. } => Some(
                "is the server running, and are host and port of --database (or KEEPER_DATABASE) right?".to_owned(),
            ),
            Self::InUse { .. } => Some("stop it, or use another --data-dir".to_owned()),
            Self::Layout { found, known, .. } if found > known => Some(
                "upgrade this keeper to the version that the others have; the way back is a copy from before"
                    .to_owned(),
            ),
            Self::Layout { .. } => Some("stop every keeper, then `keeper db migrate` with this version".to_owned()),
            Self::MigrationBlocked { .. } => Some(
                "end what reads it for long, such as `pg_dump` or an open `psql` (`SELECT * FROM pg_stat_activity`), \
                 and try again"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

impl StoreError {
    /// Whether a server could not be reached or did not answer, or ended the connection: nothing that whoever asks does
    /// differently helps against it, and it is over when the server is back.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::CommitUnknown(_) | Self::Unanswered { .. } => true,
            Self::Database(sqlx::Error::PoolTimedOut | sqlx::Error::Io(_)) => true,
            Self::Database(sqlx::Error::Database(error)) => {
                error.try_downcast_ref::<PgDatabaseError>().is_some() && self.is_transient()
            }
            _ => false,
        }
    }
}

/// SQLite's result codes for "busy" and "locked"; extended codes carry them in their lowest byte.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;

/// PostgreSQL's classes of errors, the first two digits of SQLSTATE, that pass: connection exceptions, rollbacks for
/// others' sake, resources that are short, objects in use, an operator's intervention, and errors of its system.
const PASSING_CLASSES: [&str; 6] = ["08", "40", "53", "55", "57", "58"];
/// Passes too: this session stood still in a transaction, and was ended for it.
const STOOD_STILL: &str = "25P03";
/// Of the classes, what does not: a full disk.
const DISK_FULL: &str = "53100";

fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => true,
        sqlx::Error::Database(error) => {
            let is_of_postgres = error.try_downcast_ref::<PgDatabaseError>().is_some();
            let Some(code) = error.code() else { return false };
            if is_of_postgres {
                let passes = code == STOOD_STILL || PASSING_CLASSES.iter().any(|class| code.starts_with(class));
                return passes && code != DISK_FULL;
            }
            code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, SQLITE_BUSY | SQLITE_LOCKED))
        }
        _ => false,
    }
}

fn shown(block: &Option<BlockNumber>) -> String {
    block.map_or_else(|| "none".to_owned(), |block| format!("block {block}"))
}

fn no_keeper(database: &Location) -> &'static str {
    match database {
        Location::File(_) => "no keeper has run with this data directory",
        Location::Server(_) => "no keeper has run with this database",
    }
}
