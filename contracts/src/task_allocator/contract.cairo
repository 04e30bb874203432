// SPDX-License-Identifier: MIT

/// The keepers' door: takes their proposals, round by round, and hands them to the job manager,
/// which checks each against jobs and workers.
///
/// Roles: a keeper applies batches and reports metrics; a worker's owner reports its own; the admin
/// adds and removes keepers. Nothing here holds money or can move any.
///
/// Invariants:
/// - the rounds of a keeper strictly increase, so a batch that was sent twice is applied once;
/// - `allocated + skipped` is the number of items ever applied.
#[starknet::contract]
pub mod TaskAllocator {
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::{ICdcPoolViewDispatcher, ICdcPoolViewDispatcherTrait};
    use crate::cdc_pool::types::WorkerStatus;
    use crate::clock::now;
    use crate::job_mgr::interface::{
        IJobMgrAllocatorDispatcher, IJobMgrAllocatorDispatcherTrait, IJobMgrViewDispatcher,
        IJobMgrViewDispatcherTrait,
    };
    use crate::job_mgr::types::{JobState, Skip};
    use crate::math::allocation_item;
    use crate::task_allocator::errors;
    use crate::task_allocator::interface::{
        Events, ITaskAllocator, ITaskAllocatorAdmin, ITaskAllocatorKeeper,
    };
    use crate::task_allocator::types::{
        AllocationParams, AllocationResult, AllocationStats, AllocationStatsPacking,
        ReportedMetrics, TaskAllocatorConfig, WorkerMetrics,
    };
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePointerReadAccess,
        StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address};

    /// Events of a transaction are limited to 1,000, and each item emits one.
    const MAX_BATCH: u32 = 500;
    const BASIS_POINTS: u32 = 10_000;

    #[storage]
    struct Storage {
        admin: ContractAddress,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
        is_keeper: Map<ContractAddress, bool>,
        last_round: Map<ContractAddress, u64>,
        /// An [`AllocationStats`], packed.
        stats: felt252,
        metrics: Map<u32, ReportedMetrics>,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        RoundApplied: Events::RoundApplied,
        AllocationSkipped: Events::AllocationSkipped,
        KeeperAdded: Events::KeeperAdded,
        KeeperRemoved: Events::KeeperRemoved,
        WorkerMetricsUpdated: Events::WorkerMetricsUpdated,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        job_mgr: ContractAddress,
        cdc_pool: ContractAddress,
    ) {
        assert(
            admin.is_non_zero() && job_mgr.is_non_zero() && cdc_pool.is_non_zero(),
            errors::ZERO_ADDRESS,
        );
        self.admin.write(admin);
        self.job_mgr.write(job_mgr);
        self.cdc_pool.write(cdc_pool);
    }

    #[abi(embed_v0)]
    impl KeeperImpl of ITaskAllocatorKeeper<ContractState> {
        fn apply_batch(
            ref self: ContractState, round: u64, snapshot_block: u64, items: Span<felt252>,
        ) {
            let keeper = get_caller_address();
            let block = now().block;
            self.assert_only_keeper(keeper);
            assert(!items.is_empty(), errors::EMPTY_BATCH);
            assert(items.len() <= MAX_BATCH, errors::BATCH_TOO_LARGE);
            assert(round > self.last_round.read(keeper), errors::STALE_ROUND);
            assert(snapshot_block <= block, errors::FUTURE_SNAPSHOT);

            self.last_round.write(keeper, round);
            let skips = IJobMgrAllocatorDispatcher { contract_address: self.job_mgr.read() }
                .allocate_batch(items);
            for skip in skips {
                self._report_skip(*skip);
            };
            let skipped = skips.len();
            let allocated = items.len() - skipped;
            self._count_round(block, allocated, skipped);
            self.emit(Events::RoundApplied { keeper, round, snapshot_block, allocated, skipped });
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of ITaskAllocatorAdmin<ContractState> {
        fn add_keeper(ref self: ContractState, keeper: ContractAddress) {
            self.assert_only_admin();
            assert(keeper.is_non_zero(), errors::ZERO_ADDRESS);
            assert(!self.is_keeper.read(keeper), errors::ALREADY_KEEPER);
            self.is_keeper.write(keeper, true);
            self.emit(Events::KeeperAdded { keeper });
        }

        fn remove_keeper(ref self: ContractState, keeper: ContractAddress) {
            self.assert_only_admin();
            assert(self.is_keeper.read(keeper), errors::UNKNOWN_KEEPER);
            self.is_keeper.write(keeper, false);
            self.emit(Events::KeeperRemoved { keeper });
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

        fn last_round(self: @ContractState, keeper: ContractAddress) -> u64 {
            self.last_round.read(keeper)
        }

        fn is_keeper(self: @ContractState, address: ContractAddress) -> bool {
            self.is_keeper.read(address)
        }

        fn get_config(self: @ContractState) -> TaskAllocatorConfig {
            TaskAllocatorConfig {
                admin: self.admin.read(),
                job_mgr: self.job_mgr.read(),
                cdc_pool: self.cdc_pool.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        fn assert_only_admin(self: @ContractState) {
            assert(get_caller_address() == self.admin.read(), errors::NOT_ADMIN);
        }

        fn assert_only_keeper(self: @ContractState, caller: ContractAddress) {
            assert(self.is_keeper.read(caller), errors::NOT_KEEPER);
        }

        fn assert_only_keeper_or_owner(self: @ContractState, worker_id: u32) {
            let caller = get_caller_address();
            let owner = self._pool().worker_owner(worker_id);
            assert(owner.is_non_zero(), errors::UNKNOWN_WORKER);
            let is_allowed = caller == owner || self.is_keeper.read(caller);
            assert(is_allowed, errors::NOT_KEEPER_OR_OWNER);
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
                        worker_id: item.worker_id.try_into().unwrap(),
                        attempt: allocation_item::attempt(item.choice).try_into().unwrap(),
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
        state == JobState::Allocated || state == JobState::Revealed || state == JobState::Settled
    }

    fn to_worker_id(worker_id: felt252) -> u32 {
        match worker_id.try_into() {
            Option::Some(id) => id,
            Option::None => core::panic_with_felt252(errors::UNKNOWN_WORKER),
        }
    }
}
