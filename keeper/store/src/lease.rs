//! Leases: which of several keepers may act in a name, for a while.
//!
//! A lease ends by itself, so that a keeper that is gone holds up nobody. A keeper that only stood still does not know
//! that its lease has ended. So each grant of a name has a term, higher than every one before, and what is written
//! under a lease is refused where the term is not the current one: a [`Fence`], checked in the transaction that writes.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{IntentId, NewIntent, StoreError};

/// A granted lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// What it is for.
    pub name: String,
    /// Who has it.
    pub holder: String,
    /// The fencing token: higher than that of every grant of this name before.
    pub term: u64,
    /// When it ends unless it is renewed, in milliseconds since the epoch by the database's clock.
    pub expires_ms: u64,
}

impl Lease {
    /// What proves this grant to a write.
    pub fn fence(&self) -> Fence {
        Fence { name: self.name.clone(), term: self.term }
    }
}

/// One grant of a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fence {
    /// The lease's name.
    pub name: String,
    /// The grant's term.
    pub term: u64,
}

impl Fence {
    /// The error of a write that came too late.
    pub(crate) fn refusal(&self) -> StoreError {
        StoreError::Fenced { name: self.name.clone(), term: self.term }
    }
}

/// Leases in the database, and what is written under them.
///
/// Time is the database's: the PostgreSQL server's clock, which every keeper on it shares, or this machine's for
/// SQLite, whose database one keeper has. A holder should count its time from before it asked. While that clock only
/// goes forward, no name has two holders at one time; were it set back, terms would still fence the earlier one.
#[async_trait]
pub trait Leases: fmt::Debug + Send + Sync {
    /// Grants the name to `holder` for `ttl`, where nobody has it or its lease has ended; `None` where another has it.
    ///
    /// A holder that asks for what it has itself is granted it anew, under a higher term: it was started again, and
    /// what its earlier self still does is refused. So every process that may run beside another needs a holder's
    /// name of its own.
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError>;

    /// Lets a grant last for `ttl` from now.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where it has ended or another has been made: then it must be acquired again.
    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<Lease, StoreError>;

    /// Ends a grant at once, so that another may be made.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where it has ended already.
    async fn release(&self, fence: &Fence) -> Result<(), StoreError>;

    /// The grant of this name that has not ended.
    async fn current(&self, name: &str) -> Result<Option<Lease>, StoreError>;

    /// Records an intent as [`Store::record_intent`] does, under a lease: the same transaction checks that the grant
    /// stands, and none can be made before it has ended.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the grant does not stand.
    ///
    /// [`Store::record_intent`]: crate::Store::record_intent
    async fn record_intent_under(&self, fence: &Fence, intent: &NewIntent) -> Result<IntentId, StoreError>;
}
