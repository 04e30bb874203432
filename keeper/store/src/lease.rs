//! Leases: which of several keepers may act in a name, for a while.
//!
//! A lease ends by itself, so that a keeper that is gone holds up nobody. A keeper that only stood still does not know
//! that its lease has ended. So each grant of a name has a term, higher than every one before, and what is written
//! under a lease is refused where the term is not the current one: a [`Fence`], checked in the transaction that writes.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use keeper_types::Address;
use serde::{Deserialize, Serialize};

use crate::{IntentId, IntentTransaction, IntentUpdate, NewIntent, StoreError};

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

    /// Every grant that has not ended, by name.
    async fn standing(&self) -> Result<Vec<Lease>, StoreError>;

    /// Records an intent as [`Store::record_intent`] does, under leases: the same transaction checks that each grant
    /// stands, and none of these names is granted before it has ended.
    ///
    /// An open intent of another account holds up this one only as long as somebody has that account's lease
    /// ([`lane_lease`]): what a keeper that is gone had set out to do is for others to do, and the contracts take each
    /// of these actions once.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where a grant does not stand.
    ///
    /// [`Store::record_intent`]: crate::Store::record_intent
    async fn record_intent_under(&self, fences: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError>;

    /// Records a signed transaction as [`Store::record_transaction`] does, under a lease.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the grant does not stand.
    ///
    /// [`Store::record_transaction`]: crate::Store::record_transaction
    async fn record_transaction_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError>;

    /// Records what became of an intent as [`Store::update_intent`] does, under a lease: what was seen of it before
    /// another looked on must not take the place of what that one saw.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] where the grant does not stand.
    ///
    /// [`Store::update_intent`]: crate::Store::update_intent
    async fn update_intent_under(
        &self,
        fence: &Fence,
        intent_id: IntentId,
        update: &IntentUpdate,
    ) -> Result<(), StoreError>;
}

/// The name of the lease without which nothing is signed or sent from an account.
pub fn lane_lease(account: Address) -> String {
    format!("{LANE}{account}")
}

/// What the names of accounts' leases begin with.
pub(crate) const LANE: &str = "lane/";
