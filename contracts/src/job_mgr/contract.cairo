// SPDX-License-Identifier: MIT

/// The queue of jobs and the money paid for them.
///
/// Roles: a client submits, cancels and accepts; the owner of the attempt's worker answers; anyone
/// calls a deadline's exit; the task allocator alone allocates; the admin only names the task
/// allocator, once.
///
/// Invariants:
/// - the token balance covers `max_price` of every job that is not in a final state;
/// - a job that reaches a final state pays out exactly its `max_price`;
/// - a job is Allocated to at most one worker, and its attempt number grows with every failure;
/// - a worker is paid only for a job whose rate limit and requirements it met at the allocation.
#[starknet::contract]
pub mod JobMgr {
    use core::cmp::max;
    use core::num::traits::Zero;
    use crate::cdc_pool::interface::{
        ICdcPoolJobMgrDispatcher, ICdcPoolJobMgrDispatcherTrait, ICdcPoolViewDispatcher,
        ICdcPoolViewDispatcherTrait,
    };
    use crate::cdc_pool::types::AttemptFailure;
    use crate::clock::now;
    use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
    use crate::job_mgr::candidate::Examined;
    use crate::job_mgr::interface::{
        Events, IJobMgrAdmin, IJobMgrAllocator, IJobMgrClient, IJobMgrDeadlines, IJobMgrView,
        IJobMgrWorker,
    };
    use crate::job_mgr::job_view::job_view;
    use crate::job_mgr::types::{JobMgrConfig, JobRecord, JobSpec, JobState, JobView, Skip};
    use crate::job_mgr::{candidate, errors, job_record, job_spec};
    use crate::math::allocation_item::AllocationItem;
    use crate::math::job_slot::PlacedJob;
    use crate::math::job_terms::Terms;
    use crate::math::{allocation_item, deadlines, job_slot, job_terms, money, reserve_request};
    use crate::rare::rare;
    use crate::types::{Deadline, skip_reason};
    use starknet::storage::{
        Map, Mutable, StorageMapReadAccess, StorageMapWriteAccess, StoragePointer0Offset,
        StoragePointerReadAccess, StoragePointerWriteAccess,
    };
    use starknet::syscalls::emit_event_syscall;
    use starknet::{ContractAddress, SyscallResultTrait, get_caller_address, get_contract_address};

    /// Two years: timestamps are kept in 32 bits.
    const MAX_CHALLENGE_WINDOW_S: u64 = 63_072_000;
    /// What is stored where a worker is excluded from a job.
    const EXCLUDED: felt252 = 1;
    /// Jobs that one call of `get_jobs` returns.
    const MAX_PAGE: u8 = 50;

    /// Jobs lie apart from this, see `job_mgr/job_record.cairo`.
    #[storage]
    struct Storage {
        admin: ContractAddress,
        token: ContractAddress,
        cdc_pool: ContractAddress,
        task_allocator: ContractAddress,
        challenge_window_s: u64,
        job_count: u64,
        /// Clients are numbered from 1, so that a job need not hold an address.
        client_count: u32,
        clients: Map<u32, ContractAddress>,
        client_number: Map<ContractAddress, u32>,
    }

    #[event]
    #[derive(Drop, PartialEq, Debug, starknet::Event)]
    pub enum Event {
        JobSubmitted: Events::JobSubmitted,
        JobAllocated: Events::JobAllocated,
        ResultSubmitted: Events::ResultSubmitted,
        JobSettled: Events::JobSettled,
        AttemptFailed: Events::AttemptFailed,
        JobCancelled: Events::JobCancelled,
        JobExpired: Events::JobExpired,
        JobFailed: Events::JobFailed,
        TaskAllocatorSet: Events::TaskAllocatorSet,
    }

    #[constructor]
    fn constructor(
        ref self: ContractState,
        admin: ContractAddress,
        token: ContractAddress,
        cdc_pool: ContractAddress,
        challenge_window_s: u64,
    ) {
        assert(
            admin.is_non_zero() && token.is_non_zero() && cdc_pool.is_non_zero(),
            errors::ZERO_ADDRESS,
        );
        assert(challenge_window_s <= MAX_CHALLENGE_WINDOW_S, errors::WINDOW_TOO_LONG);
        self.admin.write(admin);
        self.token.write(token);
        self.cdc_pool.write(cdc_pool);
        self.challenge_window_s.write(challenge_window_s);
    }

    #[abi(embed_v0)]
    impl ClientImpl of IJobMgrClient<ContractState> {
        fn submit_job(ref self: ContractState, spec: JobSpec) -> u64 {
            let client = get_caller_address();
            let (terms, queued) = job_spec::checked(spec, now());

            let job_id = self.job_count.read() + 1;
            self.job_count.write(job_id);
            let terms = Terms { client: self._number_client(client), ..terms };
            let queued = job_slot::pack_queued(queued);
            let record = job_record::at(job_id.into());
            record.slot.write(queued);
            record.terms.write(job_terms::pack(terms));
            record.queued_or_result.write(queued);
            record.manifest_hash.write(spec.manifest_hash);
            if spec.model_id != 0 {
                record.model_id.write(spec.model_id);
            }

            let is_paid = self
                ._token()
                .transfer_from(client, get_contract_address(), spec.max_price.into());
            assert(is_paid, errors::TRANSFER_FAILED);
            self
                .emit(
                    Events::JobSubmitted {
                        job_id, client, spec, deadline_block: terms.deadline.block,
                    },
                );
            job_id
        }

        fn cancel_job(ref self: ContractState, job_id: u64) {
            let client = self.assert_only_client(job_id);
            let refunded = self._refund_queued(job_id, client, JobState::Cancelled);
            self.emit(Events::JobCancelled { job_id, client, refunded });
        }

        fn accept_result(ref self: ContractState, job_id: u64) {
            self.assert_only_client(job_id);
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            self._settle(job_id, placed);
        }
    }

    #[abi(embed_v0)]
    impl WorkerImpl of IJobMgrWorker<ContractState> {
        fn submit_result(ref self: ContractState, job_id: u64, attempt: u8, result_hash: felt252) {
            let placed = self._attempt(job_id, attempt);
            let worker_id = placed.worker_id;
            let challenge_ends = deadlines::after(now(), self.challenge_window_s.read());
            let record = job_record::at(job_id.into());
            let revealed = PlacedJob { challenge_ends, ..placed };
            record.slot.write(job_slot::with_state(revealed, JobState::Revealed));
            record.queued_or_result.write(result_hash);

            // The pool knows the owner. One call both asks it and frees the worker; where the
            // answer is no, all of this is undone.
            let is_owner = self._pool().release(worker_id, placed.gpu_count, get_caller_address());
            assert(is_owner, errors::NOT_WORKER);
            assert(result_hash != 0, errors::ZERO_RESULT);
            self
                .emit(
                    Events::ResultSubmitted {
                        job_id,
                        worker_id,
                        attempt,
                        result_hash,
                        challenge_ends_at: challenge_ends.timestamp,
                        challenge_ends_block: challenge_ends.block,
                    },
                );
        }

        fn fail_attempt(ref self: ContractState, job_id: u64, attempt: u8, reason: felt252) {
            let placed = self._attempt(job_id, attempt);
            let is_owner = get_caller_address() == self._worker_owner(placed.worker_id);
            assert(is_owner, errors::NOT_WORKER);
            self._end_attempt(job_id, placed, AttemptFailure::Failed, reason);
        }
    }

    #[abi(embed_v0)]
    impl DeadlinesImpl of IJobMgrDeadlines<ContractState> {
        fn expire_job(ref self: ContractState, job_id: u64) {
            self._queued_attempt(job_id);
            let terms = self._terms(job_id);
            assert(deadlines::has_passed(terms.deadline, now()), errors::DEADLINE_NOT_PASSED);

            let client = self.clients.read(terms.client);
            let refunded = self._refund_queued(job_id, client, JobState::Expired);
            self.emit(Events::JobExpired { job_id, client, refunded });
        }

        fn expire_attempt(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Allocated, errors::NOT_ALLOCATED);
            let due = deadlines::of_attempt(
                placed.allocated_at, self._terms(job_id).execution_timeout_s,
            );
            assert(deadlines::has_passed(due, now()), errors::DEADLINE_NOT_PASSED);
            self._end_attempt(job_id, placed, AttemptFailure::Expired, 0);
        }

        fn settle(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            assert(deadlines::has_passed(placed.challenge_ends, now()), errors::CHALLENGE_OPEN);
            self._settle(job_id, placed);
        }
    }

    #[abi(embed_v0)]
    impl AllocatorImpl of IJobMgrAllocator<ContractState> {
        fn allocate_batch(ref self: ContractState, items: Span<felt252>) -> Span<Skip> {
            self.assert_only_task_allocator();
            let now = now();
            let mut items = items;
            let mut skipped = array![];
            while !items.is_empty() {
                self._allocate_rising(ref items, now, ref skipped);
            };
            skipped.span()
        }
    }

    #[abi(embed_v0)]
    impl AdminImpl of IJobMgrAdmin<ContractState> {
        fn set_task_allocator(ref self: ContractState, task_allocator: ContractAddress) {
            self.assert_only_admin();
            assert(task_allocator.is_non_zero(), errors::ZERO_ADDRESS);
            assert(self.task_allocator.read().is_zero(), errors::TASK_ALLOCATOR_ALREADY_SET);
            self.task_allocator.write(task_allocator);
            self.emit(Events::TaskAllocatorSet { task_allocator });
        }
    }

    #[abi(embed_v0)]
    impl ViewImpl of IJobMgrView<ContractState> {
        fn get_job(self: @ContractState, job_id: u64) -> JobView {
            let record: JobRecord = job_record::at(job_id.into()).read();
            let client = self.clients.read(job_terms::unpack(record.terms).client);
            job_view(job_id, record, client)
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
            is_excluded(job_id.into(), worker_id.into())
        }

        fn get_config(self: @ContractState) -> JobMgrConfig {
            JobMgrConfig {
                admin: self.admin.read(),
                token: self.token.read(),
                cdc_pool: self.cdc_pool.read(),
                task_allocator: self.task_allocator.read(),
                challenge_window_s: self.challenge_window_s.read(),
            }
        }
    }

    #[generate_trait]
    impl InternalImpl of InternalTrait {
        fn assert_only_admin(self: @ContractState) {
            assert(get_caller_address() == self.admin.read(), errors::NOT_ADMIN);
        }

        fn assert_only_task_allocator(self: @ContractState) {
            let is_allocator = get_caller_address() == self.task_allocator.read();
            assert(is_allocator, errors::NOT_TASK_ALLOCATOR);
        }

        /// Returns the client, who is the caller.
        fn assert_only_client(self: @ContractState, job_id: u64) -> ContractAddress {
            let client = self.clients.read(self._terms(job_id).client);
            assert(client.is_non_zero(), errors::NO_SUCH_JOB);
            assert(get_caller_address() == client, errors::NOT_CLIENT);
            client
        }

        fn _terms(self: @ContractState, job_id: u64) -> Terms {
            job_terms::unpack(job_record::at(job_id.into()).terms.read())
        }

        /// The number of a client, who gets one with its first job.
        fn _number_client(ref self: ContractState, client: ContractAddress) -> u32 {
            let known = self.client_number.read(client);
            if known != 0 {
                return known;
            }
            let number = self.client_count.read() + 1;
            self.client_count.write(number);
            self.clients.write(number, client);
            self.client_number.write(client, number);
            number
        }

        fn _token(self: @ContractState) -> IErc20Dispatcher {
            IErc20Dispatcher { contract_address: self.token.read() }
        }

        fn _pool(self: @ContractState) -> ICdcPoolJobMgrDispatcher {
            ICdcPoolJobMgrDispatcher { contract_address: self.cdc_pool.read() }
        }

        fn _worker_owner(self: @ContractState, worker_id: u32) -> ContractAddress {
            ICdcPoolViewDispatcher { contract_address: self.cdc_pool.read() }
                .worker_owner(worker_id)
        }


        /// The attempt that the job, which must be Queued, waits for.
        fn _queued_attempt(self: @ContractState, job_id: u64) -> u8 {
            let packed = job_record::at(job_id.into()).slot.read();
            let state = job_slot::state(packed);
            assert(state != JobState::None, errors::NO_SUCH_JOB);
            assert(state == JobState::Queued, errors::NOT_QUEUED);
            job_slot::unpack_queued(packed).attempt
        }

        /// The job, which must be in `state`, one that has a worker.
        fn _placed(
            self: @ContractState, job_id: u64, state: JobState, error: felt252,
        ) -> PlacedJob {
            let packed = job_record::at(job_id.into()).slot.read();
            let found = job_slot::state(packed);
            assert(found != JobState::None, errors::NO_SUCH_JOB);
            assert(found == state, error);
            job_slot::unpack_placed(packed)
        }

        /// The job, which must be Allocated, in `attempt`.
        fn _attempt(self: @ContractState, job_id: u64, attempt: u8) -> PlacedJob {
            let placed = self._placed(job_id, JobState::Allocated, errors::NOT_ALLOCATED);
            assert(placed.attempt == attempt, errors::WRONG_ATTEMPT);
            placed
        }

        /// Ends a queued job in a final state and returns what its client got back.
        fn _refund_queued(
            ref self: ContractState, job_id: u64, client: ContractAddress, state: JobState,
        ) -> u128 {
            let attempt = self._queued_attempt(job_id);
            let refunded = self._terms(job_id).max_price;
            let ended = job_slot::pack_placed(job_slot::unplaced(state, attempt));
            job_record::at(job_id.into()).slot.write(ended);
            pay(self._token(), client, refunded);
            refunded
        }

        /// Takes items from the front as long as their job ids rise, so that no two are for the
        /// same job, and allocates those that hold. Appends the others to `skipped`.
        fn _allocate_rising(
            ref self: ContractState,
            ref items: Span<felt252>,
            now: Deadline,
            ref skipped: Array<Skip>,
        ) {
            let mut examined: Array<Examined> = array![];
            let mut requests = array![];
            let mut last_job_id = 0;
            loop {
                let rest = items;
                let item = match items.pop_front() {
                    Option::Some(item) => allocation_item::unpack(*item),
                    Option::None => { break; },
                };
                if item.job_id <= last_job_id && !examined.is_empty() {
                    items = rest;
                    break;
                }
                last_job_id = item.job_id;
                let AllocationItem { job_id, worker_id, choice, .. } = item;
                let slot = job_record::slot_at(job_id.into());
                let (reserving, reason) = match examine(item, slot, now) {
                    Result::Ok((
                        request, reserving,
                    )) => {
                        requests.append(request);
                        (reserving, skip_reason::ALLOCATED)
                    },
                    Result::Err(reason) => (0, reason),
                };
                examined.append(Examined { slot, job_id, worker_id, choice, reserving, reason });
            };

            let mut answers = self._pool().reserve_batch(requests.span());
            let allocated_now = job_slot::allocated_now(now);
            for item in examined {
                if item.reason != skip_reason::ALLOCATED {
                    skipped.append(skip(item, item.reason));
                    continue;
                }
                let rate_gfri = *answers.pop_front().unwrap();
                if rate_gfri != reserve_request::REFUSED {
                    let packed = job_slot::pack_allocated(item.reserving, allocated_now, rate_gfri);
                    item.slot.write(packed);
                    emit_allocated(item, rate_gfri);
                } else {
                    rare();
                    let reason = (*answers.pop_front().unwrap()).try_into().unwrap();
                    skipped.append(skip(item, reason));
                }
            };
        }

        /// Ends an attempt without a result: queues the job again or, after its last attempt,
        /// refunds it.
        fn _end_attempt(
            ref self: ContractState,
            job_id: u64,
            placed: PlacedJob,
            failure: AttemptFailure,
            reason: felt252,
        ) {
            let PlacedJob { worker_id, attempt, .. } = placed;
            let record = job_record::at(job_id.into());
            let terms = job_terms::unpack(record.terms.read());
            let requeued = attempt < terms.max_attempts;
            let slot = if requeued {
                job_slot::with_later_attempt(record.queued_or_result.read(), attempt)
            } else {
                job_slot::with_state(placed, JobState::Failed)
            };
            record.slot.write(slot);
            // A worker that fails at once would otherwise be free again first and be given every
            // attempt.
            job_record::exclusion_at(job_id.into(), worker_id.into()).write(EXCLUDED);

            self._pool().record_failure(worker_id, placed.gpu_count, failure);
            let expired = failure == AttemptFailure::Expired;
            self
                .emit(
                    Events::AttemptFailed { job_id, worker_id, attempt, expired, reason, requeued },
                );
            if !requeued {
                let client = self.clients.read(terms.client);
                pay(self._token(), client, terms.max_price);
                self.emit(Events::JobFailed { job_id, client, refunded: terms.max_price });
            }
        }

        /// Pays for a revealed result.
        fn _settle(ref self: ContractState, job_id: u64, placed: PlacedJob) {
            let worker_id = placed.worker_id;
            let terms = self._terms(job_id);
            let client = self.clients.read(terms.client);
            let paid = money::price(placed.rate_gfri, placed.gpu_count, terms.execution_timeout_s);
            let refunded = terms.max_price - paid;
            job_record::at(job_id.into())
                .slot
                .write(job_slot::with_state(placed, JobState::Settled));

            let owner = self._pool().record_settlement(worker_id);
            let token = self._token();
            pay(token, owner, paid);
            if refunded != 0 {
                pay(token, client, refunded);
            }
            self.emit(Events::JobSettled { job_id, worker_id, client, paid, refunded });
        }
    }

    fn pay(token: IErc20Dispatcher, recipient: ContractAddress, amount: u128) {
        assert(token.transfer(recipient, amount.into()), errors::TRANSFER_FAILED);
    }

    /// What the job's side says to an item: the request to the pool and what the job's slot
    /// becomes, or the first reason to skip it.
    #[inline(always)]
    fn examine(
        item: AllocationItem, slot: StoragePointer0Offset<Mutable<felt252>>, now: Deadline,
    ) -> Result<(felt252, felt252), u8> {
        if !allocation_item::is_well_formed(item) {
            return Result::Err(skip_reason::ITEM_MALFORMED);
        }
        let attempt = allocation_item::attempt(item.choice);
        let candidate = candidate::examine(item, attempt, slot.read(), now)?;
        // Nobody is excluded from a first attempt, which saves the read in the ordinary case.
        if attempt != 1 && is_excluded(item.job_id.into(), item.worker_id.into()) {
            return Result::Err(skip_reason::WORKER_EXCLUDED);
        }
        Result::Ok(candidate)
    }

    /// Emits `JobAllocated`, written out because the fields need no conversion this way: nothing
    /// else is emitted as often.
    #[inline(always)]
    fn emit_allocated(item: Examined, rate_gfri: felt252) {
        let keys = array![selector!("JobAllocated"), item.job_id.into(), item.worker_id.into()];
        let data = array![rate_gfri, item.choice.into()];
        emit_event_syscall(keys.span(), data.span()).unwrap_syscall();
    }

    #[inline(always)]
    fn is_excluded(job_id: felt252, worker_id: felt252) -> bool {
        job_record::exclusion_at(job_id, worker_id).read() == EXCLUDED
    }

    fn skip(item: Examined, reason: u8) -> Skip {
        let Examined { job_id, worker_id, choice, .. } = item;
        let item = AllocationItem { job_id, worker_id, choice, excess: 0 };
        Skip { item: allocation_item::pack(item), reason }
    }
}
