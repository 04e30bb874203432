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
    use crate::cdc_pool::types::AttemptOutcome;
    use crate::clock::now;
    use crate::erc20::{IErc20Dispatcher, IErc20DispatcherTrait};
    use crate::job_mgr::candidate::Candidate;
    use crate::job_mgr::interface::{
        Events, IJobMgrAdmin, IJobMgrAllocator, IJobMgrClient, IJobMgrDeadlines, IJobMgrView,
        IJobMgrWorker,
    };
    use crate::job_mgr::job_view::job_view;
    use crate::job_mgr::types::{JobMgrConfig, JobRecord, JobSpec, JobState, JobView};
    use crate::job_mgr::{candidate, errors, job_spec};
    use crate::math::job_slot::PlacedJob;
    use crate::math::{allocation_item, deadlines, job_slot, job_terms, money};
    use crate::types::{Deadline, skip_reason};
    use starknet::storage::{
        Map, StorageMapReadAccess, StorageMapWriteAccess, StoragePathEntry,
        StoragePointerReadAccess, StoragePointerWriteAccess,
    };
    use starknet::{ContractAddress, get_caller_address, get_contract_address};

    /// Two years: timestamps are kept in 32 bits.
    const MAX_CHALLENGE_WINDOW_S: u64 = 63_072_000;
    /// Jobs that one call of `get_jobs` returns.
    const MAX_PAGE: u8 = 50;

    #[storage]
    struct Storage {
        admin: ContractAddress,
        token: ContractAddress,
        cdc_pool: ContractAddress,
        task_allocator: ContractAddress,
        challenge_window_s: u64,
        job_count: u64,
        jobs: Map<u64, JobRecord>,
        /// By job and worker.
        excluded: Map<(u64, u32), bool>,
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
            let (terms, needs) = job_spec::checked(spec, now());

            let job_id = self.job_count.read() + 1;
            self.job_count.write(job_id);
            let record = self.jobs.entry(job_id);
            record.slot.write(job_slot::pack_queued(job_spec::queued(terms, needs, 1)));
            record.client.write(client);
            record.manifest_hash.write(spec.manifest_hash);
            if spec.model_id != 0 {
                record.model_id.write(spec.model_id);
            }
            record.terms.write(job_terms::pack_terms(terms));
            record.needs.write(job_terms::pack_needs(needs));

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
            let placed = self._attempt_of_caller(job_id, attempt);
            assert(result_hash != 0, errors::ZERO_RESULT);

            let challenge_ends = deadlines::after(now(), self.challenge_window_s.read());
            let record = self.jobs.entry(job_id);
            let revealed = PlacedJob { deadline: challenge_ends, ..placed };
            record.slot.write(job_slot::with_state(revealed, JobState::Revealed));
            record.result_hash.write(result_hash);

            self._pool().release(placed.worker_id, placed.gpu_count);
            self
                .emit(
                    Events::ResultSubmitted {
                        job_id,
                        worker_id: placed.worker_id,
                        attempt,
                        result_hash,
                        challenge_ends_at: challenge_ends.timestamp,
                        challenge_ends_block: challenge_ends.block,
                    },
                );
        }

        fn fail_attempt(ref self: ContractState, job_id: u64, attempt: u8, reason: felt252) {
            let placed = self._attempt_of_caller(job_id, attempt);
            self._end_attempt(job_id, placed, AttemptOutcome::Failed, reason);
        }
    }

    #[abi(embed_v0)]
    impl DeadlinesImpl of IJobMgrDeadlines<ContractState> {
        fn expire_job(ref self: ContractState, job_id: u64) {
            self._queued_attempt(job_id);
            let record = self.jobs.entry(job_id);
            let deadline = job_terms::unpack_terms(record.terms.read()).deadline;
            assert(deadlines::has_passed(deadline, now()), errors::DEADLINE_NOT_PASSED);

            let client = record.client.read();
            let refunded = self._refund_queued(job_id, client, JobState::Expired);
            self.emit(Events::JobExpired { job_id, client, refunded });
        }

        fn expire_attempt(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Allocated, errors::NOT_ALLOCATED);
            assert(deadlines::has_passed(placed.deadline, now()), errors::DEADLINE_NOT_PASSED);
            self._end_attempt(job_id, placed, AttemptOutcome::Expired, 0);
        }

        fn settle(ref self: ContractState, job_id: u64) {
            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);
            assert(deadlines::has_passed(placed.deadline, now()), errors::CHALLENGE_OPEN);
            self._settle(job_id, placed);
        }
    }

    #[abi(embed_v0)]
    impl AllocatorImpl of IJobMgrAllocator<ContractState> {
        fn allocate_batch(ref self: ContractState, items: Span<felt252>) -> Span<u8> {
            self.assert_only_task_allocator();
            let now = now();
            let mut examined: Array<Result<Candidate, u8>> = array![];
            let mut requests = array![];
            for item in items {
                let verdict = self._examine(*item, now);
                if let Result::Ok(candidate) = verdict {
                    requests.append(candidate.request);
                }
                examined.append(verdict);
            };

            let mut reservations = self._pool().reserve_batch(requests.span());
            let mut reasons = array![];
            for verdict in examined {
                let reason = match verdict {
                    Result::Ok(candidate) => {
                        let reservation = *reservations.pop_front().unwrap();
                        if reservation.reason == skip_reason::ALLOCATED {
                            self._allocate(candidate, reservation.rate_gfri, now);
                        }
                        reservation.reason
                    },
                    Result::Err(reason) => reason,
                };
                reasons.append(reason);
            };
            reasons.span()
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
            job_view(job_id, self.jobs.read(job_id))
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
            self.excluded.read((job_id, worker_id))
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
            let client = self.jobs.entry(job_id).client.read();
            assert(client.is_non_zero(), errors::NO_SUCH_JOB);
            assert(get_caller_address() == client, errors::NOT_CLIENT);
            client
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

        fn _pay(self: @ContractState, recipient: ContractAddress, amount: u128) {
            assert(self._token().transfer(recipient, amount.into()), errors::TRANSFER_FAILED);
        }

        /// The attempt that the job, which must be Queued, waits for.
        fn _queued_attempt(self: @ContractState, job_id: u64) -> u8 {
            let (state, attempt) = job_slot::state_and_attempt(self.jobs.entry(job_id).slot.read());
            assert(state != JobState::None, errors::NO_SUCH_JOB);
            assert(state == JobState::Queued, errors::NOT_QUEUED);
            attempt
        }

        /// The job, which must be in `state`, one that has a worker.
        fn _placed(
            self: @ContractState, job_id: u64, state: JobState, error: felt252,
        ) -> PlacedJob {
            let packed = self.jobs.entry(job_id).slot.read();
            let (found, _) = job_slot::state_and_attempt(packed);
            assert(found != JobState::None, errors::NO_SUCH_JOB);
            assert(found == state, error);
            job_slot::unpack_placed(packed)
        }

        /// The job, whose current attempt must be `attempt` and run by a worker of the caller.
        fn _attempt_of_caller(self: @ContractState, job_id: u64, attempt: u8) -> PlacedJob {
            let placed = self._placed(job_id, JobState::Allocated, errors::NOT_ALLOCATED);
            assert(placed.attempt == attempt, errors::WRONG_ATTEMPT);
            let is_owner = get_caller_address() == self._worker_owner(placed.worker_id);
            assert(is_owner, errors::NOT_WORKER);
            placed
        }

        /// Ends a queued job in a final state and returns what its client got back.
        fn _refund_queued(
            ref self: ContractState, job_id: u64, client: ContractAddress, state: JobState,
        ) -> u128 {
            let attempt = self._queued_attempt(job_id);
            let record = self.jobs.entry(job_id);
            let refunded = job_terms::unpack_terms(record.terms.read()).max_price;
            record.slot.write(job_slot::pack_placed(job_slot::unplaced(state, attempt)));
            self._pay(client, refunded);
            refunded
        }

        /// What the job's side says to an item.
        fn _examine(self: @ContractState, item: felt252, now: Deadline) -> Result<Candidate, u8> {
            let item = allocation_item::unpack(item);
            if !item.is_well_formed {
                return Result::Err(skip_reason::ITEM_MALFORMED);
            }
            let candidate = candidate::examine(
                item, self.jobs.entry(item.job_id).slot.read(), now,
            )?;
            // Nobody is excluded from a first attempt, which saves the read in the ordinary case.
            if item.attempt != 1 && self.excluded.read((item.job_id, item.worker_id)) {
                return Result::Err(skip_reason::WORKER_EXCLUDED);
            }
            Result::Ok(candidate)
        }

        /// Places a job on the worker that was reserved for it.
        fn _allocate(
            ref self: ContractState, candidate: Candidate, rate_gfri: u64, now: Deadline,
        ) {
            let Candidate { item, .. } = candidate;
            let record = self.jobs.entry(item.job_id);
            let terms = job_terms::unpack_terms(record.terms.read());
            let placed = candidate::placed(candidate, rate_gfri, now, terms.execution_timeout_s);
            record.slot.write(job_slot::pack_placed(placed));
            self
                .emit(
                    Events::JobAllocated {
                        job_id: item.job_id,
                        worker_id: item.worker_id,
                        client: record.client.read(),
                        attempt: item.attempt,
                        rate_gfri,
                        score: item.score,
                        strategy: item.strategy,
                        deadline: placed.deadline.timestamp,
                        deadline_block: placed.deadline.block,
                    },
                );
        }

        /// Ends an attempt without a result: queues the job again or, after its last attempt,
        /// refunds it.
        fn _end_attempt(
            ref self: ContractState,
            job_id: u64,
            placed: PlacedJob,
            outcome: AttemptOutcome,
            reason: felt252,
        ) {
            let PlacedJob { worker_id, attempt, .. } = placed;
            let record = self.jobs.entry(job_id);
            let terms = job_terms::unpack_terms(record.terms.read());
            let needs = job_terms::unpack_needs(record.needs.read());
            let requeued = attempt < needs.max_attempts;
            let slot = if requeued {
                job_slot::pack_queued(job_spec::queued(terms, needs, attempt + 1))
            } else {
                job_slot::with_state(placed, JobState::Failed)
            };
            record.slot.write(slot);
            // A worker that fails at once would otherwise be free again first and be given every attempt.
            self.excluded.write((job_id, worker_id), true);

            self._pool().release(worker_id, placed.gpu_count);
            self._pool().record_outcome(worker_id, outcome);
            let expired = outcome == AttemptOutcome::Expired;
            self
                .emit(
                    Events::AttemptFailed { job_id, worker_id, attempt, expired, reason, requeued },
                );
            if !requeued {
                let client = record.client.read();
                self._pay(client, terms.max_price);
                self.emit(Events::JobFailed { job_id, client, refunded: terms.max_price });
            }
        }

        /// Pays for a revealed result.
        fn _settle(ref self: ContractState, job_id: u64, placed: PlacedJob) {
            let record = self.jobs.entry(job_id);
            let client = record.client.read();
            let terms = job_terms::unpack_terms(record.terms.read());
            let paid = money::price(placed.rate_gfri, placed.gpu_count, terms.execution_timeout_s);
            let refunded = terms.max_price - paid;
            record.slot.write(job_slot::with_state(placed, JobState::Settled));

            let worker_id = placed.worker_id;
            self._pool().record_outcome(worker_id, AttemptOutcome::Settled);
            self._pay(self._worker_owner(worker_id), paid);
            if refunded != 0 {
                self._pay(client, refunded);
            }
            self.emit(Events::JobSettled { job_id, worker_id, client, paid, refunded });
        }
    }
}
