//! What the demo found: the figures, for people and as JSON, and whether it went well.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::{
    jobs::Submitted,
    keeper::{JobRow, Status},
    money::{fri, strk},
};
use crate::failure::failure;

/// The figures. Amounts in fri are text: they pass 2^53, beyond which readers of JSON lose digits.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    jobs_submitted: usize,
    jobs_settled: usize,
    allocations: u64,
    rounds: u64,
    submit_to_allocated_ms: Percentiles,
    escrow_in_fri: String,
    paid_fri: String,
    refunded_fri: String,
    held_fri: String,
    owed_fri: String,
    l2_gas_per_allocation: Option<u64>,
    wall_s: f64,
}

/// Null where nothing was measured.
#[derive(Debug, Default, Serialize, PartialEq, Eq)]
struct Percentiles {
    p50: Option<u64>,
    p95: Option<u64>,
}

impl Report {
    pub(super) fn new(
        status: &Status,
        jobs: &BTreeMap<u64, Submitted>,
        rows: &BTreeMap<u64, JobRow>,
        wall: Duration,
    ) -> Result<Self> {
        let allocated = status.allocated_at_ms();
        let waits = jobs
            .iter()
            .filter_map(|(job_id, job)| Some(allocated.get(job_id)?.saturating_sub(job.submitted_at_ms)))
            .collect();
        let money = &status.money;
        for amount in [&money.escrow_in_fri, &money.paid_fri, &money.refunded_fri, &money.held_fri, &money.owed_fri] {
            fri(amount).context("reading the keeper's books")?;
        }
        Ok(Self {
            jobs_submitted: jobs.len(),
            jobs_settled: rows.values().filter(|row| row.is_settled()).count(),
            allocations: status.allocations,
            rounds: status.rounds,
            submit_to_allocated_ms: Percentiles::of(waits),
            escrow_in_fri: money.escrow_in_fri.clone(),
            paid_fri: money.paid_fri.clone(),
            refunded_fri: money.refunded_fri.clone(),
            held_fri: money.held_fri.clone(),
            owed_fri: money.owed_fri.clone(),
            l2_gas_per_allocation: status.l2_gas_per_allocation,
            wall_s: (wall.as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    pub(super) fn json(&self) -> Result<String> {
        let mut text = serde_json::to_string_pretty(self).context("writing the figures as JSON")?;
        text.push('\n');
        Ok(text)
    }

    pub(super) fn table(&self) -> String {
        let number = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let Percentiles { p50, p95 } = self.submit_to_allocated_ms;
        let rows = [
            ("jobs settled", format!("{} of {}", self.jobs_settled, self.jobs_submitted)),
            ("allocations", format!("{} in {} rounds", self.allocations, self.rounds)),
            ("submitted to allocated", format!("p50 {} ms, p95 {} ms", number(p50), number(p95))),
            ("L2 gas per allocation", number(self.l2_gas_per_allocation)),
            ("escrow in", format!("{} STRK", strk(&self.escrow_in_fri))),
            ("  paid", format!("{} STRK", strk(&self.paid_fri))),
            ("  refunded", format!("{} STRK", strk(&self.refunded_fri))),
            ("  held", format!("{} STRK", strk(&self.held_fri))),
            ("not taken out", format!("{} STRK", strk(&self.owed_fri))),
            ("time", format!("{} s", self.wall_s)),
        ];
        rows.iter().fold("\n".to_owned(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name:<24}{value}");
            text
        })
    }

    /// Fails unless every job settled and no fri is unaccounted for.
    pub(super) fn verdict(&self) -> Result<()> {
        if self.jobs_settled != self.jobs_submitted {
            return Err(failure(
                format!("{} of {} jobs settled", self.jobs_settled, self.jobs_submitted),
                "`keeper job explain` says why a job waits; the logs say what the workers did",
            ));
        }
        let spent = [&self.paid_fri, &self.refunded_fri, &self.held_fri];
        let mut sum: u128 = 0;
        for amount in spent {
            sum = sum.checked_add(fri(amount)?).context("the amounts add up to more than there is")?;
        }
        if sum != fri(&self.escrow_in_fri)? {
            return Err(failure(
                format!("{} fri went into escrow, but paid, refunded and held add up to {sum}", self.escrow_in_fri),
                "this breaks the first invariant in ARCHITECTURE.md: please report it with the run's folder",
            ));
        }
        if fri(&self.owed_fri)? != 0 {
            return Err(failure(
                format!("{} fri are paid or refunded, but not taken out", self.owed_fri),
                "the keeper pays its workers' owners, `keeper account withdraw` anybody",
            ));
        }
        Ok(())
    }
}

impl Percentiles {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        Self { p50: percentile(&values, 50), p95: percentile(&values, 95) }
    }
}

/// The smallest value that at least `percent` of the sorted values do not exceed.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.checked_sub(1)?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            jobs_submitted: 2,
            jobs_settled: 2,
            allocations: 2,
            rounds: 1,
            submit_to_allocated_ms: Percentiles { p50: Some(900), p95: Some(1_200) },
            escrow_in_fri: "2000000000000000000".to_owned(),
            paid_fri: "300000000000000000".to_owned(),
            refunded_fri: "1700000000000000000".to_owned(),
            held_fri: "0".to_owned(),
            owed_fri: "0".to_owned(),
            l2_gas_per_allocation: Some(310_000),
            wall_s: 12.5,
        }
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u64> = (1..=20).collect();
        assert_eq!((percentile(&values, 50), percentile(&values, 95)), (Some(10), Some(19)));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 95)), (Some(7), Some(7)));
        assert_eq!(Percentiles::of(Vec::new()), Percentiles::default());
        assert_eq!(Percentiles::of(vec![30, 10, 20]), Percentiles { p50: Some(20), p95: Some(30) });
    }

    #[test]
    fn it_went_well_where_all_settled_and_the_money_adds_up() {
        report().verdict().unwrap();
        let unsettled = Report { jobs_settled: 1, ..report() };
        assert_eq!(unsettled.verdict().unwrap_err().to_string(), "1 of 2 jobs settled");
        let short = Report { held_fri: "1".to_owned(), ..report() };
        assert!(short.verdict().unwrap_err().to_string().contains("add up to 2000000000000000001"));
        let owing = Report { owed_fri: "5".to_owned(), ..report() };
        assert!(owing.verdict().unwrap_err().to_string().contains("5 fri are paid or refunded, but not taken out"));
    }

    #[test]
    fn amounts_are_text_in_json() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(json["escrow_in_fri"], "2000000000000000000");
        assert_eq!(json["submit_to_allocated_ms"]["p95"], 1_200);
        assert_eq!(json["wall_s"], 12.5);
    }

    #[test]
    fn the_table_shows_strk() {
        let table = report().table();
        assert!(table.contains("jobs settled            2 of 2\n") && table.contains("1.700000 STRK"), "{table}");
    }
}
