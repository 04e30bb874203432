//! Every set on every seed, on several threads, and what they come to on average.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde::Serialize;

use super::{
    figures::{Better, Figures, METRICS, Metric},
    parameters::{ParameterSet, Parameters},
    run::run,
};
use crate::philly::Trace;

/// All sets, side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The parameter file's title.
    pub title: String,
    /// What the sets were run on.
    pub seeds: Vec<u64>,
    /// The sets, in the order of the file.
    pub sets: Vec<SetFigures>,
}

/// A set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SetFigures {
    /// What it is called.
    pub name: String,
    /// What it came to over all seeds, by the metric's key; metrics that no run has are left out.
    pub summary: BTreeMap<&'static str, Summary>,
    /// Its runs, in the order of the seeds.
    pub runs: Vec<Figures>,
}

/// A figure over the seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; 0 for a single seed.
    pub deviation: f64,
    /// Whether no other set has a better mean.
    pub is_best: bool,
}

/// Runs every set on every seed on this many threads, which make no difference to the figures. `trace` is the one that
/// the workload names, if it names one.
///
/// # Panics
/// Where a scheduler makes a mistake; see [`run`].
pub fn compare(parameters: &Parameters, trace: Option<&Trace>, threads: usize) -> Comparison {
    let tasks: Vec<(&ParameterSet, u64)> =
        parameters.sets.iter().flat_map(|set| parameters.seeds.iter().map(move |seed| (set, *seed))).collect();
    // Each task is taken once, by whichever thread is free; the results are put back in order.
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(vec![None; tasks.len()]);
    let work = || {
        while let Some((index, (set, seed))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            tasks.get(index).map(|task| (index, task))
        } {
            let figures = run(parameters, set, trace, *seed);
            if let Ok(mut runs) = runs.lock() {
                runs[index] = Some(figures);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let runs: Vec<Figures> = runs.into_inner().map(|runs| runs.into_iter().flatten().collect()).unwrap_or_default();
    let runs_of_sets = runs.chunks(parameters.seeds.len().max(1));
    let sets = parameters.sets.iter().zip(runs_of_sets).map(|(set, runs)| SetFigures {
        name: set.name().to_owned(),
        summary: METRICS.iter().filter_map(|metric| Some((metric.key, summary(metric, runs)?))).collect(),
        runs: runs.to_vec(),
    });
    let mut comparison =
        Comparison { title: parameters.title.clone(), seeds: parameters.seeds.clone(), sets: sets.collect() };
    METRICS.iter().for_each(|metric| comparison.mark_best(metric));
    comparison
}

impl Comparison {
    /// Marks the sets with the best mean, all of them where several share it; none where all sets do.
    fn mark_best(&mut self, metric: &Metric) {
        let Some(better) = metric.better else { return };
        let means = self.sets.iter().filter_map(|set| set.summary.get(metric.key)).map(|summary| summary.mean);
        let best = match better {
            Better::More => means.clone().reduce(f64::max),
            Better::Less => means.clone().reduce(f64::min),
        };
        let is_best = |mean: f64| best.is_some_and(|best| mean.total_cmp(&best).is_eq());
        if means.clone().all(is_best) {
            return;
        }
        for set in &mut self.sets {
            if let Some(summary) = set.summary.get_mut(metric.key) {
                summary.is_best = is_best(summary.mean);
            }
        }
    }
}

/// A metric over the runs that have it.
fn summary(metric: &Metric, runs: &[Figures]) -> Option<Summary> {
    let values: Vec<f64> = runs.iter().filter_map(metric.of).collect();
    let count = f64::from(u32::try_from(values.len()).ok().filter(|count| *count > 0)?);
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean) * (value - mean)).sum();
    let deviation = if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 };
    Some(Summary { mean, deviation, is_best: false })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_mean_and_sample_deviation() {
        let runs = [1.0, 3.0].map(|utilisation_percent| Figures { utilisation_percent, ..Figures::default() });
        let of = summary(&METRICS[0], &runs).unwrap();
        assert_eq!((of.mean, of.deviation), (2.0, 2.0_f64.sqrt()));
        assert_eq!(summary(&METRICS[0], &runs[..1]).unwrap().deviation, 0.0);
        let no_waits = METRICS.iter().find(|metric| metric.key == "mean_wait_s").unwrap();
        assert_eq!(summary(no_waits, &runs), None, "nothing began");
    }

    #[test]
    fn the_best_is_marked_the_right_way_round_and_only_where_there_is_one() {
        let set = |name: &str, mean: f64| SetFigures {
            name: name.to_owned(),
            summary: METRICS
                .iter()
                .map(|metric| (metric.key, Summary { mean, deviation: 0.0, is_best: false }))
                .collect(),
            runs: Vec::new(),
        };
        let mut comparison =
            Comparison { title: String::new(), seeds: vec![1], sets: vec![set("a", 1.0), set("b", 2.0)] };
        METRICS.iter().for_each(|metric| comparison.mark_best(metric));
        let best = |place: usize, key: &str| comparison.sets[place].summary[key].is_best;
        assert!(best(1, "utilisation_percent") && !best(0, "utilisation_percent"));
        assert!(best(0, "p95_wait_s") && !best(1, "p95_wait_s"));
        assert!(!best(0, "placed_per_h") && !best(1, "placed_per_h"), "neither way is better");
        let mut equal = Comparison { sets: vec![set("a", 1.0), set("b", 1.0)], ..comparison };
        METRICS.iter().for_each(|metric| equal.mark_best(metric));
        assert!(equal.sets.iter().all(|set| set.summary.values().all(|summary| !summary.is_best)));
    }
}
