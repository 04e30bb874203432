//! What came of all kills, in numbers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{Sabotage, keeper::Recovery, sight::Seen, tally::Tally};

/// The figures.
#[derive(Debug)]
pub(crate) struct Figures {
    seed: Option<u64>,
    sabotage: Option<String>,
    /// Kills of the keeper, by what the moment was told by.
    kills: BTreeMap<&'static str, u64>,
    pub(crate) agents_killed: u64,
    /// Restarts that were given the time to end.
    recoveries: Vec<Recovery>,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
    pub(crate) chain_rss_mb: Option<u64>,
}

impl Figures {
    pub(crate) fn new(seed: Option<u64>, sabotage: Option<Sabotage>) -> Self {
        Self {
            seed,
            sabotage: sabotage.map(|sabotage| format!("{sabotage:?}")),
            kills: BTreeMap::new(),
            agents_killed: 0,
            recoveries: Vec::new(),
            tally: Tally::default(),
            took: Duration::ZERO,
            chain_rss_mb: None,
        }
    }

    pub(crate) fn killed(&mut self, moment: &'static str) {
        *self.kills.entry(moment).or_default() += 1;
    }

    pub(crate) fn recovered(&mut self, recovery: Recovery) {
        self.recoveries.push(recovery);
    }

    /// Whether nothing was lost, doubled or stuck.
    pub(crate) fn is_clean(&self) -> bool {
        self.tally.is_clean()
    }

    fn faults(&self) -> u64 {
        self.kills.values().sum::<u64>() + self.agents_killed
    }

    fn percentile(&self, percent: usize, time: fn(&Recovery) -> Duration) -> Option<u64> {
        let mut sorted: Vec<Duration> = self.recoveries.iter().map(time).collect();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).and_then(|took| u64::try_from(took.as_millis()).ok())
    }

    pub(crate) fn json(&self) -> Value {
        let Tally { lost, doubled, stuck, unrecorded, jobs, rounds, attempts, skipped, told } = &self.tally;
        let times = |time: fn(&Recovery) -> Duration| {
            let of = |percent| self.percentile(percent, time);
            json!({ "p50": of(50), "p99": of(99), "longest": of(100) })
        };
        json!({
            "jobs": jobs,
            "faults": self.faults(),
            "lost": lost,
            "doubled": doubled,
            "stuck": stuck,
            "recovery_ms": times(|recovery| recovery.working),
            "ready_ms": times(|recovery| recovery.ready),
            "recoveries": self.recoveries.len(),
            "unrecorded": unrecorded,
            "keeper_kills": self.kills,
            "agent_kills": self.agents_killed,
            "rounds": rounds,
            "attempts": attempts,
            "skipped": skipped,
            "seed": self.seed,
            "sabotage": self.sabotage,
            "duration_s": self.took.as_secs(),
            "chain_rss_mb": self.chain_rss_mb,
            "told": told,
        })
    }

    /// How far it is, in the middle.
    pub(crate) fn progress(&self, kills: u32, seen: Seen, took: Duration) -> String {
        let p99 = self.percentile(99, |recovery| recovery.working).unwrap_or_default();
        format!(
            "{kills} kills after {} s: {} jobs on chain, {} settled, {} open; working again after {p99} ms (p99)",
            took.as_secs(),
            seen.submitted,
            seen.settled,
            seen.open
        )
    }

    pub(crate) fn told(&self) -> String {
        let mut text = self.tally.told.iter().map(|line| format!("{line}\n")).collect::<String>();
        let ms = |percent, time| self.percentile(percent, time).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let kills: Vec<_> = self.kills.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let Tally { lost, doubled, stuck, unrecorded, jobs, rounds, attempts, skipped, .. } = &self.tally;
        text += &format!(
            "{} kills of the keeper ({}), {} of agents, in {} s\n\
             {jobs} jobs: {lost} lost, {doubled} doubled, {stuck} stuck; {unrecorded} rounds not written down\n\
             {rounds} rounds, {attempts} attempts, {skipped} items skipped\n\
             ready after {} (p50), {} (p99); working again after {} (p50), {} (p99), {} at most, of {} restarts\n",
            self.kills.values().sum::<u64>(),
            kills.join(", "),
            self.agents_killed,
            self.took.as_secs(),
            ms(50, |recovery: &Recovery| recovery.ready),
            ms(99, |recovery| recovery.ready),
            ms(50, |recovery| recovery.working),
            ms(99, |recovery| recovery.working),
            ms(100, |recovery| recovery.working),
            self.recoveries.len(),
        );
        text
    }
}
