//! What came of it, in numbers.

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};

/// What is told of what went wrong, at most.
const MOST_TOLD: usize = 12;
/// Of a thousand requests, so many must be answered right.
const GOODPUT: u64 = 990;

/// One fault's figures.
#[derive(Clone, Debug)]
pub(super) struct Row {
    name: &'static str,
    /// Spoilt answers.
    pub(super) faults: u64,
    /// Jobs that were submitted.
    pub(super) jobs: u64,
    /// What was asked of the connection.
    pub(super) asked: u64,
    /// How much of that was answered, and right.
    pub(super) right: u64,
    /// Answers that were wrong.
    pub(super) wrong: u64,
    /// Jobs or events that are missing.
    pub(super) lost: u64,
    /// Jobs or events that are there twice, or that there never were.
    pub(super) doubled: u64,
    /// Accounts that cannot send any more once all endpoints are honest.
    pub(super) stuck: u64,
    /// How long what was asked took where an answer was spoilt meanwhile.
    pub(super) recoveries: Vec<Duration>,
    told: Vec<String>,
}

impl Row {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            faults: 0,
            jobs: 0,
            asked: 0,
            right: 0,
            wrong: 0,
            lost: 0,
            doubled: 0,
            stuck: 0,
            recoveries: Vec::new(),
            told: Vec::new(),
        }
    }

    /// Says what went wrong.
    pub(super) fn tell(&mut self, what: impl Into<String>) {
        if self.told.len() < MOST_TOLD {
            self.told.push(what.into());
        }
    }
}

/// The figures of all faults.
#[derive(Debug)]
pub(super) struct Figures {
    seed: u64,
    sabotage: bool,
    pub(super) panics: u64,
    rows: Vec<Row>,
}

impl Figures {
    pub(super) fn new(seed: u64, sabotage: bool) -> Self {
        Self { seed, sabotage, panics: 0, rows: Vec::new() }
    }

    pub(super) fn add(&mut self, row: Row) {
        println!("{}", line(&row));
        for what in &row.told {
            println!("    {what}");
        }
        self.rows.push(row);
    }

    fn sum(&self, of: impl Fn(&Row) -> u64) -> u64 {
        self.rows.iter().map(of).sum()
    }

    /// Wrong effects, of whatever kind.
    pub(super) fn harm(&self) -> u64 {
        self.sum(|row| row.wrong + row.lost + row.doubled + row.stuck)
    }

    /// Of a thousand.
    fn goodput(&self) -> u64 {
        self.sum(|row| row.right) * 1_000 / self.sum(|row| row.asked).max(1)
    }

    pub(super) fn is_clean(&self) -> bool {
        self.harm() == 0 && self.panics == 0 && self.goodput() >= GOODPUT
    }

    fn recovery(&self, percent: usize) -> u64 {
        let mut times: Vec<Duration> = self.rows.iter().flat_map(|row| row.recoveries.clone()).collect();
        percentile(&mut times, percent)
    }

    pub(super) fn told(&self) -> String {
        let mut told = String::new();
        let (asked, right) = (self.sum(|row| row.asked), self.sum(|row| row.right));
        let lines = [
            ("spoilt answers", self.sum(|row| row.faults).to_string()),
            ("jobs submitted", self.sum(|row| row.jobs).to_string()),
            (
                "asked, answered right",
                format!("{asked}, {right} ({:.2} %)", right as f64 * 100.0 / asked.max(1) as f64),
            ),
            ("wrong answers", self.sum(|row| row.wrong).to_string()),
            ("lost", self.sum(|row| row.lost).to_string()),
            ("doubled", self.sum(|row| row.doubled).to_string()),
            ("stuck", self.sum(|row| row.stuck).to_string()),
            ("panics", self.panics.to_string()),
            ("took, with a fault, p50 and p99", format!("{} ms, {} ms", self.recovery(50), self.recovery(99))),
        ];
        for (what, count) in lines {
            writeln!(told, "{what:<34} {count}").ok();
        }
        told
    }

    pub(super) fn json(&self) -> Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "fault": row.name, "faults": row.faults, "jobs": row.jobs, "asked": row.asked, "right": row.right,
                "wrong": row.wrong, "lost": row.lost, "doubled": row.doubled, "stuck": row.stuck,
            })
        });
        json!({
            "jobs": self.sum(|row| row.jobs),
            "faults": self.sum(|row| row.faults),
            "lost": self.sum(|row| row.lost),
            "doubled": self.sum(|row| row.doubled),
            "stuck": self.sum(|row| row.stuck),
            "wrong": self.sum(|row| row.wrong),
            "panics": self.panics,
            "asked": self.sum(|row| row.asked),
            "right": self.sum(|row| row.right),
            "goodput_per_mille": self.goodput(),
            "recovery_ms": { "p50": self.recovery(50), "p99": self.recovery(99) },
            "seed": self.seed,
            "sabotage": self.sabotage,
            "rows": rows.collect::<Vec<_>>(),
        })
    }
}

fn line(row: &Row) -> String {
    let mut times = row.recoveries.clone();
    format!(
        "{:<18} {:>4} spoilt  {:>5} of {:>5} right  {} wrong  {} lost  {} doubled  {} stuck  p99 {} ms",
        row.name,
        row.faults,
        row.right,
        row.asked,
        row.wrong,
        row.lost,
        row.doubled,
        row.stuck,
        percentile(&mut times, 99)
    )
}

fn percentile(times: &mut [Duration], percent: usize) -> u64 {
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).map_or(0, |time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
