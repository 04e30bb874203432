//! A market of four GPU models: machines whose owners ask and earn differently, and jobs that each need something
//! else.

use keeper_scheduler::{ManifestStatus, PendingJob, WorkerView};
use keeper_types::{
    Address, AgentView, Attempt, BlockNumber, Capabilities, Features, Felt, JobId, ManifestView, Queue, Rate, Region,
    Requirements, WorkerId, WorkerStatus,
};

/// SplitMix64 (Steele, Lea and Flood 2014): the same market everywhere.
pub(crate) struct Lots(pub(crate) u64);

impl Lots {
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ (word >> 31)) % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }

    fn is_one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

/// How alike the machines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fleet {
    /// Machines of a few kinds, as data centres buy them.
    Kinds,
    /// Every machine with its own CPU cores and memory, as many owners bring them.
    Varied,
}

struct Model {
    vram_gib: u16,
    compute_capability: u8,
    features: u16,
    /// What a GPU costs, in gFri a second.
    rate: u64,
}

/// T4, V100, A100 and H100.
const MODELS: [Model; 4] = [
    Model { vram_gib: 16, compute_capability: 75, features: Features::TENSOR_CORES.0, rate: 90_000_000 },
    Model { vram_gib: 32, compute_capability: 70, features: Features::TENSOR_CORES.0, rate: 220_000_000 },
    Model {
        vram_gib: 80,
        compute_capability: 80,
        features: Features::TENSOR_CORES.0 | Features::MIG.0,
        rate: 600_000_000,
    },
    Model {
        vram_gib: 80,
        compute_capability: 90,
        features: Features::TENSOR_CORES.0 | Features::MIG.0,
        rate: 1_100_000_000,
    },
];
const REGIONS: [&str; 4] = ["eu-w1", "eu-n1", "us-e1", "ap-s1"];
const MAX_REPUTATION: u64 = 1_000;
/// The time at which jobs are submitted at the latest: Unix timestamp in seconds.
pub(crate) const NOW: u64 = 1_800_000_000;

fn region(lots: &mut Lots) -> Option<Region> {
    lots.one_of(&REGIONS).parse().ok()
}

/// Workers with nothing running.
pub(crate) fn workers(count: u32, fleet: Fleet, lots: &mut Lots) -> Vec<WorkerView> {
    (1..=count).map(|id| worker(id, fleet, lots)).collect()
}

fn worker(id: u32, fleet: Fleet, lots: &mut Lots) -> WorkerView {
    let model = &MODELS[(id % 4) as usize];
    let gpus = lots.one_of(&[1_u8, 2, 4, 4, 8, 8]);
    let per_gpu = u16::from(gpus);
    let (cpu_cores, memory_gib) = match fleet {
        Fleet::Kinds => lots.one_of(&[(8 * per_gpu, 64 * per_gpu), (16 * per_gpu, 128 * per_gpu)]),
        Fleet::Varied => (8 * per_gpu + below(lots, 120), 64 * per_gpu + below(lots, 900)),
    };
    let nvlink = if gpus >= 4 && model.vram_gib == 80 { Features::NVLINK.0 } else { 0 };
    WorkerView {
        worker_id: WorkerId(id),
        status: WorkerStatus::Active,
        capabilities: Capabilities {
            gpu_count: gpus,
            vram_gib: model.vram_gib,
            compute_capability: model.compute_capability,
            cuda_version: 124,
            driver_version: 550,
            cpu_cores,
            memory_gib,
            features: Features(model.features | nvlink | Features::CONTAINERS.0),
            region: region(lots),
        },
        slots: gpus,
        free_slots: gpus,
        free_gpus: gpus,
        // Everybody asks something else, up to a third off the model's price.
        rate: Rate(model.rate * (667 + lots.below(667)) / 1_000),
        reputation: 300 + below(lots, MAX_REPUTATION - 300 + 1),
        is_static: false,
        online: true,
        agent: AgentView::default(),
    }
}

fn below(lots: &mut Lots, end: u64) -> u16 {
    u16::try_from(lots.below(end)).unwrap_or(u16::MAX)
}

/// Jobs that each need something else.
pub(crate) fn jobs(count: u64, lots: &mut Lots) -> Vec<PendingJob> {
    (1..=count).map(|id| job(id, lots)).collect()
}

pub(crate) fn job(id: u64, lots: &mut Lots) -> PendingJob {
    let model = &MODELS[usize::try_from(lots.below(4)).unwrap_or(0)];
    let gpus = lots.one_of(&[1_u8, 1, 1, 1, 1, 1, 2, 2, 4, 8]);
    let per_gpu = u64::from(gpus);
    let features = if lots.is_one_in(3) { Features::TENSOR_CORES.0 } else { 0 } | Features::CONTAINERS.0;
    PendingJob {
        job_id: JobId(id),
        attempt: Attempt(1),
        client: Address(Felt::from(1 + lots.below(500))),
        requirements: Requirements {
            gpu_count: gpus,
            vram_gib: model.vram_gib - below(lots, 8),
            compute_capability: model.compute_capability,
            cuda_version: lots.one_of(&[0, 118, 121, 124]),
            driver_version: lots.one_of(&[0, 530, 550]),
            cpu_cores: below(lots, 8 * per_gpu + 1),
            memory_gib: below(lots, 64 * per_gpu + 1),
            min_reputation: below(lots, 700),
            features: Features(features),
            region: if lots.is_one_in(5) { region(lots) } else { None },
        },
        priority: 1 + u8::try_from(lots.below(10)).unwrap_or(0),
        queue: lots.one_of(&[Queue::High, Queue::Default, Queue::Default, Queue::Low]),
        max_rate: Rate(model.rate * (900 + lots.below(1_100)) / 1_000),
        deadline: (NOW + lots.below(86_400), BlockNumber(1_000_000)),
        submitted_at: NOW - lots.below(7_200),
        queued_at: NOW,
        max_latency_ms: 0,
        model_id: if lots.is_one_in(2) { Felt::from(1 + lots.below(40)) } else { Felt::ZERO },
        group_id: None,
        excluded: if lots.is_one_in(50) { vec![WorkerId(1 + u32::from(below(lots, 1_000)))] } else { Vec::new() },
        execution_timeout_s: 60 + u32::from(below(lots, 36_000)),
        manifest: ManifestStatus::Available,
        manifest_view: ManifestView::default(),
    }
}
