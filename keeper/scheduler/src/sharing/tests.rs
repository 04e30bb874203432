//! What must hold for every policy, on random clusters and jobs.

use proptest::prelude::*;

use super::*;

/// Sizes that occur in practice, and odd ones.
const SIZES: [u16; 9] = [1, 130, 250, 320, 470, 500, 590, 810, 1_000];

fn model(number: u8) -> GpuModel {
    GpuModel::new(number).unwrap()
}

pub(super) fn demands() -> impl Strategy<Value = Demand> {
    let models = prop_oneof![
        3 => Just(GpuModels::ANY),
        1 => Just(GpuModels::from_iter([model(0)])),
        1 => Just(GpuModels::from_iter([model(1), model(2)])),
    ];
    let gpus = prop_oneof![2 => Just((0, 0)), 6 => (Just(1), prop::sample::select(&SIZES[..])), 2 => (2..=8_u8, Just(GPU_MILLI)), 1 => (2..=4_u8, prop::sample::select(&SIZES[..]))];
    (0..=40_u32, 0..=64_u32, gpus, models).prop_map(|(cores, gib, (gpus, gpu_milli), models)| Demand {
        cpu_milli: cores * 1_000,
        memory_mib: gib * 1_024,
        gpus,
        gpu_milli,
        models,
    })
}

pub(super) fn idle_nodes() -> impl Strategy<Value = NodeState> {
    let gpus = prop::sample::select(&[0_u8, 1, 2, 4, 8, 16][..]);
    (0..3_u8, gpus, prop::sample::select(&[8_u32, 32, 96, 128][..]))
        .prop_map(|(number, gpus, cores)| NodeState::idle(model(number), gpus, cores * 1_000, cores * 4_096).unwrap())
}

/// Nodes with some jobs on them.
pub(super) fn nodes() -> impl Strategy<Value = NodeState> {
    (idle_nodes(), prop::collection::vec((demands(), any::<prop::sample::Index>()), 0..8)).prop_map(|(node, jobs)| {
        jobs.into_iter().fold(node, |node, (demand, gpu)| {
            if !node.fits(&demand) {
                return node;
            }
            let spare = node.free().len() - node.first_fit(demand.gpu_milli) - usize::from(demand.gpus);
            let gpu = if demand.gpus == 0 { 0 } else { node.first_fit(demand.gpu_milli) + gpu.index(spare + 1) };
            node.after(&demand, gpu)
        })
    })
}

/// Looks at all nodes, one by one.
fn place_slowly(nodes: &mut [NodeState], policy: &impl PlacementPolicy, demand: &Demand) -> Option<usize> {
    let fitting = nodes.iter().enumerate().filter(|(_, node)| node.fits(demand));
    let scored = fitting.map(|(place, node)| (place, policy.fit(node, policy.potential(node), demand)));
    // The first of the best.
    let (place, fit) = scored.first_best()?;
    nodes[place] = nodes[place].after(demand, fit.gpu);
    Some(place)
}

trait FirstBest {
    fn first_best(self) -> Option<(usize, Fit)>;
}

impl<I: Iterator<Item = (usize, Fit)>> FirstBest for I {
    fn first_best(self) -> Option<(usize, Fit)> {
        self.reduce(|best, next| if next.1.score > best.1.score { next } else { best })
    }
}

/// Places jobs both ways and compares node by node.
fn same_as_slowly(nodes: &[NodeState], jobs: &[Demand], policy: &(impl PlacementPolicy + Clone)) {
    let mut placer = Placer::new(nodes, policy.clone());
    let mut slow = nodes.to_vec();
    for demand in jobs {
        let placed = placer.place(demand).map(|placement| placement.node);
        assert_eq!(placed, place_slowly(&mut slow, policy, demand));
    }
    let ends: Vec<NodeState> = (0..nodes.len()).map(|node| *placer.node(node)).collect();
    assert_eq!(ends, slow);
}

/// What jobs take and what is free add up, node by node, and a job is turned away only where it fits nowhere.
fn keeps_books(nodes: &[NodeState], jobs: &[Demand], policy: impl PlacementPolicy) {
    let mut placer = Placer::new(nodes, policy);
    let mut taken = vec![(0, 0, 0); nodes.len()];
    for demand in jobs {
        let fits: Vec<bool> = (0..nodes.len()).map(|node| placer.node(node).fits(demand)).collect();
        let Some(placement) = placer.place(demand) else {
            assert!(!fits.contains(&true), "{demand:?} fits somewhere");
            continue;
        };
        assert!(fits[placement.node]);
        let sum = &mut taken[placement.node];
        *sum = (sum.0 + demand.cpu_milli, sum.1 + demand.memory_mib, sum.2 + demand.total_gpu_milli());
    }
    for (node, (cpu, memory, gpu)) in taken.into_iter().enumerate() {
        let (before, after) = (&nodes[node], placer.node(node));
        assert_eq!(after.cpu_milli() + cpu, before.cpu_milli());
        assert_eq!(after.memory_mib() + memory, before.memory_mib());
        assert_eq!(after.total_free() + gpu, before.total_free());
        assert!(after.free().is_sorted() && after.free().iter().all(|free| *free <= GPU_MILLI));
    }
}

proptest! {
    #[test]
    fn groups_and_kept_scores_change_no_decision(
        nodes in prop::collection::vec(idle_nodes(), 1..12),
        jobs in prop::collection::vec(demands(), 1..60),
    ) {
        let workload = Workload::of(&jobs);
        same_as_slowly(&nodes, &jobs, &DotProd);
        same_as_slowly(&nodes, &jobs, &GpuClustering);
        same_as_slowly(&nodes, &jobs, &GpuPacking);
        same_as_slowly(&nodes, &jobs, &BestFit);
        same_as_slowly(&nodes, &jobs, &Fgd::new(&workload));
        let weights = WasteWeights { arrivals: 5, ..WasteWeights::default() };
        same_as_slowly(&nodes, &jobs, &WasteDescent::new(&nodes, &workload, weights));
    }

    #[test]
    fn never_over_capacity_and_never_turned_away_where_it_fits(
        nodes in prop::collection::vec(nodes(), 1..12),
        jobs in prop::collection::vec(demands(), 1..60),
        seed: u64,
    ) {
        let workload = Workload::of(&jobs);
        keeps_books(&nodes, &jobs, Random::new(seed));
        keeps_books(&nodes, &jobs, DotProd);
        keeps_books(&nodes, &jobs, GpuClustering);
        keeps_books(&nodes, &jobs, GpuPacking);
        keeps_books(&nodes, &jobs, BestFit);
        keeps_books(&nodes, &jobs, Fgd::new(&workload));
        let weights = WasteWeights { arrivals: 5, ..WasteWeights::default() };
        keeps_books(&nodes, &jobs, WasteDescent::new(&nodes, &workload, weights));
    }

    #[test]
    fn the_same_seed_draws_the_same_nodes(
        nodes in prop::collection::vec(idle_nodes(), 1..12),
        jobs in prop::collection::vec(demands(), 1..60),
        seed: u64,
    ) {
        let run = || {
            let mut placer = Placer::new(&nodes, Random::new(seed));
            jobs.iter().map(|demand| placer.place(demand)).collect::<Vec<_>>()
        };
        prop_assert_eq!(run(), run());
    }

    #[test]
    fn a_node_fits_just_what_its_gpus_and_the_rest_allow(node in nodes(), demand in demands()) {
        let gpus = node.free().iter().filter(|free| **free >= demand.gpu_milli).count();
        let runs = demand.gpus == 0 || (demand.models.accepts(node.model()) && gpus >= usize::from(demand.gpus));
        let rest = node.cpu_milli() >= demand.cpu_milli && node.memory_mib() >= demand.memory_mib;
        prop_assert_eq!(node.fits(&demand), runs && rest);
    }
}

#[test]
fn more_kinds_of_jobs_than_scores_are_kept_for_are_placed_all_the_same() {
    let nodes = [NodeState::idle(model(0), 16, 4_000_000, 1).unwrap(); 2];
    let jobs: Vec<Demand> = (0..3_000_u32)
        .map(|cpu_milli| Demand { cpu_milli, memory_mib: 0, gpus: 1, gpu_milli: 10, models: GpuModels::ANY })
        .collect();
    same_as_slowly(&nodes, &jobs, &BestFit);
}

#[test]
fn more_placements_than_changes_are_kept_for_are_made_all_the_same() {
    let nodes = [NodeState::idle(model(0), 16, 0, 0).unwrap(); 3];
    let job = Demand { cpu_milli: 0, memory_mib: 0, gpus: 1, gpu_milli: 2, models: GpuModels::ANY };
    same_as_slowly(&nodes, &vec![job; 24_001], &GpuPacking);
}
