//! Whether a worker can take a job, and everything that speaks against it.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

/// One thing that keeps a worker from getting a job.
///
/// A worker counts under every rejection that applies to it, so that a person sees all that would have to
/// change. The one exception: a worker that never had the GPUs counts under [`Rejection::GpuCount`], not also
/// under [`Rejection::NoFreeGpu`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Rejection {
    /// Its agent is not connected.
    Offline,
    /// It is draining or leaving.
    Unavailable,
    /// It runs as many jobs as it has slots.
    NoFreeSlot,
    /// It has the GPUs, but too few of them are free.
    NoFreeGpu,
    /// It has too few GPUs.
    GpuCount,
    /// Its GPUs have too little memory.
    Vram,
    /// Its GPUs' compute capability is too low.
    ComputeCapability,
    /// Its driver supports only an older CUDA.
    CudaVersion,
    /// Its driver is too old.
    DriverVersion,
    /// It has too few CPU cores.
    CpuCores,
    /// It has too little memory.
    Memory,
    /// It lacks a feature.
    Features,
    /// It stands in another region.
    Region,
    /// Its reputation is too low.
    Reputation,
    /// It asks more than the job pays.
    Rate,
    /// It failed this job, or had another replica of its group.
    Excluded,
    /// Its agent is too far away.
    Latency,
    /// How far away its agent is is not known yet.
    LatencyUnknown,
    /// Its GPUs are of another model.
    GpuModel,
    /// It has too little free disk.
    Disk,
    /// Its GPUs are connected by an older PCI Express.
    PcieGeneration,
    /// Nobody but its stake vouches for it.
    Trust,
    /// It does not take this client's jobs.
    RefusesClient,
    /// It does not take jobs of this kind.
    RefusesExecutor,
    /// It is kept for a job before this one.
    Reserved,
    /// It has not begun a job that it was given a while ago.
    Stalled,
}

impl Rejection {
    /// Every rejection, in order.
    pub const ALL: [Self; 26] = [
        Self::Offline,
        Self::Unavailable,
        Self::NoFreeSlot,
        Self::NoFreeGpu,
        Self::GpuCount,
        Self::Vram,
        Self::ComputeCapability,
        Self::CudaVersion,
        Self::DriverVersion,
        Self::CpuCores,
        Self::Memory,
        Self::Features,
        Self::Region,
        Self::Reputation,
        Self::Rate,
        Self::Excluded,
        Self::Latency,
        Self::LatencyUnknown,
        Self::GpuModel,
        Self::Disk,
        Self::PcieGeneration,
        Self::Trust,
        Self::RefusesClient,
        Self::RefusesExecutor,
        Self::Reserved,
        Self::Stalled,
    ];

    /// The reason code that the command line and the API write.
    pub fn code(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Unavailable => "unavailable",
            Self::NoFreeSlot => "no_free_slot",
            Self::NoFreeGpu => "no_free_gpu",
            Self::GpuCount => "gpu_count",
            Self::Vram => "vram",
            Self::ComputeCapability => "compute_capability",
            Self::CudaVersion => "cuda_version",
            Self::DriverVersion => "driver_version",
            Self::CpuCores => "cpu_cores",
            Self::Memory => "memory",
            Self::Features => "features",
            Self::Region => "region",
            Self::Reputation => "reputation",
            Self::Rate => "rate",
            Self::Excluded => "excluded",
            Self::Latency => "latency",
            Self::LatencyUnknown => "latency_unknown",
            Self::GpuModel => "gpu_model",
            Self::Disk => "disk",
            Self::PcieGeneration => "pcie_generation",
            Self::Trust => "trust",
            Self::RefusesClient => "refuses_client",
            Self::RefusesExecutor => "refuses_executor",
            Self::Reserved => "reserved",
            Self::Stalled => "stalled",
        }
    }

    /// Whether it goes away by itself: when an agent connects, or a job ends or starts.
    pub fn is_passing(self) -> bool {
        matches!(
            self,
            Self::Offline | Self::NoFreeSlot | Self::NoFreeGpu | Self::LatencyUnknown | Self::Reserved | Self::Stalled
        )
    }
}

/// Says it of the worker, for people.
impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offline => "not connected",
            Self::Unavailable => "draining or leaving",
            Self::NoFreeSlot => "no free slot",
            Self::NoFreeGpu => "too few free GPUs",
            Self::GpuCount => "too few GPUs",
            Self::Vram => "too little GPU memory",
            Self::ComputeCapability => "compute capability too low",
            Self::CudaVersion => "CUDA version too old",
            Self::DriverVersion => "driver too old",
            Self::CpuCores => "too few CPU cores",
            Self::Memory => "too little memory",
            Self::Features => "lacks a feature",
            Self::Region => "in another region",
            Self::Reputation => "reputation too low",
            Self::Rate => "asks more than the job pays",
            Self::Excluded => "failed this job, or had a replica of it, before",
            Self::Latency => "too far away",
            Self::LatencyUnknown => "how far away is not measured yet",
            Self::GpuModel => "GPUs of another model",
            Self::Disk => "too little free disk",
            Self::PcieGeneration => "PCI Express too old",
            Self::Trust => "not admitted by the admin",
            Self::RefusesClient => "does not take this client's jobs",
            Self::RefusesExecutor => "does not take jobs of this kind",
            Self::Reserved => "kept for a job before this one",
            Self::Stalled => "has not begun a job that it was given",
        })
    }
}

/// How many workers each rejection applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RejectionCounts([u32; Rejection::ALL.len()]);

impl RejectionCounts {
    pub(crate) fn add(&mut self, rejection: Rejection, count: u32) {
        self.0[rejection as usize] += count;
    }

    pub(crate) fn add_all(&mut self, other: &Self) {
        for (count, more) in self.0.iter_mut().zip(other.0) {
            *count += more;
        }
    }

    pub(crate) fn set(&mut self, rejection: Rejection, count: u32) {
        self.0[rejection as usize] = count;
    }

    pub(crate) fn into_map(self) -> BTreeMap<Rejection, u32> {
        Rejection::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{Features, Rate, WorkerId, WorkerStatus};

    use super::*;
    use crate::{
        PendingJob, Policy, WorkerView,
        matching::{Need, WorkerIndex},
        plan::fixtures::{job, worker},
    };

    fn rejections(job: &PendingJob, worker: &WorkerView) -> Vec<Rejection> {
        let index = WorkerIndex::new(std::slice::from_ref(worker), &Policy::BALANCED);
        let found = index.rejections(&Need::of(job), &job.excluded);
        assert!(found.values().all(|count| *count == 1));
        found.into_keys().collect()
    }

    #[test]
    fn codes_are_what_is_serialised_and_are_listed_in_order() {
        for (index, rejection) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(rejection as usize, index);
            assert_eq!(serde_json::to_value(rejection).unwrap(), rejection.code());
        }
    }

    #[test]
    fn a_worker_that_just_fits_is_not_rejected() {
        assert_eq!(rejections(&job(1), &worker(1)), []);
    }

    #[test]
    fn each_requirement_has_its_rejection() {
        type Change = fn(&mut PendingJob, &mut WorkerView);
        let cases: [(Change, Rejection); 16] = [
            (|_, worker| worker.online = false, Rejection::Offline),
            (|_, worker| worker.status = WorkerStatus::Draining, Rejection::Unavailable),
            (|_, worker| worker.free_slots = 0, Rejection::NoFreeSlot),
            (|_, worker| worker.free_gpus = 1, Rejection::NoFreeGpu),
            (|_, worker| worker.capabilities.gpu_count = 1, Rejection::GpuCount),
            (|_, worker| worker.capabilities.vram_gib -= 1, Rejection::Vram),
            (|_, worker| worker.capabilities.compute_capability -= 1, Rejection::ComputeCapability),
            (|_, worker| worker.capabilities.cuda_version -= 1, Rejection::CudaVersion),
            (|_, worker| worker.capabilities.driver_version -= 1, Rejection::DriverVersion),
            (|_, worker| worker.capabilities.cpu_cores -= 1, Rejection::CpuCores),
            (|_, worker| worker.capabilities.memory_gib -= 1, Rejection::Memory),
            (|_, worker| worker.capabilities.features = Features::default(), Rejection::Features),
            (|_, worker| worker.capabilities.region = Some("us-e1".parse().unwrap()), Rejection::Region),
            (|_, worker| worker.reputation -= 1, Rejection::Reputation),
            (|job, worker| worker.rate = Rate(job.max_rate.0 + 1), Rejection::Rate),
            (|job, _| job.excluded.push(WorkerId(1)), Rejection::Excluded),
        ];
        for (change, rejection) in cases {
            let (mut job, mut worker) = (job(1), worker(1));
            change(&mut job, &mut worker);
            assert_eq!(rejections(&job, &worker), [rejection]);
        }
    }

    #[test]
    fn a_worker_counts_under_everything_that_it_fails() {
        let mut worker = worker(1);
        worker.online = false;
        worker.free_slots = 0;
        worker.capabilities.memory_gib = 0;
        assert_eq!(rejections(&job(1), &worker), [Rejection::Offline, Rejection::NoFreeSlot, Rejection::Memory]);
    }

    #[test]
    fn a_job_without_a_region_goes_anywhere() {
        let mut job = job(1);
        job.requirements.region = None;
        assert_eq!(rejections(&job, &worker(1)), []);
    }
}
