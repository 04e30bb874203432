//! A worker with GPUs that several jobs may share, and a job that wants a part of one.

use std::fmt;

/// Thousandths in a whole GPU.
pub const GPU_MILLI: u16 = 1_000;
/// GPUs that a node can have.
pub const MAX_GPUS: usize = 16;

/// A model of GPU, by its number in the caller's list of models.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuModel(u8);

impl GpuModel {
    /// Models that a cluster can have.
    pub const COUNT: u8 = 64;

    /// The model of that number, below [`GpuModel::COUNT`].
    pub fn new(number: u8) -> Option<Self> {
        (number < Self::COUNT).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// GPU models that a job accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuModels(u64);

impl GpuModels {
    /// Every model.
    pub const ANY: Self = Self(u64::MAX);

    /// Whether a model is accepted.
    pub fn accepts(self, model: GpuModel) -> bool {
        self.0 >> model.0 & 1 == 1
    }
}

impl FromIterator<GpuModel> for GpuModels {
    fn from_iter<T: IntoIterator<Item = GpuModel>>(models: T) -> Self {
        Self(models.into_iter().fold(0, |bits, model| bits | 1 << model.0))
    }
}

/// What a job takes from the node it runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Demand {
    /// CPU, in thousandths of a core.
    pub cpu_milli: u32,
    /// Host memory, in MiB.
    pub memory_mib: u32,
    /// GPUs, each another one.
    pub gpus: u8,
    /// Thousandths taken of each of them, at most [`GPU_MILLI`].
    pub gpu_milli: u16,
    /// Models that will do.
    pub models: GpuModels,
}

impl Demand {
    /// Thousandths of all its GPUs together.
    pub fn total_gpu_milli(&self) -> u32 {
        u32::from(self.gpus) * u32::from(self.gpu_milli)
    }

    /// Whether it takes a part of one GPU and leaves the rest to others.
    pub fn is_share(&self) -> bool {
        self.gpus == 1 && self.gpu_milli < GPU_MILLI
    }

    /// Whether it uses GPUs, and accepts a model.
    pub fn runs_on(&self, model: GpuModel) -> bool {
        self.total_gpu_milli() > 0 && self.models.accepts(model)
    }

    /// What it is to GPUs: none, a share of one, or a number of whole ones.
    pub fn kind(&self) -> DemandKind {
        match (self.gpus, self.gpu_milli) {
            (0, _) | (_, 0) => DemandKind::NoGpu,
            (1, milli) if milli < GPU_MILLI => DemandKind::Share,
            (gpus, _) => DemandKind::Whole(gpus),
        }
    }
}

/// Jobs that GPU clustering keeps together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DemandKind {
    /// No GPU at all.
    NoGpu,
    /// A part of one GPU.
    Share,
    /// So many GPUs.
    Whole(u8),
}

/// Kinds of jobs that run on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DemandKinds(u32);

impl DemandKinds {
    fn bit(kind: DemandKind) -> u32 {
        match kind {
            DemandKind::NoGpu => 0,
            DemandKind::Share => 1,
            DemandKind::Whole(gpus) => 1 << usize::from(gpus).min(MAX_GPUS),
        }
    }

    /// Whether a kind is among them; never one without GPUs.
    pub fn contains(self, kind: DemandKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// How many kinds there are.
    pub fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn insert(&mut self, kind: DemandKind) {
        self.0 |= Self::bit(kind);
    }
}

/// What is free on a node.
///
/// GPUs are told apart by what is free on them only, in ascending order, so that nodes in the same state are
/// equal and an evaluation of one serves all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeState {
    model: GpuModel,
    gpus: u8,
    free: [u16; MAX_GPUS],
    cpu_milli: u32,
    memory_mib: u32,
    kinds: DemandKinds,
}

impl NodeState {
    /// A node on which nothing runs; `None` for more than [`MAX_GPUS`] GPUs.
    pub fn idle(model: GpuModel, gpus: u8, cpu_milli: u32, memory_mib: u32) -> Option<Self> {
        let mut free = [0; MAX_GPUS];
        free.get_mut(..usize::from(gpus))?.fill(GPU_MILLI);
        Some(Self { model, gpus, free, cpu_milli, memory_mib, kinds: DemandKinds::default() })
    }

    /// The model of its GPUs.
    pub fn model(&self) -> GpuModel {
        self.model
    }

    /// CPU that is free, in thousandths of a core.
    pub fn cpu_milli(&self) -> u32 {
        self.cpu_milli
    }

    /// Host memory that is free, in MiB.
    pub fn memory_mib(&self) -> u32 {
        self.memory_mib
    }

    /// Thousandths free on each GPU, ascending.
    pub fn free(&self) -> &[u16] {
        &self.free[..usize::from(self.gpus)]
    }

    /// Thousandths free on all GPUs together.
    pub fn total_free(&self) -> u32 {
        self.free().iter().map(|free| u32::from(*free)).sum()
    }

    /// GPUs that nobody uses.
    pub fn whole_free(&self) -> u8 {
        let whole = self.free().iter().rev().take_while(|free| **free == GPU_MILLI).count();
        u8::try_from(whole).unwrap_or(u8::MAX)
    }

    /// Kinds of jobs that run here.
    pub fn kinds(&self) -> DemandKinds {
        self.kinds
    }

    /// The GPU with the least free that a demand fits on, and all with more.
    ///
    /// The number is a position in [`NodeState::free`], past its end where there is none.
    pub fn first_fit(&self, gpu_milli: u16) -> usize {
        self.free().partition_point(|free| *free < gpu_milli)
    }

    /// Whether a demand fits.
    pub fn fits(&self, demand: &Demand) -> bool {
        if self.cpu_milli < demand.cpu_milli || self.memory_mib < demand.memory_mib {
            return false;
        }
        if demand.gpus == 0 {
            return true;
        }
        demand.models.accepts(self.model)
            && usize::from(self.gpus) - self.first_fit(demand.gpu_milli) >= usize::from(demand.gpus)
    }

    /// The state once a demand that fits runs here, on the GPU at `gpu` in [`NodeState::free`] and, where it
    /// wants more than one, on those after it.
    pub fn after(&self, demand: &Demand, gpu: usize) -> Self {
        let mut next = *self;
        next.cpu_milli -= demand.cpu_milli;
        next.memory_mib -= demand.memory_mib;
        next.kinds.insert(demand.kind());
        for free in &mut next.free[gpu..gpu + usize::from(demand.gpus)] {
            *free -= demand.gpu_milli;
        }
        next.free[..usize::from(self.gpus)].sort_unstable();
        next
    }
}

impl fmt::Debug for NodeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeState")
            .field("model", &self.model)
            .field("free", &self.free())
            .field("cpu_milli", &self.cpu_milli)
            .field("memory_mib", &self.memory_mib)
            .field("kinds", &self.kinds)
            .finish()
    }
}
