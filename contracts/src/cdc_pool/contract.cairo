// SPDX-License-Identifier: MIT

/// The pool of workers: who they are, what they offer, what is free, their stake and their
/// reputation.
///
/// Roles: a worker's owner registers it and moves it through its life; the job manager alone takes
/// and gives back slots, holds and slashes stakes and moves reputation, which otherwise only decays
/// with time; keepers report heartbeats; the admin names the job manager and the task allocator,
/// once, and says who is in the static pool.
///
/// Invariants:
/// - free slots and free GPUs never exceed what the worker offers, nor fall below 0;
/// - the token balance covers the stakes of all workers that have not withdrawn;
/// - a stake falls only by its owner's withdrawal, which no running job, no hold and no result that
///   can still be disputed outlives, and by a fault that the job manager reports.
#[starknet::contract]
pub mod CdcPool {
    use core::cmp::max;
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::{
        Events, ICdcPoolAdmin, ICdcPoolJobMgr, ICdcPoolKeeper, ICdcPoolUpkeep, ICdcPoolView,
        ICdcPoolWorker,
    };
    use crate::cdc_pool::liveness::Liveness;
    use crate::cdc_pool::registration::Registration;
    use crate::cdc_pool::reputations::Reputations;
    use crate::cdc_pool::stakes::Stakes;
    use crate::cdc_pool::types::{
        AttemptFailure, Bond, CdcPoolConfig, WorkerFault, WorkerStatus, WorkerView,
    };
    use crate::cdc_pool::worker_view::worker_view;
    use crate::cdc_pool::{errors, reservation, worker_record, worker_status};
    use crate::clock::now;
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use crate::components::pausable::PausableComponent;
    use crate::components::pausable::PausableComponent::InternalTrait as PausableInternalTrait;
    use crate::components::upgradeable::UpgradeableComponent;
    use crate::components::upgradeable::UpgradeableComponent::InternalTrait as UpgradeableInternalTrait;
    use crate::context::{Context, context};
    use crate::math::reputation::Outcome;
    use crate::math::worker_slot::WorkerSlot;
    use crate::math::{deadlines, heartbeats, worker_load, worker_slot};
    use crate::task_allocator::interface::{ITaskAllocatorDispatcher, ITaskAllocatorDispatcherTrait};
    use crate::types::{Capabilities, Deadline};
    use starknet::storage::{
        Map, StorageMapReadAccess, StoragePointerReadAccess, StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address};

    /// Two years: timestamps are kept in 32 bits.
    const MAX_UNBONDING_S: u64 = 63_072_000;
    /// Workers that one call of `get_workers` returns.
    const MAX_PAGE: u8 = 50;
    /// Groups of one `heartbeat_batch`: an event has room for some 300 felts.
    const MAX_GROUPS: u32 = 250;

    component!(path: AccessComponent, storage: access, event: AccessEvent);
    component!(path: PausableComponent, storage: pausable, event: PausableEvent);
    component!(path: UpgradeableComponent, storage: upgradeable, event: UpgradeableEvent);

    #[abi(embed_v0)]
    impl AccessImpl = AccessComponent::AccessImpl<ContractState>;
    #[abi(embed_v0)]
    impl PausableImpl = PausableComponent::PausableImpl<ContractState>;
    #[abi(embed_v0)]
    impl UpgradeableImpl = UpgradeableComponent::UpgradeableImpl<ContractState>;

    /// Workers lie apart from this, see `cdc_pool/worker_record.cairo`.
    #[storage]
    struct Storage {
        #[substorage(v0)]
        access: AccessComponent::Storage,
        #[substorage(v0)]
        pausable: PausableComponent::Storage,
        #[substorage(v0)]
        upgradeable: UpgradeableComponent::Storage,
        pub(crate) token: ContractAddress,
        job_mgr: ContractAddress,
        task_allocator: ContractAddress,
        pub(crate) min_stake_per_slot: u128,
        pub(crate) unbonding_s: u64,
        pub(crate) worker_count: u32,
        pub(crate) worker_of: Map<ContractAddress, u32>,
        /// By group, `math/heartbeats.cairo`.
        pub(crate) heartbeats: Map<u32, felt252>,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        #[flat]
        AccessEvent: AccessComponent::Event,
        #[flat]
        PausableEvent: PausableComponent::Event,
        #[flat]
        UpgradeableEvent: UpgradeableComponent::Event,
        WorkerRegistered: Events::WorkerRegistered,
        WorkerUpdated: Events::WorkerUpdated,
        WorkerDrained: Events::WorkerDrained,
        WorkerResumed: Events::WorkerResumed,
        WorkerExiting: Events::WorkerExiting,
        StakeWithdrawn: Events::StakeWithdrawn,
        ReputationChanged: Events::ReputationChanged,
        StakeAdded: Events::StakeAdded,
        WorkerSlashed: Events::WorkerSlashed,
        WorkerAdmitted: Events::WorkerAdmitted,
        WorkerDismissed: Events::WorkerDismissed,
        HeartbeatsRecorded: Events::HeartbeatsRecorded,
        JobMgrSet: Events::JobMgrSet,
        TaskAllocatorSet: Events::TaskAllocatorSet,
    }

    /// Lets the other files of this contract emit.
    pub(crate) impl Emitter = ContractStateEventEmitter;

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        token: ContractAddress,
        min_stake_per_slot: u128,
        unbonding_s: u64,
        upgrade_delay_s: u64,
    ) {
        self.access.initializer(admin);
        self.upgradeable.initializer(upgrade_delay_s);
        assert(token.is_non_zero(), errors::ZERO_ADDRESS);
        assert(min_stake_per_slot != 0, errors::ZERO_MIN_STAKE);
        assert(unbonding_s <= MAX_UNBONDING_S, errors::UNBONDING_TOO_LONG);
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
            self.pausable.assert_not_paused();
            self.register(get_caller_address(), capabilities, slots, rate_gfri, stake)
        }

        fn update_worker(
            ref self: ContractState, capabilities: Capabilities, slots: u8, rate_gfri: u64,
        ) {
            self.pausable.assert_not_paused();
            let (worker_id, worker) = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            worker_status::assert_not_leaving(worker);
            worker_status::assert_idle(worker_id, worker);
            self.assert_offer(capabilities, slots, rate_gfri, record.bond.read().stake);

            let updated = WorkerSlot { capabilities, slots, rate_gfri, ..worker };
            record.slot.write(worker_slot::pack(updated));
            let old = worker_load::free(worker.capabilities.gpu_count, worker.slots);
            let new = worker_load::free(capabilities.gpu_count, slots);
            worker_record::add_load(worker_id, new - old);
            self.emit(Events::WorkerUpdated { worker_id, capabilities, slots, rate_gfri });
        }

        fn add_stake(ref self: ContractState, amount: u128) {
            self.pausable.assert_not_paused();
            let (worker_id, worker) = self._worker_of_caller();
            worker_status::assert_not_leaving(worker);
            assert(amount != 0, errors::ZERO_AMOUNT);
            let record = worker_record::at(worker_id.into());
            let bond = record.bond.read();
            let stake = bond.stake + amount;
            record.bond.write(Bond { stake, ..bond });

            self.pull(get_caller_address(), amount);
            self.emit(Events::StakeAdded { worker_id, amount, stake });
        }

        fn drain_worker(ref self: ContractState) {
            let (worker_id, worker) = self._worker_of_caller();
            assert(worker.status == WorkerStatus::Active, errors::NOT_ACTIVE);
            worker_status::write_status(worker_id, worker, WorkerStatus::Draining);
            self.emit(Events::WorkerDrained { worker_id });
        }

        fn resume_worker(ref self: ContractState) {
            self.pausable.assert_not_paused();
            let (worker_id, worker) = self._worker_of_caller();
            assert(worker.status == WorkerStatus::Draining, errors::NOT_DRAINING);
            let stake = worker_record::at(worker_id.into()).bond.read().stake;
            assert(self.is_covered(worker.slots, stake), errors::STAKE_TOO_LOW);
            worker_status::write_status(worker_id, worker, WorkerStatus::Active);
            self.emit(Events::WorkerResumed { worker_id });
        }

        fn heartbeat(ref self: ContractState) {
            let (worker_id, worker) = self._worker_of_caller();
            worker_status::assert_not_leaving(worker);
            let epoch = heartbeats::epoch_of(now().timestamp);
            let (group, beat) = heartbeats::place_of(worker_id);
            self.record_beats(group, beat, epoch);
            let groups = array![heartbeats::report(group, beat)].span();
            self.emit(Events::HeartbeatsRecorded { reporter: get_caller_address(), epoch, groups });
        }

        fn exit_worker(ref self: ContractState) {
            let (worker_id, worker) = self._worker_of_caller();
            worker_status::assert_not_leaving(worker);
            worker_status::write_status(worker_id, worker, WorkerStatus::Exiting);
            worker_record::add_load(worker_id, worker_load::LEAVING);
            self.begin_unbonding(worker_id);
        }

        fn withdraw_stake(ref self: ContractState) {
            let (worker_id, worker) = self._worker_of_caller();
            let record = worker_record::at(worker_id.into());
            let bond = record.bond.read();
            assert(worker.status == WorkerStatus::Exiting, errors::NOT_EXITING);
            worker_status::assert_idle(worker_id, worker);
            assert(worker_record::load(worker_id).holds == 0, errors::DISPUTE_PENDING);
            let exit = Deadline { timestamp: bond.exit_at, block: bond.exit_block };
            assert(deadlines::has_passed(exit, now()), errors::STILL_BONDED);

            worker_status::write_status(worker_id, worker, WorkerStatus::Exited);
            record.bond.write(Bond { stake: 0, ..bond });

            let owner = get_caller_address();
            let amount = bond.stake;
            self.pay(owner, amount);
            self.emit(Events::StakeWithdrawn { worker_id, owner, amount });
        }
    }

    #[abi(embed_v0)]
    impl KeeperImpl of ICdcPoolKeeper<ContractState> {
        fn heartbeat_batch(ref self: ContractState, groups: Span<felt252>) {
            self.assert_only_keeper();
            assert(!groups.is_empty(), errors::EMPTY_BATCH);
            assert(groups.len() <= MAX_GROUPS, errors::BATCH_TOO_LARGE);
            let epoch = heartbeats::epoch_of(now().timestamp);
            let worker_count = self.worker_count.read();
            for report in groups {
                match heartbeats::unpack_report(*report, worker_count) {
                    Option::Some((group, beats)) => self.record_beats(group, beats, epoch),
                    Option::None => core::panic_with_felt252(errors::UNKNOWN_GROUP),
                }
            };
            self.emit(Events::HeartbeatsRecorded { reporter: get_caller_address(), epoch, groups });
        }
    }

    #[abi(embed_v0)]
    impl UpkeepImpl of ICdcPoolUpkeep<ContractState> {
        fn decay_reputation(ref self: ContractState, worker_id: u32) {
            self.decay(worker_id);
        }
    }

    #[abi(embed_v0)]
    impl JobMgrImpl of ICdcPoolJobMgr<ContractState> {
        fn reserve_batch(ref self: ContractState, requests: Span<felt252>) -> Span<felt252> {
            self.assert_only_job_mgr(get_caller_address());
            reservation::reserve(requests)
        }

        fn release(
            ref self: ContractState,
            worker_id: u32,
            gpu_count: u8,
            owner: ContractAddress,
            hold: bool,
        ) -> bool {
            self.assert_only_job_mgr(get_caller_address());
            if worker_record::at(worker_id.into()).owner.read() != owner {
                return false;
            }
            let freed = worker_load::free(gpu_count, 1);
            let before = if hold {
                worker_record::add_hold(worker_id, freed)
            } else {
                worker_record::add_load(worker_id, freed)
            };
            if before.is_leaving {
                self.begin_unbonding(worker_id);
            }
            true
        }

        fn record_failure(
            ref self: ContractState, worker_id: u32, gpu_count: u8, failure: AttemptFailure,
        ) {
            self.assert_only_job_mgr(get_caller_address());
            worker_record::add_load(worker_id, worker_load::free(gpu_count, 1));
            let outcome = match failure {
                AttemptFailure::Failed => Outcome::Failed,
                AttemptFailure::Expired => Outcome::Expired,
            };
            self.record_outcome(worker_id, outcome, now().timestamp);
        }

        fn record_fault(
            ref self: ContractState,
            worker_id: u32,
            fault: WorkerFault,
            penalty: u128,
            challenger: ContractAddress,
            client: ContractAddress,
        ) {
            self.assert_only_job_mgr(get_caller_address());
            worker_record::end_hold(worker_id);
            let outcome = match fault {
                WorkerFault::Unrevealed => Outcome::Expired,
                WorkerFault::Wrong => Outcome::Wrong,
            };
            self.record_outcome(worker_id, outcome, now().timestamp);
            self.slash(worker_id, fault, penalty, challenger, client);
        }

        fn record_settlement(
            ref self: ContractState, worker_id: u32, unhold: bool,
        ) -> ContractAddress {
            let Context { caller, now, .. } = context();
            self.assert_only_job_mgr(caller);
            if unhold {
                worker_record::end_hold(worker_id);
            }
            self.record_outcome(worker_id, Outcome::Settled, now.timestamp);
            worker_record::at(worker_id.into()).owner.read()
        }

        fn hold(ref self: ContractState, worker_id: u32) {
            self.assert_only_job_mgr(get_caller_address());
            worker_record::add_hold(worker_id, 0);
        }

        fn unhold(ref self: ContractState, worker_id: u32) {
            self.assert_only_job_mgr(get_caller_address());
            worker_record::end_hold(worker_id);
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of ICdcPoolAdmin<ContractState> {
        fn set_job_mgr(ref self: ContractState, job_mgr: ContractAddress) {
            self.access.assert_only_admin();
            assert(job_mgr.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.job_mgr.read().is_zero(), errors::JOB_MGR_ALREADY_SET);
            self.job_mgr.write(job_mgr);
            self.emit(Events::JobMgrSet { job_mgr });
        }

        fn set_task_allocator(ref self: ContractState, task_allocator: ContractAddress) {
            self.access.assert_only_admin();
            assert(task_allocator.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.task_allocator.read().is_zero(), errors::TASK_ALLOCATOR_ALREADY_SET);
            self.task_allocator.write(task_allocator);
            self.emit(Events::TaskAllocatorSet { task_allocator });
        }

        fn admit_worker(ref self: ContractState, worker_id: u32) {
            self.access.assert_only_admin();
            let worker = worker_status::known_worker(worker_id);
            assert(!worker.is_static, errors::ALREADY_ADMITTED);
            worker_status::write_worker(worker_id, WorkerSlot { is_static: true, ..worker });
            self.emit(Events::WorkerAdmitted { worker_id });
        }

        fn dismiss_worker(ref self: ContractState, worker_id: u32) {
            self.access.assert_only_admin();
            let worker = worker_status::known_worker(worker_id);
            assert(worker.is_static, errors::NOT_ADMITTED);
            worker_status::write_worker(worker_id, WorkerSlot { is_static: false, ..worker });
            self.emit(Events::WorkerDismissed { worker_id });
        }
    }

    #[abi(embed_v0)]
    impl ViewImpl of ICdcPoolView<ContractState> {
        fn get_worker(self: @ContractState, worker_id: u32) -> WorkerView {
            let record = worker_record::at(worker_id.into()).read();
            worker_view(worker_id, record, worker_record::load(worker_id))
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

        fn is_alive(self: @ContractState, worker_id: u32) -> bool {
            self.has_beaten(worker_id, heartbeats::epoch_of(now().timestamp))
        }

        fn get_config(self: @ContractState) -> CdcPoolConfig {
            CdcPoolConfig {
                admin: self.access.Access_admin.read(),
                token: self.token.read(),
                job_mgr: self.job_mgr.read(),
                task_allocator: self.task_allocator.read(),
                min_stake_per_slot: self.min_stake_per_slot.read(),
                unbonding_s: self.unbonding_s.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        fn assert_only_job_mgr(self: @ContractState, caller: ContractAddress) {
            assert(caller == self.job_mgr.read(), errors::NOT_JOB_MGR);
        }

        fn assert_only_keeper(self: @ContractState) {
            let contract_address = self.task_allocator.read();
            let is_keeper = contract_address.is_non_zero()
                && ITaskAllocatorDispatcher { contract_address }.is_keeper(get_caller_address());
            assert(is_keeper, errors::NOT_KEEPER);
        }

        /// The caller's worker, and its slot.
        fn _worker_of_caller(self: @ContractState) -> (u32, WorkerSlot) {
            let worker_id = self.worker_of.read(get_caller_address());
            assert(worker_id != 0, errors::NOT_A_WORKER);
            (worker_id, worker_slot::unpack(worker_record::slot_at(worker_id.into()).read()))
        }
    }
}
