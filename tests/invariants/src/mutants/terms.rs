//! What a job asks and pays, until when, what comes back, and what an outcome does to a reputation.

use super::{Mutant, mutant};

const CANDIDATE: &str = "job_mgr/candidate.cairo";
const CDC_POOL: &str = "cdc_pool/contract.cairo";
const DEADLINES: &str = "math/deadlines.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
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
];
