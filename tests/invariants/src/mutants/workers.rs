//! A worker's capacity, stake, reputation and signs of life.

use super::{Mutant, mutant};

const CDC_POOL: &str = "cdc_pool/contract.cairo";
const LIVENESS: &str = "cdc_pool/liveness.cairo";
const REGISTRATION: &str = "cdc_pool/registration.cairo";
const REPUTATIONS: &str = "cdc_pool/reputations.cairo";
const STAKES: &str = "cdc_pool/stakes.cairo";
const HEARTBEATS: &str = "math/heartbeats.cairo";
const JOB_SLOT: &str = "math/job_slot.cairo";
const REPUTATION: &str = "math/reputation.cairo";
const SLASHING: &str = "math/slashing.cairo";
const WORKER_LOAD: &str = "math/worker_load.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "capacity: a requeued job forgets its GPUs",
        JOB_SLOT,
        "    queued + by.into() * QUEUED_ATTEMPT * HIGH\n",
        "    queued - lanes::gpus(unpack_queued(queued).needs).into() + by.into() * QUEUED_ATTEMPT * HIGH\n",
    ),
    mutant(
        "capacity: a result frees nothing",
        CDC_POOL,
        "let freed = worker_load::free(gpu_count, 1);",
        "let freed = worker_load::free(gpu_count, 0);",
    ),
    mutant(
        "capacity: a failed attempt frees nothing",
        CDC_POOL,
        "worker_record::add_load(worker_id, worker_load::free(gpu_count, 1));",
        "worker_record::add_load(worker_id, worker_load::free(gpu_count, 0));",
    ),
    mutant(
        "capacity: GPUs are not given back",
        CDC_POOL,
        "let freed = worker_load::free(gpu_count, 1);",
        "let freed = worker_load::free(gpu_count / 2, 1);",
    ),
    mutant(
        "capacity: GPUs are not taken",
        WORKER_LOAD,
        "(gpus.into() + SLOT) * unit",
        "(0 * gpus.into() + SLOT) * unit",
    ),
    mutant(
        "capacity: full workers take jobs",
        WORKER_LOAD,
        "    if bits & GUARDS == GUARDS {",
        "    if bits & GUARDS == GUARDS || gpus == 0 {",
    ),
    mutant(
        "capacity: a busy worker changes its offer",
        CDC_POOL,
        "            worker_status::assert_idle(worker_id, worker);\n            self.assert_offer",
        "            self.assert_offer",
    ),
    mutant(
        "capacity: a neighbour pays",
        WORKER_LOAD,
        "    } else if lane == 2 {\n        UNIT_2",
        "    } else if lane == 2 {\n        UNIT_1",
    ),
    mutant(
        "stake: still shown after the withdrawal",
        CDC_POOL,
        "            record.bond.write(Bond { stake: 0, ..bond });\n",
        "",
    ),
    mutant("stake: not to reveal costs all", SLASHING, "min(stake, full / 2)", "min(stake, full)"),
    mutant("stake: a third for the challenger", SLASHING, "        amount / 4\n", "        amount / 3\n"),
    mutant("stake: less is burnt", SLASHING, "burned: amount - 2 * quarter", "burned: amount - 3 * quarter"),
    mutant(
        "stake: the least penalty is less",
        SLASHING,
        "max(penalty, min_stake_per_slot)",
        "max(penalty, min_stake_per_slot - 1)",
    ),
    mutant(
        "stake: a poor worker goes on",
        STAKES,
        "&& !self.is_covered(worker.slots, stake);",
        "&& self.is_covered(worker.slots, stake);",
    ),
    mutant(
        "stake: slashed by half",
        STAKES,
        "let stake = bond.stake - amount;",
        "let stake = bond.stake - amount / 2;",
    ),
    mutant(
        "stake: one slot more than it covers",
        STAKES,
        "stake / slots.into() >= self.min_stake_per_slot.read()",
        "stake / slots.into() >= self.min_stake_per_slot.read() - 1",
    ),
    mutant(
        "stake: gone before the last result",
        CDC_POOL,
        "            if before.is_leaving {\n",
        "            if before.is_leaving && worker_id == 0 {\n",
    ),
    mutant(
        "stake: withdrawn while it is held",
        CDC_POOL,
        "assert(worker_record::load(worker_id).holds == 0, errors::DISPUTE_PENDING);",
        "assert(worker_record::load(worker_id).holds <= 1, errors::DISPUTE_PENDING);",
    ),
    mutant(
        "stake: withdrawn twice",
        CDC_POOL,
        "worker_status::write_status(worker_id, worker, WorkerStatus::Exited);",
        "worker_status::write_status(worker_id, worker, WorkerStatus::Exiting);",
    ),
    mutant(
        "stake: withdrawn while jobs run",
        CDC_POOL,
        "            worker_status::assert_idle(worker_id, worker);\n            assert(worker_record",
        "            assert(worker_record",
    ),
    mutant(
        "stake: resumed without",
        CDC_POOL,
        "assert(self.is_covered(worker.slots, stake), errors::STAKE_TOO_LOW);",
        "assert(stake != 1, errors::STAKE_TOO_LOW);",
    ),
    mutant(
        "stake: more added than paid",
        CDC_POOL,
        "let stake = bond.stake + amount;",
        "let stake = bond.stake + amount + 1;",
    ),
    mutant(
        "stake: a leaving worker registers again",
        REGISTRATION,
        "assert(worker.status == WorkerStatus::Exited, errors::ALREADY_REGISTERED);",
        "assert(worker.status != WorkerStatus::Active, errors::ALREADY_REGISTERED);",
    ),
    mutant(
        "stake: a hold is not counted",
        CDC_POOL,
        "worker_record::add_hold(worker_id, freed)",
        "worker_record::add_load(worker_id, freed)",
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
        "reputation: idle workers keep it",
        REPUTATION,
        "while left != 0 && reputation > INITIAL {",
        "while left > 1 && reputation > INITIAL {",
    ),
    mutant(
        "reputation: idle workers lose more",
        REPUTATION,
        "divide_rounding_up(reputation - INITIAL, 10)",
        "divide_rounding_up(reputation - INITIAL, 9)",
    ),
    mutant(
        "reputation: a wrong result is a failure",
        REPUTATION,
        "Outcome::Wrong => reputation - divide_rounding_up(reputation, 3),",
        "Outcome::Wrong => reputation - divide_rounding_up(reputation, 20),",
    ),
    mutant(
        "reputation: decayed twice",
        REPUTATIONS,
        "let until = since + periods * reputation::DECAY_PERIOD_S;",
        "let until = since + (periods - 1) * reputation::DECAY_PERIOD_S;",
    ),
    mutant(
        "reputation: an outcome forgets the decay",
        REPUTATIONS,
        "reputation::after_decay(old, reputation::decay_periods(since, time))",
        "reputation::after_decay(old, 0 * reputation::decay_periods(since, time))",
    ),
    mutant(
        "reputation: an outcome does not count as a sign of life",
        REPUTATIONS,
        "self.write_reputation(worker_id, packed, (old, since), (new, time));",
        "self.write_reputation(worker_id, packed, (old, since), (new, since + 0 * time));",
    ),
    mutant(
        "heartbeats: forgotten at once",
        LIVENESS,
        "(seen.current | seen.previous) & beat != 0",
        "seen.current & beat != 0",
    ),
    mutant(
        "heartbeats: remembered for long",
        HEARTBEATS,
        "} else if beats.epoch + 1 == epoch {",
        "} else if beats.epoch + 3 >= epoch {",
    ),
    mutant(
        "static pool: admitted twice",
        CDC_POOL,
        "assert(!worker.is_static, errors::ALREADY_ADMITTED);",
        "assert(!worker.is_static || worker.slots != 0, errors::ALREADY_ADMITTED);",
    ),
];
