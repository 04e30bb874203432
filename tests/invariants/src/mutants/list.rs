//! The mistakes themselves.

use super::Mutant;

const JOB_MGR: &str = "job_mgr/contract.cairo";
const CDC_POOL: &str = "cdc_pool/contract.cairo";
const TASK_ALLOCATOR: &str = "task_allocator/contract.cairo";
const CANDIDATE: &str = "job_mgr/candidate.cairo";
const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
const DEADLINES: &str = "math/deadlines.cairo";
const ITEM: &str = "math/allocation_item.cairo";
const LANES: &str = "math/lanes.cairo";
const MONEY: &str = "math/money.cairo";
const REPUTATION: &str = "math/reputation.cairo";
const WORKER_SLOT: &str = "math/worker_slot.cairo";

const fn mutant(name: &'static str, file: &'static str, old: &'static str, new: &'static str) -> Mutant {
    Mutant { name, file, old, new }
}

/// By what they touch: who may call, which attempt, capacity, requirements, prices, deadlines, refunds, reputation,
/// stake, rounds.
pub(crate) const MUTANTS: &[Mutant] = &[
    mutant(
        "access: anyone cancels and accepts",
        JOB_MGR,
        "assert(get_caller_address() == client, errors::NOT_CLIENT);\n",
        "",
    ),
    mutant(
        "access: anyone answers for a worker",
        JOB_MGR,
        "assert(is_owner, errors::NOT_WORKER);",
        "assert(is_owner || attempt != 0, errors::NOT_WORKER);",
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
        CANDIDATE,
        "if item.attempt != job.attempt {",
        "if item.attempt < job.attempt {",
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
        "job_spec::queued(terms, needs, attempt + 1)",
        "job_spec::queued(terms, needs, attempt)",
    ),
    mutant("attempts: one more than allowed", JOB_MGR, "attempt < needs.max_attempts", "attempt <= needs.max_attempts"),
    mutant(
        "attempts: the last one is not used",
        JOB_MGR,
        "attempt < needs.max_attempts",
        "attempt + 1 < needs.max_attempts",
    ),
    mutant(
        "attempts: a job is allocated twice in a batch",
        CDC_POOL,
        "                    placed_jobs.insert(request.job_id.into(), true);\n",
        "",
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
        JOB_MGR,
        "            self._pool().release(placed.worker_id, placed.gpu_count);\n",
        "",
    ),
    mutant(
        "capacity: a failed attempt frees nothing",
        JOB_MGR,
        "            self._pool().release(worker_id, placed.gpu_count);\n",
        "",
    ),
    mutant(
        "capacity: a failed attempt frees twice",
        JOB_MGR,
        "            self._pool().release(worker_id, placed.gpu_count);\n",
        "            self._pool().release(worker_id, placed.gpu_count);\n            self._pool().release(worker_id, placed.gpu_count);\n",
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
    mutant("capacity: full workers take jobs", WORKER_SLOT, "        && free_slots != 0\n", ""),
    mutant(
        "capacity: a busy worker changes its offer",
        CDC_POOL,
        "            assert_not_leaving(worker);\n            assert_idle(worker);\n",
        "            assert_not_leaving(worker);\n",
    ),
    mutant(
        "capacity: a requeued job forgets its GPUs",
        JOB_SPEC,
        "        needs: needs.lanes,\n",
        "        needs: needs.lanes - lanes::gpus(needs.lanes).into(),\n",
    ),
    mutant(
        "requirements: GPUs are not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0000;",
    ),
    mutant(
        "requirements: GPU memory is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0080_2004_0200_0040;",
    ),
    mutant(
        "requirements: compute capability is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0080_2004_0002_0040;",
    ),
    mutant(
        "requirements: CUDA version is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0080_2000_0202_0040;",
    ),
    mutant(
        "requirements: driver version is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0080_0004_0202_0040;",
    ),
    mutant(
        "requirements: CPU cores are not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8010_0000_2004_0202_0040;",
    ),
    mutant(
        "requirements: memory is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x8000_0080_2004_0202_0040;",
    ),
    mutant(
        "requirements: reputation is not compared",
        LANES,
        "const GUARDS: u128 = 0x8010_0080_2004_0202_0040;",
        "const GUARDS: u128 = 0x0010_0080_2004_0202_0040;",
    ),
    mutant(
        "requirements: features are not compared",
        LANES,
        "(difference & (GUARDS + have_features * FEATURES_UNIT)) == wanted",
        "(difference & (GUARDS + (have_features | need_features) * FEATURES_UNIT)) == wanted",
    ),
    mutant(
        "requirements: one feature is enough",
        LANES,
        "(difference & (GUARDS + have_features * FEATURES_UNIT)) == wanted",
        "(difference & (GUARDS + have_features * FEATURES_UNIT)) == wanted || (need_features != 0 && have_features & need_features != 0 && difference & GUARDS == GUARDS)",
    ),
    mutant(
        "requirements: the region is not compared",
        WORKER_SLOT,
        "request.region == 0 || request.region == region.into()",
        "request.region == 0 || region != 0",
    ),
    mutant("requirements: draining workers take jobs", WORKER_SLOT, "    if status == ACTIVE\n", "    if status < 3\n"),
    mutant("requirements: leaving workers take jobs", WORKER_SLOT, "    if status == ACTIVE\n", "    if status != 2\n"),
    mutant(
        "requirements: exclusion is forgotten",
        JOB_MGR,
        "            self.excluded.write((job_id, worker_id), true);\n",
        "",
    ),
    mutant(
        "requirements: exclusion is not read",
        JOB_MGR,
        "if item.attempt != 1 && self.excluded",
        "if item.attempt > 2 && self.excluded",
    ),
    mutant(
        "prices: an equal rate is too high",
        WORKER_SLOT,
        "&& rate_gfri <= request.max_rate_gfri.into()",
        "&& rate_gfri < request.max_rate_gfri.into()",
    ),
    mutant(
        "prices: any rate is accepted",
        WORKER_SLOT,
        "&& rate_gfri <= request.max_rate_gfri.into()",
        "&& (rate_gfri <= request.max_rate_gfri.into() || rate_gfri > 1)",
    ),
    mutant(
        "prices: the highest rate is rounded up",
        MONEY,
        "    max_price / price_of_one_gfri(gpu_count, execution_timeout_s)",
        "    (max_price + price_of_one_gfri(gpu_count, execution_timeout_s) - 1)\n        / price_of_one_gfri(gpu_count, execution_timeout_s)",
    ),
    mutant(
        "prices: a job without GPUs is billed twice",
        MONEY,
        "    if gpu_count == 0 {\n        1\n",
        "    if gpu_count == 0 {\n        2\n",
    ),
    mutant("prices: too low is not refused", JOB_SPEC, "    assert(max_rate != 0, errors::PRICE_TOO_LOW);\n", ""),
    mutant(
        "prices: the highest rate is refused",
        JOB_SPEC,
        "assert(max_rate <= worker_slot::MAX_RATE_GFRI.into()",
        "assert(max_rate < worker_slot::MAX_RATE_GFRI.into()",
    ),
    mutant(
        "deadlines: passed in their own second",
        DEADLINES,
        "now.timestamp > deadline.timestamp && now.block > deadline.block",
        "now.timestamp >= deadline.timestamp && now.block > deadline.block",
    ),
    mutant(
        "deadlines: passed in their own block",
        DEADLINES,
        "now.timestamp > deadline.timestamp && now.block > deadline.block",
        "now.timestamp > deadline.timestamp && now.block >= deadline.block",
    ),
    mutant(
        "deadlines: the clock alone counts",
        DEADLINES,
        "now.timestamp > deadline.timestamp && now.block > deadline.block",
        "now.timestamp > deadline.timestamp && (now.block > deadline.block || deadline.block != 0)",
    ),
    mutant(
        "deadlines: the blocks alone count",
        DEADLINES,
        "now.timestamp > deadline.timestamp && now.block > deadline.block",
        "now.block > deadline.block && (now.timestamp > deadline.timestamp || deadline.timestamp != 0)",
    ),
    mutant(
        "deadlines: either half is enough",
        DEADLINES,
        "now.timestamp > deadline.timestamp && now.block > deadline.block",
        "now.timestamp > deadline.timestamp || now.block > deadline.block",
    ),
    mutant(
        "deadlines: blocks are rounded down",
        DEADLINES,
        "(delta_s + SECONDS_PER_BLOCK - 1) / SECONDS_PER_BLOCK",
        "delta_s / SECONDS_PER_BLOCK",
    ),
    mutant(
        "deadlines: no grace for the result",
        DEADLINES,
        "const ATTEMPT_GRACE_S: u64 = 60;",
        "const ATTEMPT_GRACE_S: u64 = 0;",
    ),
    mutant(
        "deadlines: an expired job is allocated",
        CANDIDATE,
        "if deadlines::has_passed(job.deadline, now) {",
        "if deadlines::has_passed(job.deadline, now) && job.attempt != 1 {",
    ),
    mutant(
        "deadlines: settled within the window",
        JOB_MGR,
        "            assert(deadlines::has_passed(placed.deadline, now()), errors::CHALLENGE_OPEN);\n",
        "",
    ),
    mutant(
        "deadlines: the window is that of the attempt",
        JOB_MGR,
        "let revealed = PlacedJob { deadline: challenge_ends, ..placed };",
        "let revealed = PlacedJob { deadline: placed.deadline, ..placed };",
    ),
    mutant(
        "deadlines: a year ahead is too far",
        JOB_SPEC,
        "spec.deadline - now.timestamp <= MAX_DEADLINE_AHEAD_S",
        "spec.deadline - now.timestamp < MAX_DEADLINE_AHEAD_S",
    ),
    mutant(
        "deadlines: stake is free at once",
        CDC_POOL,
        "            assert(deadlines::has_passed(exit, now()), errors::STILL_BONDED);\n",
        "            assert(exit.timestamp != 0, errors::STILL_BONDED);\n",
    ),
    mutant(
        "refunds: everything is refunded and paid",
        JOB_MGR,
        "let refunded = terms.max_price - paid;",
        "let refunded = terms.max_price;",
    ),
    mutant(
        "refunds: dust stays in the contract",
        JOB_MGR,
        "            if refunded != 0 {",
        "            if refunded > 1_000_000_000 {",
    ),
    mutant(
        "refunds: nothing after the last attempt",
        JOB_MGR,
        "                self._pay(client, terms.max_price);\n",
        "",
    ),
    mutant(
        "refunds: to whoever calls",
        JOB_MGR,
        "            self._pay(client, refunded);\n            refunded\n",
        "            self._pay(starknet::get_caller_address(), refunded);\n            refunded\n",
    ),
    mutant(
        "refunds: the client is paid for the work",
        JOB_MGR,
        "self._pay(self._worker_owner(worker_id), paid);",
        "self._pay(client, paid);",
    ),
    mutant(
        "refunds: a fri less is escrowed",
        JOB_MGR,
        ".transfer_from(client, get_contract_address(), spec.max_price.into());",
        ".transfer_from(client, get_contract_address(), (spec.max_price - 1).into());",
    ),
    mutant(
        "reputation: expiry costs a twentieth",
        REPUTATION,
        "reputation - divide_rounding_up(reputation, 5)",
        "reputation - divide_rounding_up(reputation, 20)",
    ),
    mutant(
        "reputation: quotients are rounded down",
        REPUTATION,
        "(dividend + divisor - 1) / divisor",
        "dividend / divisor",
    ),
    mutant(
        "reputation: a failed attempt costs nothing",
        JOB_MGR,
        "            self._pool().record_outcome(worker_id, outcome);\n",
        "",
    ),
    mutant(
        "reputation: failures raise it",
        WORKER_SLOT,
        "packed + (new.into() - old.into()) * lanes::REPUTATION",
        "packed + (old.into() - new.into()) * lanes::REPUTATION",
    ),
    mutant(
        "reputation: expiry counts as failure",
        CDC_POOL,
        "AttemptOutcome::Expired => reputation::after_expiry(old_reputation)",
        "AttemptOutcome::Expired => reputation::after_failure(old_reputation)",
    ),
    mutant(
        "reputation: an update resets it",
        CDC_POOL,
        "                            reputation: worker.reputation,\n",
        "                            reputation: reputation::INITIAL,\n",
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
        "                if *reason != skip_reason::ALLOCATED {\n",
        "                if *reason > skip_reason::JOB_UNKNOWN {\n",
    ),
    mutant(
        "rounds: a malformed item is applied",
        ITEM,
        "item.high == 0 && above == 0 && strategy <= LAST_STRATEGY",
        "item.high == 0 && strategy <= LAST_STRATEGY && above < 0x100",
    ),
];
