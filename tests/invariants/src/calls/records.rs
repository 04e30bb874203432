//! Structs of the ABI, as they are sent. Each says its felts once, with their names.

use keeper_types::Felt;

use crate::model::Fields;

/// What a job asks of its worker, as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Requirements {
    pub(crate) gpu_count: u8,
    pub(crate) vram_gib: u16,
    pub(crate) compute_capability: u8,
    pub(crate) cuda_version: u8,
    pub(crate) driver_version: u16,
    pub(crate) cpu_cores: u16,
    pub(crate) memory_gib: u16,
    pub(crate) min_reputation: u16,
    pub(crate) features: u16,
    pub(crate) region: Felt,
}

/// What a worker offers, as it is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) gpu_count: u8,
    pub(crate) vram_gib: u16,
    pub(crate) compute_capability: u8,
    pub(crate) cuda_version: u8,
    pub(crate) driver_version: u16,
    pub(crate) cpu_cores: u16,
    pub(crate) memory_gib: u16,
    pub(crate) features: u16,
    pub(crate) region: Felt,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct JobSpec {
    pub(crate) manifest_hash: Felt,
    pub(crate) model_id: Felt,
    pub(crate) requirements: Requirements,
    pub(crate) priority: u8,
    pub(crate) queue: u8,
    /// Fri, of each replica.
    pub(crate) max_price: u128,
    /// Unix time in seconds.
    pub(crate) deadline: u64,
    pub(crate) execution_timeout_s: u32,
    pub(crate) max_attempts: u8,
    pub(crate) max_latency_ms: u16,
    pub(crate) verification: u8,
    pub(crate) replicas: u8,
    pub(crate) quorum: u8,
}

/// The terms of `register_worker` and `update_worker`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) capabilities: Capabilities,
    pub(crate) slots: u8,
    pub(crate) rate_gfri: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metrics {
    pub(crate) queue_length: u32,
    pub(crate) response_ms: u32,
    pub(crate) success_bps: u16,
    pub(crate) utilisation_bps: u16,
}

/// The parameters of the view `allocate_job`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AllocationParams {
    pub(crate) job_id: (u128, u128),
    pub(crate) model_id: Felt,
    pub(crate) priority: u8,
    pub(crate) region: Felt,
    pub(crate) min_reputation: u32,
}

/// What a round says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RoundHeader {
    pub(crate) round: u64,
    pub(crate) snapshot_block: u64,
    pub(crate) snapshot_root: Felt,
    pub(crate) policy_id: Felt,
    pub(crate) plan_root: Felt,
}

impl JobSpec {
    pub(crate) fn fields(&self) -> Fields {
        let wanted = &self.requirements;
        vec![
            ("spec.manifest_hash", self.manifest_hash),
            ("spec.model_id", self.model_id),
            ("spec.requirements.gpu_count", wanted.gpu_count.into()),
            ("spec.requirements.vram_gib", wanted.vram_gib.into()),
            ("spec.requirements.compute_capability", wanted.compute_capability.into()),
            ("spec.requirements.cuda_version", wanted.cuda_version.into()),
            ("spec.requirements.driver_version", wanted.driver_version.into()),
            ("spec.requirements.cpu_cores", wanted.cpu_cores.into()),
            ("spec.requirements.memory_gib", wanted.memory_gib.into()),
            ("spec.requirements.min_reputation", wanted.min_reputation.into()),
            ("spec.requirements.features", wanted.features.into()),
            ("spec.requirements.region", wanted.region),
            ("spec.priority", self.priority.into()),
            ("spec.queue", self.queue.into()),
            ("spec.max_price", self.max_price.into()),
            ("spec.deadline", self.deadline.into()),
            ("spec.execution_timeout_s", self.execution_timeout_s.into()),
            ("spec.max_attempts", self.max_attempts.into()),
            ("spec.max_latency_ms", self.max_latency_ms.into()),
            ("spec.verification", self.verification.into()),
            ("spec.replicas", self.replicas.into()),
            ("spec.quorum", self.quorum.into()),
        ]
    }

    pub(super) fn felts(&self) -> Vec<Felt> {
        values(self.fields())
    }
}

impl Capabilities {
    pub(crate) fn fields(&self) -> Fields {
        vec![
            ("capabilities.gpu_count", self.gpu_count.into()),
            ("capabilities.vram_gib", self.vram_gib.into()),
            ("capabilities.compute_capability", self.compute_capability.into()),
            ("capabilities.cuda_version", self.cuda_version.into()),
            ("capabilities.driver_version", self.driver_version.into()),
            ("capabilities.cpu_cores", self.cpu_cores.into()),
            ("capabilities.memory_gib", self.memory_gib.into()),
            ("capabilities.features", self.features.into()),
            ("capabilities.region", self.region),
        ]
    }
}

impl Offer {
    pub(super) fn felts(&self) -> Vec<Felt> {
        let mut felts = values(self.capabilities.fields());
        felts.extend([Felt::from(self.slots), self.rate_gfri.into()]);
        felts
    }
}

impl Metrics {
    pub(crate) fn felts(&self) -> [Felt; 4] {
        [self.queue_length.into(), self.response_ms.into(), self.success_bps.into(), self.utilisation_bps.into()]
    }
}

impl AllocationParams {
    pub(super) fn felts(&self) -> Vec<Felt> {
        let (low, high) = self.job_id;
        vec![low.into(), high.into(), self.model_id, self.priority.into(), self.region, self.min_reputation.into()]
    }
}

impl RoundHeader {
    pub(crate) fn fields(&self) -> Fields {
        vec![
            ("round", self.round.into()),
            ("snapshot_block", self.snapshot_block.into()),
            ("snapshot_root", self.snapshot_root),
            ("policy_id", self.policy_id),
            ("plan_root", self.plan_root),
        ]
    }

    pub(super) fn felts(&self) -> Vec<Felt> {
        values(self.fields())
    }
}

fn values(fields: Fields) -> Vec<Felt> {
    fields.into_iter().map(|(_, felt)| felt).collect()
}
