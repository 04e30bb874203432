//! What the keeper must not lose, and what it would rather not compute again.
//!
//! * The chain's blocks and events, appended together with the cursor in one transaction. The [`Market`] is
//!   rebuilt from them ([`rebuild_market`]); delete the database and the chain gives the same one again.
//! * Intents: what the keeper set out to send, written before it is sent with its nonce and its signed bytes, so that
//!   a crash between signing and sending is found and settled instead of repeated.
//! * The latest explanation of every job, and when this keeper saw it reach each stage. These are this
//!   keeper's own and are not on chain.
//!
//! * Leases ([`Leases`]), by which several keepers share work, with terms that fence who was too late; and durable
//!   queues ([`WorkQueue`]) of what came in and what is to be handed out.
//!
//! [`Store`] is the seam; [`SqliteStore`] is the embedded implementation, [`PostgresStore`] the one that several
//! keepers share. Whatever implements it passes the suite in `conformance` (feature `conformance`).
//!
//! [`Market`]: keeper_types::Market

mod block;
#[cfg(test)]
mod child;
mod columns;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(test)]
mod earlier;
mod error;
mod identity;
mod intent;
#[cfg(test)]
mod killed;
mod lease;
mod location;
mod observation;
mod places;
mod postgres;
mod queue;
mod sqlite;
mod statements;
mod store;
mod tenure;

pub use error::StoreError;
pub use identity::Identity;
pub use intent::{
    Intent, IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, JobAttempt, Landed, MaintenanceCall,
    NewIntent, Purpose, UnknownName,
};
pub use lease::{Fence, Lease, Leases, lane_lease};
pub use location::{BadDatabaseUrl, DatabaseUrl, Location};
pub use observation::{ExplanationRecord, JobTimings, Observation, Stage};
pub use postgres::PostgresStore;
pub use queue::{
    Claim, ClaimTerms, ClaimToken, DeadLetter, Failed, ItemId, NewItem, QueueStats, RetryPolicy, WorkQueue,
};
pub use sqlite::{
    SqliteStore,
    maintenance::{Finding, Migrated, Report, backup, check, migrate, set_aside},
};
pub use store::{RebuildError, Store, rebuild_market};
pub use tenure::{Tenure, TenureHolder};
