//! Which of several keepers on one database leads.
//!
//! One keeper decides rounds, ends what is due, pays out and dispatches: the one that has the lease [`LEADER`]. The others
//! stand by: they follow the chain, keep sessions with agents, and take over when the lease ends. Beside it each account
//! has a lease of its own ([`lane_lease`]), without which nothing is signed or sent from it, so that two keepers may be
//! given one account. A keeper leads only while it has the lease of the account that applies rounds, reads the chain, and
//! may send.
//!
//! Nothing here is what keeps two keepers apart: that is the fence in the transaction that records an intent, and behind it
//! the contracts. This only sees to it that a keeper knows early what it need not try.
//!
//! [`lane_lease`]: keeper_store::lane_lease

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use keeper_store::{Fence, Leases, StoreError, Tenure, TenureHolder};
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use super::{Failure, Health};

/// The lease of the keeper that leads.
pub(crate) const LEADER: &str = "leader";
/// Of a lease's time, what its holder counts on: clocks need not run equally fast, and what is begun in time takes some.
const COUNTED_PERCENT: u32 = 90;
/// Renewals, or attempts to acquire, in a lease's time.
const TURNS: u32 = 3;

/// What a keeper does among several on one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
pub(crate) enum Role {
    /// It decides and sends.
    Leads {
        /// The term of its lease.
        term: u64,
    },
    /// It takes over when the one that leads is gone.
    StandsBy {
        /// Who leads; nobody between a lease's end and the next grant.
        leader: Option<String>,
    },
}

/// Whether this keeper is to do what only one does.
#[derive(Clone, Debug)]
pub(crate) enum Leadership {
    /// It has the database for itself.
    Alone,
    /// It leads as long as it has the lease.
    Shared(Tenure),
}

impl Leadership {
    /// Does `work` whenever this keeper leads, and drops it where it is once the lease is over, as a crash would: what was
    /// recorded is the lane's. `work` is given the grant that it works under.
    ///
    /// # Errors
    /// Fails where the work does.
    pub(crate) async fn while_leading<F>(
        self,
        cancel: CancellationToken,
        mut work: impl FnMut(Option<Fence>, CancellationToken) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let Self::Shared(mut tenure) = self else { return work(None, cancel).await };
        loop {
            let Some(fence) = cancel.run_until_cancelled(tenure.begun()).await else { return Ok(()) };
            let ended = tokio::select! {
                ended = work(Some(fence.clone()), cancel.clone()) => ended,
                () = tenure.over(&fence) => continue,
            };
            match ended {
                // The database may know before this keeper does.
                Err(failure) if failure.is_fenced() => {
                    if cancel.run_until_cancelled(tenure.over(&fence)).await.is_none() {
                        return Ok(());
                    }
                }
                ended => return ended,
            }
        }
    }

    /// Waits until this keeper does not lead.
    pub(super) async fn until_standby(&mut self) {
        match self {
            Self::Alone => std::future::pending().await,
            Self::Shared(tenure) => {
                while let Some(fence) = tenure.fence() {
                    tenure.over(&fence).await;
                }
            }
        }
    }

    /// Waits until this keeper leads.
    pub(super) async fn until_leading(&mut self) {
        if let Self::Shared(tenure) = self {
            tenure.begun().await;
        }
    }
}

/// A lease that this keeper wants.
#[derive(Debug)]
pub(crate) struct Claim {
    name: String,
    holder: TenureHolder,
}

impl Claim {
    /// A claim that nobody has made yet.
    pub(crate) fn to(name: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), holder: TenureHolder::default() })
    }

    /// What the lease is, to those that act under it.
    pub(crate) fn tenure(&self) -> Tenure {
        self.holder.tenure()
    }
}

/// The service: acquires and renews what this keeper needs. Started again it acquires anew what it has, under a higher term.
#[derive(Clone, Debug)]
pub(crate) struct Leasing {
    pub(crate) leases: Arc<dyn Leases>,
    /// This keeper's name, which no other process has.
    pub(crate) holder: String,
    /// How long a lease lasts.
    pub(crate) time: Duration,
    /// How long the newest block may be unknown to a keeper that leads.
    pub(crate) silence: Duration,
    /// The accounts' leases; the first is that of the account that applies rounds.
    pub(crate) lanes: Vec<Arc<Claim>>,
    pub(crate) leader: Arc<Claim>,
    /// Set where nothing may be sent.
    pub(crate) held: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
}

impl Leasing {
    /// Keeps leases until cancelled; then gives them back, so that nobody waits for their end.
    ///
    /// # Errors
    /// None: a database that does not answer is asked again, and what is not renewed ends.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let mut lanes: Vec<Keeping<'_>> = self.lanes.iter().map(|claim| Keeping::of(&self, claim)).collect();
        let mut leader = Keeping::of(&self, &self.leader);
        let mut ticks = interval(self.time / TURNS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            futures::future::join_all(lanes.iter_mut().map(|lane| lane.keep())).await;
            // What may send nothing need not decide anything.
            let may_send = lanes.first().is_some_and(|lane| lane.is_held()) && !self.held.load(Ordering::Relaxed);
            if may_send && self.health.follows_within(self.silence) {
                leader.keep().await;
            } else {
                leader.give_back().await;
            }
            self.tell(&leader).await;
        }
        leader.give_back().await;
        futures::future::join_all(lanes.iter_mut().map(|lane| lane.give_back())).await;
        Ok(())
    }

    async fn tell(&self, leader: &Keeping<'_>) {
        if let Some(fence) = leader.claim.tenure().fence() {
            return self.health.plays(Role::Leads { term: fence.term });
        }
        let current = timeout(self.time / TURNS, self.leases.current(LEADER)).await;
        if let Ok(Ok(current)) = current {
            self.health.plays(Role::StandsBy { leader: current.map(|lease| lease.holder) });
        }
    }
}

/// A lease that is being kept.
struct Keeping<'a> {
    service: &'a Leasing,
    claim: &'a Claim,
    granted: Option<Fence>,
}

impl<'a> Keeping<'a> {
    fn of(service: &'a Leasing, claim: &'a Claim) -> Self {
        Self { service, claim, granted: None }
    }

    fn is_held(&self) -> bool {
        self.granted.as_ref().is_some_and(|fence| self.claim.tenure().stands(fence))
    }

    /// Renews the lease, or asks for it.
    async fn keep(&mut self) {
        let Leasing { leases, holder, time, .. } = self.service;
        let (name, limit) = (&self.claim.name, *time / TURNS);
        // Counted from before it is asked for: the database counts from later.
        let until = Instant::now() + *time * COUNTED_PERCENT / 100;
        let answer = match &self.granted {
            Some(fence) => timeout(limit, async { Ok(Some(leases.renew(fence, *time).await?)) }).await,
            None => timeout(limit, leases.acquire(name, holder, *time)).await,
        };
        match answer {
            Ok(Ok(Some(lease))) => {
                let fence = lease.fence();
                if self.granted.is_none() {
                    tracing::info!(lease = name, term = fence.term, "took over");
                }
                self.claim.holder.hold(fence.clone(), until);
                self.granted = Some(fence);
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
        if let Some(fence) = self.granted.take() {
            tracing::warn!(lease = fence.name, term = fence.term, reason, "lost");
        }
        self.claim.holder.end();
    }

    /// Ends the lease, where it is held.
    async fn give_back(&mut self) {
        let Some(fence) = self.granted.take() else { return };
        self.claim.holder.end();
        tracing::info!(lease = fence.name, term = fence.term, "given back");
        // Where that fails it ends by itself.
        let _ = timeout(self.service.time / TURNS, self.service.leases.release(&fence)).await;
    }
}

#[cfg(test)]
mod tests;
