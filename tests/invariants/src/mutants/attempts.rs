//! Attempts, commitments, states and the requirements of an allocation.

use super::{Mutant, mutant};

const ALLOCATION: &str = "job_mgr/allocation.cairo";
const ATTEMPTS: &str = "job_mgr/attempts.cairo";
const CLAIM: &str = "job_mgr/claim.cairo";
const JOB_ACCESS: &str = "job_mgr/job_access.cairo";
const JOB_VIEW: &str = "job_mgr/job_view.cairo";
const JOB_SLOT: &str = "math/job_slot.cairo";
const LANES: &str = "math/lanes.cairo";
const WORKER_SLOT: &str = "math/worker_slot.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "attempts: a later attempt is allocated",
        JOB_SLOT,
        "    if state_and_attempt.into() != QUEUED + attempt.into() * QUEUED_ATTEMPT {",
        "    let (awaited, state) = DivRem::div_rem(state_and_attempt, BITS_4);\n    if state != 1 || attempt < awaited {",
    ),
    mutant(
        "attempts: a late answer is taken",
        JOB_ACCESS,
        "assert(placed.attempt == attempt, errors::WRONG_ATTEMPT);",
        "assert(placed.attempt >= attempt, errors::WRONG_ATTEMPT);",
    ),
    mutant(
        "attempts: one more than allowed",
        ATTEMPTS,
        "let requeued = attempt < terms.max_attempts;",
        "let requeued = attempt <= terms.max_attempts;",
    ),
    mutant(
        "attempts: exclusion is forgotten",
        ATTEMPTS,
        "placed.worker_id.into()).write(EXCLUDED);",
        "placed.worker_id.into()).write(0);",
    ),
    mutant(
        "attempts: exclusion is not read",
        ALLOCATION,
        "if attempt != 1 && is_excluded(item) {",
        "if attempt == 1 && is_excluded(item) {",
    ),
    mutant(
        "states: a job that runs is cancelled",
        JOB_ACCESS,
        "assert(state == JobState::Queued, errors::NOT_QUEUED);",
        "assert(state == JobState::Queued || state == JobState::Expired, errors::NOT_QUEUED);",
    ),
    mutant(
        "states: a settled job is settled again",
        JOB_ACCESS,
        "assert(placed.state == state, error);",
        "assert(placed.state == state || placed.state == JobState::Settled, error);",
    ),
    mutant(
        "commit: any reveal will do",
        ATTEMPTS,
        "assert(revealed == committed, errors::WRONG_REVEAL);",
        "assert(revealed == committed || revealed != 0, errors::WRONG_REVEAL);",
    ),
    mutant(
        "commit: the salt is left out",
        ATTEMPTS,
        "            salt,\n        ]",
        "            salt * 0,\n        ]",
    ),
    mutant(
        "commit: a result of nothing",
        ATTEMPTS,
        "        assert(revealed == committed, errors::WRONG_REVEAL);\n        assert(result_hash != 0, errors::ZERO_RESULT);",
        "        assert(revealed == committed, errors::WRONG_REVEAL);",
    ),
    mutant(
        "commit: the worker is not held",
        ATTEMPTS,
        "self._pool().release(worker_id, placed.gpu_count, owner, true)",
        "self._pool().release(worker_id, placed.gpu_count, owner, false)",
    ),
    mutant(
        "commit: a replica is answered at once",
        ATTEMPTS,
        "assert(!placed.is_replica, errors::IS_REPLICA);",
        "assert(!placed.is_replica || attempt != 0, errors::IS_REPLICA);",
    ),
    mutant(
        "commit: not to reveal costs nothing",
        ATTEMPTS,
        "WorkerFault::Unrevealed,\n                penalty_of",
        "WorkerFault::Wrong,\n                penalty_of",
    ),
    mutant(
        "commit: the slasher is not thanked",
        ATTEMPTS,
        "                get_caller_address(),\n                client,\n",
        "                client,\n                client,\n",
    ),
    mutant(
        "commit: the old commitment stays",
        ATTEMPTS,
        "job_record::at(job_id.into()).commitment.write(0);\n",
        "job_record::at(job_id.into()).commitment.write(1);\n",
    ),
    mutant(
        "commit: no time to reveal",
        ATTEMPTS,
        "deadlines::after(begins, deadlines::REVEAL_WINDOW_S)",
        "deadlines::after(begins, deadlines::REVEAL_WINDOW_S - 1)",
    ),
    mutant(
        "commit: a late one has less time to reveal",
        ATTEMPTS,
        "let begins = deadlines::later(attempt_due(job_id, placed), now);",
        "let begins = attempt_due(job_id, placed);",
    ),
    mutant(
        "commit: an early one has less time to reveal",
        ATTEMPTS,
        "let begins = deadlines::later(attempt_due(job_id, placed), now);",
        "let begins = now;",
    ),
    mutant(
        "commit: the time to reveal is shown as a challenge window",
        JOB_VIEW,
        "let challenge_ends = if placed.has_result {",
        "let challenge_ends = if placed.has_result || placed.is_held {",
    ),
    mutant(
        "requirements: the last feature is not compared",
        LANES,
        "const FEATURES_MASK: u128 = 0xffff_0000_0000_0000_0000_0000;",
        "const FEATURES_MASK: u128 = 0x7fff_0000_0000_0000_0000_0000;",
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
        "requirements: the region is not compared",
        WORKER_SLOT,
        "let compared = if asked.high < ANY_REGION {",
        "let compared = if asked.high != 0 {",
    ),
    mutant(
        "claims: a seat in a group",
        CLAIM,
        "        assert(group_record::id_of(job_id) == 0, errors::IS_REPLICA);\n",
        "        assert(group_record::id_of(job_id) != job_id, errors::IS_REPLICA);\n",
    ),
    mutant(
        "claims: a block too early",
        CLAIM,
        "last_round_block + CLAIM_AFTER_BLOCKS < now().block",
        "last_round_block + CLAIM_AFTER_BLOCKS <= now().block",
    ),
    mutant(
        "claims: while keepers work",
        CLAIM,
        "last_round_block + CLAIM_AFTER_BLOCKS < now().block",
        "last_round_block < now().block",
    ),
];
