//! One number of shards for all keepers of a database.
//!
//! Each keeper says by which number it deals out jobs, by a lease of its own (`shards/N/NAME`), before it asks for any other
//! lease, and for as long as it runs, whether it leads or not. Who finds another number takes nothing, not even its
//! account's lease. Leases of keepers that are gone end, and those that live renew theirs: where one that says another number
//! is renewed, the keeper ends.
//!
//! Of two that come at the same time the later sees the earlier, since each looks again with its own lease standing. Where
//! both see the other, the one whose name comes first stays.

use std::{collections::BTreeMap, time::Duration};

use keeper_store::{Lease, Leases};
use tokio::time::{sleep, timeout};

use super::{
    Keeping, Leasing, TURNS,
    sharing::{OtherShards, shard_of_lease},
};

/// What the leases begin with by which keepers say their number.
const SHARDS: &str = "shards/";

fn number_lease(count: u8, holder: &str) -> String {
    format!("{SHARDS}{count}/{holder}")
}

/// By how many shards the holder of a lease deals out jobs, where the lease tells.
fn number_of(lease: &Lease) -> Option<u8> {
    match lease.name.strip_prefix(SHARDS) {
        Some(rest) => rest.split_once('/')?.0.parse().ok(),
        None => Some(shard_of_lease(&lease.name)?.1),
    }
}

/// The leases of keepers with another number, as they were when they were first seen.
#[derive(Debug, Default)]
struct Others {
    seen: BTreeMap<String, (u64, u64)>,
}

impl Others {
    /// Whether nobody has another number than `ours`, by what stands.
    ///
    /// # Errors
    /// Fails where a lease that says another has been renewed since it was first seen: then its holder lives.
    fn are_gone(&mut self, standing: &[Lease], ours: u8) -> Result<bool, OtherShards> {
        let mut are_gone = true;
        for lease in standing {
            let Some(theirs) = number_of(lease).filter(|theirs| *theirs != ours) else { continue };
            are_gone = false;
            let now = (lease.term, lease.expires_ms);
            let first = self.seen.entry(lease.name.clone()).or_insert_with(|| {
                tracing::warn!(
                    lease = lease.name,
                    keeper = lease.holder,
                    theirs,
                    ours,
                    "a keeper with another keeper.shards has been at work; waiting for the end of its lease"
                );
                now
            });
            if *first != now {
                return Err(OtherShards { theirs, ours });
            }
        }
        Ok(are_gone)
    }
}

/// Waits until nobody has another number of shards; says so where the database does not answer, since the service asks
/// again before it takes anything.
///
/// # Errors
/// Fails where keepers with another number are at work.
pub(crate) async fn refuse_other_numbers(leases: &dyn Leases, ours: u8, time: Duration) -> Result<(), OtherShards> {
    let (mut others, pause) = (Others::default(), time / TURNS);
    loop {
        match timeout(pause, leases.standing()).await {
            Ok(Ok(standing)) if !others.are_gone(&standing, ours)? => sleep(pause).await,
            _ => return Ok(()),
        }
    }
}

/// This keeper's number, and whether nobody has another.
pub(super) struct Number<'a> {
    service: &'a Leasing,
    lease: Keeping<'a>,
    others: Others,
    /// Whether nobody had another while this one's lease stood.
    is_settled: bool,
}

impl<'a> Number<'a> {
    pub(super) fn of(service: &'a Leasing) -> Self {
        let lease = Keeping::of(service, number_lease(service.shards, &service.holder));
        Self { service, lease, others: Others::default(), is_settled: false }
    }

    /// Renews what says the number; where that is over, it has to be [settled](Number::settle) again.
    pub(super) async fn renew(&mut self) {
        self.lease.keep().await;
        self.is_settled = self.lease.is_held();
    }

    pub(super) fn is_settled(&self) -> bool {
        self.is_settled
    }

    /// Says the number, where nobody has another, and looks again.
    ///
    /// # Errors
    /// Fails where keepers with another number are at work.
    pub(super) async fn settle(&mut self) -> Result<(), OtherShards> {
        if self.lease.granted().is_some() {
            self.lease.keep().await;
        }
        let had = self.lease.is_held();
        match self.look().await? {
            Some(true) if had => self.is_settled = true,
            Some(true) => {
                self.lease.keep().await;
                // With its lease standing it looks again.
                self.is_settled = self.look().await? == Some(true) && self.lease.is_held();
            }
            Some(false) | None => {}
        }
        Ok(())
    }

    /// Whether nobody has another number; none where the database does not answer.
    async fn look(&mut self) -> Result<Option<bool>, OtherShards> {
        let Leasing { leases, time, holder, shards, .. } = self.service;
        let Ok(Ok(standing)) = timeout(*time / TURNS, leases.standing()).await else { return Ok(None) };
        let looked = self.others.are_gone(&standing, *shards);
        let is_first = |lease: &Lease| number_of(lease).is_none_or(|count| count == *shards || *holder < lease.holder);
        if looked.is_err() || !standing.iter().all(is_first) {
            self.lease.give_back("a keeper with another number of shards was there before").await;
        }
        looked.map(Some)
    }

    pub(super) async fn give_back(&mut self, reason: &str) {
        self.is_settled = false;
        self.lease.give_back(reason).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, term: u64, expires_ms: u64) -> Lease {
        Lease { name: name.to_owned(), holder: "b".to_owned(), term, expires_ms }
    }

    #[test]
    fn leases_tell_the_number_of_their_holders() {
        let told = |name: &str| number_of(&lease(name, 1, 1));
        assert_eq!(told(&number_lease(3, "a")), Some(3));
        assert_eq!(told("leader"), Some(1));
        assert_eq!(told("leader/2-of-5"), Some(5));
        for other in ["lane/0x1", "candidate/a", "shards/", "shards/x/a", "shards/3"] {
            assert_eq!(told(other), None, "{other}");
        }
    }

    #[test]
    fn only_who_renews_its_lease_lives() {
        let mut others = Others::default();
        let (gone, ours) = (lease("leader/0-of-3", 4, 100), lease("shards/2/c", 1, 5));
        for _ in 0..5 {
            assert_eq!(
                others.are_gone(&[gone.clone(), ours.clone()], 2),
                Ok(false),
                "its lease may just not have ended"
            );
        }
        assert_eq!(others.are_gone(std::slice::from_ref(&ours), 2), Ok(true));
        assert_eq!(others.are_gone(&[lease("shards/2/c", 2, 9)], 2), Ok(true), "our number may be renewed");
        let error = others.are_gone(&[lease("leader/0-of-3", 4, 101)], 2).unwrap_err();
        assert_eq!(error, OtherShards { theirs: 3, ours: 2 });
        let mut others = Others::default();
        assert_eq!(others.are_gone(&[lease("shards/1/b", 4, 100)], 2), Ok(false));
        assert_eq!(others.are_gone(&[lease("shards/1/b", 5, 100)], 2), Err(OtherShards { theirs: 1, ours: 2 }));
    }
}
