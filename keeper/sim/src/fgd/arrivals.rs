//! Jobs in the order in which they arrive.

use keeper_scheduler::sharing::{Demand, NodeState, SplitMix64};

use crate::openb::{Mix, Trace};

/// Jobs ask for so many percent of the cluster's GPUs when the last has arrived.
const DEMAND_PERCENT: u64 = 130;

/// What one run of the experiment starts from: the same for every policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrivals {
    /// The nodes in a random order, which decides ties.
    pub nodes: Vec<NodeState>,
    /// The mix's jobs in a random order, then jobs drawn from it, each as likely, until the next would be too much.
    ///
    /// A mix that is too large loses jobs instead, each as likely.
    pub demands: Vec<Demand>,
}

impl Arrivals {
    /// Draws from a seed.
    pub fn draw(trace: &Trace, mix: &Mix, seed: u64) -> Self {
        let mut lots = SplitMix64::new(seed);
        let most = trace.capacity() * DEMAND_PERCENT / 100;
        let milli = |demand: &Demand| u64::from(demand.total_gpu_milli());
        let mut demands = mix.demands.clone();
        lots.shuffle(&mut demands);
        let mut arrived: u64 = demands.iter().map(milli).sum();
        let too_large = arrived > most;
        while arrived > most {
            let gone = demands.remove(lots.below(demands.len()));
            arrived -= milli(&gone);
        }
        // A mix without GPUs would grow for ever.
        while !too_large && mix.demands.iter().any(|demand| demand.gpus > 0) {
            let next = mix.demands[lots.below(mix.demands.len())];
            // The authors look at one of the next job's GPUs, not at all of them, and so does this.
            if arrived + u64::from(next.gpu_milli) > most {
                break;
            }
            arrived += milli(&next);
            demands.push(next);
        }
        let mut nodes = trace.nodes.clone();
        lots.shuffle(&mut nodes);
        Self { nodes, demands }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openb::sample;

    #[test]
    fn demand_ends_near_130_percent() {
        let trace = sample();
        for mix in &trace.mixes {
            for seed in 0..20 {
                let arrivals = Arrivals::draw(&trace, mix, seed);
                let milli: u64 = arrivals.demands.iter().map(|demand| u64::from(demand.total_gpu_milli())).sum();
                let percent = milli * 100 / trace.capacity();
                // Eight of the sample's 38 GPUs, the largest job, are 21 %.
                assert!((109..=151).contains(&percent), "{}: {percent} %", mix.name);
            }
        }
    }

    #[test]
    fn a_seed_gives_one_order_and_another_seed_another() {
        let trace = sample();
        let mix = &trace.mixes[0];
        assert_eq!(Arrivals::draw(&trace, mix, 42), Arrivals::draw(&trace, mix, 42));
        assert_ne!(Arrivals::draw(&trace, mix, 42), Arrivals::draw(&trace, mix, 43));
    }

    #[test]
    fn nodes_are_only_put_in_another_order() {
        let trace = sample();
        let mut nodes = Arrivals::draw(&trace, &trace.mixes[0], 1).nodes;
        nodes.sort_unstable();
        let mut expected = trace.nodes;
        expected.sort_unstable();
        assert_eq!(nodes, expected);
    }
}
