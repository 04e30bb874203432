//! What a job asks and pays, until when, what comes back, and what an outcome does to a reputation.

use super::{Mutant, mutant};

const CANDIDATE: &str = "job_mgr/candidate.cairo";
const CDC_POOL: &str = "cdc_pool/contract.cairo";
const DEADLINES: &str = "math/deadlines.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const JOB_SLOT: &str = "math/job_slot.cairo";
const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
const JOB_VIEW: &str = "job_mgr/job_view.cairo";
const LANES: &str = "math/lanes.cairo";
const MONEY: &str = "math/money.cairo";
const REPUTATION: &str = "math/reputation.cairo";
const WORKER_SLOT: &str = "math/worker_slot.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
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
        "have & features == features",
        "have & features <= features",
    ),
    mutant(
        "requirements: one feature is enough",
        LANES,
        "have & features == features",
        "(features == 0 || have & features != 0)",
    ),
    mutant(
        "requirements: the region is not compared",
        WORKER_SLOT,
        "(request.region == 0 || request.region == region)",
        "(request.region == 0 || region != 0)",
    ),
    mutant(
        "requirements: draining workers take jobs",
        WORKER_SLOT,
        "    if capacity >= AVAILABLE\n",
        "    if (capacity >= AVAILABLE || (capacity >= 0xc0_4000 && capacity < 0x100_0000))\n",
    ),
    mutant(
        "requirements: leaving workers take jobs",
        WORKER_SLOT,
        "    if capacity >= AVAILABLE\n",
        "    if (capacity >= AVAILABLE || (capacity >= 0x80_4000 && capacity < 0xc0_0000))\n",
    ),
    mutant(
        "requirements: exclusion is forgotten",
        JOB_MGR,
        "worker_id.into()).write(EXCLUDED);",
        "worker_id.into()).write(EXCLUDED - 1);",
    ),
    mutant(
        "requirements: exclusion is not read",
        JOB_MGR,
        "if attempt != 1 && is_excluded(",
        "if attempt > 2 && is_excluded(",
    ),
    mutant(
        "prices: an equal rate is too high",
        WORKER_SLOT,
        "&& rate_gfri <= request.max_rate_gfri\n",
        "&& rate_gfri < request.max_rate_gfri\n",
    ),
    mutant(
        "prices: any rate is accepted",
        WORKER_SLOT,
        "&& rate_gfri <= request.max_rate_gfri\n",
        "&& (rate_gfri <= request.max_rate_gfri || rate_gfri > 1)\n",
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
        "if job_slot::is_late(job, now) {",
        "if job_slot::is_late(job, now) && attempt != 1 {",
    ),
    mutant(
        "deadlines: a queued job is late in its own second",
        JOB_SLOT,
        "if now.timestamp.into() <= job.deadline_timestamp {",
        "if now.timestamp.into() < job.deadline_timestamp {",
    ),
    mutant(
        "deadlines: a queued job is late in its own block",
        JOB_SLOT,
        "now.block.into() > deadline_block\n",
        "now.block.into() >= deadline_block\n",
    ),
    mutant(
        "deadlines: settled within the window",
        JOB_MGR,
        "            assert(deadlines::has_passed(placed.challenge_ends, now()), errors::CHALLENGE_OPEN);\n",
        "",
    ),
    mutant(
        "deadlines: the window is that of the attempt",
        JOB_MGR,
        "let challenge_ends = deadlines::after(now(), self.challenge_window_s.read());",
        "let challenge_ends = deadlines::after(\n                placed.allocated_at, self.challenge_window_s.read(),\n            );",
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
        "                pay(self._token(), client, terms.max_price);\n",
        "",
    ),
    mutant(
        "refunds: to whoever calls",
        JOB_MGR,
        "            pay(self._token(), client, refunded);\n",
        "            pay(self._token(), get_caller_address(), refunded);\n",
    ),
    mutant(
        "refunds: clients share a number",
        JOB_MGR,
        "let number = self.client_count.read() + 1;",
        "let number = 1_u32;",
    ),
    mutant(
        "refunds: a settled job forgets its result",
        JOB_VIEW,
        "state == JobState::Revealed || state == JobState::Settled",
        "state == JobState::Revealed",
    ),
    mutant(
        "refunds: the client is paid for the work",
        JOB_MGR,
        "            pay(token, owner, paid);\n",
        "            let _ = owner;\n            pay(token, client, paid);\n",
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
        CDC_POOL,
        "AttemptFailure::Failed => reputation::after_failure(old)",
        "AttemptFailure::Failed => old",
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
        "AttemptFailure::Expired => reputation::after_expiry(old)",
        "AttemptFailure::Expired => reputation::after_failure(old)",
    ),
    mutant(
        "reputation: an update resets it",
        CDC_POOL,
        "                            reputation: worker.reputation,\n",
        "                            reputation: reputation::INITIAL,\n",
    ),
];
