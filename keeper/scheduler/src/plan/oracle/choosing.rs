//! The rules by which workers are chosen, written out one by one over what is left of the workers.

use std::{cmp::Ordering, num::NonZeroU64};

use keeper_types::{WorkerId, WorkerStatus};

use super::Candidate;
use crate::{
    Balancing, Nearness, PendingJob, Policy, Snapshot, balancing::AdaptiveRule, plan::is_emergency, score::share,
    sharing::SplitMix64,
};

/// What the choices of a round depend on besides the workers.
pub(super) struct Chooser {
    balancing: Balancing,
    adaptive: AdaptiveRule,
    last: Option<WorkerId>,
    lots: SplitMix64,
    /// What the adaptive rule went by last.
    mode: Balancing,
}

impl Chooser {
    pub(super) fn new(snapshot: &Snapshot, policy: &Policy) -> Self {
        Self {
            balancing: policy.balancing,
            adaptive: policy.adaptive,
            last: snapshot.turn,
            lots: SplitMix64::new(snapshot.seed),
            mode: Balancing::RoundRobin,
        }
    }

    /// The place in `all` of the one that is chosen among `places`, by the best score first, and the rule that decided.
    pub(super) fn choose(&mut self, places: &[usize], all: &[Candidate<'_>]) -> (usize, Balancing) {
        let mut by_id = places.to_vec();
        by_id.sort_by_key(|place| id(&all[*place]));
        let rule = if self.balancing == Balancing::Adaptive { self.adapt(all) } else { self.balancing };
        let place = match rule {
            Balancing::Score | Balancing::Adaptive => places[0],
            Balancing::FirstAvailable => by_id[0],
            Balancing::RoundRobin => {
                let next = by_id.iter().find(|place| Some(id(&all[**place])) > self.last);
                let place = *next.unwrap_or(&by_id[0]);
                self.last = Some(id(&all[place]));
                place
            }
            Balancing::LeastConnections => *by_id.iter().min_by_key(|place| running(&all[**place])).unwrap(),
            Balancing::LeastLoaded => *by_id.iter().min_by(|a, b| compare(load(&all[**a]), load(&all[**b]))).unwrap(),
            Balancing::WeightedResponse => quickest(&by_id, all),
            Balancing::BestFit => *by_id.iter().min_by_key(|place| unused(&all[**place])).unwrap(),
            Balancing::Random => {
                let count = NonZeroU64::new(by_id.len() as u64).unwrap();
                by_id[usize::try_from(self.lots.uniform(count)).unwrap()]
            }
        };
        (place, rule)
    }

    fn adapt(&mut self, all: &[Candidate<'_>]) -> Balancing {
        let is_available =
            |candidate: &&Candidate<'_>| candidate.worker.online && candidate.worker.status == WorkerStatus::Active;
        let loads = all.iter().filter(is_available).map(|candidate| {
            let (part, whole) = load(candidate);
            u64::from(share(part, whole))
        });
        let trips = all.iter().filter(is_available).filter_map(trip_ms);
        let spread = |values: Vec<u64>| Some(values.iter().max()? - values.iter().min()?);
        let loads_bps = spread(loads.collect()).unwrap_or(0);
        let trips: Vec<_> = trips.collect();
        let longest = trips.iter().max().copied().unwrap_or(1);
        let trips_bps = u64::from(share(spread(trips).unwrap_or(0), longest));
        let is_by = |rule, bps: u64, enter: u16, leave: u16| {
            bps >= enter.into() || (self.mode == rule && bps > u64::from(leave))
        };
        let AdaptiveRule { load_enter_bps, load_leave_bps, response_enter_bps, response_leave_bps } = self.adaptive;
        self.mode = if is_by(Balancing::LeastLoaded, loads_bps, load_enter_bps, load_leave_bps) {
            Balancing::LeastLoaded
        } else if is_by(Balancing::WeightedResponse, trips_bps, response_enter_bps, response_leave_bps) {
            Balancing::WeightedResponse
        } else {
            Balancing::RoundRobin
        };
        self.mode
    }
}

/// Those of the candidates at these places that are nearest to the job's client, where the job says where that is.
pub(super) fn nearest(
    places: Vec<usize>,
    job: &PendingJob,
    all: &[Candidate<'_>],
    policy: &Policy,
) -> (Vec<usize>, Option<Nearness>) {
    let Some(to) = job.manifest_view.placement.prefers.near.filter(|_| !is_emergency(job, policy)) else {
        return (places, None);
    };
    let far = |place: &usize| {
        let geography = &policy.geography;
        let Some(from) = all[*place].worker.capabilities.region else { return geography.missing_pair_ms };
        let given = |one, other| geography.latencies.iter().find(|pair| (pair.from, pair.to) == (one, other));
        match given(to, from).or_else(|| given(from, to)) {
            Some(pair) => pair.latency_ms,
            None if from == to => geography.within_ms,
            None => geography.missing_pair_ms,
        }
    };
    let latency_ms = places.iter().map(far).min().unwrap();
    let near: Vec<_> = places.into_iter().filter(|place| far(place) == latency_ms).collect();
    let among = u32::try_from(near.len()).unwrap();
    (near, Some(Nearness { to, latency_ms, among }))
}

fn id(candidate: &Candidate<'_>) -> WorkerId {
    candidate.worker.worker_id
}

fn running(candidate: &Candidate<'_>) -> u64 {
    u64::from(candidate.worker.slots - candidate.free_slots)
}

/// Part and whole of slots or of GPUs, whichever share is larger.
fn load(candidate: &Candidate<'_>) -> (u64, u64) {
    let gpus = u64::from(candidate.worker.capabilities.gpu_count);
    let slots = (running(candidate), u64::from(candidate.worker.slots));
    let used = (gpus - u64::from(candidate.free_gpus), gpus);
    if gpus > 0 && compare(used, slots) == Ordering::Greater { used } else { slots }
}

/// What the worker has to spare: free GPUs, GPUs, GPU memory, compute capability, memory, cores, features, free slots.
fn unused(candidate: &Candidate<'_>) -> [u32; 8] {
    let has = &candidate.worker.capabilities;
    [
        candidate.free_gpus.into(),
        has.gpu_count.into(),
        has.vram_gib.into(),
        has.compute_capability.into(),
        has.memory_gib.into(),
        has.cpu_cores.into(),
        has.features.0.count_ones(),
        candidate.free_slots.into(),
    ]
}

fn compare((part, whole): (u64, u64), (other_part, other_whole): (u64, u64)) -> Ordering {
    (part * other_whole).cmp(&(other_part * whole))
}

fn trip_ms(candidate: &Candidate<'_>) -> Option<u64> {
    candidate.worker.agent.latency_ms.map(|latency_ms| u64::from(latency_ms.max(1)))
}

fn quickest(by_id: &[usize], all: &[Candidate<'_>]) -> usize {
    let known = by_id.iter().filter_map(|place| trip_ms(&all[*place])).min().unwrap_or(1);
    let weight = |place: &&usize| {
        let candidate = &all[**place];
        let trip = trip_ms(candidate);
        (trip.unwrap_or(known) * (running(candidate) + 1), trip.is_some())
    };
    *by_id.iter().min_by_key(weight).unwrap()
}
