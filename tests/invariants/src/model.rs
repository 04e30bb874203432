//! What the contracts should do, told a second time: from the interface documents and docs/job-lifecycle.md, with
//! plain structs and maps and no packing. Whatever can be counted is counted rather than kept: a worker's free
//! slots are its slots less the jobs that are allocated to it.

mod allocation;
mod attempts;
mod cdc_pool;
mod control;
mod credit;
mod dispatch;
mod disputes;
mod endings;
mod groups;
mod heartbeats;
mod job_mgr;
mod keepers;
mod outcomes;
mod paymaster;
mod relay;
mod results;
mod show;
mod task_allocator;
#[cfg(test)]
mod tests;
mod token;

use keeper_types::Felt;

use crate::{
    actors::Contract,
    calls::{Moment, Step},
};
pub(crate) use allocation::is_hardware_enough;
pub(crate) use cdc_pool::Worker;
pub(crate) use control::Control;
use job_mgr::Placement;
pub(crate) use job_mgr::{Job, max_rate, price};

/// Named felts, in the order of the ABI.
pub(crate) type Fields = Vec<(&'static str, Felt)>;

/// The text of a revert.
pub(crate) type Refusal = &'static str;

/// Felts returned, or the text of a revert.
pub(crate) type Answered = Result<Vec<Felt>, Refusal>;

/// Whose money it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TokenKind {
    /// The local chain's.
    Strk,
    /// Ours, which can be armed.
    Test,
}

/// What the contracts were deployed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    /// Fri.
    pub(crate) min_stake_per_slot: u128,
    pub(crate) unbonding_s: u64,
    pub(crate) challenge_window_s: u64,
    pub(crate) dispute_window_s: u64,
    /// Fri.
    pub(crate) min_keeper_bond: u128,
    pub(crate) policy_delay_s: u64,
    pub(crate) upgrade_delay_s: u64,
    pub(crate) token: TokenKind,
    /// Whether the contracts know each other, and there are keepers and a policy, before the first call.
    pub(crate) is_set_up: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) contract: Contract,
    pub(crate) name: &'static str,
    pub(crate) fields: Fields,
    /// Of an event with a list, its felts.
    pub(crate) list: Vec<Felt>,
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) result: Answered,
    pub(crate) events: Vec<Event>,
}

/// The whole market.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) terms: Terms,
    pub(crate) now: Moment,
    pub(crate) token: token::Token,
    pub(crate) job_mgr: job_mgr::JobMgr,
    pub(crate) cdc_pool: cdc_pool::CdcPool,
    pub(crate) task_allocator: task_allocator::TaskAllocator,
    pub(crate) paymaster: paymaster::Paymaster,
    /// In the order of [`Contract::OURS`].
    pub(crate) controls: [Control; 4],
    /// What the account makes instead of what it is brought, and the nonces that it has seen.
    pub(crate) account: relay::Account,
    /// Of the call that is being executed.
    events: Vec<Event>,
}

impl Model {
    /// The contracts just deployed, and what each account holds and allows each of those that take money.
    pub(crate) fn new(terms: Terms, now: Moment, balance: u128) -> Self {
        Self {
            terms,
            now,
            token: token::Token::new(balance),
            job_mgr: job_mgr::JobMgr::default(),
            cdc_pool: cdc_pool::CdcPool::default(),
            task_allocator: task_allocator::TaskAllocator::default(),
            paymaster: paymaster::Paymaster::default(),
            controls: [Control::default(); 4],
            account: relay::Account::default(),
            events: Vec::new(),
        }
    }

    /// Makes a call after its pause. One that is refused changes nothing but the time.
    pub(crate) fn execute(&mut self, step: &Step) -> Outcome {
        self.now.timestamp += step.after_s;
        self.now.block += step.after_blocks;
        let mut next = self.clone();
        match next.call(step.caller.address(), &step.call) {
            Ok(felts) => {
                let events = std::mem::take(&mut next.events);
                *self = next;
                Outcome { result: Ok(felts), events }
            }
            Err(refusal) => Outcome { result: Err(refusal), events: Vec::new() },
        }
    }

    fn emit(&mut self, contract: Contract, name: &'static str, fields: Fields) {
        self.events.push(Event { contract, name, fields, list: Vec::new() });
    }

    fn emit_list(&mut self, contract: Contract, name: &'static str, fields: Fields, list: Vec<Felt>) {
        self.events.push(Event { contract, name, fields, list });
    }
}

fn ensure(holds: bool, refusal: Refusal) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(refusal) }
}

impl Moment {
    /// The deadline so many seconds later; ten of them, or a part of ten, count as a block.
    pub(crate) fn after(self, seconds: u64) -> Self {
        Self { timestamp: self.timestamp + seconds, block: self.block + seconds.div_ceil(10) }
    }

    /// The later clock and the later block of two moments.
    pub(crate) fn later(self, other: Self) -> Self {
        Self { timestamp: self.timestamp.max(other.timestamp), block: self.block.max(other.block) }
    }

    /// Whether `now` lies beyond this deadline by the clock and by the block number.
    pub(crate) fn has_passed(self, now: Self) -> bool {
        self.timestamp < now.timestamp && self.block < now.block
    }

    /// Whether `now` has come to this moment by the clock and by the block number.
    pub(crate) fn is_reached(self, now: Self) -> bool {
        self.timestamp <= now.timestamp && self.block <= now.block
    }
}
