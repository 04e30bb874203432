// SPDX-License-Identifier: MIT

//! The ABI of the job manager, split by who calls it; its events are in `job_mgr/events.cairo`.
//!
//! Whatever an account is owed is credited to it, and `withdraw` pays it out: no transfer to one
//! party can hold up another.

use crate::job_mgr::types::{DisputeView, GroupView, JobMgrConfig, JobSpec, JobView, Skip};
use starknet::ContractAddress;

/// For the account that pays for a job.
#[starknet::interface]
pub trait IJobMgrClient<TContractState> {
    /// Puts `spec.max_price` for each replica into escrow, from the caller's credit first and the
    /// rest from its balance; queues the replicas and returns the first one's id. The others follow
    /// it.
    ///
    /// Preconditions: not paused; every field of the spec is within its limits; `max_price` pays
    /// for a rate of at least 1 gFri and below 2^40 gFri per GPU-second; the contract has an
    /// allowance for what the credit does not cover. A job with more than one replica has
    /// verification 0: the replicas are the verification. The quorum is more than half of the
    /// replicas and fewer than all, so that one liar can neither decide nor block. Its deadline is
    /// at most 7 days ahead and its execution timeout at most a day, since who has committed waits
    /// for the others with its stake held; the committee of a dispute keeps its job's timeout.
    /// Emits: `CreditSpent` where there was some, and `JobSubmitted` for each replica.
    /// Errors, in this order: `Pausable: PAUSED`, `ZERO_MANIFEST`, `BAD_PRIORITY`, `BAD_QUEUE`,
    /// `BAD_MAX_ATTEMPTS`, `BAD_LATENCY`, `BAD_VERIFICATION`, `BAD_REPLICAS`, `BAD_QUORUM`,
    /// `TOO_MANY_GPUS`, `TOO_MUCH_VRAM`, `BAD_COMPUTE_CAPABILITY`, `BAD_DRIVER_VERSION`,
    /// `TOO_MANY_CPU_CORES`, `TOO_MUCH_MEMORY`, `BAD_MIN_REPUTATION`, `REGION_TOO_LONG`,
    /// `ZERO_TIMEOUT`, `TIMEOUT_TOO_LONG`, `DEADLINE_IN_PAST`, `DEADLINE_TOO_FAR`,
    /// `ZERO_MAX_PRICE`, `PRICE_TOO_LOW`, `PRICE_TOO_HIGH`, `TRANSFER_FAILED`.
    /// Access: anyone.
    fn submit_job(ref self: TContractState, spec: JobSpec) -> u64;

    /// Takes a queued job back and refunds all of it; a replica takes its whole group back.
    ///
    /// Preconditions: the job is Queued; of a group no replica was ever allocated, and it is not
    /// the committee of a dispute.
    /// Emits: `JobCancelled`, for each replica that was still queued.
    /// Errors: `NO_SUCH_JOB`, `NOT_CLIENT`, `NOT_QUEUED`, `IS_COMMITTEE`, `GROUP_STARTED`.
    /// Access: the job's client.
    fn cancel_job(ref self: TContractState, job_id: u64);

    /// Settles at once, without waiting for the challenge window.
    ///
    /// Preconditions: the job is Revealed and not a replica: its group decides on that.
    /// Emits: `JobSettled`.
    /// Errors: `NO_SUCH_JOB`, `NOT_CLIENT`, `NOT_REVEALED`, `IS_REPLICA`.
    /// Access: the job's client.
    fn accept_result(ref self: TContractState, job_id: u64);

    /// Disputes a result; its worker's stake is held until there is a ruling. Where the referee
    /// decides, the client puts up a bond of the job's price, at least 50 STRK, which goes to the
    /// worker's owner if the result is right and returns otherwise. Where a committee decides, the
    /// client pays for it: three replicas of the job, of which two must agree, without the disputed
    /// worker. Bond and escrow come from the client's credit first.
    ///
    /// Preconditions: the job is Revealed, no replica and verifiable; its challenge window has not
    /// passed; the contract has an allowance for what the credit does not cover.
    /// Emits: `CreditSpent` where there was some, `JobSubmitted` for each replica of a committee,
    /// and `ResultDisputed`.
    /// Errors: `NO_SUCH_JOB`, `NOT_CLIENT`, `NOT_REVEALED`, `IS_REPLICA`, `NOT_DISPUTABLE`,
    /// `WINDOW_PASSED`, `NO_REFEREE`, `TRANSFER_FAILED`; the pool's `TOO_MANY_HOLDS`.
    /// Access: the job's client.
    fn dispute_result(ref self: TContractState, job_id: u64);
}

/// For the account that submits jobs for clients who have authorised it with the paymaster.
#[starknet::interface]
pub trait IJobMgrGateway<TContractState> {
    /// As `submit_job`, for another account, which is the job's client in every respect. The
    /// paymaster pays from the client's balance there, not from the client's credit here.
    ///
    /// Preconditions: not paused; as for `submit_job`; the client has authorised the caller for the
    /// amount.
    /// Emits: `JobSubmitted` for each replica.
    /// Errors: `Pausable: PAUSED`, `ZERO_ADDRESS`, `NO_PAYMASTER`, those of `submit_job` but for
    /// `TRANSFER_FAILED`, and those of the paymaster's `draw_escrow`.
    /// Access: gateways, by the paymaster's word.
    fn submit_job_for(ref self: TContractState, client: ContractAddress, spec: JobSpec) -> u64;
}

/// For the account that owns the worker of the attempt.
#[starknet::interface]
pub trait IJobMgrWorker<TContractState> {
    /// Submits the result, frees the worker's slot and GPUs and opens the challenge window. A
    /// result after the attempt's deadline is still taken as long as nobody has expired the
    /// attempt. Nobody else computes the result of a job without replicas, so there is nobody to
    /// copy from: it is committed to and revealed in one.
    ///
    /// Preconditions: the job is Allocated, in this attempt, to a worker of the caller, and not a
    /// replica; `result_hash`, the first 31 bytes of the result's SHA-256, is not 0.
    /// Emits: `ResultSubmitted`.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `WRONG_ATTEMPT`, `IS_REPLICA`, `NOT_WORKER`,
    /// `ZERO_RESULT`.
    /// Access: the worker's owner.
    fn submit_result(ref self: TContractState, job_id: u64, attempt: u8, result_hash: felt252);

    /// Commits to a result (`commitment_of`), frees the worker's slot and GPUs and holds its stake
    /// until the job ends. A commitment after the attempt's deadline is still taken as long as
    /// nobody has expired the attempt. The result of a job alone is due the reveal window after the
    /// attempt's deadline, or after the commitment where that is later, by the clock and by the
    /// block number each for itself.
    ///
    /// Preconditions: the job is Allocated, in this attempt, to a worker of the caller;
    /// `commitment` is not 0.
    /// Emits: `ResultCommitted`.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `WRONG_ATTEMPT`, `NOT_WORKER`, the pool's
    /// `TOO_MANY_HOLDS`, `ZERO_COMMITMENT`.
    /// Access: the worker's owner.
    fn commit_result(ref self: TContractState, job_id: u64, attempt: u8, commitment: felt252);

    /// Reveals the result that was committed to and, of a job alone, opens the challenge window. A
    /// replica's result can be revealed once no replica of the group is Queued or Allocated, and
    /// for the reveal window from then on, so that none can be copied. That of a job alone is also
    /// taken late, as long as nobody has expired the attempt.
    ///
    /// Preconditions: the job is Committed, in this attempt, and the commitment is the caller's, to
    /// this result with this salt; the group's reveals are open; `result_hash` is not 0.
    /// Emits: `ResultSubmitted`, and `GroupDecided` where it completes the group's quorum.
    /// Errors: `NO_SUCH_JOB`, `NOT_COMMITTED`, `WRONG_ATTEMPT`, `REVEALS_CLOSED`, `WRONG_REVEAL`,
    /// `ZERO_RESULT`.
    /// Access: the worker's owner.
    fn reveal_result(
        ref self: TContractState, job_id: u64, attempt: u8, result_hash: felt252, salt: felt252,
    );

    /// Gives the attempt up. The job is queued for its next attempt, or ends Failed with a full
    /// refund after its last one. The worker gets no further attempt of this job and loses a
    /// twentieth of its reputation.
    ///
    /// Preconditions: the job is Allocated, in this attempt, to a worker of the caller.
    /// Emits: `AttemptFailed`, and `JobFailed` after the last attempt.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `WRONG_ATTEMPT`, `NOT_WORKER`.
    /// Access: the worker's owner.
    fn fail_attempt(ref self: TContractState, job_id: u64, attempt: u8, reason: felt252);

    /// Allocates a queued job to the caller's worker, at the worker's rate, while no keeper is at
    /// work: the last round lies more than 100 blocks back. The same is checked as of a keeper's
    /// item. No member of a group can be claimed, a committee's neither: their votes count only
    /// where the voters did not choose themselves.
    ///
    /// Preconditions: not paused; as for an allocation; there is a task allocator; the job is no
    /// replica.
    /// Emits: `JobsAllocated`, with strategy 3 and score 0, and `JobClaimed`.
    /// Errors, in this order as far as `IS_REPLICA`: `Pausable: PAUSED`, `NOT_WORKER`,
    /// `KEEPERS_ACTIVE`, `NO_SUCH_JOB`, `NOT_QUEUED`, `IS_REPLICA`, `DEADLINE_PASSED`,
    /// `WORKER_EXCLUDED`, `RATE_TOO_HIGH`, `WORKER_UNAVAILABLE`, `NO_FREE_SLOT`, `NO_FREE_GPU`,
    /// `REQUIREMENT_UNMET`, `REPUTATION_TOO_LOW`, `REGION_MISMATCH`.
    /// Access: the owner of a worker.
    fn claim_job(ref self: TContractState, job_id: u64);
}

/// Every deadline's exit. Anyone may call these, so nothing is ever stuck behind one party.
#[starknet::interface]
pub trait IJobMgrDeadlines<TContractState> {
    /// Ends a job that found no worker in time and refunds all of it.
    ///
    /// Preconditions: the job is Queued and its deadline has passed.
    /// Emits: `JobExpired`.
    /// Errors: `NO_SUCH_JOB`, `NOT_QUEUED`, `DEADLINE_NOT_PASSED`.
    /// Access: anyone.
    fn expire_job(ref self: TContractState, job_id: u64);

    /// Ends an attempt whose worker did not answer in time. The job goes on as after
    /// `fail_attempt`, but the worker loses a fifth of its reputation.
    ///
    /// A worker that has committed has 21,600 s more to reveal, from the attempt's deadline or the
    /// commitment, whichever is later; a replica's worker has 21,600 s from when its group's
    /// reveals opened. One that does not reveal is slashed too, with the caller as
    /// challenger, and a replica that is not revealed ends Failed whatever attempts are left: the
    /// others' results may be known by then.
    ///
    /// Preconditions: the job is Allocated or Committed and that deadline has passed.
    /// Emits: `AttemptFailed`, and `JobFailed` where the job is not queued again.
    /// Errors: `NO_SUCH_JOB`, `NOT_ALLOCATED`, `DEADLINE_NOT_PASSED`.
    /// Access: anyone.
    fn expire_attempt(ref self: TContractState, job_id: u64);

    /// Ends a job that has a result.
    ///
    /// A job alone is paid for: silence is acceptance. Of a group every result that equals the
    /// winner is paid for; every other is rejected, its job refunded and its worker slashed. Where
    /// a group found no winner every result is rejected and refunded, and nobody is to blame. Who
    /// is paid rises in reputation.
    ///
    /// Preconditions: the job is Revealed and its challenge window has passed; or its group has a
    /// winner, or its reveal window has passed without one.
    /// Emits: `JobSettled`, or `ResultRejected` and `JobFailed`; before them `GroupDecided`, once,
    /// where the group found no winner.
    /// Errors: `NO_SUCH_JOB`, `NOT_REVEALED`, `CHALLENGE_OPEN`, `GROUP_OPEN`.
    /// Access: anyone.
    fn settle(ref self: TContractState, job_id: u64);

    /// Ends a dispute. Where a committee has a winner, the result is right if it equals that, and
    /// right by default if the committee found none or the dispute's end has passed. Where the
    /// referee has not ruled until the dispute's end, the result is wrong by default: the worker
    /// must defend what it submitted.
    ///
    /// Right: the job is settled and the bond credited to the worker's owner. Wrong: the job and
    /// the bond are refunded and the worker is slashed.
    ///
    /// Preconditions: the job is Disputed and one of these holds.
    /// Emits: `DisputeRuled`, then `JobSettled`, or `ResultRejected` and `JobFailed`.
    /// Errors: `NO_SUCH_JOB`, `NOT_DISPUTED`, `DISPUTE_OPEN`.
    /// Access: anyone.
    fn settle_dispute(ref self: TContractState, job_id: u64);

    /// Pays an account's whole credit out to it and returns the amount.
    ///
    /// Preconditions: the account has credit.
    /// Emits: `CreditWithdrawn`.
    /// Errors: `NO_CREDIT`, `TRANSFER_FAILED`.
    /// Access: anyone; the money goes to the account.
    fn withdraw(ref self: TContractState, account: ContractAddress) -> u128;
}

/// For the task allocator.
#[starknet::interface]
pub trait IJobMgrAllocator<TContractState> {
    /// Allocates each item that still holds, and returns each other one with the first reason why
    /// not (`types::skip_reason`): first those that the job's side refuses, then those that the
    /// worker's side does, each in order. An item that does not hold changes nothing. A later item
    /// sees what earlier ones did, but a second one for the same job is always refused, even where
    /// the worker's side then refuses the first. Items are packed as `math/allocation_item.cairo`
    /// says.
    ///
    /// Batches cost least where workers of four neighbouring ids stand together, see
    /// `ICdcPoolJobMgr::reserve_batch`.
    ///
    /// Preconditions: not paused; none on the items.
    /// Emits: `JobsAllocated` with the allocated items, again after every 250 of them.
    /// Errors: `Pausable: PAUSED`, `NOT_TASK_ALLOCATOR`.
    /// Access: the task allocator.
    fn allocate_batch(ref self: TContractState, items: Span<felt252>) -> Span<Skip>;
}

/// For the referee.
#[starknet::interface]
pub trait IJobMgrReferee<TContractState> {
    /// Rules a dispute that the referee decides; see `settle_dispute` for what follows.
    ///
    /// Preconditions: the job is Disputed and verified by the referee.
    /// Emits: `DisputeRuled`, then `JobSettled`, or `ResultRejected` and `JobFailed`.
    /// Errors: `NOT_REFEREE`, `NO_SUCH_JOB`, `NOT_DISPUTED`.
    /// Access: the referee.
    fn rule_dispute(ref self: TContractState, job_id: u64, is_right: bool);
}

/// For the admin, who can do nothing else.
#[starknet::interface]
pub trait IJobMgrAdmin<TContractState> {
    /// Names the task allocator, once and for all.
    ///
    /// Preconditions: none was set; `task_allocator` is not 0.
    /// Emits: `TaskAllocatorSet`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `TASK_ALLOCATOR_ALREADY_SET`.
    /// Access: the admin.
    fn set_task_allocator(ref self: TContractState, task_allocator: ContractAddress);

    /// Names the paymaster, which is trusted to pay for what gateways submit, once and for all.
    ///
    /// Preconditions: none was set; `paymaster` is not 0.
    /// Emits: `PaymasterSet`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `PAYMASTER_ALREADY_SET`.
    /// Access: the admin.
    fn set_paymaster(ref self: TContractState, paymaster: ContractAddress);

    /// Names the referee, which is trusted to rule disputes, once and for all.
    ///
    /// Preconditions: none was set; `referee` is not 0.
    /// Emits: `RefereeSet`.
    /// Errors: `Access: NOT_ADMIN`, `ZERO_ADDRESS`, `REFEREE_ALREADY_SET`.
    /// Access: the admin.
    fn set_referee(ref self: TContractState, referee: ContractAddress);
}

/// For everyone; nothing here changes state.
#[starknet::interface]
pub trait IJobMgrView<TContractState> {
    /// The job; in state None if there is no such.
    fn get_job(self: @TContractState, job_id: u64) -> JobView;

    /// Up to `count` jobs with ids from `first` (not below 1) on, in order.
    ///
    /// Errors: `TOO_MANY_ASKED` over 50.
    fn get_jobs(self: @TContractState, first: u64, count: u8) -> Span<JobView>;

    /// Jobs submitted so far: ids run from 1 to this.
    fn job_count(self: @TContractState) -> u64;

    /// Whether the worker cannot get the job: an earlier attempt failed on it, given up, expired or
    /// not revealed. Of a replica: whether the worker ever was allocated one of its group, or is
    /// the one that the group judges.
    fn is_excluded(self: @TContractState, job_id: u64, worker_id: u32) -> bool;

    /// The group whose first replica has this id; with 0 replicas if there is no such.
    fn get_group(self: @TContractState, group_id: u64) -> GroupView;

    /// The dispute about the job, open or ruled; zeros if there was none.
    fn get_dispute(self: @TContractState, job_id: u64) -> DisputeView;

    /// Fri that `withdraw` would pay out.
    fn credit_of(self: @TContractState, account: ContractAddress) -> u128;

    /// What the owner of a worker commits to a result with: the Poseidon hash of 'ciro-commit-v1',
    /// the chain's id, this contract's address, the job, the attempt, the owner, the result's hash
    /// and a salt of the owner's choice.
    fn commitment_of(
        self: @TContractState,
        job_id: u64,
        attempt: u8,
        owner: ContractAddress,
        result_hash: felt252,
        salt: felt252,
    ) -> felt252;

    fn get_config(self: @TContractState) -> JobMgrConfig;
}
