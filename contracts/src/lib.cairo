// SPDX-License-Identifier: MIT

//! The contracts of CIRO Keeper.
//!
//! `JobMgr` holds jobs and the money paid for them, `CdcPool` workers, their stake and reputation,
//! and `TaskAllocator` takes the keepers' proposals. Each contract has a folder; its `interface` is
//! the document of its ABI. `math` is pure: no function there reads storage, the caller or the
//! clock.

mod clock;
mod erc20;
mod rare;
pub mod types;

pub(crate) mod math {
    pub mod allocation_item;
    pub mod deadlines;
    pub mod job_slot;
    pub mod job_terms;
    pub mod lanes;
    pub mod money;
    pub mod reputation;
    pub mod reserve_request;
    pub mod worker_slot;
}

pub mod cdc_pool {
    mod contract;
    mod errors;
    pub mod interface;
    mod offer;
    pub mod types;
    mod worker_record;
}

pub mod job_mgr {
    mod candidate;
    mod contract;
    mod errors;
    pub mod interface;
    mod job_record;
    mod job_spec;
    mod job_view;
    pub mod types;
}

pub mod task_allocator {
    mod contract;
    mod errors;
    pub mod interface;
    pub mod types;
}
