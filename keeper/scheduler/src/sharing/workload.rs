//! What jobs are expected: the shapes that most of them have.

use std::{cmp::Reverse, collections::BTreeMap};

use super::Demand;

/// What a certain event counts, where a workload's counts are probabilities.
pub(super) const CERTAIN: i64 = 1 << 24;
/// Shapes that a workload with host memory has at most.
const MAX_SHAPES: usize = 1_024;

/// A shape that jobs have, and how many of them have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypicalDemand {
    /// The shape.
    pub demand: Demand,
    /// Jobs of that shape.
    pub count: u32,
}

/// Shapes of jobs by how often they occur.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Workload {
    shapes: Vec<TypicalDemand>,
}

impl Workload {
    /// The shapes of jobs, the most frequent first, until they stand for `percent` of all jobs.
    ///
    /// Host memory tells shapes apart no more than in Weng et al. (USENIX ATC'23): it is zero in all of them. Of
    /// shapes as frequent as each other the larger comes first.
    pub fn typical<'a>(demands: impl IntoIterator<Item = &'a Demand>, percent: u32) -> Self {
        let mut shapes = by_frequency(demands.into_iter().map(|demand| Demand { memory_mib: 0, ..*demand }));
        let all: u64 = shapes.iter().map(|shape| u64::from(shape.count)).sum();
        let mut covered = 0;
        let enough = shapes.iter().take_while(|shape| {
            let wanted = covered * 100 < all * u64::from(percent);
            covered += u64::from(shape.count);
            wanted
        });
        let kept = enough.count();
        shapes.truncate(kept);
        Self { shapes }
    }

    /// All shapes of jobs, host memory included, or the most frequent 1,024 of them.
    pub fn of<'a>(demands: impl IntoIterator<Item = &'a Demand>) -> Self {
        let mut shapes = by_frequency(demands.into_iter().copied());
        shapes.truncate(MAX_SHAPES);
        Self { shapes }
    }

    /// The same shapes with probabilities for counts, in units of 1 / [`CERTAIN`], rounded down.
    pub(super) fn probabilities(&self) -> Self {
        let jobs = self.jobs().max(1);
        let probability = |count: u32| u64::from(count) * CERTAIN.unsigned_abs() / jobs;
        let shapes = self.shapes.iter().map(|shape| TypicalDemand {
            count: u32::try_from(probability(shape.count)).unwrap_or(u32::MAX),
            ..*shape
        });
        Self { shapes: shapes.collect() }
    }

    /// The shapes.
    pub fn shapes(&self) -> &[TypicalDemand] {
        &self.shapes
    }

    /// Jobs that the shapes stand for.
    pub fn jobs(&self) -> u64 {
        self.shapes.iter().map(|shape| u64::from(shape.count)).sum()
    }
}

fn by_frequency(demands: impl Iterator<Item = Demand>) -> Vec<TypicalDemand> {
    let mut counts: BTreeMap<Demand, u32> = BTreeMap::new();
    for demand in demands {
        *counts.entry(demand).or_default() += 1;
    }
    let mut shapes: Vec<_> = counts.into_iter().map(|(demand, count)| TypicalDemand { demand, count }).collect();
    shapes.sort_by_key(|shape| Reverse((shape.count, shape.demand)));
    shapes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sharing::GpuModels;

    fn job(cpu_milli: u32, memory_mib: u32) -> Demand {
        Demand { cpu_milli, memory_mib, gpus: 1, gpu_milli: 500, models: GpuModels::ANY }
    }

    #[test]
    fn shapes_are_kept_until_they_stand_for_enough_jobs() {
        let jobs: Vec<Demand> =
            [(1, 90), (2, 5), (3, 4), (4, 1)].into_iter().flat_map(|(cpu, count)| vec![job(cpu, 0); count]).collect();
        let counts = |percent| -> Vec<u32> {
            Workload::typical(&jobs, percent).shapes().iter().map(|shape| shape.count).collect()
        };
        assert_eq!(counts(90), [90]);
        assert_eq!(counts(95), [90, 5]);
        assert_eq!(counts(96), [90, 5, 4]);
        assert_eq!(counts(100), [90, 5, 4, 1]);
    }

    #[test]
    fn host_memory_tells_shapes_apart_only_where_it_is_kept() {
        let jobs = [job(1, 10), job(1, 20)];
        assert_eq!(Workload::typical(&jobs, 95).shapes(), [TypicalDemand { demand: job(1, 0), count: 2 }]);
        assert_eq!(Workload::of(&jobs).shapes().len(), 2);
    }

    #[test]
    fn probabilities_add_up_to_certainty() {
        let jobs: Vec<Demand> = (0..7).map(|cpu| job(cpu, 0)).collect();
        let sum = i64::try_from(Workload::of(&jobs).probabilities().jobs()).unwrap();
        assert!((CERTAIN - 7..=CERTAIN).contains(&sum));
    }
}
