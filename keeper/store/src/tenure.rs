//! A lease as its holder sees it, by its own clock.
//!
//! The fence in the database decides what is written. But what has been signed can be sent without the database, and work
//! that will be refused need not be begun. So a holder counts its lease's time itself, from before it asked for it, on a
//! clock that goes on while the process stands still: the lease is over for it no later than for everybody else.

use tokio::{
    sync::watch,
    time::{Instant, sleep_until},
};

use crate::Fence;

/// A grant, and until when it surely lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Held<G> {
    fence: G,
    until: Instant,
}

/// Whoever acquires and renews a lease, and says so. `G` is what names a grant: its [`Fence`], or what stands for several
/// that are held together.
#[derive(Debug)]
pub struct TenureHolder<G = Fence> {
    held: watch::Sender<Option<Held<G>>>,
}

/// What a lease is needed for sees of it.
#[derive(Clone, Debug)]
pub struct Tenure<G = Fence> {
    held: watch::Receiver<Option<Held<G>>>,
}

impl<G> Default for TenureHolder<G> {
    fn default() -> Self {
        Self { held: watch::Sender::new(None) }
    }
}

impl<G> TenureHolder<G> {
    /// For those who act under the lease.
    pub fn tenure(&self) -> Tenure<G> {
        Tenure { held: self.held.subscribe() }
    }

    /// The grant lasts until then at least.
    pub fn hold(&self, fence: G, until: Instant) {
        self.held.send_replace(Some(Held { fence, until }));
    }

    /// The grant is over, or given up.
    pub fn end(&self) {
        self.held.send_if_modified(|held| held.take().is_some());
    }
}

impl<G: Clone + PartialEq> Tenure<G> {
    /// The grant that lasts now.
    pub fn fence(&self) -> Option<G> {
        let held = self.held.borrow();
        held.as_ref().filter(|held| Instant::now() < held.until).map(|held| held.fence.clone())
    }

    /// Whether this grant lasts.
    pub fn stands(&self, fence: &G) -> bool {
        self.held.borrow().as_ref().is_some_and(|held| held.fence == *fence && Instant::now() < held.until)
    }

    /// Waits for a grant.
    pub async fn begun(&mut self) -> G {
        loop {
            if let Some(fence) = self.fence() {
                return fence;
            }
            if self.held.changed().await.is_err() {
                // Nobody asks for the lease any more.
                std::future::pending::<()>().await;
            }
        }
    }

    /// Waits for the end of this grant.
    pub async fn over(&mut self, fence: &G) {
        loop {
            let until =
                self.held.borrow_and_update().as_ref().filter(|held| held.fence == *fence).map(|held| held.until);
            let Some(until) = until.filter(|until| Instant::now() < *until) else { return };
            tokio::select! {
                () = sleep_until(until) => {}
                changed = self.held.changed() => if changed.is_err() {
                    sleep_until(until).await;
                    return;
                },
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fence(term: u64) -> Fence {
        Fence { name: "lane".to_owned(), term }
    }

    #[tokio::test(start_paused = true)]
    async fn a_grant_that_is_not_renewed_ends_by_its_holders_clock() {
        let holder = TenureHolder::default();
        let mut tenure = holder.tenure();
        assert_eq!(tenure.fence(), None);
        let began = Instant::now();
        holder.hold(fence(1), began + Duration::from_secs(3));
        assert_eq!(tenure.begun().await, fence(1));
        assert!(tenure.stands(&fence(1)) && !tenure.stands(&fence(2)));
        tenure.over(&fence(1)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(3));
        assert_eq!(tenure.fence(), None);
        assert!(!tenure.stands(&fence(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_renewed_grant_lasts_and_another_grant_is_another() {
        let holder = TenureHolder::default();
        let mut tenure = holder.tenure();
        let began = Instant::now();
        holder.hold(fence(1), began + Duration::from_secs(3));
        let renewing = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            holder.hold(fence(1), Instant::now() + Duration::from_secs(3));
            tokio::time::sleep(Duration::from_secs(2)).await;
            holder.hold(fence(2), Instant::now() + Duration::from_secs(3));
        };
        let first = fence(1);
        tokio::join!(renewing, tenure.over(&first));
        assert_eq!(began.elapsed(), Duration::from_secs(4), "until the other grant, and not before");
        holder.end();
        tenure.over(&fence(2)).await;
        assert_eq!(began.elapsed(), Duration::from_secs(4));
    }
}
