// SPDX-License-Identifier: MIT

/// The pool of workers: who they are, what they offer, what is free, their stake and their
/// reputation.
///
/// Roles: a worker's owner registers it and moves it through its life; the job manager alone takes
/// and gives back slots and moves reputation; the admin only names the job manager, once.
///
/// Invariants:
/// - free slots and free GPUs never exceed what the worker offers, nor fall below 0;
/// - the token balance covers the stakes of all workers that have not withdrawn;
/// - nothing can move a stake but its owner's withdrawal.
#[starknet::contract]
pub mod CdcPool {
    use core::cmp::max;
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::{
        Events, ICdcPoolAdmin, ICdcPoolJobMgr, ICdcPoolView, ICdcPoolWorker,
    };
    use crate::cdc_pool::types::{AttemptFailure, Bond, CdcPoolConfig, WorkerStatus, WorkerView};
    use crate::cdc_pool::{errors, offer, worker_record};
    use crate::clock::now;
    use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
    use crate::math::worker_slot::WorkerSlot;
    use crate::math::{deadlines, reputation, reserve_request, worker_slot};
    use crate::types::{Capabilities, Deadline};
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address, get_contract_address};

    /// Two years: timestamps are kept in 32 bits.
    const MAX_UNBONDING_S: u64 = 63_072_000;
    /// Workers that one call of `get_workers` returns.
    const MAX_PAGE: u8 = 50;

    /// Workers lie apart from this, see `cdc_pool/worker_record.cairo`.
    #[storage]
    struct Storage {
        admin: ContractAddress,
        token: ContractAddress,
        job_mgr: ContractAddress,
        min_stake_per_slot: u128,
        unbonding_s: u64,
        worker_count: u32,
        worker_of: Map<ContractAddress, u32>,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        WorkerRegistered: Events::WorkerRegistered,
        WorkerUpdated: Events::WorkerUpdated,
        WorkerDrained: Events::WorkerDrained,
        WorkerResumed: Events::WorkerResumed,
        WorkerExiting: Events::WorkerExiting,
        StakeWithdrawn: Events::StakeWithdrawn,
        ReputationChanged: Events::ReputationChanged,
        JobMgrSet: Events::JobMgrSet,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        token: ContractAddress,
        min_stake_per_slot: u128,
        unbonding_s: u64,
    ) {
        assert(admin.is_non_zero() && token.is_non_zero(), errors::ZERO_ADDRESS);
        assert(min_stake_per_slot != 0, errors::ZERO_MIN_STAKE);
        assert(unbonding_s <= MAX_UNBONDING_S, errors::UNBONDING_TOO_LONG);
        self.admin.write(admin);
        self.token.write(token);
        self.min_stake_per_slot.write(min_stake_per_slot);
        self.unbonding_s.write(unbonding_s);
    }

    #[abi(embed_v0)]
    impl WorkerImpl of ICdcPoolWorker<ContractState> {
        fn register_worker(
            ref self: ContractState,
            capabilities: Capabilities,
            slots: u8,
            rate_gfri: u64,
            stake: u128,
        ) -> u32 {
            let owner = get_caller_address();
            self._assert_has_no_worker(owner);
            self._assert_offer(capabilities, slots, rate_gfri, stake);

            let worker_id = self.worker_count.read() + 1;
            let record = worker_record::at(worker_id.into());
            self.worker_count.write(worker_id);
            self.worker_of.write(owner, worker_id);
            record.owner.write(owner);
            record
                .slot
                .write(
                    worker_slot::pack(
                        WorkerSlot {
                            status: WorkerStatus::Active,
                            capabilities,
                            slots,
                            free_slots: slots,
                            free_gpus: capabilities.gpu_count,
                            rate_gfri,
                            reputation: reputation::INITIAL,
                        },
                    ),
                );
            record
                .bond
                .write(Bond { stake, registered_at: now().timestamp, exit_at: 0, exit_block: 0 });

            let is_paid = IErc20Dispatcher { contract_address: self.token.read() }
                .transfer_from(owner, get_contract_address(), stake.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self
                .emit(
                    Events::WorkerRegistered {
                        worker_id, owner, capabilities, slots, rate_gfri, stake,
                    },
                );
            worker_id
        }

        fn update_worker(
            ref self: ContractState, capabilities: Capabilities, slots: u8, rate_gfri: u64,
        ) {
            let worker_id = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            assert_not_leaving(worker);
            assert_idle(worker);
            self._assert_offer(capabilities, slots, rate_gfri, record.bond.read().stake);

            record
                .slot
                .write(
                    worker_slot::pack(
                        WorkerSlot {
                            status: worker.status,
                            capabilities,
                            slots,
                            free_slots: slots,
                            free_gpus: capabilities.gpu_count,
                            rate_gfri,
                            reputation: worker.reputation,
                        },
                    ),
                );
            self.emit(Events::WorkerUpdated { worker_id, capabilities, slots, rate_gfri });
        }

        fn drain_worker(ref self: ContractState) {
            let worker_id = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            assert(worker.status == WorkerStatus::Active, errors::NOT_ACTIVE);

            record.slot.write(with_status(worker, WorkerStatus::Draining));
            self.emit(Events::WorkerDrained { worker_id });
        }

        fn resume_worker(ref self: ContractState) {
            let worker_id = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            assert(worker.status == WorkerStatus::Draining, errors::NOT_DRAINING);

            record.slot.write(with_status(worker, WorkerStatus::Active));
            self.emit(Events::WorkerResumed { worker_id });
        }

        fn exit_worker(ref self: ContractState) {
            let worker_id = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            assert_not_leaving(worker);

            let exit = deadlines::after(now(), self.unbonding_s.read());
            let bond = record.bond.read();
            record.slot.write(with_status(worker, WorkerStatus::Exiting));
            record.bond.write(Bond { exit_at: exit.timestamp, exit_block: exit.block, ..bond });
            self
                .emit(
                    Events::WorkerExiting {
                        worker_id, exit_at: exit.timestamp, exit_block: exit.block,
                    },
                );
        }

        fn withdraw_stake(ref self: ContractState) {
            let worker_id = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            let bond = record.bond.read();
            assert(worker.status == WorkerStatus::Exiting, errors::NOT_EXITING);
            assert_idle(worker);
            let exit = Deadline { timestamp: bond.exit_at, block: bond.exit_block };
            assert(deadlines::has_passed(exit, now()), errors::STILL_BONDED);

            record.slot.write(with_status(worker, WorkerStatus::Exited));
            record.bond.write(Bond { stake: 0, ..bond });

            let owner = get_caller_address();
            let amount = bond.stake;
            let is_paid = IErc20Dispatcher { contract_address: self.token.read() }
                .transfer(owner, amount.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self.emit(Events::StakeWithdrawn { worker_id, owner, amount });
        }
    }

    #[abi(embed_v0)]
    impl JobMgrImpl of ICdcPoolJobMgr<ContractState> {
        fn reserve_batch(ref self: ContractState, requests: Span<felt252>) -> Span<felt252> {
            self.assert_only_job_mgr();
            let mut answers = array![];
            for request in requests {
                let request = reserve_request::unpack(*request);
                let slot = worker_record::slot_at(request.worker_id.into());
                match worker_slot::reserve(slot.read(), request) {
                    Result::Ok((
                        reserved, rate_gfri,
                    )) => {
                        slot.write(reserved);
                        answers.append(rate_gfri.into());
                    },
                    Result::Err(reason) => {
                        answers.append(reserve_request::REFUSED);
                        answers.append(reason.into());
                    },
                }
            };
            answers.span()
        }

        fn release(
            ref self: ContractState, worker_id: u32, gpu_count: u8, owner: ContractAddress,
        ) -> bool {
            self.assert_only_job_mgr();
            let record = worker_record::at(worker_id.into());
            if record.owner.read() != owner {
                return false;
            }
            record.slot.write(worker_slot::release(record.slot.read(), gpu_count));
            true
        }

        fn record_failure(
            ref self: ContractState, worker_id: u32, gpu_count: u8, failure: AttemptFailure,
        ) {
            self.assert_only_job_mgr();
            let packed = worker_record::at(worker_id.into()).slot.read();
            let old = worker_slot::reputation(packed);
            let new = match failure {
                AttemptFailure::Failed => reputation::after_failure(old),
                AttemptFailure::Expired => reputation::after_expiry(old),
            };
            self._write_reputation(worker_id, worker_slot::release(packed, gpu_count), old, new);
        }

        fn record_settlement(ref self: ContractState, worker_id: u32) -> ContractAddress {
            self.assert_only_job_mgr();
            let record = worker_record::at(worker_id.into());
            let packed = record.slot.read();
            let old = worker_slot::reputation(packed);
            self._write_reputation(worker_id, packed, old, reputation::after_settlement(old));
            record.owner.read()
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of ICdcPoolAdmin<ContractState> {
        fn set_job_mgr(ref self: ContractState, job_mgr: ContractAddress) {
            self.assert_only_admin();
            assert(job_mgr.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.job_mgr.read().is_zero(), errors::JOB_MGR_ALREADY_SET);
            self.job_mgr.write(job_mgr);
            self.emit(Events::JobMgrSet { job_mgr });
        }
    }

    #[abi(embed_v0)]
    impl ViewImpl of ICdcPoolView<ContractState> {
        fn get_worker(self: @ContractState, worker_id: u32) -> WorkerView {
            let record = worker_record::at(worker_id.into());
            let worker = worker_slot::unpack(record.slot.read());
            let bond = record.bond.read();
            WorkerView {
                worker_id,
                owner: record.owner.read(),
                status: worker.status,
                capabilities: worker.capabilities,
                slots: worker.slots,
                free_slots: worker.free_slots,
                free_gpus: worker.free_gpus,
                rate_gfri: worker.rate_gfri,
                stake: bond.stake,
                reputation: worker.reputation,
                registered_at: bond.registered_at,
                exit_at: bond.exit_at,
                exit_block: bond.exit_block,
            }
        }

        fn get_workers(self: @ContractState, first: u32, count: u8) -> Span<WorkerView> {
            assert(count <= MAX_PAGE, errors::TOO_MANY_ASKED);
            let last: u64 = self.worker_count.read().into();
            let mut worker_id: u64 = max(first, 1).into();
            let end = worker_id + count.into();
            let mut workers = array![];
            while worker_id != end && worker_id <= last {
                workers.append(self.get_worker(worker_id.try_into().unwrap()));
                worker_id += 1;
            };
            workers.span()
        }

        fn worker_owner(self: @ContractState, worker_id: u32) -> ContractAddress {
            worker_record::at(worker_id.into()).owner.read()
        }

        fn worker_of(self: @ContractState, owner: ContractAddress) -> u32 {
            self.worker_of.read(owner)
        }

        fn worker_count(self: @ContractState) -> u32 {
            self.worker_count.read()
        }

        fn get_config(self: @ContractState) -> CdcPoolConfig {
            CdcPoolConfig {
                admin: self.admin.read(),
                token: self.token.read(),
                job_mgr: self.job_mgr.read(),
                min_stake_per_slot: self.min_stake_per_slot.read(),
                unbonding_s: self.unbonding_s.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        fn assert_only_admin(self: @ContractState) {
            assert(get_caller_address() == self.admin.read(), errors::NOT_ADMIN);
        }

        fn assert_only_job_mgr(self: @ContractState) {
            assert(get_caller_address() == self.job_mgr.read(), errors::NOT_JOB_MGR);
        }

        /// The caller's worker.
        fn _worker_of_caller(self: @ContractState) -> u32 {
            let worker_id = self.worker_of.read(get_caller_address());
            assert(worker_id != 0, errors::NOT_A_WORKER);
            worker_id
        }

        /// An owner has one worker at a time; one that has exited does not count.
        fn _assert_has_no_worker(self: @ContractState, owner: ContractAddress) {
            let worker_id = self.worker_of.read(owner);
            if worker_id != 0 {
                let worker = worker_slot::unpack(worker_record::at(worker_id.into()).slot.read());
                assert(worker.status == WorkerStatus::Exited, errors::ALREADY_REGISTERED);
            }
        }

        fn _assert_offer(
            self: @ContractState,
            capabilities: Capabilities,
            slots: u8,
            rate_gfri: u64,
            stake: u128,
        ) {
            offer::assert_valid(capabilities, slots, rate_gfri);
            assert(stake / slots.into() >= self.min_stake_per_slot.read(), errors::STAKE_TOO_LOW);
        }

        /// Writes the worker's slot with another reputation.
        fn _write_reputation(
            ref self: ContractState,
            worker_id: u32,
            packed: felt252,
            old_reputation: u16,
            new_reputation: u16,
        ) {
            let slot = worker_slot::with_reputation(packed, old_reputation, new_reputation);
            worker_record::at(worker_id.into()).slot.write(slot);
            if new_reputation != old_reputation {
                self.emit(Events::ReputationChanged { worker_id, old_reputation, new_reputation });
            }
        }
    }

    fn with_status(worker: WorkerSlot, status: WorkerStatus) -> felt252 {
        worker_slot::pack(WorkerSlot { status, ..worker })
    }

    fn assert_idle(worker: WorkerSlot) {
        assert(worker.free_slots == worker.slots, errors::JOBS_RUNNING);
    }

    fn assert_not_leaving(worker: WorkerSlot) {
        let is_staying = worker.status == WorkerStatus::Active
            || worker.status == WorkerStatus::Draining;
        assert(is_staying, errors::IS_LEAVING);
    }
}
