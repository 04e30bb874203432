//! Where the process can be made to die in the store: before and after each commit, whichever the database is.

use keeper_failpoints::Failpoint;

/// The places before and after a commit.
pub(crate) type Places = (Failpoint, Failpoint);

macro_rules! places {
    ($($name:ident = $before:ident, $after:ident;)*) => {
        $(pub(crate) const $name: Places = (Failpoint::$before, Failpoint::$after);)*
    };
}

places! {
    MIGRATE = MigrateBeforeCommit, MigrateAfterCommit;
    BEGIN_AT = BeginAtBeforeCommit, BeginAtAfterCommit;
    APPEND = AppendBeforeCommit, AppendAfterCommit;
    REVERT = RevertBeforeCommit, RevertAfterCommit;
    FINAL = FinalBeforeCommit, FinalAfterCommit;
    FORGET_FINAL = ForgetFinalBeforeCommit, ForgetFinalAfterCommit;
    OBSERVE = ObserveBeforeCommit, ObserveAfterCommit;
    EXPLAIN = ExplainBeforeCommit, ExplainAfterCommit;
    RECORD = RecordBeforeCommit, RecordAfterCommit;
    TRANSACTION = TransactionBeforeCommit, TransactionAfterCommit;
    UPDATE = UpdateBeforeCommit, UpdateAfterCommit;
    FINALISE = FinaliseBeforeCommit, FinaliseAfterCommit;
    HISTORY = HistoryBeforeCommit, HistoryAfterCommit;
    ACQUIRE = AcquireBeforeCommit, AcquireAfterCommit;
    RENEW = RenewBeforeCommit, RenewAfterCommit;
    RELEASE = ReleaseBeforeCommit, ReleaseAfterCommit;
    RECORD_UNDER = RecordUnderBeforeCommit, RecordUnderAfterCommit;
    ENQUEUE = EnqueueBeforeCommit, EnqueueAfterCommit;
    CLAIM = ClaimBeforeCommit, ClaimAfterCommit;
    ACKNOWLEDGE = AcknowledgeBeforeCommit, AcknowledgeAfterCommit;
    EXTEND = ExtendBeforeCommit, ExtendAfterCommit;
    FAIL = FailBeforeCommit, FailAfterCommit;
    REQUEUE = RequeueBeforeCommit, RequeueAfterCommit;
}
