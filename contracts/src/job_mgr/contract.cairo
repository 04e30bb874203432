// SPDX-License-Identifier: MIT

/// The queue of jobs and the money paid for them.
///
/// Roles: a client submits, cancels, accepts and disputes; a gateway submits for a client who has
/// authorised it; the owner of the attempt's worker answers; anyone calls a deadline's exit; the
/// task allocator alone allocates, but for what workers claim while no keeper is at work; the
/// referee rules disputes; the admin only names the task allocator, the paymaster and the referee,
/// once.
///
/// Invariants:
/// - the token balance covers `max_price` of every job that is not in a final state, the bonds of
/// the
///   open disputes that the referee decides, and every account's credit;
/// - a job that reaches a final state credits exactly its `max_price`;
/// - a job is Allocated to at most one worker, and its attempt number grows with every failure;
/// - a worker is paid only for a job whose rate limit and requirements it met at the allocation;
/// - a job that is Committed or Disputed holds its worker's stake.
///
/// Here is what the world can call; what follows from it is in the files beside this one.
#[starknet::contract]
pub mod JobMgr {
    use core::cmp::max;
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::ICdcPoolViewDispatcherTrait;
    use crate::cdc_pool::types::AttemptFailure;
    use crate::clock::now;
    use crate::components::access::AccessComponent;
    use crate::components::access::AccessComponent::InternalTrait as AccessInternalTrait;
    use crate::components::pausable::PausableComponent;
    use crate::components::pausable::PausableComponent::InternalTrait as PausableInternalTrait;
    use crate::components::upgradeable::UpgradeableComponent;
    use crate::components::upgradeable::UpgradeableComponent::InternalTrait as UpgradeableInternalTrait;
    use crate::context::{Context, context};
    use crate::job_mgr::attempts::AttemptsTrait;
    use crate::job_mgr::claim::ClaimTrait;
    use crate::job_mgr::disputes::DisputesTrait;
    use crate::job_mgr::events as Events;
    use crate::job_mgr::groups::GroupsTrait;
    use crate::job_mgr::interface::{
        IJobMgrAdmin, IJobMgrAllocator, IJobMgrClient, IJobMgrDeadlines, IJobMgrGateway,
        IJobMgrReferee, IJobMgrView, IJobMgrWorker,
    };
    use crate::job_mgr::job_access::{JobAccessTrait, client_of, terms_of};
    use crate::job_mgr::job_view::job_view;
    use crate::job_mgr::ledger::LedgerTrait;
    use crate::job_mgr::settlement::SettlementTrait;
    use crate::job_mgr::submission::SubmissionTrait;
    use crate::job_mgr::types::{
        DisputeView, GroupView, JobMgrConfig, JobRecord, JobSpec, JobState, JobView, Skip,
        verification,
    };
    use crate::job_mgr::{
        allocation, attempts, disputes, errors, group_record, groups, job_record, submission,
    };
    use crate::math::{deadlines, job_terms};
    use crate::paymaster::interface::{IPaymasterJobMgrDispatcher, IPaymasterJobMgrDispatcherTrait};
    use starknet::storage::{Map, StoragePointerReadAccess, StoragePointerWriteAccess,};
    use starknet::{ContractAddress, get_caller_address};

    /// Two years: timestamps are kept in 32 bits.
    const MAX_WINDOW_S: u64 = 63_072_000;
    /// Jobs that one call of `get_jobs` returns.
    const MAX_PAGE: u8 = 50;

    component!(path: AccessComponent, storage: access, event: AccessEvent);
    component!(path: PausableComponent, storage: pausable, event: PausableEvent);
    component!(path: UpgradeableComponent, storage: upgradeable, event: UpgradeableEvent);

    #[abi(embed_v0)]
    impl AccessImpl = AccessComponent::AccessImpl<ContractState>;
    #[abi(embed_v0)]
    impl PausableImpl = PausableComponent::PausableImpl<ContractState>;
    #[abi(embed_v0)]
    impl UpgradeableImpl = UpgradeableComponent::UpgradeableImpl<ContractState>;

    /// Jobs lie apart from this, see `job_mgr/job_record.cairo`.
    #[storage]
    struct Storage {
        #[substorage(v0)]
        pub(crate) access: AccessComponent::Storage,
        #[substorage(v0)]
        pub(crate) pausable: PausableComponent::Storage,
        #[substorage(v0)]
        pub(crate) upgradeable: UpgradeableComponent::Storage,
        pub(crate) token: ContractAddress,
        pub(crate) cdc_pool: ContractAddress,
        pub(crate) task_allocator: ContractAddress,
        pub(crate) challenge_window_s: u64,
        pub(crate) dispute_window_s: u64,
        pub(crate) paymaster: ContractAddress,
        pub(crate) referee: ContractAddress,
        pub(crate) job_count: u64,
        /// Clients are numbered from 1, so that a job need not hold an address. What addresses they
        /// have lies apart, too.
        pub(crate) client_count: u32,
        /// `math/account_word.cairo`: what `withdraw` pays out, and the client's number.
        pub(crate) accounts: Map<ContractAddress, felt252>,
        /// How many replicas of a group have revealed a result hash.
        pub(crate) tally: Map<(u64, felt252), u8>,
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
        JobSubmitted: Events::JobSubmitted,
        JobsAllocated: Events::JobsAllocated,
        JobClaimed: Events::JobClaimed,
        ResultCommitted: Events::ResultCommitted,
        ResultSubmitted: Events::ResultSubmitted,
        ResultRejected: Events::ResultRejected,
        GroupDecided: Events::GroupDecided,
        ResultDisputed: Events::ResultDisputed,
        DisputeRuled: Events::DisputeRuled,
        JobSettled: Events::JobSettled,
        AttemptFailed: Events::AttemptFailed,
        JobCancelled: Events::JobCancelled,
        JobExpired: Events::JobExpired,
        JobFailed: Events::JobFailed,
        CreditSpent: Events::CreditSpent,
        CreditWithdrawn: Events::CreditWithdrawn,
        TaskAllocatorSet: Events::TaskAllocatorSet,
        PaymasterSet: Events::PaymasterSet,
        RefereeSet: Events::RefereeSet,
    }

    /// For the files beside this one.
    pub(crate) impl Emitter = ContractStateEventEmitter;

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        token: ContractAddress,
        cdc_pool: ContractAddress,
        challenge_window_s: u64,
        dispute_window_s: u64,
        upgrade_delay_s: u64,
    ) {
        self.access.initializer(admin);
        self.upgradeable.initializer(upgrade_delay_s);
        assert(token.is_non_zero() && cdc_pool.is_non_zero(), errors::ZERO_ADDRESS);
        assert(max(challenge_window_s, dispute_window_s) <= MAX_WINDOW_S, errors::WINDOW_TOO_LONG);
        self.token.write(token);
        self.cdc_pool.write(cdc_pool);
        self.challenge_window_s.write(challenge_window_s);
        self.dispute_window_s.write(dispute_window_s);

        // Else a worker could be gone with its stake before its last result can be disputed.
        let unbonding_s = self._pool_view().get_config().unbonding_s;
        assert(unbonding_s >= challenge_window_s, errors::UNBONDING_TOO_SHORT);
    }

    #[abi(embed_v0)]
    impl ClientImpl of IJobMgrClient<ContractState> {
        fn submit_job(ref self: ContractState, spec: JobSpec) -> u64 {
            self.pausable.assert_not_paused();
            let Context { caller, this, now } = context();
            let (submission, account) = self._submit(caller, BoxTrait::new(spec), now);
            self._draw_known(caller, account, submission::escrow(spec), this);
            self._report_submission(submission);
            submission.first_id
        }

        fn cancel_job(ref self: ContractState, job_id: u64) {
            let client = self.assert_only_client(job_id);
            self._queued_attempt(job_id);
            let group_id = group_record::id_of(job_id);
            if group_id == 0 {
                let refunded = self._refund_queued(job_id, client, JobState::Cancelled);
                self.emit(Events::JobCancelled { job_id, client, refunded });
            } else {
                self._cancel_group(group_id, client);
            }
        }

        fn accept_result(ref self: ContractState, job_id: u64) {
            self.assert_only_client(job_id);
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            assert(!placed.is_replica, errors::IS_REPLICA);
            self._pay_worker(job_id, placed);
        }

        fn dispute_result(ref self: ContractState, job_id: u64) {
            let client = self.assert_only_client(job_id);
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            let terms = terms_of(job_id);
            assert(!placed.is_replica, errors::IS_REPLICA);
            assert(terms.verification != verification::NONE, errors::NOT_DISPUTABLE);
            assert(!deadlines::has_passed(placed.challenge_ends, now()), errors::WINDOW_PASSED);
            if terms.verification == verification::MATMUL {
                self._dispute_by_referee(job_id, client, placed, terms);
            } else {
                self._dispute_by_committee(job_id, client, placed, terms);
            }
        }
    }

    #[abi(embed_v0)]
    impl GatewayImpl of IJobMgrGateway<ContractState> {
        fn submit_job_for(ref self: ContractState, client: ContractAddress, spec: JobSpec) -> u64 {
            self.pausable.assert_not_paused();
            let paymaster = self.paymaster.read();
            assert(client.is_non_zero(), errors::ZERO_ADDRESS);
            assert(paymaster.is_non_zero(), errors::NO_PAYMASTER);
            let Context { caller, now, .. } = context();
            let (submission, _) = self._submit(client, BoxTrait::new(spec), now);
            // Checks that the caller may.
            IPaymasterJobMgrDispatcher { contract_address: paymaster }
                .draw_escrow(client, caller, submission::escrow(spec));
            self._report_submission(submission);
            submission.first_id
        }
    }

    #[abi(embed_v0)]
    impl WorkerImpl of IJobMgrWorker<ContractState> {
        fn submit_result(ref self: ContractState, job_id: u64, attempt: u8, result_hash: felt252) {
            self._submit_result(job_id, attempt, result_hash);
        }

        fn commit_result(ref self: ContractState, job_id: u64, attempt: u8, commitment: felt252) {
            self._commit_result(job_id, attempt, commitment);
        }

        fn reveal_result(
            ref self: ContractState, job_id: u64, attempt: u8, result_hash: felt252, salt: felt252,
        ) {
            self._reveal_result(job_id, attempt, result_hash, salt);
        }

        fn fail_attempt(ref self: ContractState, job_id: u64, attempt: u8, reason: felt252) {
            let placed = self._attempt(job_id, attempt, JobState::Allocated, errors::NOT_ALLOCATED);
            self.assert_only_worker_owner(placed.worker_id);
            self._end_attempt(job_id, placed, AttemptFailure::Failed, reason);
        }

        fn claim_job(ref self: ContractState, job_id: u64) {
            self.pausable.assert_not_paused();
            let worker_id = self.assert_only_worker();
            self._assert_no_keeper_is_active();
            self._allocate_claimed(job_id, worker_id);
            self.emit(Events::JobClaimed { job_id, worker_id });
        }
    }

    #[abi(embed_v0)]
    impl DeadlinesImpl of IJobMgrDeadlines<ContractState> {
        fn expire_job(ref self: ContractState, job_id: u64) {
            self._queued_attempt(job_id);
            let terms = terms_of(job_id);
            assert(deadlines::has_passed(terms.deadline, now()), errors::DEADLINE_NOT_PASSED);

            let client = client_of(terms.client);
            let refunded = self._refund_queued(job_id, client, JobState::Expired);
            if terms.is_replica {
                groups::leave_pending(job_id);
            }
            self.emit(Events::JobExpired { job_id, client, refunded });
        }

        fn expire_attempt(ref self: ContractState, job_id: u64) {
            let placed = self._running(job_id);
            let has_passed = match attempts::answer_due(job_id, placed) {
                Option::Some(due) => deadlines::has_passed(due, now()),
                Option::None => false,
            };
            assert(has_passed, errors::DEADLINE_NOT_PASSED);
            if placed.state == JobState::Committed {
                self._end_unrevealed(job_id, placed);
            } else {
                self._end_attempt(job_id, placed, AttemptFailure::Expired, 0);
            }
        }

        fn settle(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            if placed.is_replica {
                self._settle_replica(job_id, placed);
            } else {
                assert(deadlines::has_passed(placed.challenge_ends, now()), errors::CHALLENGE_OPEN);
                self._pay_worker(job_id, placed);
            }
        }

        fn settle_dispute(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Disputed, errors::NOT_DISPUTED);
            self._settle_dispute(job_id, placed);
        }

        fn withdraw(ref self: ContractState, account: ContractAddress) -> u128 {
            self._withdraw(account)
        }
    }

    #[abi(embed_v0)]
    impl RefereeImpl of IJobMgrReferee<ContractState> {
        fn rule_dispute(ref self: ContractState, job_id: u64, is_right: bool) {
            self.assert_only_referee();
            let placed = self._placed(job_id, JobState::Disputed, errors::NOT_DISPUTED);
            assert(disputes::is_referees(job_id), errors::NOT_DISPUTED);
            self._rule(job_id, placed, is_right, by_default: false);
        }
    }

    #[abi(embed_v0)]
    impl AllocatorImpl of IJobMgrAllocator<ContractState> {
        fn allocate_batch(ref self: ContractState, items: Span<felt252>) -> Span<Skip> {
            self.pausable.assert_not_paused();
            self.assert_only_task_allocator();
            allocation::allocate(items, self.cdc_pool.read(), now()).span()
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of IJobMgrAdmin<ContractState> {
        fn set_task_allocator(ref self: ContractState, task_allocator: ContractAddress) {
            self.access.assert_only_admin();
            assert(task_allocator.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.task_allocator.read().is_zero(), errors::TASK_ALLOCATOR_ALREADY_SET);
            self.task_allocator.write(task_allocator);
            self.emit(Events::TaskAllocatorSet { task_allocator });
        }

        fn set_paymaster(ref self: ContractState, paymaster: ContractAddress) {
            self.access.assert_only_admin();
            assert(paymaster.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.paymaster.read().is_zero(), errors::PAYMASTER_ALREADY_SET);
            self.paymaster.write(paymaster);
            self.emit(Events::PaymasterSet { paymaster });
        }

        fn set_referee(ref self: ContractState, referee: ContractAddress) {
            self.access.assert_only_admin();
            assert(referee.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.referee.read().is_zero(), errors::REFEREE_ALREADY_SET);
            self.referee.write(referee);
            self.emit(Events::RefereeSet { referee });
        }
    }

    #[abi(embed_v0)]
    impl ViewImpl of IJobMgrView<ContractState> {
        fn get_job(self: @ContractState, job_id: u64) -> JobView {
            let record: JobRecord = job_record::at(job_id.into()).read();
            let client = client_of(job_terms::unpack(record.terms).client);
            let group_id = group_record::id_of(job_id);
            job_view(job_id, record, client, group_id, group_record::read(group_id))
        }

        fn get_jobs(self: @ContractState, first: u64, count: u8) -> Span<JobView> {
            assert(count <= MAX_PAGE, errors::TOO_MANY_ASKED);
            let last = self.job_count.read();
            let mut job_id = max(first, 1);
            let mut jobs = array![];
            let mut left = count;
            while left != 0 && job_id <= last {
                jobs.append(self.get_job(job_id));
                job_id += 1;
                left -= 1;
            };
            jobs.span()
        }

        fn job_count(self: @ContractState) -> u64 {
            self.job_count.read()
        }

        fn is_excluded(self: @ContractState, job_id: u64, worker_id: u32) -> bool {
            attempts::is_excluded(job_id, worker_id)
        }

        fn get_group(self: @ContractState, group_id: u64) -> GroupView {
            groups::view(group_id)
        }

        fn get_dispute(self: @ContractState, job_id: u64) -> DisputeView {
            disputes::view(job_id)
        }

        fn credit_of(self: @ContractState, account: ContractAddress) -> u128 {
            self._credit_of(account)
        }

        fn commitment_of(
            self: @ContractState,
            job_id: u64,
            attempt: u8,
            owner: ContractAddress,
            result_hash: felt252,
            salt: felt252,
        ) -> felt252 {
            attempts::commitment_of(job_id, attempt, owner, result_hash, salt)
        }

        fn get_config(self: @ContractState) -> JobMgrConfig {
            JobMgrConfig {
                admin: self.access.Access_admin.read(),
                token: self.token.read(),
                cdc_pool: self.cdc_pool.read(),
                task_allocator: self.task_allocator.read(),
                paymaster: self.paymaster.read(),
                referee: self.referee.read(),
                challenge_window_s: self.challenge_window_s.read(),
                dispute_window_s: self.dispute_window_s.read(),
                reveal_window_s: deadlines::REVEAL_WINDOW_S,
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        fn assert_only_referee(self: @ContractState) {
            assert(get_caller_address() == self.referee.read(), errors::NOT_REFEREE);
        }

        fn assert_only_task_allocator(self: @ContractState) {
            let is_allocator = get_caller_address() == self.task_allocator.read();
            assert(is_allocator, errors::NOT_TASK_ALLOCATOR);
        }
    }
}
