//! Who may call what, which attempt it is, what a worker has free, its stake, and the keepers' rounds.

use super::{Mutant, mutant};

const CDC_POOL: &str = "cdc_pool/contract.cairo";
const ITEM: &str = "math/allocation_item.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const JOB_SLOT: &str = "math/job_slot.cairo";
const TASK_ALLOCATOR: &str = "task_allocator/contract.cairo";
const WORKER_SLOT: &str = "math/worker_slot.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "access: anyone cancels and accepts",
        JOB_MGR,
        "assert(get_caller_address() == client, errors::NOT_CLIENT);\n",
        "",
    ),
    mutant(
        "access: anyone answers for a worker",
        CDC_POOL,
        "if record.owner.read() != owner {",
        "if record.owner.read() != owner && owner.is_zero() {",
    ),
    mutant(
        "access: anyone gives up for a worker",
        JOB_MGR,
        "let is_owner = get_caller_address() == self._worker_owner(placed.worker_id);",
        "let is_owner = attempt != 0\n                || get_caller_address() == self._worker_owner(placed.worker_id);",
    ),
    mutant(
        "access: anyone allocates",
        JOB_MGR,
        "assert(is_allocator, errors::NOT_TASK_ALLOCATOR);",
        "assert(is_allocator || self.job_count.read() != 0, errors::NOT_TASK_ALLOCATOR);",
    ),
    mutant(
        "access: anyone releases and judges workers",
        CDC_POOL,
        "assert(get_caller_address() == self.job_mgr.read(), errors::NOT_JOB_MGR);",
        "assert(self.job_mgr.read().is_non_zero(), errors::NOT_JOB_MGR);",
    ),
    mutant(
        "access: the job manager is named again",
        CDC_POOL,
        "            assert(self.job_mgr.read().is_zero(), errors::JOB_MGR_ALREADY_SET);\n",
        "",
    ),
    mutant(
        "access: the task allocator is named by anyone",
        JOB_MGR,
        "        fn set_task_allocator(ref self: ContractState, task_allocator: ContractAddress) {\n            self.assert_only_admin();\n",
        "        fn set_task_allocator(ref self: ContractState, task_allocator: ContractAddress) {\n",
    ),
    mutant(
        "access: anyone makes keepers",
        TASK_ALLOCATOR,
        "            self.assert_only_admin();\n            assert(keeper.is_non_zero()",
        "            assert(keeper.is_non_zero()",
    ),
    mutant("access: anyone applies batches", TASK_ALLOCATOR, "            self.assert_only_keeper(keeper);\n", ""),
    mutant(
        "access: a removed keeper stays one",
        TASK_ALLOCATOR,
        "self.is_keeper.write(keeper, false);",
        "self.is_keeper.write(keeper, true);",
    ),
    mutant(
        "access: anyone reports metrics",
        TASK_ALLOCATOR,
        "caller == owner || self.is_keeper.read(caller)",
        "caller == owner || caller != owner",
    ),
    mutant(
        "attempts: a later attempt is allocated",
        JOB_SLOT,
        "    if state_and_attempt.into() != QUEUED + attempt.into() * QUEUED_ATTEMPT {",
        "    let (awaited, state) = DivRem::div_rem(state_and_attempt, BITS_4);\n    if state != 1 || attempt < awaited {",
    ),
    mutant(
        "attempts: a late answer is taken",
        JOB_MGR,
        "assert(placed.attempt == attempt, errors::WRONG_ATTEMPT);",
        "assert(placed.attempt >= attempt, errors::WRONG_ATTEMPT);",
    ),
    mutant(
        "attempts: the number does not grow",
        JOB_MGR,
        "job_slot::with_later_attempt(record.queued_or_result.read(), attempt)",
        "job_slot::with_later_attempt(record.queued_or_result.read(), attempt - 1)",
    ),
    mutant("attempts: one more than allowed", JOB_MGR, "attempt < terms.max_attempts", "attempt <= terms.max_attempts"),
    mutant(
        "attempts: the last one is not used",
        JOB_MGR,
        "attempt < terms.max_attempts",
        "attempt + 1 < terms.max_attempts",
    ),
    mutant(
        "attempts: a job is allocated twice in a batch",
        JOB_MGR,
        "if item.job_id <= last_job_id && !examined.is_empty() {",
        "if item.job_id < last_job_id && !examined.is_empty() {",
    ),
    mutant(
        "states: an allocated job is cancelled",
        JOB_MGR,
        "assert(state == JobState::Queued, errors::NOT_QUEUED);",
        "assert(state == JobState::Queued || state == JobState::Allocated, errors::NOT_QUEUED);",
    ),
    mutant(
        "states: a settled job is settled again",
        JOB_MGR,
        "assert(found == state, error);",
        "assert(found == state || found == JobState::Settled, error);",
    ),
    mutant(
        "states: an allocated job is settled",
        JOB_MGR,
        "            let placed = self._placed(job_id, JobState::Revealed, errors::NOT_REVEALED);\n            assert(deadlines",
        "            let placed = self._placed(job_id, JobState::Allocated, errors::NOT_REVEALED);\n            assert(deadlines",
    ),
    mutant(
        "capacity: a result frees nothing",
        CDC_POOL,
        "record.slot.write(worker_slot::release(record.slot.read(), gpu_count));",
        "let _ = gpu_count;",
    ),
    mutant(
        "capacity: a failed attempt frees nothing",
        CDC_POOL,
        "self._write_reputation(worker_id, worker_slot::release(packed, gpu_count), old, new);",
        "let _ = gpu_count;\n            self._write_reputation(worker_id, packed, old, new);",
    ),
    mutant(
        "capacity: a failed attempt frees twice",
        CDC_POOL,
        "self._write_reputation(worker_id, worker_slot::release(packed, gpu_count), old, new);",
        "let freed = worker_slot::release(worker_slot::release(packed, gpu_count), gpu_count);\n            self._write_reputation(worker_id, freed, old, new);",
    ),
    mutant(
        "capacity: GPUs are not given back",
        WORKER_SLOT,
        "packed + gpu_count.into() + ONE_FREE_SLOT",
        "packed + gpu_count.into() * 0 + ONE_FREE_SLOT",
    ),
    mutant(
        "capacity: GPUs are not taken",
        WORKER_SLOT,
        "packed - lanes::gpus(request.needs).into() - ONE_FREE_SLOT",
        "packed - ONE_FREE_SLOT",
    ),
    mutant(
        "capacity: full workers take jobs",
        WORKER_SLOT,
        "    if capacity >= AVAILABLE\n",
        "    if capacity >= AVAILABLE - 0x4000\n",
    ),
    mutant(
        "capacity: a busy worker changes its offer",
        CDC_POOL,
        "            assert_not_leaving(worker);\n            assert_idle(worker);\n",
        "            assert_not_leaving(worker);\n",
    ),
    mutant(
        "capacity: a requeued job forgets its GPUs",
        JOB_SLOT,
        "    queued + by.into() * QUEUED_ATTEMPT * HIGH\n",
        "    queued - lanes::gpus(unpack_queued(queued).needs).into() + by.into() * QUEUED_ATTEMPT * HIGH\n",
    ),
    mutant(
        "stake: withdrawn twice",
        CDC_POOL,
        "            record.slot.write(with_status(worker, WorkerStatus::Exited));\n",
        "",
    ),
    mutant(
        "stake: still shown after the withdrawal",
        CDC_POOL,
        "            record.bond.write(Bond { stake: 0, ..bond });\n",
        "",
    ),
    mutant(
        "stake: the least stake is too low",
        CDC_POOL,
        "stake / slots.into() >= self.min_stake_per_slot.read()",
        "stake / slots.into() > self.min_stake_per_slot.read()",
    ),
    mutant(
        "stake: one slot is enough for all",
        CDC_POOL,
        "stake / slots.into() >= self.min_stake_per_slot.read()",
        "stake / (slots / slots).into() >= self.min_stake_per_slot.read()",
    ),
    mutant(
        "stake: withdrawn while jobs run",
        CDC_POOL,
        "            assert_idle(worker);\n            let exit =",
        "            let exit =",
    ),
    mutant(
        "stake: a leaving worker registers again",
        CDC_POOL,
        "assert(worker.status == WorkerStatus::Exited, errors::ALREADY_REGISTERED);",
        "assert(worker.status != WorkerStatus::Active, errors::ALREADY_REGISTERED);",
    ),
    mutant(
        "stake: leaving starts over",
        CDC_POOL,
        "worker.status == WorkerStatus::Active\n            || worker.status == WorkerStatus::Draining",
        "worker.status != WorkerStatus::Exited",
    ),
    mutant(
        "rounds: a round is applied twice",
        TASK_ALLOCATOR,
        "assert(round > self.last_round.read(keeper), errors::STALE_ROUND);",
        "assert(round >= self.last_round.read(keeper), errors::STALE_ROUND);",
    ),
    mutant(
        "rounds: the last one is not kept",
        TASK_ALLOCATOR,
        "            self.last_round.write(keeper, round);\n",
        "",
    ),
    mutant(
        "rounds: keepers share their numbers",
        TASK_ALLOCATOR,
        "            self.last_round.write(keeper, round);\n",
        "            self.last_round.write(self.admin.read(), round);\n",
    ),
    mutant(
        "rounds: a snapshot of this block is refused",
        TASK_ALLOCATOR,
        "assert(snapshot_block <= block, errors::FUTURE_SNAPSHOT);",
        "assert(snapshot_block < block, errors::FUTURE_SNAPSHOT);",
    ),
    mutant(
        "rounds: one item more than the limit",
        TASK_ALLOCATOR,
        "const MAX_BATCH: u32 = 500;",
        "const MAX_BATCH: u32 = 501;",
    ),
    mutant(
        "rounds: skipped items count as allocated",
        TASK_ALLOCATOR,
        "allocated: stats.allocated + allocated.into(),",
        "allocated: stats.allocated + allocated.into() + skipped.into(),",
    ),
    mutant(
        "rounds: unknown jobs are skipped silently",
        TASK_ALLOCATOR,
        "                self._report_skip(*skip);\n",
        "                if *skip.reason != 1 {\n                    self._report_skip(*skip);\n                }\n",
    ),
    mutant(
        "rounds: a malformed item is applied",
        ITEM,
        "item.excess == 0 && item.choice & UNKNOWN == 0",
        "item.excess == 0 && item.choice & 0xc00 == 0",
    ),
];
