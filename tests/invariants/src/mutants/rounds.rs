//! Deadlines, rounds, keepers and policies.

use super::{Mutant, mutant};

const CDC_POOL: &str = "cdc_pool/contract.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
const ALLOCATION_ITEM: &str = "math/allocation_item.cairo";
const DEADLINES: &str = "math/deadlines.cairo";
const JOB_SLOT: &str = "math/job_slot.cairo";
const TASK_ALLOCATOR: &str = "task_allocator/contract.cairo";
const POLICY_SLOT: &str = "task_allocator/policy_slot.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
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
        "deadlines: a year ahead is too far",
        JOB_SPEC,
        "spec.deadline - now.timestamp <= max_ahead_s",
        "spec.deadline - now.timestamp < max_ahead_s",
    ),
    mutant(
        "deadlines: a group's is as far ahead as any",
        JOB_SPEC,
        "(MAX_GROUP_TIMEOUT_S, MAX_GROUP_DEADLINE_AHEAD_S)",
        "(MAX_GROUP_TIMEOUT_S, MAX_DEADLINE_AHEAD_S)",
    ),
    mutant(
        "deadlines: a group runs as long as any",
        JOB_SPEC,
        "(MAX_GROUP_TIMEOUT_S, MAX_GROUP_DEADLINE_AHEAD_S)",
        "(MAX_EXECUTION_TIMEOUT_S, MAX_GROUP_DEADLINE_AHEAD_S)",
    ),
    mutant(
        "deadlines: stake is free at once",
        CDC_POOL,
        "            assert(deadlines::has_passed(exit, now()), errors::STILL_BONDED);\n",
        "            assert(exit.timestamp != 0, errors::STILL_BONDED);\n",
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
        "rounds: a round is applied twice",
        TASK_ALLOCATOR,
        "assert(header.round > keeper.last_round, errors::STALE_ROUND);",
        "assert(header.round >= keeper.last_round, errors::STALE_ROUND);",
    ),
    mutant(
        "rounds: the last one is not kept",
        TASK_ALLOCATOR,
        "Keeper { last_round: header.round, ..keeper }",
        "Keeper { last_round: keeper.last_round, ..keeper }",
    ),
    mutant(
        "rounds: a snapshot of this block is refused",
        TASK_ALLOCATOR,
        "assert(header.snapshot_block <= now.block, errors::FUTURE_SNAPSHOT);",
        "assert(header.snapshot_block < now.block, errors::FUTURE_SNAPSHOT);",
    ),
    mutant(
        "rounds: a malformed item is applied",
        ALLOCATION_ITEM,
        "item.high < MALFORMED && item.placement & UNKNOWN_STRATEGY == 0",
        "item.high < MALFORMED",
    ),
    mutant(
        "keepers: no bond is enough",
        TASK_ALLOCATOR,
        "keeper.is_admitted && keeper.bond >= self.min_keeper_bond.read()",
        "keeper.is_admitted && (keeper.bond == 0 || keeper.bond >= self.min_keeper_bond.read())",
    ),
    mutant(
        "keepers: the bond is free at once",
        TASK_ALLOCATOR,
        "!keeper.is_admitted && deadlines::has_passed(keeper.leaves, now())",
        "!keeper.is_admitted",
    ),
    mutant(
        "keepers: one that leaves is added again",
        TASK_ALLOCATOR,
        "            assert(known.bond == 0 || known.leaves == NEVER, errors::STILL_BONDED);\n",
        "",
    ),
    mutant(
        "keepers: one that left stays",
        TASK_ALLOCATOR,
        "Keeper { is_admitted: false, leaves, ..keeper }",
        "Keeper { is_admitted: true, leaves, ..keeper }",
    ),
    mutant(
        "keepers: a bond is withdrawn twice",
        TASK_ALLOCATOR,
        "Keeper { bond: 0, ..keeper }",
        "Keeper { bond: keeper.bond, ..keeper }",
    ),
    mutant(
        "policies: decided by before it is time",
        TASK_ALLOCATOR,
        "assert(policy_slot::is_active(policy, now), errors::POLICY_NOT_ACTIVE);",
        "assert(policy_slot::is_active(policy, now) || !policy.is_retired, errors::POLICY_NOT_ACTIVE);",
    ),
    mutant(
        "policies: retired ones go on",
        TASK_ALLOCATOR,
        "Policy { is_retired: true, ..policy }",
        "Policy { is_retired: policy.is_retired, ..policy }",
    ),
    mutant("policies: the clock alone counts", POLICY_SLOT, "        && now.block >= policy.active_from.block\n", ""),
];
