//! Who leads, by the database, and how often that changed.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use keeper_store::{Lease, Leases as _, PostgresStore};
use tokio::{sync::watch, task::JoinHandle, time::sleep};

/// How often it is asked.
const POLL: Duration = Duration::from_millis(100);

/// What was seen of the leases.
#[derive(Clone, Debug, Default)]
pub(crate) struct Led {
    /// By shard; one where the market is not dealt out.
    shards: Vec<Shard>,
    /// How often another than the one before got a shard.
    pub(crate) takeovers: u64,
}

/// What was seen of a shard's lease.
#[derive(Clone, Debug, Default)]
struct Shard {
    leader: Option<String>,
    /// Who had it last, whether it stands or not.
    last: Option<String>,
    /// Since when the leader is seen to have it.
    since: Option<Instant>,
}

/// Watches the leases until it is dropped.
pub(crate) struct Watching {
    pub(crate) led: watch::Receiver<Led>,
    task: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn begin(store: Arc<PostgresStore>, shards: u8) -> Self {
        let (tell, led) = watch::channel(Led::of(shards));
        let task = tokio::spawn(async move {
            loop {
                // A database that does not answer here would not answer to anybody.
                if let Ok(standing) = store.standing().await {
                    tell.send_modify(|led| led.note(&standing));
                }
                sleep(POLL).await;
            }
        });
        Self { led, task }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The lease of the keeper that leads a shard, as the keeper names it.
fn name_of(shard: usize, shards: usize) -> String {
    if shards == 1 { "leader".to_owned() } else { format!("leader/{shard}-of-{shards}") }
}

impl Led {
    fn of(shards: u8) -> Self {
        Self { shards: vec![Shard::default(); shards.into()], takeovers: 0 }
    }

    fn note(&mut self, standing: &[Lease]) {
        let count = self.shards.len();
        for (number, shard) in self.shards.iter_mut().enumerate() {
            let lease = standing.iter().find(|lease| lease.name == name_of(number, count));
            let leader = lease.map(|lease| lease.holder.clone());
            if leader != shard.leader {
                shard.since = leader.is_some().then(Instant::now);
            }
            if leader.is_some() && leader != shard.last {
                self.takeovers += u64::from(shard.last.is_some());
                shard.last.clone_from(&leader);
            }
            shard.leader = leader;
        }
    }

    /// Who leads each shard.
    pub(crate) fn leaders(&self) -> impl Iterator<Item = Option<&str>> {
        self.shards.iter().map(|shard| shard.leader.as_deref())
    }

    /// Who leads a shard, and since when; nobody where it is nobody's.
    pub(crate) fn leader_of(&self, shard: usize) -> Option<(&str, Instant)> {
        let shard = self.shards.get(shard)?;
        Some((shard.leader.as_deref()?, shard.since?))
    }

    /// The shards that a keeper leads.
    pub(crate) fn led_by(&self, keeper: &str) -> Vec<usize> {
        let led = self.leaders().enumerate().filter(|(_, leader)| *leader == Some(keeper));
        led.map(|(shard, _)| shard).collect()
    }

    /// Whether all shards are led, by so many keepers as there can be where this many are able, and by each as many as by
    /// the others, or one more.
    pub(crate) fn is_even(&self, able: usize) -> bool {
        let names: BTreeSet<&str> = self.leaders().flatten().collect();
        let counts: Vec<usize> = names.iter().map(|name| self.led_by(name).len()).collect();
        let spread = counts.iter().max().zip(counts.iter().min()).map_or(0, |(most, fewest)| most - fewest);
        self.leaders().all(|leader| leader.is_some()) && names.len() == able.min(self.shards.len()) && spread <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(leaders: &[Option<&str>]) -> Vec<Lease> {
        let lease = |name: String, holder: &str| Lease { name, holder: holder.to_owned(), term: 1, expires_ms: 1 };
        let led = leaders.iter().enumerate().filter_map(|(shard, leader)| Some((shard, (*leader)?)));
        led.map(|(shard, leader)| lease(name_of(shard, leaders.len()), leader)).collect()
    }

    #[test]
    fn a_takeover_is_another_holders() {
        let mut led = Led::of(1);
        for leader in [None, Some("a"), None, Some("a"), Some("b"), Some("b"), None, Some("a")] {
            led.note(&standing(&[leader]));
        }
        assert_eq!(led.takeovers, 2);
    }

    #[test]
    fn shards_are_even_where_none_leads_two_more_than_another() {
        let even = |leaders: &[Option<&str>], able| {
            let mut led = Led::of(leaders.len().try_into().unwrap());
            led.note(&standing(leaders));
            led.is_even(able)
        };
        assert!(even(&[Some("a"), Some("b"), Some("a")], 2));
        assert!(!even(&[Some("a"), Some("b"), Some("a")], 3), "the third has none");
        assert!(!even(&[Some("a"), None, Some("b")], 2));
        assert!(!even(&[Some("a"), Some("b"), Some("a"), Some("a")], 2));
        assert!(even(&[Some("a")], 3));
    }
}
