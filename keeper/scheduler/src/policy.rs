//! What a plan prefers. Weights and limits, never code: a policy can be announced, hashed and compared.

use std::{collections::BTreeMap, fmt};

use keeper_types::{Address, MAX_ITEMS_PER_BATCH};
use serde::{Deserialize, Serialize};

use crate::{
    balancing::{AdaptiveRule, BalancingConfig, BalancingConfigError, LoadBalancingStrategy},
    geography::{GeographyError, RegionLatencies},
    queueing::{MAX_PRIORITY, Overflow, QueueConfig, QueueConfigError, resolve},
};

/// All of something, in basis points.
pub const FULL_BPS: u16 = 10_000;

/// How jobs are ordered and workers scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// What counts how much in a worker's score.
    pub weights: Weights,
    /// Items that one plan holds at most, 1 to 500 (what the contract takes in a batch).
    pub max_items: usize,
    /// In which order jobs are taken.
    pub ordering: Ordering,
    /// Seconds of waiting that are worth one level of priority under [`Ordering::Priority`]; 0 turns aging off.
    pub aging_interval_s: u32,
    /// Seconds of waiting at which the score's age term is full; at least 1.
    pub age_full_s: u64,
    /// The market's queues.
    pub queues: QueueRules,
    /// What clients count in fair sharing; who is not listed counts 1.
    pub client_weights: BTreeMap<Address, u32>,
    /// Jobs that do not fit for which a worker is kept, at most 64; 0 keeps none, so that small jobs may starve large
    /// ones.
    pub reservations: u8,
    /// The wait before a job's second attempt, in seconds; it doubles with every further one.
    pub retry_base_s: u32,
    /// The longest wait before another attempt, in seconds.
    pub retry_max_s: u32,
    /// The least priority of a job in the high queue that goes before all others that are not overdue, 1 to 10; 11 for
    /// none, which is the default: clients choose priority and queue and pay nothing for them.
    pub emergency_priority: u8,
    /// How a round's jobs are put on workers.
    pub assignment: Assignment,
    /// By which rule a worker is chosen among those that a job fits.
    pub balancing: Balancing,
    /// When [`Balancing::Adaptive`] changes its mind; the others do not look at it.
    pub adaptive: AdaptiveRule,
    /// How long after it was queued, in seconds, a job waits for a worker that is connected and busy and that it prefers to
    /// those that have room; 0 has it make do with these at once.
    pub preference_wait_s: u32,
    /// How far regions are from each other, for jobs that prefer to be near one.
    pub geography: RegionLatencies,
}

/// In which order jobs are taken. Ties go to the earlier submission, then to the lower id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Ordering {
    /// Short jobs first, tenants kept even, nobody for ever behind: [`Balanced`](crate::queueing::Balanced).
    #[default]
    Balanced = 0,
    /// As they were submitted.
    Fifo = 1,
    /// The high queue, the default one, the low one; in each by priority, which rises with waiting.
    Priority = 2,
    /// The client first that has used the least GPU time for its weight.
    FairShare = 3,
    /// The earliest deadline first.
    EarliestDeadline = 4,
}

/// How a round's jobs are put on workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Assignment {
    /// Each job in its turn to the worker with the highest score.
    #[default]
    Greedy = 0,
    /// The jobs that find room are assigned once more together, those on as many GPUs at a time, so that the sum of
    /// their scores is the highest there is.
    Exact = 1,
}

/// By which rule a worker is chosen among those that a job fits: that have room now, miss least of what the job prefers,
/// and are static where any of them is.
///
/// All that a rule goes by is in the snapshot, so that everybody makes the same choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Balancing {
    /// The highest score, the lowest id on a tie.
    #[default]
    Score = 0,
    /// In turn, by id, on from the worker that was given a job last.
    RoundRobin = 1,
    /// The fewest jobs.
    LeastConnections = 2,
    /// The smallest share of slots or of GPUs in use, whichever of the two is larger on the worker.
    LeastLoaded = 3,
    /// The least round trip to the agent multiplied by the jobs that would run on the worker.
    WeightedResponse = 4,
    /// One of round robin, least loaded and weighted response, by how uneven the workers are.
    Adaptive = 5,
    /// The lowest id.
    FirstAvailable = 6,
    /// By lot, drawn from the snapshot's seed.
    Random = 7,
    /// The smallest worker that is enough: the fewest free GPUs, then the fewest GPUs, the least GPU memory, compute
    /// capability, memory, CPU cores, features and free slots, each only where those before are equal.
    BestFit = 8,
}

impl Balancing {
    /// Every rule.
    pub const ALL: [Self; 9] = [
        Self::Score,
        Self::RoundRobin,
        Self::LeastConnections,
        Self::LeastLoaded,
        Self::WeightedResponse,
        Self::Adaptive,
        Self::FirstAvailable,
        Self::Random,
        Self::BestFit,
    ];

    /// The name in configurations and explanations.
    pub fn name(self) -> &'static str {
        self.strategy().map_or("score", LoadBalancingStrategy::name)
    }

    /// What a [`LoadBalancer`](crate::balancing::LoadBalancer) does under this rule; none where scores decide.
    pub fn strategy(self) -> Option<LoadBalancingStrategy> {
        match self {
            Self::Score => None,
            Self::RoundRobin => Some(LoadBalancingStrategy::RoundRobin),
            Self::LeastConnections => Some(LoadBalancingStrategy::LeastConnections),
            Self::LeastLoaded => Some(LoadBalancingStrategy::LeastLoaded),
            Self::WeightedResponse => Some(LoadBalancingStrategy::WeightedResponse),
            Self::Adaptive => Some(LoadBalancingStrategy::Adaptive),
            Self::FirstAvailable => Some(LoadBalancingStrategy::FirstAvailable),
            Self::Random => Some(LoadBalancingStrategy::Random),
            Self::BestFit => Some(LoadBalancingStrategy::BestFit),
        }
    }

    /// Whether it may count how long a worker's agent takes to answer.
    pub fn goes_by_response(self) -> bool {
        matches!(self, Self::WeightedResponse | Self::Adaptive)
    }

    /// Whether workers may take turns, so that it counts who was given a job last.
    pub fn takes_turns(self) -> bool {
        matches!(self, Self::RoundRobin | Self::Adaptive)
    }
}

impl fmt::Display for Balancing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What each of the market's queues is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueueRules {
    /// The ordinary queue.
    pub default: QueueRule,
    /// The urgent one.
    pub high: QueueRule,
    /// The one for jobs that can wait.
    pub low: QueueRule,
}

/// One queue. A keeper cannot refuse what the chain has taken: a job that finds its queue full is not considered while
/// it is, and says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueRule {
    /// What its jobs count beside those of other queues; at least 1.
    pub weight: u32,
    /// The longest that a job should wait, in seconds: it falls due that long after its client's own share of the
    /// market would have served it.
    pub max_wait_s: u32,
    /// Jobs that are considered at most; at least 1.
    pub max_jobs: u32,
    /// What happens to a job that finds it full.
    pub overflow: OverflowRule,
}

/// What happens to a job that finds its queue full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum OverflowRule {
    /// It waits outside.
    Hold = 0,
    /// It goes to the default queue.
    SpillToDefault = 1,
    /// It goes to the low queue.
    SpillToLow = 2,
    /// The queue's job with the lowest priority goes out, the latest of them; where none is lower, the new one.
    ShedLowest = 3,
}

impl QueueRules {
    const MARKET: Self = Self {
        default: QueueRule { weight: 4, max_wait_s: 3_600, max_jobs: 1_000_000, overflow: OverflowRule::SpillToLow },
        high: QueueRule { weight: 16, max_wait_s: 300, max_jobs: 1_000_000, overflow: OverflowRule::SpillToDefault },
        low: QueueRule { weight: 1, max_wait_s: 86_400, max_jobs: 1_000_000, overflow: OverflowRule::ShedLowest },
    };

    /// The queues by their numbers on chain.
    pub fn configs(&self) -> Vec<QueueConfig> {
        let named = [("default", self.default), ("high", self.high), ("low", self.low)];
        named.into_iter().map(|(name, rule)| rule.config(name)).collect()
    }
}

impl Default for QueueRules {
    fn default() -> Self {
        Self::MARKET
    }
}

impl QueueRule {
    fn config(self, name: &str) -> QueueConfig {
        let overflow = match self.overflow {
            OverflowRule::Hold => Overflow::Reject,
            OverflowRule::SpillToDefault => Overflow::Spill { to: "default".to_owned() },
            OverflowRule::SpillToLow => Overflow::Spill { to: "low".to_owned() },
            OverflowRule::ShedLowest => Overflow::ShedLowest,
        };
        let Self { weight, max_wait_s, max_jobs, .. } = self;
        QueueConfig { name: name.to_owned(), weight, max_jobs, max_wait_s, overflow }
    }
}

impl Policy {
    /// The default: fit and reputation first, then price, then load; short jobs first and clients kept even.
    pub const BALANCED: Self = Self {
        weights: Weights { fit: 2_500, load: 1_500, reputation: 2_500, price: 2_000, fragmentation: 1_000, age: 500 },
        max_items: MAX_ITEMS_PER_BATCH,
        ordering: Ordering::Balanced,
        aging_interval_s: 300,
        age_full_s: 3_600,
        queues: QueueRules::MARKET,
        client_weights: BTreeMap::new(),
        reservations: 16,
        retry_base_s: 4,
        retry_max_s: 600,
        emergency_priority: MAX_PRIORITY + 1,
        assignment: Assignment::Greedy,
        balancing: Balancing::Score,
        adaptive: AdaptiveRule::DEFAULT,
        preference_wait_s: 0,
        geography: RegionLatencies::NONE,
    };

    /// Checks that the policy can be planned with.
    ///
    /// # Errors
    /// Names the first setting that makes no sense, and what it may be.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let sum = self.weights.sum();
        if sum != u32::from(FULL_BPS) {
            return Err(PolicyError::Weights { sum });
        }
        if self.max_items == 0 || self.max_items > MAX_ITEMS_PER_BATCH {
            return Err(PolicyError::MaxItems { max_items: self.max_items });
        }
        if self.age_full_s == 0 {
            return Err(PolicyError::AgeFull);
        }
        resolve(&self.queues.configs())?;
        if let Some(config) = self.balancing_config() {
            config.validate()?;
            if self.assignment == Assignment::Exact {
                return Err(PolicyError::BalancedExactly { balancing: self.balancing });
            }
        }
        self.geography.validate()?;
        let limits = [
            ("reservations", u32::from(self.reservations), 0, 64),
            ("emergency_priority", u32::from(self.emergency_priority), 1, u32::from(MAX_PRIORITY) + 1),
            ("retry_max_s", self.retry_max_s, self.retry_base_s, u32::MAX),
        ];
        if let Some((field, value, min, max)) =
            limits.into_iter().find(|(_, value, min, max)| value < min || value > max)
        {
            return Err(PolicyError::Range { field, value, min, max });
        }
        match self.client_weights.iter().find(|(_, weight)| **weight == 0) {
            Some((client, _)) => Err(PolicyError::ClientWeight { client: *client }),
            None => Ok(()),
        }
    }

    /// How workers are chosen where scores do not decide.
    pub(crate) fn balancing_config(&self) -> Option<BalancingConfig> {
        self.balancing.strategy().map(|strategy| BalancingConfig { strategy, adaptive: self.adaptive })
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::BALANCED
    }
}

/// What each term of a score counts, in basis points; together 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// How closely what the worker has matches what the job needs: a tight fit leaves larger workers to larger
    /// jobs.
    pub fit: u16,
    /// How many of the worker's slots are free: spreads jobs.
    pub load: u16,
    /// The worker's reputation.
    pub reputation: u16,
    /// How far the worker asks less than the job pays at most.
    pub price: u16,
    /// How few of the worker's GPUs are left over: fills workers that are begun, and strands no GPU behind a
    /// last slot.
    pub fragmentation: u16,
    /// How long the job has waited: the same for every worker, so that it marks the score and does not choose.
    pub age: u16,
}

impl Weights {
    /// The terms' names with their weights, in the order in which they are shown.
    pub fn named(&self) -> [(&'static str, u16); 6] {
        [
            ("fit", self.fit),
            ("load", self.load),
            ("reputation", self.reputation),
            ("price", self.price),
            ("fragmentation", self.fragmentation),
            ("age", self.age),
        ]
    }

    fn sum(&self) -> u32 {
        self.named().into_iter().map(|(_, weight)| u32::from(weight)).sum()
    }
}

/// A policy makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// The weights do not add up.
    #[error("the policy's weights add up to {sum} basis points, not 10000")]
    Weights {
        /// What they add up to.
        sum: u32,
    },
    /// No batch, or more than the contract takes.
    #[error("max_items is {max_items}, but a batch holds 1 to {MAX_ITEMS_PER_BATCH}")]
    MaxItems {
        /// What was asked for.
        max_items: usize,
    },
    /// An age term that is full from the start says nothing.
    #[error("age_full_s must be at least 1 second")]
    AgeFull,
    /// Thresholds make no sense.
    #[error("policy.{0}")]
    Adaptive(#[from] BalancingConfigError),
    /// Latencies between regions make no sense.
    #[error("policy.geography.{0}")]
    Geography(#[from] GeographyError),
    /// Two settings that both say where a job goes.
    #[error(
        "policy.assignment is exact, which gives jobs to workers by their scores, and policy.balancing is {balancing}, \
         which does not go by scores; leave out one of them"
    )]
    BalancedExactly {
        /// The rule.
        balancing: Balancing,
    },
    /// The queues make no sense.
    #[error("policy.queues: {0}")]
    Queues(#[from] QueueConfigError),
    /// A number is out of its bounds.
    #[error("policy.{field} is {value}, but must be {min} to {max}")]
    Range {
        /// The setting.
        field: &'static str,
        /// What it is.
        value: u32,
        /// The least that it may be.
        min: u32,
        /// The most that it may be.
        max: u32,
    },
    /// A client that counts nothing would never be served.
    #[error("policy.client_weights: client {client} has a weight of 0, but it must be at least 1")]
    ClientWeight {
        /// The client.
        client: Address,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid() {
        Policy::default().validate().unwrap();
        assert_eq!(Policy::default(), Policy::BALANCED);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let mut policy = Policy::BALANCED;
        policy.weights.fit += 1;
        assert_eq!(
            policy.validate().unwrap_err().to_string(),
            "the policy's weights add up to 10001 basis points, not 10000"
        );
        for max_items in [0, MAX_ITEMS_PER_BATCH + 1] {
            let error = Policy { max_items, ..Policy::BALANCED }.validate().unwrap_err();
            assert_eq!(error, PolicyError::MaxItems { max_items });
        }
        assert_eq!(Policy { age_full_s: 0, ..Policy::BALANCED }.validate(), Err(PolicyError::AgeFull));
    }

    #[test]
    fn settings_that_are_left_out_are_the_defaults_and_unknown_ones_are_refused() {
        let policy: Policy = serde_json::from_str(r#"{ "max_items": 7 }"#).unwrap();
        assert_eq!(policy, Policy { max_items: 7, ..Policy::BALANCED });
        assert!(serde_json::from_str::<Policy>(r#"{ "max_item": 7 }"#).is_err());
        let partial_weights = r#"{ "weights": { "fit": 10000 } }"#;
        assert!(serde_json::from_str::<Policy>(partial_weights).is_err(), "weights are given together or not at all");
    }

    #[test]
    fn numbers_out_of_bounds_are_named() {
        let refused = |change: fn(&mut Policy)| {
            let mut policy = Policy::BALANCED;
            change(&mut policy);
            policy.validate().unwrap_err().to_string()
        };
        assert_eq!(refused(|policy| policy.reservations = 65), "policy.reservations is 65, but must be 0 to 64");
        assert_eq!(
            refused(|policy| policy.emergency_priority = 0),
            "policy.emergency_priority is 0, but must be 1 to 11"
        );
        assert_eq!(refused(|policy| policy.retry_max_s = 1), "policy.retry_max_s is 1, but must be 4 to 4294967295");
        assert_eq!(
            refused(|policy| policy.queues.low.weight = 0),
            "policy.queues: queue `low`: weight and max_jobs must be at least 1"
        );
        assert_eq!(
            refused(|policy| policy.queues.low.overflow = OverflowRule::SpillToDefault),
            "policy.queues: queue `default` spills back to itself"
        );
        assert_eq!(
            refused(|policy| (policy.balancing, policy.assignment) = (Balancing::Random, Assignment::Exact)),
            "policy.assignment is exact, which gives jobs to workers by their scores, and policy.balancing is random, \
             which does not go by scores; leave out one of them"
        );
        assert_eq!(
            refused(|policy| {
                policy.balancing = Balancing::Adaptive;
                policy.adaptive.load_leave_bps = 5_000;
            }),
            "policy.adaptive: load_leave_bps is 5000 and load_enter_bps 5000, but the first must be below the second \
             and the second at most 10000"
        );
        let pair = |from: &str, to: &str| {
            let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
            crate::geography::RegionLatency { from, to, latency_ms: 90 }
        };
        let twice = vec![pair("eu-w1", "us-e1"), pair("us-e1", "eu-w1"), pair("eu-w1", "us-e1")];
        let refused_with = |latencies| {
            let geography = RegionLatencies { latencies, ..RegionLatencies::NONE };
            Policy { geography, ..Policy::BALANCED }.validate().unwrap_err().to_string()
        };
        assert_eq!(refused_with(twice), "policy.geography.latencies: the pair from eu-w1 to us-e1 is given twice");
        let many = vec![pair("eu-w1", "us-e1"); 257];
        assert_eq!(refused_with(many), "policy.geography.latencies: 257 are given, but at most 256 can be");
        let client = Address(keeper_types::Felt::TWO);
        let nobody = Policy { client_weights: [(client, 0)].into(), ..Policy::BALANCED };
        assert_eq!(nobody.validate(), Err(PolicyError::ClientWeight { client }));
    }

    #[test]
    fn rules_are_set_by_their_names() {
        for balancing in Balancing::ALL {
            let policy: Policy = serde_json::from_str(&format!(r#"{{ "balancing": "{balancing}" }}"#)).unwrap();
            assert_eq!(policy, Policy { balancing, ..Policy::BALANCED });
            policy.validate().unwrap();
            assert_eq!(serde_json::to_value(balancing).unwrap(), balancing.name());
        }
        let unknown = serde_json::from_str::<Policy>(r#"{ "balancing": "fastest" }"#).unwrap_err().to_string();
        assert!(unknown.contains("round_robin") && unknown.contains("fastest"), "{unknown}");
    }

    #[test]
    fn the_markets_queues_are_the_usual_ones() {
        assert_eq!(QueueRules::default().configs(), QueueConfig::market());
    }
}
