// SPDX-License-Identifier: MIT

//! Who calls whom, and when, from one system call.

use crate::types::Deadline;
use starknet::{ContractAddress, get_execution_info};

#[derive(Copy, Drop)]
pub struct Context {
    pub caller: ContractAddress,
    /// The contract that is called.
    pub this: ContractAddress,
    pub now: Deadline,
}

pub fn context() -> Context {
    let info = get_execution_info().unbox();
    let block = info.block_info.unbox();
    Context {
        caller: info.caller_address,
        this: info.contract_address,
        now: Deadline { timestamp: block.block_timestamp, block: block.block_number },
    }
}
