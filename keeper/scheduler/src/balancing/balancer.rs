//! The balancer: loads, response times, whose turn it is, and a choice.

use std::{cmp::Reverse, collections::BTreeMap, num::NonZeroU64};

use keeper_types::{WorkerId, WorkerStatus};
use serde::{Deserialize, Serialize};

use super::{
    adaptive::{AdaptiveMode, Imbalance},
    config::{BalancingConfig, BalancingConfigError, LoadBalancingStrategy},
    load::{ResponseTime, WorkerLoad},
};
use crate::{Snapshot, WorkerView, sharing::SplitMix64};

/// Microseconds in a millisecond.
const MILLISECOND_US: u64 = 1_000;

/// Chooses among the workers that can take a job, and keeps what the choice depends on.
///
/// A choice is a function of this state and of the set of feasible workers: their order does not matter. A worker that
/// leaves takes its response times with it; the cursor of round robin is an id and not a place in a list, so that it
/// stays where it is when workers come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    config: BalancingConfig,
    /// Whom round robin chose last.
    cursor: Option<WorkerId>,
    lots: SplitMix64,
    mode: AdaptiveMode,
    loads: BTreeMap<WorkerId, WorkerLoad>,
}

/// Who gets the job, and by which strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The worker.
    pub worker_id: WorkerId,
    /// What chose it; never [`LoadBalancingStrategy::Adaptive`], but what that went by.
    pub strategy: LoadBalancingStrategy,
}

/// A choice cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BalancingError {
    /// A feasible worker was not among those that the round began with.
    #[error("feasible: worker {worker_id} is not among the round's workers")]
    UnknownWorker {
        /// Which; the lowest id of those.
        worker_id: WorkerId,
    },
}

impl LoadBalancer {
    /// A balancer that knows no workers yet.
    ///
    /// # Errors
    /// Names the first setting that makes no sense.
    pub fn new(config: BalancingConfig) -> Result<Self, BalancingConfigError> {
        config.validate()?;
        Ok(Self {
            config,
            cursor: None,
            lots: SplitMix64::new(0),
            mode: AdaptiveMode::default(),
            loads: BTreeMap::new(),
        })
    }

    /// A balancer that knows what a snapshot says and nothing else, so that everybody who has the snapshot makes the same
    /// choices. Workers' response times are the round trips to their agents, of which one below a millisecond counts as
    /// that; turns go on from whom the snapshot names; and the adaptive strategy begins with turns.
    ///
    /// # Errors
    /// Names the first setting that makes no sense.
    pub fn of_snapshot(config: BalancingConfig, snapshot: &Snapshot) -> Result<Self, BalancingConfigError> {
        let mut balancer = Self { cursor: snapshot.turn, ..Self::new(config)? };
        balancer.begin_round(&snapshot.workers, snapshot.seed);
        for worker in &snapshot.workers {
            let Some(load) = balancer.loads.get_mut(&worker.worker_id) else { continue };
            if let (Some(latency_ms), None) = (worker.agent.latency_ms, load.response.mean_us()) {
                load.response.measure(u64::from(latency_ms.max(1)) * MILLISECOND_US);
            }
        }
        Ok(balancer)
    }

    /// Begins a round: takes over the loads of a snapshot's workers, drops whoever is not among them, and draws lots
    /// from the snapshot's seed. Cursor, response times and mode go on. Of two workers with the same id the first
    /// counts.
    pub fn begin_round(&mut self, workers: &[WorkerView], seed: u64) {
        let mut loads = BTreeMap::new();
        for worker in workers.iter().filter(|worker| worker.status != WorkerStatus::Exited) {
            loads.entry(worker.worker_id).or_insert_with(|| {
                let mut load = self.loads.get(&worker.worker_id).copied().unwrap_or_default();
                load.observe(worker);
                load
            });
        }
        self.loads = loads;
        self.lots = SplitMix64::new(seed);
    }

    /// One of the workers that can take a job; none where there is none, which changes nothing. A worker that is named
    /// twice counts once. The load does not change before [`LoadBalancer::start`].
    ///
    /// # Errors
    /// Names a worker that the round does not have; nothing is changed.
    pub fn choose(&mut self, feasible: &[WorkerId]) -> Result<Option<Choice>, BalancingError> {
        let unknown = feasible.iter().filter(|worker_id| !self.loads.contains_key(worker_id));
        if let Some(&worker_id) = unknown.min() {
            return Err(BalancingError::UnknownWorker { worker_id });
        }
        if feasible.is_empty() {
            return Ok(None);
        }
        let strategy = self.strategy_now();
        let worker_id = match strategy {
            LoadBalancingStrategy::RoundRobin => self.next_in_turn(feasible),
            LoadBalancingStrategy::LeastConnections => self.least(feasible, |load| load.running),
            LoadBalancingStrategy::WeightedResponse => self.quickest(feasible),
            LoadBalancingStrategy::FirstAvailable => feasible.iter().copied().min(),
            LoadBalancingStrategy::Random => self.drawn(feasible),
            LoadBalancingStrategy::BestFit => self.least(feasible, WorkerLoad::tightness),
            // `strategy_now` has resolved Adaptive, which has no choice of its own.
            LoadBalancingStrategy::LeastLoaded | LoadBalancingStrategy::Adaptive => {
                self.least(feasible, WorkerLoad::share)
            }
        };
        Ok(worker_id.map(|worker_id| Choice { worker_id, strategy }))
    }

    /// Notes that a job of `gpus` GPUs starts on a worker; whether the worker is known.
    pub fn start(&mut self, worker_id: WorkerId, gpus: u8) -> bool {
        self.change(worker_id, |load| {
            load.running = load.running.saturating_add(1);
            load.gpus_in_use = load.gpus_in_use.saturating_add(u32::from(gpus));
        })
    }

    /// Notes that a job of `gpus` GPUs ends on a worker, and how long its response took in microseconds where that was
    /// measured; whether the worker is known. The end of a job on a worker that has left needs no note.
    pub fn finish(&mut self, worker_id: WorkerId, gpus: u8, response_us: Option<u64>) -> bool {
        self.change(worker_id, |load| {
            load.running = load.running.saturating_sub(1);
            load.gpus_in_use = load.gpus_in_use.saturating_sub(u32::from(gpus));
            if let Some(response_us) = response_us {
                load.response.measure(response_us);
            }
        })
    }

    /// The workers with their loads.
    pub fn loads(&self) -> &BTreeMap<WorkerId, WorkerLoad> {
        &self.loads
    }

    /// How uneven the available workers are now.
    pub fn imbalance(&self) -> Imbalance {
        Imbalance::of(self.loads.values())
    }

    fn change(&mut self, worker_id: WorkerId, change: impl FnOnce(&mut WorkerLoad)) -> bool {
        self.loads.get_mut(&worker_id).map(change).is_some()
    }

    /// What chooses now. The imbalance is measured only where something depends on it.
    fn strategy_now(&mut self) -> LoadBalancingStrategy {
        if self.config.strategy != LoadBalancingStrategy::Adaptive {
            return self.config.strategy;
        }
        self.mode = self.config.adaptive.next(self.mode, self.imbalance());
        self.mode.strategy()
    }

    fn next_in_turn(&mut self, feasible: &[WorkerId]) -> Option<WorkerId> {
        // False before true: whoever is above the cursor before whoever is not.
        let next = feasible.iter().copied().min_by_key(|worker_id| (Some(*worker_id) <= self.cursor, *worker_id));
        self.cursor = next.or(self.cursor);
        next
    }

    fn least<T: Ord>(&self, feasible: &[WorkerId], measure: impl Fn(&WorkerLoad) -> T) -> Option<WorkerId> {
        let known = feasible.iter().filter_map(|worker_id| Some((*worker_id, self.loads.get(worker_id)?)));
        known.min_by_key(|(worker_id, load)| (measure(load), *worker_id)).map(|(worker_id, _)| worker_id)
    }

    /// The least mean response time multiplied by the jobs that would run. A worker that has not been measured counts
    /// as quick as the quickest feasible one, so that it is tried and not flooded.
    fn quickest(&self, feasible: &[WorkerId]) -> Option<WorkerId> {
        let means = feasible.iter().filter_map(|worker_id| self.loads.get(worker_id)?.response.mean_us());
        let presumed_us = means.min().unwrap_or(1);
        self.least(feasible, |load| {
            let mean_us = load.response.mean_us().unwrap_or(presumed_us);
            // On a tie a worker that has not been measured goes first: there is something to learn.
            (u128::from(mean_us) * (u128::from(load.running) + 1), Reverse(load.response == ResponseTime::default()))
        })
    }

    fn drawn(&mut self, feasible: &[WorkerId]) -> Option<WorkerId> {
        let mut sorted = feasible.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let count = NonZeroU64::new(sorted.len() as u64)?;
        sorted.get(usize::try_from(self.lots.uniform(count)).ok()?).copied()
    }
}
