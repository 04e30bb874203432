// SPDX-License-Identifier: MIT

/// The keepers' door: takes their proposals, round by round, and hands them to the job manager,
/// which checks each against jobs and workers.
///
/// Roles: a keeper posts a bond, applies batches and reports metrics; a worker's owner reports its
/// own; the admin adds and removes keepers and announces and retires policies.
///
/// Invariants:
/// - the rounds of a keeper strictly increase, so a batch that was sent twice is applied once;
/// - a round names a policy that was announced `policy_delay_s` before;
/// - `allocated + skipped` is the number of items ever applied;
/// - the token balance covers all bonds, and a bond falls only by its keeper's withdrawal: nothing
///   that a keeper can do wrong is provable here beyond what is refused anyway, so no rule slashes.
#[starknet::contract]
pub mod TaskAllocator {
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::{ICdcPoolViewDispatcher, ICdcPoolViewDispatcherTrait};
    use crate::cdc_pool::types::WorkerStatus;
    use crate::clock::now;
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use crate::components::pausable::PausableComponent;
    use crate::components::pausable::PausableComponent::InternalTrait as PausableInternalTrait;
    use crate::components::upgradeable::UpgradeableComponent;
    use crate::components::upgradeable::UpgradeableComponent::InternalTrait as UpgradeableInternalTrait;
    use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
    use crate::job_mgr::interface::{
        IJobMgrAllocatorDispatcher, IJobMgrAllocatorDispatcherTrait, IJobMgrViewDispatcher,
        IJobMgrViewDispatcherTrait,
    };
    use crate::job_mgr::types::{JobState, Skip};
    use crate::math::{allocation_item, deadlines};
    use crate::task_allocator::interface::{
        Events, ITaskAllocator, ITaskAllocatorAdmin, ITaskAllocatorKeeper,
    };
    use crate::task_allocator::keeper_slot::Keeper;
    use crate::task_allocator::policy_slot::Policy;
    use crate::task_allocator::types::{
        AllocationParams, AllocationResult, AllocationStats, AllocationStatsPacking, KeeperView,
        PolicyView, ReportedMetrics, RoundHeader, TaskAllocatorConfig, WorkerMetrics,
    };
    use crate::task_allocator::{errors, keeper_slot, policy_slot};
    use crate::types::Deadline;
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address, get_contract_address};

    /// Events of a transaction are limited to 1,000, and each item that is skipped emits one.
    const MAX_BATCH: u32 = 500;
    const BASIS_POINTS: u32 = 10_000;
    /// Of a keeper that has neither left nor been removed.
    const NEVER: Deadline = Deadline { timestamp: 0, block: 0 };
    /// Two years: timestamps are kept in 32 bits.
    const MAX_POLICY_DELAY_S: u64 = 63_072_000;

    component!(path: AccessComponent, storage: access, event: AccessEvent);
    component!(path: PausableComponent, storage: pausable, event: PausableEvent);
    component!(path: UpgradeableComponent, storage: upgradeable, event: UpgradeableEvent);

    #[abi(embed_v0)]
    impl AccessImpl = AccessComponent::AccessImpl<ContractState>;
    #[abi(embed_v0)]
    impl PausableImpl = PausableComponent::PausableImpl<ContractState>;
    #[abi(embed_v0)]
    impl UpgradeableImpl = UpgradeableComponent::UpgradeableImpl<ContractState>;

    #[storage]
    struct Storage {
        #[substorage(v0)]
        access: AccessComponent::Storage,
        #[substorage(v0)]
        pausable: PausableComponent::Storage,
        #[substorage(v0)]
        upgradeable: UpgradeableComponent::Storage,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
        token: ContractAddress,
        min_keeper_bond: u128,
        policy_delay_s: u64,
        /// `task_allocator/keeper_slot.cairo`.
        keepers: Map<ContractAddress, felt252>,
        /// `task_allocator/policy_slot.cairo`.
        policies: Map<felt252, felt252>,
        /// An [`AllocationStats`], packed.
        stats: felt252,
        metrics: Map<u32, ReportedMetrics>,
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
        RoundApplied: Events::RoundApplied,
        AllocationSkipped: Events::AllocationSkipped,
        KeeperAdded: Events::KeeperAdded,
        KeeperRemoved: Events::KeeperRemoved,
        BondPosted: Events::BondPosted,
        KeeperLeft: Events::KeeperLeft,
        BondWithdrawn: Events::BondWithdrawn,
        PolicyAnnounced: Events::PolicyAnnounced,
        PolicyRetired: Events::PolicyRetired,
        WorkerMetricsUpdated: Events::WorkerMetricsUpdated,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
        token: ContractAddress,
        min_keeper_bond: u128,
        policy_delay_s: u64,
        upgrade_delay_s: u64,
    ) {
        self.access.initializer(admin);
        self.upgradeable.initializer(upgrade_delay_s);
        assert(
            job_mgr.is_non_zero() && cdc_pool.is_non_zero() && token.is_non_zero(),
            errors::ZERO_ADDRESS,
        );
        assert(policy_delay_s <= MAX_POLICY_DELAY_S, errors::DELAY_TOO_LONG);
        self.token.write(token);
        self.min_keeper_bond.write(min_keeper_bond);
        self.policy_delay_s.write(policy_delay_s);
        self.job_mgr.write(job_mgr);
        self.cdc_pool.write(cdc_pool);
    }

    #[abi(embed_v0)]
    impl KeeperImpl of ITaskAllocatorKeeper<ContractState> {
        fn apply_batch(ref self: ContractState, header: RoundHeader, items: Span<felt252>) {
            self.pausable.assert_not_paused();
            let address = get_caller_address();
            let now = now();
            let keeper = self.assert_only_keeper(address);
            assert(!items.is_empty(), errors::EMPTY_BATCH);
            assert(items.len() <= MAX_BATCH, errors::BATCH_TOO_LARGE);
            assert(header.round > keeper.last_round, errors::STALE_ROUND);
            assert(header.round < keeper_slot::ROUNDS, errors::ROUND_TOO_HIGH);
            assert(header.snapshot_block <= now.block, errors::FUTURE_SNAPSHOT);
            let policy = self._policy(header.policy_id);
            assert(policy.is_announced, errors::UNKNOWN_POLICY);
            assert(policy_slot::is_active(policy, now), errors::POLICY_NOT_ACTIVE);

            self._write_keeper(address, Keeper { last_round: header.round, ..keeper });
            let skips = IJobMgrAllocatorDispatcher { contract_address: self.job_mgr.read() }
                .allocate_batch(items);
            for skip in skips {
                self._report_skip(*skip);
            };
            let skipped = skips.len();
            let allocated = items.len() - skipped;
            self._count_round(now.block, allocated, skipped);
            let RoundHeader { round, snapshot_block, snapshot_root, policy_id, plan_root } = header;
            self
                .emit(
                    Events::RoundApplied {
                        keeper: address,
                        round,
                        snapshot_block,
                        snapshot_root,
                        policy_id,
                        plan_root,
                        allocated,
                        skipped,
                    },
                );
        }

        fn post_bond(ref self: ContractState, amount: u128) {
            self.pausable.assert_not_paused();
            let address = get_caller_address();
            let keeper = self.assert_only_admitted(address);
            assert(amount != 0, errors::ZERO_AMOUNT);
            let bond = keeper.bond + amount;
            self._write_keeper(address, Keeper { bond, ..keeper });

            let is_paid = self
                ._token()
                .transfer_from(address, get_contract_address(), amount.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self.emit(Events::BondPosted { keeper: address, amount, bond });
        }

        fn leave(ref self: ContractState) {
            let address = get_caller_address();
            let keeper = self.assert_only_admitted(address);
            let leaves = self._dismiss(address, keeper);
            self
                .emit(
                    Events::KeeperLeft {
                        keeper: address, leaves_at: leaves.timestamp, leaves_block: leaves.block,
                    },
                );
        }

        fn withdraw_bond(ref self: ContractState) {
            let address = get_caller_address();
            let keeper = self._keeper(address);
            let amount = keeper.bond;
            assert(amount != 0, errors::NO_BOND);
            let is_free = !keeper.is_admitted && deadlines::has_passed(keeper.leaves, now());
            assert(is_free, errors::STILL_BONDED);

            self._write_keeper(address, Keeper { bond: 0, ..keeper });
            let is_paid = self._token().transfer(address, amount.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self.emit(Events::BondWithdrawn { keeper: address, amount });
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of ITaskAllocatorAdmin<ContractState> {
        fn add_keeper(ref self: ContractState, keeper: ContractAddress) {
            self.access.assert_only_admin();
            assert(keeper.is_non_zero(), errors::ZERO_ADDRESS);
            let known = self._keeper(keeper);
            assert(!known.is_admitted, errors::ALREADY_KEEPER);
            // Else the admin could keep the bond of one that left, by adding it again and again.
            assert(known.bond == 0 || known.leaves == NEVER, errors::STILL_BONDED);
            self._write_keeper(keeper, Keeper { is_admitted: true, leaves: NEVER, ..known });
            self.emit(Events::KeeperAdded { keeper });
        }

        fn remove_keeper(ref self: ContractState, keeper: ContractAddress) {
            self.access.assert_only_admin();
            let known = self._keeper(keeper);
            assert(known.is_admitted, errors::UNKNOWN_KEEPER);
            self._dismiss(keeper, known);
            self.emit(Events::KeeperRemoved { keeper });
        }

        fn announce_policy(ref self: ContractState, policy_id: felt252) {
            self.access.assert_only_admin();
            assert(policy_id != 0, errors::ZERO_POLICY);
            assert(!self._policy(policy_id).is_announced, errors::ALREADY_ANNOUNCED);
            let active_from = deadlines::after(now(), self.policy_delay_s.read());
            let policy = Policy { is_announced: true, is_retired: false, active_from };
            self.policies.write(policy_id, policy_slot::pack(policy));
            self
                .emit(
                    Events::PolicyAnnounced {
                        policy_id,
                        active_from: active_from.timestamp,
                        active_from_block: active_from.block,
                    },
                );
        }

        fn retire_policy(ref self: ContractState, policy_id: felt252) {
            self.access.assert_only_admin();
            let policy = self._policy(policy_id);
            assert(policy.is_announced, errors::UNKNOWN_POLICY);
            assert(!policy.is_retired, errors::ALREADY_RETIRED);
            let retired = Policy { is_retired: true, ..policy };
            self.policies.write(policy_id, policy_slot::pack(retired));
            self.emit(Events::PolicyRetired { policy_id });
        }
    }

    #[abi(embed_v0)]
    impl TaskAllocatorImpl of ITaskAllocator<ContractState> {
        fn allocate_job(
            self: @ContractState, params: AllocationParams,
        ) -> Option<AllocationResult> {
            let job_id: u64 = params.job_id.try_into()?;
            let job = IJobMgrViewDispatcher { contract_address: self.job_mgr.read() }
                .get_job(job_id);
            let worker = self._pool().get_worker(job.worker_id);
            let is_satisfied = is_placed(job.state)
                && (params.model_id == 0 || params.model_id == job.spec.model_id)
                && job.spec.priority >= params.priority
                && (params.region == 0 || params.region == worker.capabilities.region)
                && worker.reputation.into() >= params.min_reputation;
            if !is_satisfied {
                return Option::None;
            }
            Option::Some(
                AllocationResult {
                    worker_id: job.worker_id.into(),
                    expected_completion_time: job.allocated_at
                        + job.spec.execution_timeout_s.into(),
                    allocation_score: job.score.into(),
                },
            )
        }

        fn get_worker_load(self: @ContractState, worker_id: felt252) -> u32 {
            let worker = self._pool().get_worker(to_worker_id(worker_id));
            assert(worker.status != WorkerStatus::None, errors::UNKNOWN_WORKER);
            let used: u32 = (worker.slots - worker.free_slots).into();
            used * BASIS_POINTS / worker.slots.into()
        }

        fn update_worker_metrics(
            ref self: ContractState, worker_id: felt252, metrics: WorkerMetrics,
        ) {
            let id = to_worker_id(worker_id);
            self.assert_only_keeper_or_owner(id);
            let is_plausible = metrics.success_bps.into() <= BASIS_POINTS
                && metrics.utilisation_bps.into() <= BASIS_POINTS;
            assert(is_plausible, errors::BAD_METRICS);
            self.metrics.write(id, ReportedMetrics { metrics, reported_at: now().timestamp });
            self.emit(Events::WorkerMetricsUpdated { worker_id, metrics });
        }

        fn get_allocation_stats(self: @ContractState) -> AllocationStats {
            AllocationStatsPacking::unpack(self.stats.read())
        }

        fn get_worker_metrics(self: @ContractState, worker_id: felt252) -> WorkerMetrics {
            self.metrics.read(to_worker_id(worker_id)).metrics
        }

        fn metrics_reported_at(self: @ContractState, worker_id: felt252) -> u64 {
            self.metrics.read(to_worker_id(worker_id)).reported_at
        }

        fn last_round_block(self: @ContractState) -> u64 {
            self.get_allocation_stats().last_round_block
        }

        fn get_keeper(self: @ContractState, address: ContractAddress) -> KeeperView {
            let keeper = self._keeper(address);
            KeeperView {
                address,
                is_admitted: keeper.is_admitted,
                bond: keeper.bond,
                last_round: keeper.last_round,
                leaves_at: keeper.leaves.timestamp,
                leaves_block: keeper.leaves.block,
            }
        }

        fn get_policy(self: @ContractState, policy_id: felt252) -> PolicyView {
            let policy = self._policy(policy_id);
            PolicyView {
                policy_id,
                active_from: policy.active_from.timestamp,
                active_from_block: policy.active_from.block,
                is_retired: policy.is_retired,
            }
        }

        fn last_round(self: @ContractState, keeper: ContractAddress) -> u64 {
            self._keeper(keeper).last_round
        }

        fn is_keeper(self: @ContractState, address: ContractAddress) -> bool {
            self._is_keeper(self._keeper(address))
        }

        fn get_config(self: @ContractState) -> TaskAllocatorConfig {
            TaskAllocatorConfig {
                admin: self.access.Access_admin.read(),
                job_mgr: self.job_mgr.read(),
                cdc_pool: self.cdc_pool.read(),
                token: self.token.read(),
                min_keeper_bond: self.min_keeper_bond.read(),
                policy_delay_s: self.policy_delay_s.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        /// Returns what is known of the caller, who is a keeper.
        fn assert_only_keeper(self: @ContractState, caller: ContractAddress) -> Keeper {
            let keeper = self._keeper(caller);
            assert(self._is_keeper(keeper), errors::NOT_KEEPER);
            keeper
        }

        /// Returns what is known of the caller, whom the admin has added, whatever its bond.
        fn assert_only_admitted(self: @ContractState, caller: ContractAddress) -> Keeper {
            let keeper = self._keeper(caller);
            assert(keeper.is_admitted, errors::NOT_ADMITTED);
            keeper
        }

        fn assert_only_keeper_or_owner(self: @ContractState, worker_id: u32) {
            let caller = get_caller_address();
            let owner = self._pool().worker_owner(worker_id);
            assert(owner.is_non_zero(), errors::UNKNOWN_WORKER);
            let is_allowed = caller == owner || self._is_keeper(self._keeper(caller));
            assert(is_allowed, errors::NOT_KEEPER_OR_OWNER);
        }

        fn _keeper(self: @ContractState, address: ContractAddress) -> Keeper {
            keeper_slot::unpack(self.keepers.read(address))
        }

        fn _write_keeper(ref self: ContractState, address: ContractAddress, keeper: Keeper) {
            self.keepers.write(address, keeper_slot::pack(keeper));
        }

        fn _is_keeper(self: @ContractState, keeper: Keeper) -> bool {
            keeper.is_admitted && keeper.bond >= self.min_keeper_bond.read()
        }

        /// Ends a keeper's admission and starts the wait for its bond.
        fn _dismiss(ref self: ContractState, address: ContractAddress, keeper: Keeper) -> Deadline {
            let leaves = deadlines::after(now(), self.policy_delay_s.read());
            self._write_keeper(address, Keeper { is_admitted: false, leaves, ..keeper });
            leaves
        }

        fn _policy(self: @ContractState, policy_id: felt252) -> Policy {
            policy_slot::unpack(self.policies.read(policy_id))
        }

        fn _token(self: @ContractState) -> IErc20Dispatcher {
            IErc20Dispatcher { contract_address: self.token.read() }
        }

        fn _pool(self: @ContractState) -> ICdcPoolViewDispatcher {
            ICdcPoolViewDispatcher { contract_address: self.cdc_pool.read() }
        }

        fn _report_skip(ref self: ContractState, skip: Skip) {
            let item = allocation_item::unpack(skip.item);
            self
                .emit(
                    Events::AllocationSkipped {
                        job_id: item.job_id.try_into().unwrap(),
                        worker_id: allocation_item::worker_id(item).try_into().unwrap(),
                        attempt: allocation_item::attempt(item).try_into().unwrap(),
                        reason: skip.reason,
                    },
                );
        }

        fn _count_round(ref self: ContractState, block: u64, allocated: u32, skipped: u32) {
            let stats = self.get_allocation_stats();
            self
                .stats
                .write(
                    AllocationStatsPacking::pack(
                        AllocationStats {
                            rounds: stats.rounds + 1,
                            allocated: stats.allocated + allocated.into(),
                            skipped: stats.skipped + skipped.into(),
                            last_round_block: block,
                        },
                    ),
                );
        }
    }

    /// Whether the job's worker is one that it has been allocated to for good.
    fn is_placed(state: JobState) -> bool {
        state == JobState::Allocated
            || state == JobState::Committed
            || state == JobState::Revealed
            || state == JobState::Disputed
            || state == JobState::Settled
    }

    fn to_worker_id(worker_id: felt252) -> u32 {
        match worker_id.try_into() {
            Option::Some(id) => id,
            Option::None => core::panic_with_felt252(errors::UNKNOWN_WORKER),
        }
    }
}
