//! All mixes, policies and seeds.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use super::{Arrivals, Policies, PolicyName, Run};
use crate::openb::Trace;

/// The runs of every mix under every policy, in the order of the seeds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// The seeds.
    pub seeds: Vec<u64>,
    /// The mixes' names, in the trace's order.
    pub mixes: Vec<String>,
    runs: BTreeMap<(usize, PolicyName), Vec<Run>>,
}

/// Mean and spread of runs that differ by seed only, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// The mean.
    pub mean: f64,
    /// The standard deviation of the sample; zero for a single run.
    pub deviation: f64,
    /// The lowest.
    pub min: f64,
    /// The highest.
    pub max: f64,
}

impl Table {
    /// Runs everything on so many threads. The result does not depend on their number.
    pub fn run(trace: &Trace, seeds: &[u64], threads: usize) -> Self {
        let tasks: Vec<(usize, u64)> =
            (0..trace.mixes.len()).flat_map(|mix| seeds.iter().map(move |seed| (mix, *seed))).collect();
        let policies: Vec<Policies> =
            in_order(trace.mixes.len(), threads, |mix| Policies::new(trace, &trace.mixes[mix]));
        let done = in_order(tasks.len(), threads, |task| {
            let (mix, seed) = tasks[task];
            let arrivals = Arrivals::draw(trace, &trace.mixes[mix], seed);
            PolicyName::ALL.map(|policy| policies[mix].run(policy, &arrivals, seed))
        });
        let mut runs: BTreeMap<_, Vec<Run>> = BTreeMap::new();
        for ((mix, _), outcomes) in tasks.iter().zip(done) {
            for (policy, run) in PolicyName::ALL.into_iter().zip(outcomes) {
                runs.entry((*mix, policy)).or_default().push(run);
            }
        }
        let mixes = trace.mixes.iter().map(|mix| mix.name.clone()).collect();
        Self { seeds: seeds.to_vec(), mixes, runs }
    }

    /// The runs of the mix at a position under a policy.
    pub fn runs(&self, mix: usize, policy: PolicyName) -> &[Run] {
        self.runs.get(&(mix, policy)).map_or(&[], Vec::as_slice)
    }
}

/// Does tasks on threads, each thread the next that nobody has, and returns what came of them in the tasks' order.
fn in_order<T: Send>(tasks: usize, threads: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(tasks));
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let task = next.fetch_add(1, Ordering::Relaxed);
                    if task >= tasks {
                        break;
                    }
                    let outcome = run(task);
                    done.lock().expect("no thread panics while it holds the lock").push((task, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics while it holds the lock");
    done.sort_by_key(|(task, _)| *task);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

impl Figures {
    /// Of one column of runs; `None` of none.
    pub fn of(runs: &[Run], column: impl Fn(&Run) -> f64) -> Option<Self> {
        let values: Vec<f64> = runs.iter().map(column).collect();
        let count = f64::from(u32::try_from(values.len()).ok().filter(|count| *count > 0)?);
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean,
            deviation: if count > 1.0 { (squares / (count - 1.0)).sqrt() } else { 0.0 },
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openb::sample;

    #[test]
    fn threads_change_nothing() {
        let trace = sample();
        let alone = Table::run(&trace, &[42, 43, 44], 1);
        assert_eq!(alone, Table::run(&trace, &[42, 43, 44], 3));
        for mix in 0..alone.mixes.len() {
            for policy in PolicyName::ALL {
                let runs = alone.runs(mix, policy);
                assert_eq!(runs.len(), 3);
                assert!(
                    runs.iter()
                        .all(|run| 0.0 < run.alloc_100 && run.alloc_100 <= run.alloc_130 && run.alloc_130 <= 100.0),
                    "{policy}: {runs:?}"
                );
            }
        }
    }

    #[test]
    fn a_spread_is_that_of_a_sample() {
        let runs = [1.0, 2.0, 6.0].map(|alloc_100| Run { alloc_100, alloc_130: 0.0 });
        let figures = Figures::of(&runs, |run| run.alloc_100).unwrap();
        assert!((figures.mean - 3.0).abs() < 1e-9 && (figures.deviation - 7_f64.sqrt()).abs() < 1e-9);
        assert!(figures.min < 1.1 && figures.max > 5.9);
        assert_eq!(Figures::of(&[], |run| run.alloc_100), None);
    }
}
