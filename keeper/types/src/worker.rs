//! Workers as the chain's events tell them.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Address, Capabilities, Fri, Rate, WorkerId};

/// The highest reputation; a new worker starts at half of it.
pub const MAX_REPUTATION: u16 = 1_000;

/// The contract's states of a worker, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum WorkerStatus {
    /// Takes jobs.
    Active = 1,
    /// Finishes what it runs and takes no more.
    Draining = 2,
    /// Leaving; its stake is being unbonded.
    Exiting = 3,
    /// Gone, with its stake. Final.
    Exited = 4,
}

impl fmt::Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Exiting => "exiting",
            Self::Exited => "exited",
        })
    }
}

/// A registered worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worker {
    /// Its number.
    pub worker_id: WorkerId,
    /// The account that registered it, submits its results and is paid.
    pub owner: Address,
    /// Whether it takes jobs.
    pub status: WorkerStatus,
    /// What it has.
    pub capabilities: Capabilities,
    /// Jobs that it runs at a time.
    pub slots: u8,
    /// Slots in use.
    pub used_slots: u8,
    /// GPUs in use.
    pub used_gpus: u8,
    /// What it asks.
    pub rate: Rate,
    /// What it staked.
    pub stake: Fri,
    /// 0 to 1,000.
    pub reputation: u16,
    /// When the reputation last changed, in seconds since the epoch; decay counts from then.
    pub reputation_at: u64,
    /// Whether the admin admitted it to the static workers.
    pub is_static: bool,
    /// Results of it that are not beyond doubt yet; its stake cannot leave while there are any.
    pub holds: u16,
}

impl Worker {
    /// Slots that are free.
    pub fn free_slots(&self) -> u8 {
        self.slots.saturating_sub(self.used_slots)
    }

    /// GPUs that are free.
    pub fn free_gpus(&self) -> u8 {
        self.capabilities.gpu_count.saturating_sub(self.used_gpus)
    }

    /// Share of the slots in use, in basis points.
    pub fn load_bps(&self) -> u16 {
        match self.slots {
            0 => 10_000,
            slots => u16::try_from(u32::from(self.used_slots) * 10_000 / u32::from(slots)).unwrap_or(10_000),
        }
    }
}
