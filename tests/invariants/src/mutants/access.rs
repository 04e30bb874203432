//! Who may call what, pauses and upgrades.

use super::{Mutant, mutant};

const CDC_POOL: &str = "cdc_pool/contract.cairo";
const ACCESS: &str = "components/access.cairo";
const PAUSABLE: &str = "components/pausable.cairo";
const UPGRADEABLE: &str = "components/upgradeable.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const JOB_ACCESS: &str = "job_mgr/job_access.cairo";
const PAYMASTER: &str = "paymaster/contract.cairo";
const TASK_ALLOCATOR: &str = "task_allocator/contract.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "access: anyone allocates",
        JOB_MGR,
        "assert(is_allocator, errors::NOT_TASK_ALLOCATOR);",
        "assert(is_allocator || self.job_count.read() != 0, errors::NOT_TASK_ALLOCATOR);",
    ),
    mutant(
        "access: anyone releases and judges workers",
        CDC_POOL,
        "assert(caller == self.job_mgr.read(), errors::NOT_JOB_MGR);",
        "assert(self.job_mgr.read().is_non_zero(), errors::NOT_JOB_MGR);",
    ),
    mutant(
        "access: the job manager is named again",
        CDC_POOL,
        "            assert(self.job_mgr.read().is_zero(), errors::JOB_MGR_ALREADY_SET);\n",
        "",
    ),
    mutant(
        "access: anyone cancels, accepts and disputes",
        JOB_ACCESS,
        "assert(get_caller_address() == client, errors::NOT_CLIENT);",
        "assert(get_caller_address().is_non_zero(), errors::NOT_CLIENT);",
    ),
    mutant(
        "access: anyone gives up for a worker",
        JOB_ACCESS,
        "assert(get_caller_address() == owner, errors::NOT_WORKER);",
        "assert(get_caller_address() == owner || owner.is_non_zero(), errors::NOT_WORKER);",
    ),
    mutant(
        "access: anyone answers for a worker",
        CDC_POOL,
        "if worker_record::at(worker_id.into()).owner.read() != owner {",
        "if worker_record::at(worker_id.into()).owner.read() != owner && owner.is_zero() {",
    ),
    mutant(
        "access: anyone rules",
        JOB_MGR,
        "assert(get_caller_address() == self.referee.read(), errors::NOT_REFEREE);",
        "assert(self.referee.read().is_non_zero(), errors::NOT_REFEREE);",
    ),
    mutant(
        "access: anyone applies batches",
        TASK_ALLOCATOR,
        "assert(self._is_keeper(keeper), errors::NOT_KEEPER);",
        "assert(self._is_keeper(keeper) || keeper.last_round == 0, errors::NOT_KEEPER);",
    ),
    mutant(
        "access: anyone is heard of heartbeats",
        CDC_POOL,
        "assert(is_keeper, errors::NOT_KEEPER);",
        "assert(is_keeper || !is_keeper, errors::NOT_KEEPER);",
    ),
    mutant(
        "access: anyone draws escrow",
        PAYMASTER,
        "assert(caller == self.job_mgr.read(), errors::NOT_JOB_MGR);",
        "assert(self.job_mgr.read().is_non_zero(), errors::NOT_JOB_MGR);",
    ),
    mutant(
        "access: anyone relays",
        PAYMASTER,
        "assert(self.relayers.read((sponsor, caller)), errors::NOT_RELAYER);",
        "assert(self.relayers.read((sponsor, caller)) || sponsor != caller, errors::NOT_RELAYER);",
    ),
    mutant(
        "access: an offered admin is not asked",
        ACCESS,
        "assert(get_caller_address() == pending_admin, Errors::NOT_PENDING_ADMIN);",
        "assert(get_caller_address() == pending_admin || pending_admin.is_zero(), Errors::NOT_PENDING_ADMIN);",
    ),
    mutant(
        "access: an offer is taken twice",
        ACCESS,
        "            self.Access_pending_admin.write(Zero::zero());\n",
        "",
    ),
    mutant(
        "access: the guardian ends pauses",
        PAUSABLE,
        "get_dep_component!(@self, Access).assert_only_admin();",
        "get_dep_component!(@self, Access).assert_only_admin_or_guardian();",
    ),
    mutant(
        "pause: nothing stops",
        PAUSABLE,
        "assert(!self.Pausable_paused.read(), Errors::PAUSED);",
        "assert(!self.Pausable_paused.read() || self.Pausable_paused.read(), Errors::PAUSED);",
    ),
    mutant(
        "upgrade: without notice",
        UPGRADEABLE,
        "assert(deadlines::has_passed(ready, now()), Errors::NOTICE_RUNNING);",
        "assert(deadlines::has_passed(ready, now()) || ready.block != 0, Errors::NOTICE_RUNNING);",
    ),
    mutant(
        "upgrade: announced twice",
        UPGRADEABLE,
        "assert(self.Upgradeable_class_hash.read().is_zero(), Errors::ALREADY_ANNOUNCED);",
        "assert(class_hash.is_non_zero(), Errors::ALREADY_ANNOUNCED);",
    ),
];
