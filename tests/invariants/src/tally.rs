//! How often each function came to what: without it nobody would know whether a campaign has been anywhere.

use std::collections::BTreeMap;

use keeper_types::Felt;

use crate::{
    calls::{Step, skip},
    model::Outcome,
};

/// Counts by what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Calls of a function that went through, and that were refused.
    functions: BTreeMap<String, (u64, u64)>,
    refusals: BTreeMap<&'static str, u64>,
    events: BTreeMap<&'static str, u64>,
    skips: BTreeMap<u8, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, step: &Step, outcome: &Outcome) {
        let (contract, function) = step.call.target();
        let function = format!("{}.{function}", contract.name());
        let counts = self.functions.entry(function).or_default();
        match outcome.result {
            Ok(_) => counts.0 += 1,
            Err(refusal) => {
                counts.1 += 1;
                *self.refusals.entry(refusal).or_default() += 1;
            }
        }
        for event in &outcome.events {
            *self.events.entry(event.name).or_default() += 1;
            let reason = event.fields.iter().find(|(name, _)| *name == "reason" && event.name == "AllocationSkipped");
            if let Some(number) = reason.and_then(|(_, felt): &(_, Felt)| u8::try_from(*felt).ok()) {
                *self.skips.entry(number).or_default() += 1;
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (function, (through, refused)) in &other.functions {
            let counts = self.functions.entry(function.clone()).or_default();
            counts.0 += through;
            counts.1 += refused;
        }
        merge_counts(&mut self.refusals, &other.refusals);
        merge_counts(&mut self.events, &other.events);
        merge_counts(&mut self.skips, &other.skips);
    }

    /// Distinct refusals and skip reasons met.
    pub(crate) fn met(&self) -> (usize, usize) {
        (self.refusals.len(), self.skips.len())
    }

    /// Three tables: functions, refusals, and what became of allocations.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("{:<44} {:>9} {:>9}\n", "function", "done", "refused");
        for (function, (through, refused)) in &self.functions {
            text.push_str(&format!("{function:<44} {through:>9} {refused:>9}\n"));
        }
        text.push_str(&format!("\n{:<44} {:>9}\n", "refusal", "times"));
        for (refusal, times) in &self.refusals {
            text.push_str(&format!("{refusal:<44} {times:>9}\n"));
        }
        text.push_str(&format!("\n{:<44} {:>9}\n", "event", "times"));
        for (event, times) in &self.events {
            text.push_str(&format!("{event:<44} {times:>9}\n"));
        }
        text.push_str(&format!("\n{:<44} {:>9}\n", "skipped because", "times"));
        for (number, times) in &self.skips {
            let reason = skip::name(*number);
            text.push_str(&format!("{reason:<44} {times:>9}\n"));
        }
        text
    }
}

fn merge_counts<K: Copy + Ord>(sums: &mut BTreeMap<K, u64>, counts: &BTreeMap<K, u64>) {
    for (key, count) in counts {
        *sums.entry(*key).or_default() += count;
    }
}
