//! The table for people and for programs.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::{Figures, PolicyName, Published, Run, Table};

/// A column: its key, and what it takes of a run.
type Column = (&'static str, fn(&Run) -> f64);

const COLUMNS: [Column; 2] = [("alloc_100", |run| run.alloc_100), ("alloc_130", |run| run.alloc_130)];
/// Differences below what two decimals show are none.
const ROUNDING: f64 = 0.005;

impl Table {
    /// By mix and policy: `alloc_100` and `alloc_130`, the means, with the deviation over seeds; and the mean of the
    /// authors' runs where they had any.
    pub fn to_json(&self, published: &Published) -> Value {
        let mixes: BTreeMap<&str, BTreeMap<String, Value>> = (0..self.mixes.len())
            .map(|mix| {
                let policies = PolicyName::ALL.into_iter().map(|policy| {
                    let theirs = published.runs(&self.mixes[mix], &policy.to_string());
                    (policy.to_string(), cell(self.runs(mix, policy), theirs))
                });
                (self.mixes[mix].as_str(), policies.collect())
            })
            .collect();
        json!({ "seeds": self.seeds, "mixes": mixes })
    }

    /// Every mix and policy beside the authors' figures, and below it what follows.
    pub fn to_text(&self, published: &Published) -> String {
        let mut text = format!(
            "Percent of all GPUs allocated when jobs for 100 % and for 130 % of them have come; mean and deviation over \
             {} seeds, beside the authors' mean and the range of their runs\n\n{:<12} {:<14} {:>13} {:>22} {:>15} {:>22}\n",
            self.seeds.len(),
            "mix",
            "policy",
            "at 100 %",
            "authors'",
            "at 130 %",
            "authors'"
        );
        for (place, mix) in self.mixes.iter().enumerate() {
            for policy in PolicyName::ALL {
                let theirs = published.runs(mix, &policy.to_string());
                let mut line = format!("{mix:<12} {policy:<14}");
                for (_, column) in COLUMNS {
                    let ours = Figures::of(self.runs(place, policy), column);
                    let shown = ours.map(|figures| format!("{:.2} ± {:.2}", figures.mean, figures.deviation));
                    let range = Figures::of(theirs, column)
                        .map(|figures| format!("{:.2} ({:.2} - {:.2})", figures.mean, figures.min, figures.max));
                    let _ = write!(line, " {:>14} {:>22}", shown.unwrap_or_default(), range.unwrap_or_default());
                }
                text += line.trim_end();
                text.push('\n');
            }
        }
        text + &self.findings(published)
    }

    fn findings(&self, published: &Published) -> String {
        let (reproduced, compared) = self.reproduced(published);
        let mut text = String::new();
        if compared > 0 {
            let _ = writeln!(text, "\n{reproduced} of {compared} means lie within the range of the authors' runs.");
        }
        for (key, column) in COLUMNS {
            let gains: Vec<f64> = (0..self.mixes.len()).filter_map(|mix| self.gain(mix, column)).collect();
            let no_worse = gains.iter().filter(|gain| **gain > -ROUNDING).count();
            let least = gains.iter().copied().fold(f64::INFINITY, f64::min);
            let _ = writeln!(
                text,
                "{key}: {} is no worse than {} on {no_worse} of {} mixes, by {least:+.2} points at least.",
                PolicyName::WasteDescent,
                PolicyName::Fgd,
                gains.len()
            );
        }
        text
    }

    /// How many of the means lie within the range of the authors' runs, and how many can be compared.
    fn reproduced(&self, published: &Published) -> (usize, usize) {
        let (mut within, mut compared) = (0, 0);
        for (place, mix) in self.mixes.iter().enumerate() {
            for (policy, (_, column)) in PolicyName::ALL.into_iter().flat_map(|policy| COLUMNS.map(|of| (policy, of))) {
                let theirs = Figures::of(published.runs(mix, &policy.to_string()), column);
                let ours = Figures::of(self.runs(place, policy), column);
                if let (Some(ours), Some(theirs)) = (ours, theirs) {
                    compared += 1;
                    within += usize::from((theirs.min - ROUNDING..=theirs.max + ROUNDING).contains(&ours.mean));
                }
            }
        }
        (within, compared)
    }

    /// What the keeper's policy allocates beyond fragmentation gradient descent, in points.
    fn gain(&self, mix: usize, column: fn(&Run) -> f64) -> Option<f64> {
        let mean = |policy| Some(Figures::of(self.runs(mix, policy), column)?.mean);
        Some(mean(PolicyName::WasteDescent)? - mean(PolicyName::Fgd)?)
    }
}

fn cell(ours: &[Run], theirs: &[Run]) -> Value {
    let mut cell = serde_json::Map::new();
    for (key, column) in COLUMNS {
        if let Some(figures) = Figures::of(ours, column) {
            cell.insert(key.to_owned(), json!(hundredths(figures.mean)));
            cell.insert(format!("{key}_deviation"), json!(hundredths(figures.deviation)));
        }
        if let Some(figures) = Figures::of(theirs, column) {
            cell.insert(format!("{key}_published"), json!(hundredths(figures.mean)));
        }
    }
    Value::Object(cell)
}

fn hundredths(percent: f64) -> f64 {
    (percent * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openb::{sample, sample_folder};

    #[test]
    fn every_mix_and_policy_has_its_keys() {
        let trace = sample();
        let table = Table::run(&trace, &[42, 43], 1);
        let published = Published::read(&sample_folder()).unwrap();
        let json = table.to_json(&published);
        for mix in &table.mixes {
            for policy in PolicyName::ALL {
                let cell = &json["mixes"][mix][policy.to_string()];
                assert!(cell["alloc_100"].is_f64() && cell["alloc_130"].is_f64(), "{mix} {policy}: {cell}");
            }
        }
        assert!(json["mixes"]["default"]["FGD"]["alloc_100_published"].is_f64());
        let text = table.to_text(&published);
        assert_eq!(text.lines().filter(|line| line.starts_with("gpuspec20")).count(), PolicyName::ALL.len());
        assert!(text.contains("95.10 (95.06 - 95.14)"), "{text}");
    }
}
