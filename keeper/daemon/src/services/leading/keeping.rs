//! One lease that is being kept.

use keeper_store::{Fence, StoreError};
use tokio::time::{Instant, timeout};

use super::{COUNTED_PERCENT, Leasing, TURNS};

/// A lease that is asked for, and then renewed.
pub(super) struct Keeping<'a> {
    service: &'a Leasing,
    name: String,
    /// The grant, and until when it surely lasts by this machine's clock.
    granted: Option<(Fence, Instant)>,
}

impl<'a> Keeping<'a> {
    pub(super) fn of(service: &'a Leasing, name: String) -> Self {
        Self { service, name, granted: None }
    }

    /// The grant that was made and is not known to be over, and until when it surely lasts.
    pub(super) fn granted(&self) -> Option<(&Fence, Instant)> {
        self.granted.as_ref().map(|(fence, until)| (fence, *until))
    }

    /// Whether it surely lasts now.
    pub(super) fn is_held(&self) -> bool {
        self.granted().is_some_and(|(_, until)| Instant::now() < until)
    }

    /// Renews the lease, or asks for it.
    pub(super) async fn keep(&mut self) {
        let Leasing { leases, holder, time, .. } = self.service;
        let (name, limit) = (&self.name, *time / TURNS);
        // Counted from before it is asked for: the database counts from later.
        let until = Instant::now() + *time * COUNTED_PERCENT / 100;
        let answer = match &self.granted {
            Some((fence, _)) => timeout(limit, async { Ok(Some(leases.renew(fence, *time).await?)) }).await,
            None => timeout(limit, leases.acquire(name, holder, *time)).await,
        };
        match answer {
            Ok(Ok(Some(lease))) => {
                let fence = lease.fence();
                if self.granted.is_none() {
                    tracing::info!(lease = name, term = fence.term, "took over");
                }
                self.granted = Some((fence, until));
            }
            Ok(Ok(None)) => {}
            Ok(Err(StoreError::Fenced { .. })) => {
                self.lost("another keeper may have it, or it was not renewed in time");
            }
            Ok(Err(error)) => tracing::warn!(lease = name, %error, "a lease is not renewed"),
            Err(_) => tracing::warn!(lease = name, "a lease is not renewed: the database does not answer"),
        }
    }

    fn lost(&mut self, reason: &str) {
        if let Some((fence, _)) = self.granted.take() {
            tracing::warn!(lease = fence.name, term = fence.term, reason, "lost");
        }
    }

    /// Keeps it no longer: what is returned is there to be given back.
    pub(super) fn hand_over(&mut self) -> Self {
        Self { service: self.service, name: self.name.clone(), granted: self.granted.take() }
    }

    /// Ends the lease, where it is held. Those that act under it have to know before.
    pub(super) async fn give_back(&mut self, reason: &str) {
        let Some((fence, _)) = self.granted.take() else { return };
        tracing::info!(lease = fence.name, term = fence.term, reason, "given back");
        // Where that fails it ends by itself.
        let _ = timeout(self.service.time / TURNS, self.service.leases.release(&fence)).await;
    }
}
