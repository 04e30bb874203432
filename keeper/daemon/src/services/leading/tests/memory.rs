//! Leases in memory, by the test's own clock: what the databases do is their suite's to show, time here is the test's.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use async_trait::async_trait;
use keeper_store::{Fence, IntentId, IntentTransaction, IntentUpdate, Lease, Leases, NewIntent, StoreError};
use tokio::time::Instant;

/// A row: holder, term, end.
type Row = (String, u64, Instant);

#[derive(Debug)]
pub(super) struct MemoryLeases {
    began: Instant,
    rows: Mutex<BTreeMap<String, Row>>,
    /// Each grant that was made: who got which name, and when.
    grants: Mutex<Vec<(Duration, String, String)>>,
}

impl MemoryLeases {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), rows: Mutex::default(), grants: Mutex::default() }
    }

    /// Who got which name, and when.
    pub(super) fn grants(&self) -> Vec<(Duration, String, String)> {
        self.grants.lock().unwrap().clone()
    }

    fn rows(&self) -> MutexGuard<'_, BTreeMap<String, Row>> {
        self.rows.lock().unwrap()
    }

    fn lease(&self, name: &str, (holder, term, until): &Row) -> Lease {
        let expires_ms = until.duration_since(self.began).as_millis().try_into().unwrap();
        Lease { name: name.to_owned(), holder: holder.clone(), term: *term, expires_ms }
    }

    /// The first of these grants that does not stand, as an error.
    fn refusal(&self, fences: &[Fence]) -> Option<StoreError> {
        let rows = self.rows();
        let stands = |fence: &&Fence| {
            rows.get(&fence.name).is_some_and(|(_, term, until)| *term == fence.term && Instant::now() < *until)
        };
        let fence = fences.iter().find(|fence| !stands(fence))?;
        Some(StoreError::Fenced { name: fence.name.clone(), term: fence.term })
    }

    async fn check(&self, fences: &[Fence]) -> Result<(), StoreError> {
        // A database takes a while, in which others ask too.
        tokio::time::sleep(Duration::from_millis(3)).await;
        self.refusal(fences).map_or(Ok(()), Err)
    }
}

#[async_trait]
impl Leases for MemoryLeases {
    async fn acquire(&self, name: &str, holder: &str, ttl: Duration) -> Result<Option<Lease>, StoreError> {
        // A database takes a while, in which others ask too.
        tokio::time::sleep(Duration::from_millis(3)).await;
        let now = Instant::now();
        let mut rows = self.rows();
        let row = rows.entry(name.to_owned()).or_insert((String::new(), 0, now));
        if row.0 != holder && now < row.2 {
            return Ok(None);
        }
        *row = (holder.to_owned(), row.1 + 1, now + ttl);
        self.grants.lock().unwrap().push((now - self.began, holder.to_owned(), name.to_owned()));
        Ok(Some(self.lease(name, row)))
    }

    async fn renew(&self, fence: &Fence, ttl: Duration) -> Result<Lease, StoreError> {
        self.check(std::slice::from_ref(fence)).await?;
        let mut rows = self.rows();
        let row = rows.get_mut(&fence.name).unwrap();
        row.2 = Instant::now() + ttl;
        Ok(self.lease(&fence.name, row))
    }

    async fn release(&self, fence: &Fence) -> Result<(), StoreError> {
        self.check(std::slice::from_ref(fence)).await?;
        self.rows().get_mut(&fence.name).unwrap().2 = Instant::now();
        Ok(())
    }

    async fn current(&self, name: &str) -> Result<Option<Lease>, StoreError> {
        Ok(self.standing().await?.into_iter().find(|lease| lease.name == name))
    }

    async fn standing(&self) -> Result<Vec<Lease>, StoreError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        let rows = self.rows();
        let standing = rows.iter().filter(|(_, (.., until))| Instant::now() < *until);
        Ok(standing.map(|(name, row)| self.lease(name, row)).collect())
    }

    async fn record_intent_under(&self, fences: &[Fence], intent: &NewIntent) -> Result<IntentId, StoreError> {
        self.check(fences).await?;
        Ok(IntentId(intent.created_ms))
    }

    async fn record_transaction_under(
        &self,
        fence: &Fence,
        _: IntentId,
        _: u64,
        _: &IntentTransaction,
    ) -> Result<(), StoreError> {
        self.check(std::slice::from_ref(fence)).await
    }

    async fn update_intent_under(&self, fence: &Fence, _: IntentId, _: &IntentUpdate) -> Result<(), StoreError> {
        self.check(std::slice::from_ref(fence)).await
    }
}
