//! The vocabulary of the market: identifiers, units, wire formats and the job state machine.
//!
//! Nothing here does I/O. Values are checked where they enter (a flag, a file, an event's felts) and carried
//! in types that cannot be mixed up afterwards: a [`JobId`] is never a [`WorkerId`], money is [`Fri`], a price
//! is a [`Rate`].
//!
//! [`Market`] is what the keeper believes: the fold of the contracts' events. It is a cache of the chain and
//! can be rebuilt from it at any time.

mod allocation;
mod block;
mod content_hash;
pub mod decay;
mod event;
mod hash;
mod ids;
mod job;
mod manifest;
mod market;
mod money;
mod placement;
mod preference;
mod proof;
mod requirements;
mod round;
mod usage;
mod verification;
mod versioned;
mod worker;

pub use allocation::{AllocationItem, ItemError, MAX_ITEMS_PER_BATCH, SkipReason, Strategy};
pub use block::{BlockEvents, BlockHeader, BlockRef};
pub use content_hash::{ContentHash, ContentHashError};
pub use event::{AdminEvent, EventPosition, MarketContract, MarketEvent};
pub use hash::{PoseidonSponge, poseidon, poseidon_pair};
pub use ids::{Address, Attempt, BlockNumber, ChainId, FeltParseError, JobId, PolicyId, TxHash, WorkerId, parse_felt};
pub use job::{Dispute, Job, JobSpec, JobState, Queue, UnknownState};
pub use manifest::{
    Executor, Limits, MAX_MANIFEST_BYTES, MAX_MATMUL_SIZE, Manifest, ManifestError, MatmulJob, ProcessJob,
};
pub use market::{ApplyError, Group, KeeperBond, Market, PolicyState, RunningJob, Turns};
pub use money::{Fri, MoneyError, Rate};
pub use placement::{
    AgentProfile, AgentView, ExecutorKind, ManifestView, Placement, PlacementError, Refusals, TrustTier,
};
pub use preference::{Preference, PreferenceSet, Preferences, WorkerFacts};
pub use proof::ProofOfAccount;
pub use requirements::{Capabilities, Features, Region, RegionError, RequirementError, Requirements};
pub use round::RoundHeader;
pub use starknet_types_core::felt::Felt;
pub use usage::{USAGE_HALF_LIFE_S, Usage};
pub use verification::{
    MAX_LATENCY_MS, MAX_REPLICAS, RejectionCause, Replication, Verification, VerificationError, WorkerFault,
};
pub use versioned::Versioned;
pub use worker::{MAX_REPUTATION, Worker, WorkerStatus};
