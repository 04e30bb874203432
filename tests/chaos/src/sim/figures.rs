//! What came of all worlds, in numbers.

use std::{collections::BTreeMap, time::Duration};

use clap::ValueEnum as _;
use serde_json::{Value, json};

use super::{
    history::{Violation, fnv},
    setting::Sabotage,
    world::Outcome,
};

/// The figures.
#[derive(Debug)]
pub(super) struct Figures {
    first: u64,
    sabotage: Option<Sabotage>,
    seeds: u64,
    jobs: u64,
    faults: BTreeMap<&'static str, u64>,
    violations: BTreeMap<Violation, u64>,
    failed: BTreeMap<u64, u64>,
    recoveries_ms: Vec<u64>,
    /// Of every seed's digest, in no order.
    digest: u64,
    notes: u64,
    simulated_ms: u64,
    reorganisations: u64,
    deepest: usize,
    signed_again: u64,
    pub(super) took: Duration,
}

impl Figures {
    pub(super) fn new(first: u64, sabotage: Option<Sabotage>) -> Self {
        Self {
            first,
            sabotage,
            seeds: 0,
            jobs: 0,
            faults: BTreeMap::new(),
            violations: BTreeMap::new(),
            failed: BTreeMap::new(),
            recoveries_ms: Vec::new(),
            digest: 0,
            notes: 0,
            simulated_ms: 0,
            reorganisations: 0,
            deepest: 0,
            signed_again: 0,
            took: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.jobs += outcome.jobs;
        for (name, count) in &outcome.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (violation, _) in &outcome.violations {
            *self.violations.entry(*violation).or_default() += 1;
        }
        if !outcome.violations.is_empty() {
            self.failed.insert(seed, outcome.digest);
        }
        self.recoveries_ms.extend(&outcome.recoveries_ms);
        // Threads finish in any order, so the sum must not depend on it.
        self.digest = self.digest.wrapping_add(fnv(seed, &outcome.digest.to_le_bytes()));
        self.notes += outcome.notes;
        self.simulated_ms += outcome.simulated_ms;
        self.reorganisations += outcome.reorganisations;
        self.deepest = self.deepest.max(outcome.deepest);
        self.signed_again += outcome.signed_again;
    }

    /// The seeds that failed, with the digests of their histories.
    pub(super) fn failed(&self) -> &BTreeMap<u64, u64> {
        &self.failed
    }

    pub(super) fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    fn count(&self, violation: Violation) -> u64 {
        self.violations.get(&violation).copied().unwrap_or_default()
    }

    fn recovery_ms(&self, percent: usize) -> Option<u64> {
        let mut sorted = self.recoveries_ms.clone();
        sorted.sort_unstable();
        let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(place).copied()
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "jobs": self.jobs,
            "faults": self.faults.values().sum::<u64>(),
            "lost": self.count(Violation::Lost),
            "doubled": self.count(Violation::Doubled),
            "stuck": self.count(Violation::Stuck),
            "recovery_ms": { "p50": self.recovery_ms(50), "p99": self.recovery_ms(99) },
            "seeds": self.seeds,
            "seed": self.first,
            "digest": format!("{:016x}", self.digest),
            "sabotage": self.sabotage.map(name),
            "failed_seeds": self.failed.keys().collect::<Vec<_>>(),
            "faults_by_kind": self.faults,
            "recoveries": self.recoveries_ms.len(),
            "reorganisations": self.reorganisations,
            "deepest": self.deepest,
            "signed_again": self.signed_again,
            "steps": self.notes,
            "simulated_s": self.simulated_ms / 1_000,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
        })
    }

    pub(super) fn told(&self) -> String {
        let ms = |percent| self.recovery_ms(percent).map_or("-".to_owned(), |ms| format!("{ms} ms"));
        let faults: Vec<String> = self.faults.iter().map(|(name, count)| format!("{count} {name}")).collect();
        format!(
            "{} seeds from {}, {} jobs: {} lost, {} doubled, {} stuck, in {} seeds\n\
             faults: {}\n\
             {} reorganisations, of {} blocks at most; {} s simulated in {:.1} s\n\
             {} recoveries, after {} (p50), {} (p99), simulated\n\
             {} lost intents whose transaction was signed again, and landed, for a later one\n\
             digest {:016x}\n",
            self.seeds,
            self.first,
            self.jobs,
            self.count(Violation::Lost),
            self.count(Violation::Doubled),
            self.count(Violation::Stuck),
            self.failed.len(),
            faults.join(", "),
            self.reorganisations,
            self.deepest,
            self.simulated_ms / 1_000,
            self.took.as_secs_f64(),
            self.recoveries_ms.len(),
            ms(50),
            ms(99),
            self.signed_again,
            self.digest,
        )
    }
}

/// As it is given on the command line.
pub(super) fn name(sabotage: Sabotage) -> String {
    sabotage.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_may_finish_in_any_order_and_every_violation_counts() {
        let outcome = |digest, violations| Outcome {
            jobs: 2,
            faults: [("crash", 3)].into(),
            violations,
            recoveries_ms: vec![digest],
            digest,
            notes: 1,
            simulated_ms: 1,
            lines: Vec::new(),
            reorganisations: 0,
            deepest: 0,
            signed_again: 1,
        };
        let (mut one, mut other) = (Figures::new(5, None), Figures::new(5, None));
        one.add(5, &outcome(10, Vec::new()));
        one.add(6, &outcome(20, Vec::new()));
        other.add(6, &outcome(20, Vec::new()));
        other.add(5, &outcome(10, Vec::new()));
        assert_eq!((one.digest, one.signed_again), (other.digest, 2));
        assert!(one.is_clean());
        for violation in [Violation::Lost, Violation::Doubled, Violation::Stuck] {
            one.add(7, &outcome(30, vec![(violation, "told".to_owned())]));
            assert!(!one.is_clean());
            assert_eq!(one.count(violation), 1);
        }
        assert_eq!(one.failed(), &[(7, 30)].into());
        assert_eq!((one.recovery_ms(50), one.recovery_ms(99)), (Some(30), Some(30)));
    }
}
