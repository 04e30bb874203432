//! What came of all cuts, in numbers.

use std::time::Duration;

use serde_json::{Value, json};

use super::model::Difference;

/// What drops unsynced writes.
pub(crate) const LAYER: &str = "fuse";
/// What is told of what went wrong, at most.
const MOST_TOLD: usize = 5;

/// The figures.
#[derive(Debug)]
pub(crate) struct Figures {
    seed: u64,
    sabotage: bool,
    /// Acknowledged writes.
    pub(crate) jobs: u64,
    faults: u64,
    /// Rows that were acknowledged and are not there, or are not as acknowledged.
    pub(crate) lost: u64,
    doubled: u64,
    stuck: u64,
    /// Writes under way that were found whole after the cut.
    pub(crate) kept_whole: u64,
    /// Writes under way of which nothing was found.
    pub(crate) dropped_whole: u64,
    /// Writes to files that the disk forgot, wholly or in part.
    forgotten: u64,
    /// From the start of a process until the store was open.
    pub(crate) recoveries: Vec<Duration>,
    told: Vec<String>,
}

impl Figures {
    pub(crate) fn new(seed: u64, sabotage: bool) -> Self {
        Self {
            seed,
            sabotage,
            jobs: 0,
            faults: 0,
            lost: 0,
            doubled: 0,
            stuck: 0,
            kept_whole: 0,
            dropped_whole: 0,
            forgotten: 0,
            recoveries: Vec::new(),
            told: Vec::new(),
        }
    }

    pub(crate) fn note_cut(&mut self, forgotten: u64) {
        self.faults += 1;
        self.forgotten += forgotten;
    }

    pub(crate) fn note_difference(&mut self, difference: Difference) {
        self.lost += difference.lost;
        self.doubled += difference.doubled;
        if !difference.is_none() {
            let Difference { lost, doubled } = difference;
            self.tell(&format!("{lost} rows lost, {doubled} not written by anybody"));
        }
    }

    pub(crate) fn note_stuck(&mut self, what: &str) {
        self.stuck += 1;
        self.tell(what);
    }

    fn tell(&mut self, what: &str) {
        if self.told.len() < MOST_TOLD {
            self.told.push(format!("after cut {}: {what}", self.faults));
        }
    }

    /// Whether nothing was lost, doubled or stuck.
    pub(crate) fn is_clean(&self) -> bool {
        self.lost == 0 && self.doubled == 0 && self.stuck == 0
    }

    fn recovery_ms(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).map(|took| (took.as_secs_f64() * 1e4).round() / 10.0)
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "jobs": self.jobs,
            "faults": self.faults,
            "lost": self.lost,
            "doubled": self.doubled,
            "stuck": self.stuck,
            "recovery_ms": { "p50": self.recovery_ms(50), "p99": self.recovery_ms(99) },
            "seed": self.seed,
            "layer": LAYER,
            "sabotage": self.sabotage,
            "under_way_kept_whole": self.kept_whole,
            "under_way_dropped_whole": self.dropped_whole,
            "writes_forgotten_by_the_disk": self.forgotten,
        })
    }

    pub(crate) fn told(&self) -> String {
        let mut text = self.told.iter().map(|line| format!("{line}\n")).collect::<String>();
        let ms = |percent| self.recovery_ms(percent).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        text += &format!(
            "{} cuts: {} writes acknowledged, {} lost, {} doubled, {} stuck\n\
             under way at the cut: {} there whole, {} not there at all; the disk forgot {} writes to files\n\
             open again after {} (p50), {} (p99)\n",
            self.faults,
            self.jobs,
            self.lost,
            self.doubled,
            self.stuck,
            self.kept_whole,
            self.dropped_whole,
            self.forgotten,
            ms(50),
            ms(99)
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let mut figures = Figures::new(1, false);
        assert_eq!(figures.json()["recovery_ms"]["p99"], Value::Null);
        figures.recoveries = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(figures.json()["recovery_ms"], json!({ "p50": 100.0, "p99": 198.0 }));
        assert!(figures.is_clean());
        figures.note_difference(Difference { lost: 2, doubled: 0 });
        assert!(!figures.is_clean());
        assert!(figures.told().starts_with("after cut 0: 2 rows lost"));
    }
}
