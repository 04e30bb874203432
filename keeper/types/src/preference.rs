//! What a job would like and can do without.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Rate, Region};

/// A preference. The order is that in which fallback drops them: the first costs the least to do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Preference {
    /// The worker holds the job's model already: without, the job starts later, by one download.
    Warmth,
    /// The worker stands in the preferred region.
    Region,
    /// The worker is within the preferred latency.
    Latency,
    /// The worker asks no more than the preferred rate.
    Rate,
    /// The worker has the preferred reputation: without, the job is more likely to fail.
    Reputation,
}

impl Preference {
    /// Every preference, in the order in which they are dropped.
    pub const RELAXATION_ORDER: [Self; 5] = [Self::Warmth, Self::Region, Self::Latency, Self::Rate, Self::Reputation];

    /// Its name, as manifests and explanations write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Warmth => "warmth",
            Self::Region => "region",
            Self::Latency => "latency",
            Self::Rate => "rate",
            Self::Reputation => "reputation",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Preference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A set of preferences, written as a list.
///
/// Sets compare by what they weigh: one that holds the preference that is dropped last is above every one that does
/// not, and so on down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "Vec<Preference>", into = "Vec<Preference>")]
pub struct PreferenceSet(u8);

impl PreferenceSet {
    /// No preference.
    pub const NONE: Self = Self(0);

    /// Whether the preference is among them.
    pub fn contains(self, preference: Preference) -> bool {
        self.0 & preference.bit() != 0
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those that are not in the other set.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The preferences, in the order in which they are dropped.
    pub fn iter(self) -> impl Iterator<Item = Preference> {
        Preference::RELAXATION_ORDER.into_iter().filter(move |preference| self.contains(*preference))
    }
}

impl FromIterator<Preference> for PreferenceSet {
    fn from_iter<I: IntoIterator<Item = Preference>>(preferences: I) -> Self {
        Self(preferences.into_iter().fold(0, |bits, preference| bits | preference.bit()))
    }
}

impl From<Vec<Preference>> for PreferenceSet {
    fn from(preferences: Vec<Preference>) -> Self {
        preferences.into_iter().collect()
    }
}

impl From<PreferenceSet> for Vec<Preference> {
    fn from(set: PreferenceSet) -> Self {
        set.iter().collect()
    }
}

/// What a job prefers; what is left out it does not care about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Preferences {
    /// A worker that holds the job's model.
    pub warm_model: bool,
    /// A worker in this region.
    pub region: Option<Region>,
    /// A worker within this round trip, in milliseconds.
    pub max_latency_ms: Option<u32>,
    /// A worker that asks no more than this.
    pub max_rate: Option<Rate>,
    /// A worker with at least this reputation, 0 to 1,000.
    pub min_reputation: Option<u16>,
    /// The nearest workers to this region, which is the client's: an order, and nothing that a worker meets or misses. Left
    /// out where it is not said, as before there was such a thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub near: Option<Region>,
}

/// What preferences are judged by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkerFacts {
    /// Whether the worker holds the job's model, or the job uses none.
    pub is_warm: bool,
    /// Where it stands.
    pub region: Option<Region>,
    /// The round trip from the job, in milliseconds.
    pub latency_ms: u32,
    /// What it asks.
    pub rate: Rate,
    /// 0 to 1,000.
    pub reputation: u16,
}

impl Preferences {
    /// The preferences that the job has.
    pub fn wanted(&self) -> PreferenceSet {
        let held = [
            (self.warm_model, Preference::Warmth),
            (self.region.is_some(), Preference::Region),
            (self.max_latency_ms.is_some(), Preference::Latency),
            (self.max_rate.is_some(), Preference::Rate),
            (self.min_reputation.is_some(), Preference::Reputation),
        ];
        held.into_iter().filter(|(is_held, _)| *is_held).map(|(_, preference)| preference).collect()
    }

    /// Those of the job's preferences that a worker meets.
    pub fn met_by(&self, worker: &WorkerFacts) -> PreferenceSet {
        let is_met = |preference| match preference {
            Preference::Warmth => worker.is_warm,
            Preference::Region => self.region == worker.region,
            Preference::Latency => self.max_latency_ms.is_some_and(|most| worker.latency_ms <= most),
            Preference::Rate => self.max_rate.is_some_and(|most| worker.rate <= most),
            Preference::Reputation => self.min_reputation.is_some_and(|least| worker.reputation >= least),
        };
        self.wanted().iter().filter(|preference| is_met(*preference)).collect()
    }
}
