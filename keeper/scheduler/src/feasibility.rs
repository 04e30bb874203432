//! Whether a worker can take a job, and everything that speaks against it.

use std::{collections::BTreeMap, fmt};

use keeper_types::{JobId, WorkerStatus};
use serde::{Deserialize, Serialize};

use crate::{PendingJob, WorkerView};

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
}

impl Rejection {
    /// Every rejection, in order.
    pub const ALL: [Self; 16] = [
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
        }
    }

    /// Whether it goes away by itself: when an agent connects, or a running job ends.
    pub fn is_passing(self) -> bool {
        matches!(self, Self::Offline | Self::NoFreeSlot | Self::NoFreeGpu)
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
        })
    }
}

/// A worker, with what this plan has left of it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate<'a> {
    pub(crate) worker: &'a WorkerView,
    pub(crate) free_slots: u8,
    pub(crate) free_gpus: u8,
    /// Groups that it gets a replica of in this plan.
    groups: Vec<JobId>,
}

impl<'a> Candidate<'a> {
    pub(crate) fn new(worker: &'a WorkerView) -> Self {
        Self { worker, free_slots: worker.free_slots, free_gpus: worker.free_gpus, groups: Vec::new() }
    }

    /// Takes what `job` needs. Only for a worker that nothing speaks against.
    pub(crate) fn reserve(&mut self, job: &PendingJob) {
        self.free_slots = self.free_slots.saturating_sub(1);
        self.free_gpus = self.free_gpus.saturating_sub(job.requirements.gpu_count);
        self.groups.extend(job.group_id);
    }
}

/// What speaks against a worker: a bit for each rejection, so that judging a worker allocates nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rejections(u32);

impl Rejections {
    const PASSING: Self = Self(bit(Rejection::Offline) | bit(Rejection::NoFreeSlot) | bit(Rejection::NoFreeGpu));

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn contains(self, rejection: Rejection) -> bool {
        self.0 & bit(rejection) != 0
    }

    /// Whether waiting could be enough.
    pub(crate) fn are_passing(self) -> bool {
        self.0 & !Self::PASSING.0 == 0
    }

    fn add_if(&mut self, failed: bool, rejection: Rejection) {
        if failed {
            self.0 |= bit(rejection);
        }
    }
}

const fn bit(rejection: Rejection) -> u32 {
    1 << rejection as u8
}

/// Everything that speaks against giving `job` to the candidate.
pub(crate) fn judge(job: &PendingJob, candidate: &Candidate<'_>) -> Rejections {
    let (needs, worker) = (&job.requirements, candidate.worker);
    let has = &worker.capabilities;
    let mut found = Rejections::default();
    found.add_if(!worker.online, Rejection::Offline);
    found.add_if(worker.status != WorkerStatus::Active, Rejection::Unavailable);
    found.add_if(candidate.free_slots == 0, Rejection::NoFreeSlot);
    let has_gpus = has.gpu_count >= needs.gpu_count;
    found.add_if(has_gpus && candidate.free_gpus < needs.gpu_count, Rejection::NoFreeGpu);
    found.add_if(!has_gpus, Rejection::GpuCount);
    found.add_if(has.vram_gib < needs.vram_gib, Rejection::Vram);
    found.add_if(has.compute_capability < needs.compute_capability, Rejection::ComputeCapability);
    found.add_if(has.cuda_version < needs.cuda_version, Rejection::CudaVersion);
    found.add_if(has.driver_version < needs.driver_version, Rejection::DriverVersion);
    found.add_if(has.cpu_cores < needs.cpu_cores, Rejection::CpuCores);
    found.add_if(has.memory_gib < needs.memory_gib, Rejection::Memory);
    found.add_if(!has.features.contains(needs.features), Rejection::Features);
    found.add_if(needs.region.is_some() && has.region != needs.region, Rejection::Region);
    found.add_if(worker.reputation < needs.min_reputation, Rejection::Reputation);
    found.add_if(worker.rate > job.max_rate, Rejection::Rate);
    let has_replica = job.group_id.is_some_and(|group_id| candidate.groups.contains(&group_id));
    found.add_if(has_replica || job.excluded.contains(&worker.worker_id), Rejection::Excluded);
    found
}

/// How many workers each rejection applies to.
#[derive(Clone, Debug, Default)]
pub(crate) struct RejectionCounts([u32; Rejection::ALL.len()]);

impl RejectionCounts {
    pub(crate) fn add(&mut self, rejections: Rejections) {
        for (count, rejection) in self.0.iter_mut().zip(Rejection::ALL) {
            *count += u32::from(rejections.contains(rejection));
        }
    }

    pub(crate) fn into_map(self) -> BTreeMap<Rejection, u32> {
        Rejection::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{Features, Rate, WorkerId};

    use super::*;
    use crate::plan::fixtures::{job, worker};

    fn rejections(job: &PendingJob, worker: &WorkerView) -> Vec<Rejection> {
        let found = judge(job, &Candidate::new(worker));
        Rejection::ALL.into_iter().filter(|rejection| found.contains(*rejection)).collect()
    }

    #[test]
    fn codes_are_what_is_serialised_and_are_listed_in_order() {
        for (index, rejection) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(rejection as usize, index);
            assert_eq!(serde_json::to_value(rejection).unwrap(), rejection.code());
            let passing = Rejections(bit(rejection)).are_passing();
            assert_eq!(rejection.is_passing(), passing, "{rejection}");
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
