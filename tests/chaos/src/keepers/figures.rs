//! What came of all faults, in numbers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{Args, waste::Sent};
use crate::kill::{sight::Seen, tally::Tally};

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    seed: u64,
    sabotage: bool,
    keepers: u8,
    shards: u8,
    /// Faults by their names; those of the keeper that led, and all.
    faults: BTreeMap<&'static str, (u64, u64)>,
    /// From a fault on the keeper that led until a round was applied after it, or no job waited.
    recoveries: Vec<Duration>,
    /// How long a recovery may take at most, if that is judged.
    within: Option<Duration>,
    /// Of all transactions, how many may be wasted, in percent.
    most_wasted: u64,
    pub(crate) takeovers: u64,
    /// Rounds that were recomputed, and are what their policy decides.
    pub(crate) recomputed: usize,
    pub(crate) sent: Sent,
    pub(crate) tally: Tally,
    pub(crate) took: Duration,
}

impl Figures {
    pub(crate) fn new(args: &Args, seed: u64) -> Self {
        let within = args.within.map(Duration::from_secs);
        Self {
            seed,
            sabotage: args.sabotage,
            keepers: args.keepers,
            shards: args.shards,
            within,
            most_wasted: args.most_wasted.into(),
            ..Self::default()
        }
    }

    pub(crate) fn hit(&mut self, fault: &'static str, is_leader: bool) {
        let (leader, all) = self.faults.entry(fault).or_default();
        *leader += u64::from(is_leader);
        *all += 1;
    }

    pub(crate) fn recovered(&mut self, recovery: Duration) {
        self.recoveries.push(recovery);
    }

    /// Whether nothing was lost, doubled or stuck, little was wasted, and others took over in time.
    pub(crate) fn is_clean(&self) -> bool {
        let is_late = self.within.is_some_and(|within| self.recoveries.iter().any(|took| *took > within));
        self.tally.is_clean() && !self.is_wasteful() && self.sent.unaccounted == 0 && !is_late
    }

    /// Whether more was wasted than may be.
    pub(crate) fn is_wasteful(&self) -> bool {
        self.sent.wasted_bps() > self.most_wasted * 100
    }

    fn percentile(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).and_then(|took| u64::try_from(took.as_millis()).ok())
    }

    pub(crate) fn json(&self) -> Value {
        let Tally { lost, doubled, stuck, unrecorded, jobs, rounds, attempts, skipped, told } = &self.tally;
        let all: u64 = self.faults.values().map(|(_, all)| all).sum();
        json!({
            "jobs": jobs,
            "faults": all,
            "lost": lost,
            "doubled": doubled,
            "stuck": stuck,
            "recovery_ms": { "p50": self.percentile(50), "p99": self.percentile(99), "longest": self.percentile(100) },
            "recoveries": self.recoveries.len(),
            "wasted": f64::from(u32::try_from(self.sent.wasted_bps()).unwrap_or(u32::MAX)) / 10_000.0,
            "transactions": self.sent.transactions,
            "reverted": self.sent.reverted,
            "empty_rounds": self.sent.empty,
            "no_ops": self.sent.no_ops,
            "unaccounted": self.sent.unaccounted,
            "takeovers": self.takeovers,
            "keepers": self.keepers,
            "shards": self.shards,
            "recomputed": self.recomputed,
            "unrecorded": unrecorded,
            "kinds": self.faults.iter().map(|(name, (_, all))| (*name, all)).collect::<BTreeMap<_, _>>(),
            "on_leader": self.faults.values().map(|(leader, _)| leader).sum::<u64>(),
            "rounds": rounds,
            "attempts": attempts,
            "skipped": skipped,
            "seed": self.seed,
            "sabotage": self.sabotage,
            "duration_s": self.took.as_secs(),
            "told": told,
        })
    }

    /// How far it is, in the middle.
    pub(crate) fn progress(&self, faults: u32, seen: Seen, took: Duration) -> String {
        format!(
            "{faults} faults after {} s: {} jobs on chain, {} settled, {} open; another keeper at work after {} ms (longest)",
            took.as_secs(),
            seen.submitted,
            seen.settled,
            seen.open,
            self.percentile(100).unwrap_or_default(),
        )
    }

    pub(crate) fn told(&self) -> String {
        let mut text = self.tally.told.iter().map(|line| format!("{line}\n")).collect::<String>();
        let ms = |percent| self.percentile(percent).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let kinds = self.faults.iter().map(|(name, (leader, all))| format!("{all} {name} ({leader} while it led)"));
        let Tally { lost, doubled, stuck, unrecorded, jobs, rounds, attempts, skipped, .. } = &self.tally;
        let Sent { transactions, reverted, empty, no_ops, unaccounted } = self.sent;
        text += &format!(
            "{} keepers, {} shards, {} faults in {} s: {}\n\
             {jobs} jobs: {lost} lost, {doubled} doubled, {stuck} stuck; {unrecorded} rounds not written down\n\
             {rounds} rounds, {attempts} attempts, {skipped} items skipped; {} takeovers; {} rounds recomputed\n\
             {transactions} transactions: {reverted} reverted, {empty} rounds for nothing, {:.2} % wasted; {no_ops} no-ops, \
             {unaccounted} not in the log\n\
             at work again after {} (p50), {} (p99), {} at most, of {} faults of the keeper that led\n",
            self.keepers,
            self.shards,
            self.faults.values().map(|(_, all)| all).sum::<u64>(),
            self.took.as_secs(),
            kinds.collect::<Vec<_>>().join(", "),
            self.takeovers,
            self.recomputed,
            f64::from(u32::try_from(self.sent.wasted_bps()).unwrap_or(u32::MAX)) / 100.0,
            ms(50),
            ms(99),
            ms(100),
            self.recoveries.len(),
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(transactions: u64, reverted: u64, empty: u64) -> Sent {
        Sent { transactions, reverted, empty, ..Sent::default() }
    }

    #[test]
    fn more_than_one_in_a_hundred_wasted_or_a_late_takeover_is_not_clean() {
        let clean = || Figures { sent: sent(1_000, 4, 6), most_wasted: 1, ..Figures::default() };
        assert!(clean().is_clean());
        assert!(!Figures { sent: sent(1_000, 5, 6), ..clean() }.is_clean());
        assert!(!Figures { sent: Sent { unaccounted: 1, ..sent(1_000, 0, 0) }, ..clean() }.is_clean());
        let mut late = Figures { within: Some(Duration::from_secs(10)), ..clean() };
        late.recovered(Duration::from_secs(10));
        assert!(late.is_clean());
        late.recovered(Duration::from_millis(10_001));
        assert!(!late.is_clean());
    }
}
