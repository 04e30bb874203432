//! How workers are chosen, by how uneven they are.

use serde::{Deserialize, Serialize};

use super::{config::LoadBalancingStrategy, load::WorkerLoad};
use crate::score::share;

/// When [`LoadBalancingStrategy::Adaptive`] changes its mind, in basis points.
///
/// Before every choice the imbalance of the available workers is measured. Where loads lie apart by `load_enter_bps` or
/// more, the least loaded worker is chosen, until they lie apart by `load_leave_bps` or less. Otherwise, where response
/// times differ by `response_enter_bps` or more, they decide, until they differ by `response_leave_bps` or less.
/// Otherwise workers are alike, and take turns. Between two thresholds everything stays as it is, so that a measure
/// that trembles around one of them does not switch to and fro.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveRule {
    /// [`Imbalance::load_bps`] from which on loads decide; at most 10,000.
    pub load_enter_bps: u16,
    /// [`Imbalance::load_bps`] at which they no longer do; below `load_enter_bps`.
    pub load_leave_bps: u16,
    /// [`Imbalance::response_bps`] from which on response times decide; at most 10,000.
    pub response_enter_bps: u16,
    /// [`Imbalance::response_bps`] at which they no longer do; below `response_enter_bps`.
    pub response_leave_bps: u16,
}

impl Default for AdaptiveRule {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl AdaptiveRule {
    /// Loads decide when one worker is half full and another empty; response times when one worker is twice as quick as
    /// another.
    pub const DEFAULT: Self =
        Self { load_enter_bps: 5_000, load_leave_bps: 2_000, response_enter_bps: 5_000, response_leave_bps: 2_500 };

    /// The mode that follows `mode` where the imbalance is this.
    pub fn next(&self, mode: AdaptiveMode, imbalance: Imbalance) -> AdaptiveMode {
        let decides = |own, measure, enter, leave| measure >= enter || (mode == own && measure > leave);
        if decides(AdaptiveMode::Loads, imbalance.load_bps, self.load_enter_bps, self.load_leave_bps) {
            AdaptiveMode::Loads
        } else if decides(
            AdaptiveMode::Responses,
            imbalance.response_bps,
            self.response_enter_bps,
            self.response_leave_bps,
        ) {
            AdaptiveMode::Responses
        } else {
            AdaptiveMode::Turns
        }
    }
}

/// What the adaptive strategy goes by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdaptiveMode {
    /// Workers are alike: [`LoadBalancingStrategy::RoundRobin`].
    #[default]
    Turns,
    /// Loads lie apart: [`LoadBalancingStrategy::LeastLoaded`].
    Loads,
    /// Response times do: [`LoadBalancingStrategy::WeightedResponse`].
    Responses,
}

impl AdaptiveMode {
    /// The strategy that chooses in this mode.
    pub fn strategy(self) -> LoadBalancingStrategy {
        match self {
            Self::Turns => LoadBalancingStrategy::RoundRobin,
            Self::Loads => LoadBalancingStrategy::LeastLoaded,
            Self::Responses => LoadBalancingStrategy::WeightedResponse,
        }
    }
}

/// How uneven the available workers are, in basis points; nothing where there are fewer than two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imbalance {
    /// The largest share in use less the smallest.
    pub load_bps: u16,
    /// How far the shortest mean response time is below the longest, as a share of the longest. Workers without a
    /// measurement are left out.
    pub response_bps: u16,
}

impl Imbalance {
    /// The imbalance of these workers, of which only the available ones count.
    pub fn of<'a>(loads: impl IntoIterator<Item = &'a WorkerLoad>) -> Self {
        let mut shares: Option<(u16, u16)> = None;
        let mut responses: Option<(u64, u64)> = None;
        for load in loads.into_iter().filter(|load| load.is_available) {
            shares = Some(widened(shares, load.share().bps()));
            if let Some(mean_us) = load.response.mean_us() {
                responses = Some(widened(responses, mean_us));
            }
        }
        Self {
            load_bps: shares.map_or(0, |(least, most)| most - least),
            response_bps: responses.map_or(0, |(shortest, longest)| share(longest - shortest, longest)),
        }
    }
}

/// The range, so widened that the value lies in it.
fn widened<T: Ord + Copy>(range: Option<(T, T)>, value: T) -> (T, T) {
    range.map_or((value, value), |(least, most)| (least.min(value), most.max(value)))
}
