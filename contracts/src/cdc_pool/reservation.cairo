// SPDX-License-Identifier: MIT

//! Reserves workers for a batch of jobs. Of each worker its offer is read, and what is in use is
//! read and written once for a run of requests whose workers share that slot.

use crate::cdc_pool::worker_record;
use crate::math::{lanes, reserve_request, worker_load, worker_slot};
use crate::rare::rare;
use starknet::storage::{StoragePointerReadAccess, StoragePointerWriteAccess};

/// The storage slot that the requests at hand are served from.
#[derive(Copy, Drop)]
struct Loads {
    /// The first of its four workers.
    first: felt252,
    stored: felt252,
    word: felt252,
}

/// Before the first request: no worker is among the four.
const NO_LOADS: Loads = Loads { first: -8, stored: 0, word: 0 };

/// Grants what can be granted and returns the refusals, see `ICdcPoolJobMgr::reserve_batch`.
pub fn reserve(requests: Span<felt252>) -> Span<felt252> {
    let mut rest = requests;
    let mut refusals = array![];
    let mut loads = NO_LOADS;
    loop {
        let (ask, worker_id) = match rest.multi_pop_front::<2>() {
            Option::Some(request) => {
                let [ask, worker_id] = (*request).unbox();
                (ask, worker_id)
            },
            Option::None => { break; },
        };
        let mut unit = worker_load::unit_of(worker_id, loads.first);
        if unit == 0 {
            rare();
            store(loads);
            loads = load_of(worker_id);
            unit = worker_load::unit_of(worker_id, loads.first);
        }
        let offer = worker_record::slot_at(worker_id).read();
        let asked: u256 = ask.into();
        let taken = if worker_slot::suits(offer - ask, asked) {
            worker_load::take(loads.word, unit, lanes::gpus(asked.low))
        } else {
            Option::None
        };
        match taken {
            Option::Some(word) => { loads.word = word; },
            Option::None => {
                rare();
                let load = worker_load::unpack(loads.word, unit);
                let index = (requests.len() - rest.len()) / 2 - 1;
                let reason = worker_slot::refusal(offer, load, asked);
                refusals.append(reserve_request::refusal(index, reason));
            },
        }
    };
    store(loads);
    refusals.span()
}

/// The slot that a worker, whose id is below 2^32, shares with three others.
fn load_of(worker_id: felt252) -> Loads {
    let first = worker_load::first_of(worker_id.try_into().unwrap());
    let stored = worker_record::loads_at(first).read();
    Loads { first, stored, word: stored }
}

fn store(loads: Loads) {
    if loads.word != loads.stored {
        worker_record::loads_at(loads.first).write(loads.word);
    }
}
