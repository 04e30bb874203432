//! What came of all accounts, in numbers.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::load::Outcome;

/// The figures.
#[derive(Debug)]
pub(crate) struct Figures {
    seed: u64,
    sabotage: bool,
    resend_after_ms: u64,
    total: Outcome,
    pub(crate) stuck: u64,
    /// By kind.
    pub(crate) faults: BTreeMap<String, u64>,
    /// From what went wrong with a nonce until it was used.
    pub(crate) recoveries: Vec<Duration>,
}

impl Figures {
    pub(crate) fn new(seed: u64, sabotage: bool, resend_after_ms: u64) -> Self {
        let total = Outcome::default();
        Self { seed, sabotage, resend_after_ms, total, stuck: 0, faults: BTreeMap::new(), recoveries: Vec::new() }
    }

    pub(crate) fn add(&mut self, one: &Outcome) {
        self.stuck += one.stuck;
        let all = &mut self.total;
        all.payments += one.payments;
        all.lost += one.lost;
        all.doubled += one.doubled;
        all.restarts += one.restarts;
        all.outside_uses += one.outside_uses;
        all.lost_nonces += one.lost_nonces;
        all.reverted += one.reverted;
        all.replacements += one.replacements;
        all.no_ops += one.no_ops;
        all.intents += one.intents;
    }

    /// Whether nothing was lost, doubled or stuck, and gaps were healed in time.
    pub(crate) fn is_clean(&self) -> bool {
        let is_healed_soon = self.recovery_ms(99).is_none_or(|ms| ms <= 30_000.0);
        self.total.lost == 0 && self.total.doubled == 0 && self.stuck == 0 && is_healed_soon
    }

    fn all_faults(&self) -> u64 {
        self.faults.values().sum::<u64>() + self.total.outside_uses + self.total.restarts + self.total.reverted
    }

    fn recovery_ms(&self, percent: usize) -> Option<f64> {
        let mut sorted = self.recoveries.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).map(|took| (took.as_secs_f64() * 1e4).round() / 10.0)
    }

    pub(crate) fn json(&self) -> Value {
        let all = &self.total;
        json!({
            "jobs": all.payments,
            "faults": self.all_faults(),
            "lost": all.lost,
            "doubled": all.doubled,
            "stuck": self.stuck,
            "recovery_ms": { "p50": self.recovery_ms(50), "p99": self.recovery_ms(99) },
            "seed": self.seed,
            "sabotage": self.sabotage,
            "resend_after_ms": self.resend_after_ms,
            "gaps": self.recoveries.len(),
            "faults_of_the_pool": self.faults,
            "outside_uses": all.outside_uses,
            "restarts": all.restarts,
            "intents": all.intents,
            "intents_lost_to_outside_use": all.lost_nonces,
            "reverted": all.reverted,
            "replacements": all.replacements,
            "no_ops": all.no_ops,
        })
    }

    pub(crate) fn told(&self) -> String {
        let all = &self.total;
        let ms = |percent| self.recovery_ms(percent).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        format!(
            "{} payments: {} lost, {} doubled, {} stuck\n\
             {}; {} uses of the key from outside, {} reverts, {} restarts\n\
             {} intents, {} of them lost to outside use; {} replacements, {} no-ops\n\
             {} gaps, healed after {} (p50), {} (p99)\n",
            all.payments,
            all.lost,
            all.doubled,
            self.stuck,
            faults.join(", "),
            all.outside_uses,
            all.reverted,
            all.restarts,
            all.intents,
            all.lost_nonces,
            all.replacements,
            all.no_ops,
            self.recoveries.len(),
            ms(50),
            ms(99),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stuck_lost_doubled_or_late_is_not_clean() {
        let figures = || Figures::new(1, false, 2_000);
        assert!(figures().is_clean());
        for bad in [Outcome { lost: 1, ..Outcome::default() }, Outcome { doubled: 1, ..Outcome::default() }] {
            let mut figures = figures();
            figures.add(&bad);
            assert!(!figures.is_clean());
        }
        let mut stuck = figures();
        stuck.add(&Outcome { stuck: 1, ..Outcome::default() });
        assert!(!stuck.is_clean());
        let mut late = figures();
        late.recoveries = vec![Duration::from_secs(31)];
        assert!(!late.is_clean());
    }
}
