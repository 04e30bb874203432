//! The policies side by side.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use keeper_scheduler::queueing::{Backfill, Balanced, EarliestDeadline, FairShare, Fifo, OrderingPolicy};

use super::{
    outcome::Outcome,
    peers::{SEVEN_DAYS_S, SlurmMultifactor},
    replay::{ReplaySettings, replay},
    trace::Trace,
    workload::{Workload, machines_for_load},
};

/// The policy that is compared with the others.
pub const OURS: &str = "balanced";

/// The settings that all policies are given at a load.
pub fn settings(trace: &Trace, load_percent: u64) -> ReplaySettings {
    const DAY_S: u32 = 86_400;
    ReplaySettings {
        machines: machines_for_load(trace, load_percent),
        load_percent,
        half_life_s: SEVEN_DAYS_S,
        max_wait_s: 3 * DAY_S,
        starvation_s: 3 * DAY_S,
        starvation_limits: 3,
    }
}

/// Every policy with the name that it is shown by; ours first. The plain ones start nothing before the head of the
/// queue; with EASY backfill, `+easy`, they are harder to beat.
pub fn policies() -> Vec<(&'static str, Box<dyn OrderingPolicy>)> {
    let (none, easy) = (Backfill::None, Backfill::Easy);
    vec![
        (OURS, Box::new(Balanced::default())),
        ("slurm-multifactor", Box::new(SlurmMultifactor)),
        ("fair-share", Box::new(FairShare { backfill: none })),
        ("fair-share+easy", Box::new(FairShare { backfill: easy })),
        ("edf", Box::new(EarliestDeadline { backfill: none })),
        ("edf+easy", Box::new(EarliestDeadline { backfill: easy })),
        ("fifo", Box::new(Fifo { backfill: none })),
        ("fifo+easy", Box::new(Fifo { backfill: easy })),
    ]
}

/// Replays the workload at every load under every policy that `wanted` names (all, where it names none), on as many
/// threads as there are cores. By load, then in the order of [`policies`].
pub fn compare(trace: &Trace, workload: &Workload, loads: &[u64], wanted: &[String]) -> Vec<Outcome> {
    let policies: Vec<_> = policies()
        .into_iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name))
        .collect();
    let tasks: Vec<_> = loads.iter().flat_map(|load| policies.iter().map(move |policy| (*load, policy))).collect();
    // Each task is taken once, by whichever thread is free; the results are put back in order.
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![None; tasks.len()]);
    let work = || {
        while let Some((index, (load, (name, policy)))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            tasks.get(index).map(|task| (index, task))
        } {
            let mut outcome = replay(workload, settings(trace, *load), policy.as_ref());
            (*name).clone_into(&mut outcome.policy);
            if let Ok(mut outcomes) = outcomes.lock() {
                outcomes[index] = Some(outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    outcomes.into_inner().map(|outcomes| outcomes.into_iter().flatten().collect()).unwrap_or_default()
}

/// How ours stands against the best peer at one load, by the targets: fairness, misses and 95th percentile of the
/// wait at least as good as any peer's, mean completion at most 5 % above the best peer's.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// The load.
    pub load_percent: u64,
    /// Jain's index less the best peer's.
    pub jain_gain: f64,
    /// Deadline misses by those of the best peer.
    pub misses_by_best: f64,
    /// 95th percentile of the wait by that of the best peer.
    pub p95_wait_by_best: f64,
    /// Mean completion by that of the best peer.
    pub mean_completion_by_best: f64,
    /// Whether all four targets are met.
    pub is_met: bool,
}

/// Compares ours with its peers, load by load. Loads without ours or without a peer are left out.
pub fn verdicts(outcomes: &[Outcome]) -> Vec<Verdict> {
    let mut loads: Vec<u64> = outcomes.iter().map(|outcome| outcome.load_percent).collect();
    loads.dedup();
    let at_load = |load: u64| {
        let (ours, peers): (Vec<_>, Vec<_>) =
            outcomes.iter().filter(|outcome| outcome.load_percent == load).partition(|outcome| outcome.policy == OURS);
        let ours = ours.first()?;
        let best = |figure: fn(&Outcome) -> f64| peers.iter().map(|peer| figure(peer)).min_by(f64::total_cmp);
        let by_best = |figure: fn(&Outcome) -> f64| best(figure).map(|best| figure(ours) / best);
        #[allow(clippy::cast_precision_loss, reason = "jobs of a trace")]
        let misses_by_best = by_best(|outcome| outcome.deadline_misses as f64)?;
        let p95_wait_by_best = by_best(|outcome| f64::from(outcome.p95_wait_s))?;
        let mean_completion_by_best = by_best(|outcome| outcome.mean_completion_s)?;
        let jain_gain = ours.jain + best(|outcome| -outcome.jain)?;
        let is_met =
            jain_gain >= 0.0 && misses_by_best <= 1.0 && p95_wait_by_best <= 1.0 && mean_completion_by_best <= 1.05;
        Some(Verdict {
            load_percent: load,
            jain_gain,
            misses_by_best,
            p95_wait_by_best,
            mean_completion_by_best,
            is_met,
        })
    };
    loads.into_iter().filter_map(at_load).collect()
}
