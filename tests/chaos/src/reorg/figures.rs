//! What came of all reorganisations, in numbers.

use std::{collections::BTreeSet, fmt::Write as _, time::Duration};

use keeper_types::{EventPosition, MarketEvent};
use serde_json::{Value, json};

/// What is told of what went wrong, at most.
const MOST_TOLD: usize = 5;

/// The figures.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    seed: u64,
    sabotage: bool,
    /// Jobs that were submitted, on whatever fork.
    pub(crate) jobs: u64,
    /// Reorganisations of the local chain.
    pub(crate) faults: u64,
    /// The deepest of them.
    pub(crate) deepest: u64,
    /// Events of the chain that the store lacks.
    pub(crate) lost: u64,
    /// Events in the store that are not the chain's.
    pub(crate) doubled: u64,
    /// Reorganisations after which the follower did not catch up in time.
    pub(crate) stuck: u64,
    /// Jobs that the contracts hold otherwise than is believed.
    pub(crate) orphans: u64,
    /// Simulated chains, and the reorganisations on them.
    pub(crate) simulated: (u64, u64),
    pub(crate) simulated_deepest: u64,
    pub(crate) recoveries: Vec<Duration>,
    told: Vec<String>,
}

impl Figures {
    pub(crate) fn new(seed: u64, sabotage: bool) -> Self {
        Self { seed, sabotage, ..Self::default() }
    }

    /// Compares the events of the store with those of a fresh index.
    pub(crate) fn compare(
        &mut self,
        stored: &[(EventPosition, MarketEvent)],
        fresh: &[(EventPosition, MarketEvent)],
        whence: &str,
    ) {
        let text = |event: &(EventPosition, MarketEvent)| format!("{event:?}");
        let (stored, fresh): (BTreeSet<_>, BTreeSet<_>) =
            (stored.iter().map(text).collect(), fresh.iter().map(text).collect());
        let (lost, doubled) = (fresh.difference(&stored).count(), stored.difference(&fresh).count());
        self.lost += lost as u64;
        self.doubled += doubled as u64;
        if lost + doubled > 0 {
            self.tell(format!("{whence}: {lost} events missing, {doubled} not the chain's"));
        }
    }

    pub(crate) fn tell(&mut self, what: String) {
        if self.told.len() < MOST_TOLD {
            self.told.push(what);
        }
    }

    /// Whether everything was mended.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.stuck + self.orphans == 0
    }

    fn recovery_ms(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).checked_sub(1)?;
        Some((sorted[rank].as_secs_f64() * 10_000.0).round() / 10.0)
    }

    /// For machines.
    pub(crate) fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "sabotage": self.sabotage,
            "jobs": self.jobs,
            "faults": self.faults,
            "deepest": self.deepest,
            "lost": self.lost,
            "doubled": self.doubled,
            "stuck": self.stuck,
            "orphaned_allocations": self.orphans,
            "simulated_chains": self.simulated.0,
            "simulated_reorganisations": self.simulated.1,
            "simulated_deepest": self.simulated_deepest,
            "recovery_ms": { "p50": self.recovery_ms(50), "p99": self.recovery_ms(99) },
        })
    }

    /// For people.
    pub(crate) fn told(&self) -> String {
        let mut text = String::new();
        let mut line = |what: &str, value: String| {
            writeln!(text, "{what:<44} {value:>12}").expect("writing to a string does not fail");
        };
        line("jobs submitted", self.jobs.to_string());
        line("reorganisations", self.faults.to_string());
        line("deepest, in blocks", self.deepest.to_string());
        line("events lost", self.lost.to_string());
        line("events that are not the chain's", self.doubled.to_string());
        line("not caught up in time", self.stuck.to_string());
        line("jobs held otherwise than believed", self.orphans.to_string());
        line("simulated chains, reorganisations", format!("{}, {}", self.simulated.0, self.simulated.1));
        line("deepest, in blocks", self.simulated_deepest.to_string());
        for percent in [50, 99] {
            let milliseconds = self.recovery_ms(percent).map_or("-".to_owned(), |ms| format!("{ms:.1}"));
            line(&format!("caught up again after, p{percent} in ms"), milliseconds);
        }
        for what in &self.told {
            writeln!(text, "  {what}").expect("writing to a string does not fail");
        }
        text
    }
}
