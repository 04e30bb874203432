//! Which of several keepers on one database leads what.
//!
//! A keeper decides rounds, ends what is due, pays out and dispatches for what it leads. Where the market is one shard, the
//! lease [`LEADER`] says who leads it, and the others stand by: they follow the chain, keep sessions with agents, and take
//! over when the lease ends. With more shards each has a lease ([`sharing::shard_lease`]), and the keepers that are able share
//! them out among themselves ([`sharing`]). Beside it each account has a lease of its own ([`lane_lease`]), without which
//! nothing is signed or sent from it, so that two keepers may be given one account. A keeper leads only while it has the
//! lease of the account that applies rounds, reads the chain, and may send.
//!
//! Nothing here is what keeps two keepers apart: that is the fence in the transaction that records an intent, and behind it
//! the contracts. This only sees to it that a keeper knows early what it need not try.
//!
//! [`lane_lease`]: keeper_store::lane_lease

mod keeping;
mod number;
mod sharing;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::future::{join_all, join3};
use keeper_chain::lane::{Duties, LaneStatus};
use keeper_scheduler::ShardSet;
use keeper_store::{Fence, Leases, Tenure, TenureHolder};
use keeper_types::{Address, JobId};
use serde::Serialize;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use self::{keeping::Keeping, number::Number, sharing::Sharing};
use super::{Failure, Health};

pub(crate) use self::{
    number::refuse_other_numbers,
    sharing::{OtherShards, is_candidate, led, shard_of_lease},
};

/// The lease of the keeper that leads, where the market is one shard.
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
    /// It decides and sends for some shards.
    #[serde(rename = "leads")]
    LeadsShards {
        /// Which.
        leads: Vec<u8>,
        /// Who leads each.
        shards: Vec<ShardLed>,
    },
    /// It takes over shards whose leader is gone.
    #[serde(rename = "stands_by")]
    WaitsForShards {
        /// Who leads each.
        shards: Vec<ShardLed>,
    },
}

/// Who leads a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ShardLed {
    pub(crate) shard: u8,
    /// Nobody between a lease's end and the next grant.
    pub(crate) keeper: Option<String>,
    /// The term of its lease.
    pub(crate) term: Option<u64>,
}

/// What a keeper works under, as long as nothing of it changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duty {
    /// The grants that what it decides is recorded under; none where it has the database for itself.
    pub(crate) fences: Vec<Fence>,
    /// The shards that it leads; `None` where the market is one.
    pub(crate) shards: Option<ShardSet>,
}

impl Duty {
    /// Whether a job is this keeper's to see to.
    pub(crate) fn has_job(&self, job_id: JobId) -> bool {
        self.shards.as_ref().is_none_or(|shards| shards.has_job(job_id))
    }

    /// Whether an account is this keeper's to pay out.
    pub(crate) fn has_account(&self, account: Address) -> bool {
        self.shards.as_ref().is_none_or(|shards| shards.has_account(account))
    }
}

/// Whether this keeper is to do what only one does.
#[derive(Clone, Debug)]
pub(crate) enum Leadership {
    /// It has the database for itself.
    Alone,
    /// It leads as long as it has a lease.
    Shared(Tenure<Duty>),
}

impl Leadership {
    /// Does `work` whenever this keeper leads, and drops it where it is once that is over or what it leads is more or less
    /// than before, as a crash would: what was recorded is the lane's. `work` is given what it works under.
    ///
    /// # Errors
    /// Fails where the work does.
    pub(crate) async fn while_leading<F>(
        self,
        cancel: CancellationToken,
        mut work: impl FnMut(Duty, CancellationToken) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = Result<(), Failure>>,
    {
        let Self::Shared(mut tenure) = self else { return work(Duty::default(), cancel).await };
        loop {
            let Some(duty) = cancel.run_until_cancelled(tenure.begun()).await else { return Ok(()) };
            let ended = tokio::select! {
                ended = work(duty.clone(), cancel.clone()) => ended,
                () = tenure.over(&duty) => continue,
            };
            match ended {
                // The database may know before this keeper does.
                Err(failure) if failure.is_fenced() => {
                    if cancel.run_until_cancelled(tenure.over(&duty)).await.is_none() {
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
                while let Some(duty) = tenure.fence() {
                    tenure.over(&duty).await;
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

#[async_trait]
impl Duties for Leadership {
    async fn over(&self, duty: &[Fence]) {
        let Self::Shared(tenure) = self else { return std::future::pending().await };
        let mut tenure = tenure.clone();
        // More or fewer shards are another duty, of which these grants may be a part.
        while let Some(current) =
            tenure.fence().filter(|current| duty.iter().all(|fence| current.fences.contains(fence)))
        {
            tenure.over(&current).await;
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
    /// How many shards the market is dealt out into.
    pub(crate) shards: u8,
    /// What this keeper leads, to those that act under it.
    pub(crate) leads: Arc<TenureHolder<Duty>>,
    /// What the account that applies rounds has on its way.
    pub(crate) sending: watch::Receiver<LaneStatus>,
    /// Set where nothing may be sent.
    pub(crate) held: Arc<AtomicBool>,
    pub(crate) health: Arc<Health>,
}

impl Leasing {
    /// Keeps leases until cancelled; then gives them back, so that nobody waits for their end.
    ///
    /// # Errors
    /// [`OtherShards`] where keepers are at work that deal the market out otherwise. A database that does not answer is asked
    /// again, and what is not renewed ends.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let mut lanes: Vec<Lane<'_>> = self.lanes.iter().map(|claim| Lane::of(&self, claim)).collect();
        let (mut number, mut sharing) = (Number::of(&self), Sharing::new(&self));
        let mut ticks = interval(self.time / TURNS);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ended = Ok(());
        while ended.is_ok() && cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            if !number.is_settled() {
                ended = number.settle().await;
            }
            if number.is_settled() {
                ended = self.turn(&mut number, &mut lanes, &mut sharing).await;
            } else {
                // Until then nothing is taken, which might be others'. Who leads is told all the same.
                sharing.look().await.ok();
            }
            if let Some(role) = sharing.role() {
                self.health.plays(role);
            }
        }
        let reason = if ended.is_ok() { "the keeper stops" } else { "others lead with another number of shards" };
        sharing.step_back(reason).await;
        join_all(lanes.iter_mut().map(|lane| lane.give_back(reason))).await;
        number.give_back(reason).await;
        ended.map_err(Failure::from)
    }

    /// Renews what this keeper has, and takes or gives back what it is to.
    async fn turn(
        &self,
        number: &mut Number<'_>,
        lanes: &mut [Lane<'_>],
        sharing: &mut Sharing<'_>,
    ) -> Result<(), OtherShards> {
        // All at the same time: where the database is slow, one after the other would take longer than a lease.
        let keeping = join_all(lanes.iter_mut().map(Lane::keep));
        let (_, _, looked) = join3(number.renew(), keeping, sharing.renew_and_look()).await;
        // What may send nothing need not decide anything.
        let reason = if !number.is_settled() {
            "its number of shards does not stand any more"
        } else if !lanes.first().is_some_and(|lane| lane.keeping.is_held()) {
            "another keeper has the account, or who has it is not known"
        } else if self.held.load(Ordering::Relaxed) {
            "nothing may be sent"
        } else if !self.health.follows_within(self.silence) {
            "the chain's newest block is not known"
        } else {
            return sharing.take_part(looked).await;
        };
        sharing.step_back(reason).await;
        Ok(())
    }
}

/// An account's lease that is being kept.
struct Lane<'a> {
    claim: &'a Claim,
    keeping: Keeping<'a>,
}

impl<'a> Lane<'a> {
    fn of(service: &'a Leasing, claim: &'a Claim) -> Self {
        Self { claim, keeping: Keeping::of(service, claim.name.clone()) }
    }

    async fn keep(&mut self) {
        self.keeping.keep().await;
        match self.keeping.granted() {
            Some((fence, until)) => self.claim.holder.hold(fence.clone(), until),
            None => self.claim.holder.end(),
        }
    }

    async fn give_back(&mut self, reason: &str) {
        self.claim.holder.end();
        self.keeping.give_back(reason).await;
    }
}

#[cfg(test)]
mod tests;
