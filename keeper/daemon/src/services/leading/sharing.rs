//! How the keepers of a database share out the market's shards among themselves.
//!
//! Each that is able says so by a lease of its own (`candidate/NAME`), which it gives back as soon as it is not. From what
//! stands in the database everybody computes the same: how many shards each is to have. Whoever has less takes what is
//! nobody's, at once. Whoever has more gives back, but only after a while and when nothing of its is on its way: a keeper
//! that comes and goes moves nothing.
//!
//! **Two numbers of shards** are two ways to deal out jobs, which must not be at work at the same time. [`number`](super::number)
//! keeps apart those that run at all. Beside that, a keeper leads only after it has seen, with its own lease standing, that
//! nobody leads with another number: of two that disagree the one whose lease is the later sees the other's.

use std::collections::BTreeSet;

use futures::future::{join, join_all};
use keeper_scheduler::ShardSet;
use keeper_store::{Lease, StoreError};
use tokio::time::{Instant, error::Elapsed, timeout};

use super::{Duty, Keeping, LEADER, Leasing, Role, ShardLed, TURNS};
use crate::services::failure::{Cause, Failure};

/// What the leases of keepers that are able to lead begin with.
const CANDIDATE: &str = "candidate/";
/// Looks in a row at which a keeper has too many shards before it gives back: those that come and go do not stay as long.
const PATIENT_LOOKS: u32 = 5;
/// Looks for which it then waits for a moment at which nothing of its is on its way.
const CALM_LOOKS: u32 = 10;
/// Looks in a row at which a shard is nobody's before anybody takes it, whoever was to have it.
const UNLED_LOOKS: u32 = 3;
/// Looks at which keepers of another number of shards lead before this one gives up: two leases' time, so that leases of
/// keepers that are gone have ended.
const MOST_CLASHES: u32 = 2 * TURNS;

/// The lease of the keeper that leads a shard of `count`.
pub(super) fn shard_lease(shard: u8, count: u8) -> String {
    if count == 1 { LEADER.to_owned() } else { format!("{LEADER}/{shard}-of-{count}") }
}

/// The shard, and how many there are, whose leader has the lease of this name; `None` where it is another lease.
pub(crate) fn shard_of_lease(name: &str) -> Option<(u8, u8)> {
    if name == LEADER {
        return Some((0, 1));
    }
    let (shard, count) = name.strip_prefix(LEADER)?.strip_prefix('/')?.split_once("-of-")?;
    Some((shard.parse().ok()?, count.parse().ok()?))
}

/// Whether a keeper said that it is able to lead, by what stands in the database.
pub(crate) fn is_candidate(keeper: &str, standing: &[Lease]) -> bool {
    standing.iter().any(|lease| lease.name.strip_prefix(CANDIDATE) == Some(keeper))
}

/// Keepers on the database lead that deal the market out otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "keepers on this database lead with keeper.shards = {theirs}, but this one has {ours}: two ways to deal out jobs must \
     not be at work at the same time\n\
     hint: give all keepers of a database the same number (--shards, KEEPER_SHARDS); to change it, stop all of them first"
)]
pub(crate) struct OtherShards {
    pub(super) theirs: u8,
    pub(super) ours: u8,
}

impl From<OtherShards> for Failure {
    fn from(error: OtherShards) -> Self {
        Self::Final(Cause::Shards, error.into())
    }
}

/// Who is able and who leads what, by what stands in the database.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Division<'a> {
    me: &'a str,
    candidates: BTreeSet<&'a str>,
    /// By shard.
    leaders: Vec<Option<&'a str>>,
}

impl<'a> Division<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// Fails where somebody leads with another number of shards.
    pub(super) fn read(standing: &'a [Lease], count: u8, me: &'a str) -> Result<Self, OtherShards> {
        let mut leaders = vec![None; usize::from(count)];
        for lease in standing {
            match shard_of_lease(&lease.name) {
                Some((shard, theirs)) if theirs == count => {
                    if let Some(leader) = leaders.get_mut(usize::from(shard)) {
                        *leader = Some(lease.holder.as_str());
                    }
                }
                Some((_, theirs)) => return Err(OtherShards { theirs, ours: count }),
                None => {}
            }
        }
        // Of one shard there is nothing to share out: it is for whoever gets it.
        let candidates = match count {
            1 => BTreeSet::from([me]),
            _ => standing.iter().filter_map(|lease| lease.name.strip_prefix(CANDIDATE)).collect(),
        };
        Ok(Self { me, candidates, leaders })
    }

    fn led_by(&self, keeper: &str) -> usize {
        self.leaders.iter().filter(|leader| **leader == Some(keeper)).count()
    }

    /// Candidates in the order in which what does not divide goes to them: whoever has more now first, so that few move.
    fn order(&self) -> Vec<&'a str> {
        let mut order: Vec<&str> = self.candidates.iter().copied().collect();
        order.sort_by_key(|keeper| (std::cmp::Reverse(self.led_by(keeper)), *keeper));
        order
    }

    /// How many shards this keeper is to lead.
    pub(super) fn target(&self) -> usize {
        let (shards, live) = (self.leaders.len(), self.candidates.len());
        let place = self.order().iter().position(|keeper| *keeper == self.me);
        place.map_or(0, |place| shards / live + usize::from(place < shards % live))
    }

    /// How many more shards this keeper is to lead.
    pub(super) fn room(&self) -> usize {
        self.target().saturating_sub(self.led_by(self.me))
    }

    /// How many shards too many this keeper leads.
    pub(super) fn surplus(&self) -> usize {
        self.led_by(self.me).saturating_sub(self.target())
    }

    /// Shards that this keeper had before it was started again.
    fn own(&self) -> impl Iterator<Item = usize> {
        (0..self.leaders.len()).filter(|shard| self.leaders[*shard] == Some(self.me))
    }

    /// Shards that are nobody's; each keeper begins elsewhere, so that they do not all ask for the same.
    pub(super) fn unled(&self) -> impl Iterator<Item = usize> {
        let shards = self.leaders.len();
        let place = self.candidates.iter().position(|keeper| *keeper == self.me).unwrap_or_default();
        let begin = place * shards / self.candidates.len().max(1);
        (0..shards).map(move |step| (begin + step) % shards).filter(|shard| self.leaders[*shard].is_none())
    }
}

/// What a keeper leads, and what it sees of the others.
pub(super) struct Sharing<'a> {
    service: &'a Leasing,
    /// Says that this keeper is able; not asked for where there is one shard.
    candidacy: Keeping<'a>,
    /// By shard.
    shards: Vec<Keeping<'a>>,
    /// What stood when it was last looked.
    standing: Option<Vec<Lease>>,
    /// Looks in a row for which a shard was nobody's, by shard.
    unled: Vec<u32>,
    /// Looks in a row at which this keeper had too many.
    surplus: u32,
    /// Looks at which others led with another number of shards, less those at which none did.
    clashes: u32,
}

impl<'a> Sharing<'a> {
    pub(super) fn new(service: &'a Leasing) -> Self {
        let count = service.shards;
        Self {
            service,
            candidacy: Keeping::of(service, format!("{CANDIDATE}{}", service.holder)),
            shards: (0..count).map(|shard| Keeping::of(service, shard_lease(shard, count))).collect(),
            standing: None,
            unled: vec![0; usize::from(count)],
            surplus: 0,
            clashes: 0,
        }
    }

    /// Renews what this keeper has, and looks at what stands in the database; says whether it answered.
    ///
    /// # Errors
    /// Fails where somebody leads with another number of shards.
    pub(super) async fn renew_and_look(&mut self) -> Result<bool, OtherShards> {
        let Leasing { leases, time, .. } = self.service;
        let held = self.shards.iter_mut().chain([&mut self.candidacy]).filter(|lease| lease.granted().is_some());
        let looking = timeout(*time / TURNS, leases.standing());
        let (_, looked) = join(join_all(held.map(Keeping::keep)), looking).await;
        self.publish();
        self.note(looked)
    }

    /// Takes what this keeper is to lead, and gives back what it has too much.
    ///
    /// # Errors
    /// Fails where others lead with another number of shards, and go on.
    pub(super) async fn take_part(&mut self, looked: Result<bool, OtherShards>) -> Result<(), OtherShards> {
        let mut looked = looked;
        if self.shards.len() > 1 && self.candidacy.granted().is_none() {
            self.candidacy.keep().await;
            looked = self.look().await;
        }
        let taken = match looked {
            Ok(true) => self.take().await,
            Ok(false) => return Ok(()),
            Err(other) => return self.clash(other),
        };
        // With its lease standing it looks again, before it leads.
        if !taken.is_empty() {
            let looked = self.look().await;
            if !matches!(looked, Ok(true)) {
                let reason = match looked {
                    Err(_) => "others lead with another number of shards",
                    Ok(_) => "who else leads is not known",
                };
                for shard in taken {
                    self.shards[shard].give_back(reason).await;
                }
            }
            if let Err(other) = looked {
                return self.clash(other);
            }
        }
        self.clashes = self.clashes.saturating_sub(1);
        self.publish();
        self.give_back_surplus().await;
        Ok(())
    }

    /// Gives back everything.
    pub(super) async fn step_back(&mut self, reason: &str) {
        self.service.leads.end();
        self.surplus = 0;
        let held = self.shards.iter_mut().chain([&mut self.candidacy]);
        join_all(held.map(|lease| lease.give_back(reason))).await;
    }

    /// Looks at what stands in the database; says whether it answered.
    ///
    /// # Errors
    /// Fails where somebody leads with another number of shards.
    pub(super) async fn look(&mut self) -> Result<bool, OtherShards> {
        let Leasing { leases, time, .. } = self.service;
        let looked = timeout(*time / TURNS, leases.standing()).await;
        self.note(looked)
    }

    /// Notes what stands; says whether the database answered.
    fn note(&mut self, looked: Result<Result<Vec<Lease>, StoreError>, Elapsed>) -> Result<bool, OtherShards> {
        let Ok(Ok(standing)) = looked else {
            tracing::debug!("who leads cannot be looked up");
            return Ok(false);
        };
        let is_clear = Division::read(&standing, self.service.shards, &self.service.holder).map(|_| true);
        self.standing = Some(standing);
        is_clear
    }

    /// Asks for what this keeper is to lead; returns the shards that it got.
    async fn take(&mut self) -> Vec<usize> {
        let standing = self.standing.as_deref().unwrap_or_default();
        let Ok(division) = Division::read(standing, self.service.shards, &self.service.holder) else {
            return Vec::new();
        };
        for (looks, leader) in self.unled.iter_mut().zip(&division.leaders) {
            *looks = if leader.is_none() { *looks + 1 } else { 0 };
        }
        self.surplus = if division.surplus() > 0 { self.surplus + 1 } else { 0 };
        let unled = division.unled().zip(0..);
        let unled = unled.filter(|(shard, place)| *place < division.room() || self.unled[*shard] > UNLED_LOOKS);
        let wanted: BTreeSet<usize> = division.own().chain(unled.map(|(shard, _)| shard)).collect();
        let lacking = |shard: &usize, keeping: &Keeping<'_>| wanted.contains(shard) && keeping.granted().is_none();
        let mut asked: Vec<_> =
            (0..).zip(&mut self.shards).filter(|(shard, keeping)| lacking(shard, keeping)).collect();
        join_all(asked.iter_mut().map(|(_, keeping)| keeping.keep())).await;
        asked.into_iter().filter(|(_, keeping)| keeping.granted().is_some()).map(|(shard, _)| shard).collect()
    }

    /// Gives back what is too much, where that has been so for a while and nothing is on its way.
    async fn give_back_surplus(&mut self) {
        let is_calm = self.service.sending.borrow().in_flight == 0 || self.surplus >= PATIENT_LOOKS + CALM_LOOKS;
        if self.surplus < PATIENT_LOOKS || !is_calm {
            return;
        }
        self.surplus = 0;
        let standing = self.standing.as_deref().unwrap_or_default();
        let Ok(division) = Division::read(standing, self.service.shards, &self.service.holder) else { return };
        let surplus = division.surplus();
        let held = self.shards.iter_mut().rev().filter(|shard| shard.granted().is_some());
        let leaving: Vec<Keeping<'_>> = held.take(surplus).map(Keeping::hand_over).collect();
        // Those that act under them know before they are another's.
        self.publish();
        for mut lease in leaving {
            lease.give_back("others lead fewer shards").await;
        }
    }

    fn clash(&mut self, other: OtherShards) -> Result<(), OtherShards> {
        self.clashes += 1;
        if self.clashes > MOST_CLASHES {
            return Err(other);
        }
        tracing::debug!(theirs = other.theirs, ours = other.ours, "others lead with another number of shards");
        Ok(())
    }

    /// Tells those that act under them which shards this keeper leads.
    fn publish(&self) {
        let now = Instant::now();
        let held = (0_u8..).zip(&self.shards).filter_map(|(shard, keeping)| Some((shard, keeping.granted()?)));
        let held: Vec<_> = held.filter(|(_, (_, until))| now < *until).collect();
        let Some(until) = held.iter().map(|(_, (_, until))| *until).min() else { return self.service.leads.end() };
        let fences = held.iter().map(|(_, (fence, _))| (*fence).clone()).collect();
        // Of one shard there is no set.
        let shards = ShardSet::new(self.service.shards, held.iter().map(|(shard, _)| *shard)).ok();
        self.service.leads.hold(Duty { fences, shards }, until);
    }

    /// What this keeper does, as far as it is known.
    pub(super) fn role(&self) -> Option<Role> {
        let leads = self.service.leads.tenure().fence();
        if self.shards.len() == 1 {
            if let Some(fence) = leads.as_ref().and_then(|duty| duty.fences.first()) {
                return Some(Role::Leads { term: fence.term });
            }
            let current = self.standing.as_ref()?.iter().find(|lease| lease.name == LEADER);
            return Some(Role::StandsBy { leader: current.map(|lease| lease.holder.clone()) });
        }
        let standing = self.standing.as_ref()?;
        let shards = led(standing, self.service.shards);
        Some(match leads.and_then(|duty| duty.shards) {
            Some(set) => Role::LeadsShards { leads: set.members().collect(), shards },
            None => Role::WaitsForShards { shards },
        })
    }
}

/// Who leads each of `count` shards.
pub(crate) fn led(standing: &[Lease], count: u8) -> Vec<ShardLed> {
    let lease = |shard| standing.iter().find(|lease| lease.name == shard_lease(shard, count));
    let told = |shard| ShardLed {
        shard,
        keeper: lease(shard).map(|lease| lease.holder.clone()),
        term: lease(shard).map(|lease| lease.term),
    };
    (0..count).map(told).collect()
}
