//! Which event the felts spell.
//!
//! The generated code finds that out by hashing the name of every event that it knows, one after the other, each time:
//! several microseconds an event, a third of what following costs. Here the names are hashed once. What the felts then
//! mean is read by the generated code, which every event's type has by itself: keys first, then data, as in the contracts.

use std::sync::LazyLock;

use cainome::cairo_serde::CairoSerde as _;
use keeper_bindings::{cdc_pool, job_mgr, task_allocator};
use keeper_types::Felt;
use starknet::core::types::Event;

macro_rules! events_of {
    ($read:ident, $selectors:ident, $contract:ident: $($name:ident)*) => {
        static $selectors: LazyLock<Vec<Felt>> = LazyLock::new(|| vec![$($contract::$name::event_selector()),*]);

        /// Reads an event of the contract.
        ///
        /// # Errors
        /// Fails where the felts do not spell one. May panic where felts are missing, as the generated code does.
        pub(super) fn $read(event: &Event) -> Result<$contract::Event, String> {
            let name = event.keys.first();
            let felts: Vec<Felt> = event.keys.iter().skip(1).chain(&event.data).copied().collect();
            let mut selectors = $selectors.iter();
            $(
                if selectors.next() == name {
                    let read = $contract::$name::cairo_deserialize(&felts, 0);
                    return read.map($contract::Event::$name).map_err(|error| error.to_string());
                }
            )*
            $contract::Event::try_from(event)
        }
    };
}

events_of! { pool_event, POOL, cdc_pool:
    ReputationChanged WorkerRegistered WorkerUpdated WorkerDrained WorkerResumed WorkerExiting StakeWithdrawn StakeAdded
    WorkerSlashed WorkerAdmitted WorkerDismissed HeartbeatsRecorded JobMgrSet TaskAllocatorSet
}

events_of! { job_event, JOBS, job_mgr:
    JobSubmitted JobsAllocated ResultSubmitted JobSettled ResultCommitted AttemptFailed JobClaimed ResultRejected
    GroupDecided ResultDisputed DisputeRuled JobCancelled JobExpired JobFailed CreditSpent CreditWithdrawn
    TaskAllocatorSet PaymasterSet RefereeSet
}

events_of! { allocator_event, ALLOCATOR, task_allocator:
    RoundApplied AllocationSkipped KeeperAdded KeeperRemoved BondPosted KeeperLeft BondWithdrawn PolicyAnnounced
    PolicyRetired WorkerMetricsUpdated
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    /// An event with so many keys beside its name, and more data than any event has.
    fn event(name: Felt, keys: u64) -> Event {
        let numbers = |count: u64| (1..=count).map(|_| Felt::ONE);
        let keys = std::iter::once(name).chain(numbers(keys)).collect();
        Event { from_address: Felt::ONE, keys, data: numbers(40).collect() }
    }

    /// That every event is read as the generated code reads it, with as many keys as that asks for.
    fn is_read_the_same<E: PartialEq + std::fmt::Debug>(
        selectors: &[Felt],
        read: impl Fn(&Event) -> Result<E, String>,
        generated: impl Fn(&Event) -> Result<E, String>,
    ) {
        for selector in selectors {
            let spelt = (0..5).map(|keys| event(*selector, keys)).find_map(|event| {
                let expected = catch_unwind(AssertUnwindSafe(|| generated(&event))).ok()?.ok()?;
                Some((event, expected))
            });
            let (event, expected) = spelt.unwrap();
            assert_eq!(read(&event).unwrap(), expected);
        }
    }

    #[test]
    fn every_event_is_read_as_the_generated_code_reads_it() {
        is_read_the_same(&POOL, pool_event, |event| cdc_pool::Event::try_from(event));
        is_read_the_same(&JOBS, job_event, |event| job_mgr::Event::try_from(event));
        is_read_the_same(&ALLOCATOR, allocator_event, |event| task_allocator::Event::try_from(event));
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert!(job_event(&event(Felt::TWO, 1)).is_err());
        assert!(job_event(&Event { from_address: Felt::ONE, keys: Vec::new(), data: Vec::new() }).is_err());
    }
}
