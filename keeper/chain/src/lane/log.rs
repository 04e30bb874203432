//! The log as a lane writes to it: under the account's lease, where several keepers share a database.

use std::sync::Arc;

use async_trait::async_trait;
use keeper_store::{Fence, IntentId, IntentTransaction, IntentUpdate, Leases, NewIntent, Store, StoreError, Tenure};

/// The lease without which a lane does nothing.
#[derive(Clone, Debug)]
pub struct LaneLease {
    /// Where it is checked: the database that the intents are in.
    pub leases: Arc<dyn Leases>,
    /// How long it lasts, as its holder sees it.
    pub tenure: Tenure,
    /// How long other grants last, under which it is decided what is sent.
    pub duties: Arc<dyn Duties>,
}

/// Grants that something is decided under, as their holder sees them. What means another thing once others decide must not
/// be on its way any more when they are given back, and the account may still be this keeper's then.
#[async_trait]
pub trait Duties: std::fmt::Debug + Send + Sync {
    /// Waits until one of these is over; returns at once where one is.
    async fn over(&self, duty: &[Fence]);
}

/// A log that is written to under one grant, or by whoever has the database for itself.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) store: Arc<dyn Store>,
    pub(super) granted: Option<(LaneLease, Fence)>,
}

impl Log {
    /// Whether what is recorded may be sent, by this machine's clock.
    pub(super) fn is_open(&self) -> bool {
        self.granted.as_ref().is_none_or(|(lease, fence)| lease.tenure.stands(fence))
    }

    /// Waits until what was decided under these grants may not be sent any more.
    pub(super) async fn over(&self, duty: &[Fence]) {
        match &self.granted {
            Some((lease, _)) if !duty.is_empty() => lease.duties.over(duty).await,
            _ => std::future::pending().await,
        }
    }

    /// Records an intent; `duty` are the grants that it was decided under.
    pub(super) async fn record(&self, duty: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError> {
        match &self.granted {
            None => self.store.record_intent(intent).await,
            Some((lease, own)) => {
                let fences: Vec<Fence> = std::iter::once(own).chain(duty).cloned().collect();
                lease.leases.record_intent_under(&fences, intent).await
            }
        }
    }

    pub(super) async fn record_transaction(
        &self,
        intent_id: IntentId,
        nonce: u64,
        signed: &IntentTransaction,
    ) -> Result<(), StoreError> {
        match &self.granted {
            None => self.store.record_transaction(intent_id, nonce, signed).await,
            Some((lease, own)) => lease.leases.record_transaction_under(own, intent_id, nonce, signed).await,
        }
    }

    pub(super) async fn update(&self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError> {
        match &self.granted {
            None => self.store.update_intent(intent_id, update).await,
            Some((lease, own)) => lease.leases.update_intent_under(own, intent_id, update).await,
        }
    }

    /// Whether the error says that this grant is over, and not the one that something was decided under.
    pub(super) fn is_over(&self, error: &StoreError) -> bool {
        let StoreError::Fenced { name, .. } = error else { return false };
        self.granted.as_ref().is_some_and(|(_, own)| own.name == *name)
    }
}
