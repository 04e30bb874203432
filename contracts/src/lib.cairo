// SPDX-License-Identifier: MIT

//! The contracts of CIRO Keeper.
//!
//! `JobMgr` holds jobs and the money paid for them, `CdcPool` workers, their stake and reputation,
//! and `TaskAllocator` takes the keepers' proposals. `Paymaster` holds money that others may spend
//! for its owner within limits, and `Referee` judges disputed matrix products. Each contract has a
//! folder; its `interface` is the document of its ABI. `components` is what contracts have in
//! common: an admin, a pause, upgrades. `math` is pure: no function there reads storage, the caller
//! or the clock.

mod clock;
mod context;
mod emission;
mod erc20;
mod rare;
mod src9;
pub mod types;

pub mod components {
    pub mod access;
    pub mod pausable;
    pub mod upgradeable;
}

pub(crate) mod math {
    pub mod account_word;
    pub mod allocation_item;
    pub mod deadlines;
    pub mod dispute_word;
    pub mod group_word;
    pub mod heartbeats;
    pub mod job_slot;
    pub mod job_terms;
    pub mod lanes;
    pub mod money;
    pub mod reputation;
    pub mod reserve_request;
    pub mod slashing;
    pub mod worker_load;
    pub mod worker_slot;
}

pub mod cdc_pool {
    mod contract;
    mod errors;
    pub mod interface;
    mod liveness;
    mod offer;
    mod registration;
    mod reputations;
    mod reservation;
    mod stakes;
    pub mod types;
    mod worker_record;
    mod worker_status;
    mod worker_view;
}

pub mod job_mgr {
    mod allocation;
    mod attempts;
    mod candidate;
    mod claim;
    mod committee;
    mod contract;
    mod disputes;
    mod errors;
    pub mod events;
    mod group_record;
    mod groups;
    pub mod interface;
    mod job_access;
    mod job_record;
    mod job_spec;
    mod job_view;
    mod ledger;
    mod replica_allocation;
    mod settlement;
    mod submission;
    pub mod types;
}

pub mod paymaster {
    mod contract;
    mod errors;
    pub mod interface;
    pub mod types;
}

pub mod referee {
    mod bytes;
    mod contract;
    mod errors;
    pub mod interface;
    mod manifest;
    mod matrices;
    mod output;
    mod product;
}

pub mod task_allocator {
    mod contract;
    mod errors;
    pub mod interface;
    mod keeper_slot;
    mod policy_slot;
    pub mod types;
}
