//! Replicas and disputes.

use super::{Mutant, mutant};

const ALLOCATION: &str = "job_mgr/allocation.cairo";
const ATTEMPTS: &str = "job_mgr/attempts.cairo";
const COMMITTEE: &str = "job_mgr/committee.cairo";
const JOB_MGR: &str = "job_mgr/contract.cairo";
const DISPUTES: &str = "job_mgr/disputes.cairo";
const GROUPS: &str = "job_mgr/groups.cairo";
const JOB_SPEC: &str = "job_mgr/job_spec.cairo";
const REPLICA_ALLOCATION: &str = "job_mgr/replica_allocation.cairo";
const SUBMISSION: &str = "job_mgr/submission.cairo";

pub(super) const MUTANTS: &[Mutant] = &[
    mutant(
        "groups: reveals never close",
        GROUPS,
        "Option::Some(end) => !deadlines::has_passed(end, now),",
        "Option::Some(end) => end.block != 0 || now.block == 0,",
    ),
    mutant("groups: reveals open one early", GROUPS, "    if group.pending == 0 {", "    if group.pending <= 1 {"),
    mutant(
        "groups: a replica is never missed",
        GROUPS,
        "let pending = group.pending - 1;",
        "let pending = group.pending;",
    ),
    mutant(
        "groups: a commitment leaves nobody",
        ATTEMPTS,
        "        if placed.is_replica {\n            groups::leave_pending(job_id);",
        "        if placed.is_replica && attempt != 1 {\n            groups::leave_pending(job_id);",
    ),
    mutant(
        "groups: an expired replica is waited for",
        JOB_MGR,
        "            if terms.is_replica {\n                groups::leave_pending(job_id);",
        "            if terms.is_replica && job_id == 0 {\n                groups::leave_pending(job_id);",
    ),
    mutant(
        "groups: a failed replica is waited for",
        ATTEMPTS,
        "if is_replica && !requeued {",
        "if is_replica && requeued {",
    ),
    mutant(
        "groups: one less is a quorum",
        GROUPS,
        "let wins = equal == group.quorum;",
        "let wins = equal + 1 == group.quorum;",
    ),
    mutant(
        "groups: each one decides",
        GROUPS,
        "let wins = equal == group.quorum;",
        "let wins = equal >= group.quorum;",
    ),
    mutant(
        "groups: results are counted together",
        GROUPS,
        "self.tally.write((group_id, result_hash), equal);",
        "self.tally.write((group_id, result_hash), equal + 1);",
    ),
    mutant(
        "groups: outliers are paid",
        GROUPS,
        "} else if winner == result_of(job_id) {",
        "} else if winner == result_of(job_id) || winner != 0 {",
    ),
    mutant(
        "groups: outliers go free",
        GROUPS,
        "self._reject(job_id, placed, rejection_cause::OUTLIER);",
        "self._reject(job_id, placed, rejection_cause::NO_QUORUM);",
    ),
    mutant(
        "groups: without a quorum all are to blame",
        GROUPS,
        "self._reject(job_id, placed, rejection_cause::NO_QUORUM);",
        "self._reject(job_id, placed, rejection_cause::OUTLIER);",
    ),
    mutant(
        "groups: given up before the end",
        GROUPS,
        "assert(is_closed(group, now()), errors::GROUP_OPEN);",
        "assert(is_closed(group, now()) || group.pending == 0, errors::GROUP_OPEN);",
    ),
    mutant(
        "groups: given up twice",
        GROUPS,
        "        if !group.is_decided {\n",
        "        if !group.is_decided || group.revealed != 0 {\n",
    ),
    mutant(
        "groups: cancelled once it runs",
        GROUPS,
        "assert(group.allocations == 0, errors::GROUP_STARTED);",
        "assert(group.allocations <= 1, errors::GROUP_STARTED);",
    ),
    mutant(
        "groups: a committee is cancelled",
        GROUPS,
        "assert(!group.is_committee, errors::IS_COMMITTEE);",
        "assert(!group.is_committee || group.allocations == 0, errors::IS_COMMITTEE);",
    ),
    mutant(
        "groups: a worker gets two replicas",
        REPLICA_ALLOCATION,
        "worker_id.into()).write(1);",
        "worker_id.into()).write(0);",
    ),
    mutant(
        "groups: a worker that was refused is excluded",
        REPLICA_ALLOCATION,
        "worker_id.into()).write(0);",
        "worker_id.into()).write(1);",
    ),
    mutant(
        "groups: a refused allocation counts",
        REPLICA_ALLOCATION,
        "allocations: group.allocations - 1",
        "allocations: group.allocations",
    ),
    mutant(
        "groups: a replica that was not revealed runs again",
        ATTEMPTS,
        "let requeued = !placed.is_replica && placed.attempt < terms.max_attempts;",
        "let requeued = placed.attempt < terms.max_attempts;",
    ),
    mutant("groups: one escrow for all", SUBMISSION, "spec.max_price * spec.replicas.into()", "spec.max_price"),
    mutant(
        "groups: any quorum",
        JOB_SPEC,
        "quorum > replicas / 2 && quorum < replicas",
        "quorum >= replicas / 2 && quorum < replicas",
    ),
    mutant(
        "groups: replicas are accepted one by one",
        JOB_MGR,
        "            assert(!placed.is_replica, errors::IS_REPLICA);\n            self._pay_worker",
        "            self._pay_worker",
    ),
    mutant(
        "groups: the refused keeps the job",
        ALLOCATION,
        "restore(item, *queued[index]);",
        "if index != 0 {\n                    restore(item, *queued[index]);\n                }",
    ),
    mutant("disputes: the bond is halved", DISPUTES, "self._credit(owner, bond);", "self._credit(owner, bond / 2);"),
    mutant(
        "disputes: the client loses its bond",
        DISPUTES,
        "self._credit(client_of(terms_of(job_id).client), bond);",
        "self._credit(client_of(terms_of(job_id).client), 0 * bond);",
    ),
    mutant(
        "disputes: a cheaper bond",
        DISPUTES,
        "max(price_of(placed, terms), MIN_DISPUTE_BOND)",
        "max(price_of(placed, terms), MIN_DISPUTE_BOND - 1)",
    ),
    mutant(
        "disputes: silence is right before the referee",
        DISPUTES,
        "self._rule(job_id, placed, is_right: false, by_default: true);",
        "self._rule(job_id, placed, is_right: true, by_default: true);",
    ),
    mutant(
        "disputes: a silent committee finds it wrong",
        DISPUTES,
        "self._rule(job_id, placed, is_right: true, by_default: true);",
        "self._rule(job_id, placed, is_right: false, by_default: true);",
    ),
    mutant(
        "disputes: the committee is misunderstood",
        DISPUTES,
        "let is_right = winner == result_of(job_id);",
        "let is_right = winner != result_of(job_id);",
    ),
    mutant(
        "disputes: the committee is not waited for",
        DISPUTES,
        "assert(is_over || is_closed, errors::DISPUTE_OPEN);",
        "assert(is_over || !is_closed, errors::DISPUTE_OPEN);",
    ),
    mutant(
        "disputes: the referee is not waited for",
        DISPUTES,
        "assert(is_over, errors::DISPUTE_OPEN);",
        "assert(is_over || !is_over, errors::DISPUTE_OPEN);",
    ),
    mutant("disputes: the worker is free to go", DISPUTES, "if !placed.is_held {", "if placed.is_held {"),
    mutant(
        "disputes: a committee leaves a bond",
        DISPUTES,
        "    if dispute.committee == 0 {\n        dispute.bond",
        "    if dispute.committee != 0 {\n        dispute.bond",
    ),
    mutant(
        "disputes: opened when it is too late",
        JOB_MGR,
        "assert(!deadlines::has_passed(placed.challenge_ends, now()), errors::WINDOW_PASSED);",
        "assert(placed.attempt != 0, errors::WINDOW_PASSED);",
    ),
    mutant(
        "disputes: of what cannot be verified",
        JOB_MGR,
        "assert(terms.verification != verification::NONE, errors::NOT_DISPUTABLE);",
        "assert(terms.max_attempts != 0, errors::NOT_DISPUTABLE);",
    ),
    mutant(
        "disputes: the referee rules for a committee",
        JOB_MGR,
        "assert(disputes::is_referees(job_id), errors::NOT_DISPUTED);",
        "assert(disputes::is_referees(job_id) || job_id != 0, errors::NOT_DISPUTED);",
    ),
    mutant("disputes: the accused may judge", COMMITTEE, "worker_id.into()).write(1);", "worker_id.into()).write(0);"),
    mutant("disputes: a committee of one opinion", COMMITTEE, "const QUORUM: u8 = 2;", "const QUORUM: u8 = 1;"),
    mutant(
        "disputes: the end is too near",
        COMMITTEE,
        "2 * self.dispute_window_s.read()",
        "self.dispute_window_s.read()",
    ),
];
