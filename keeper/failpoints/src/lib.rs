//! Places where the keeper can be made to die.
//!
//! There is one before and one after everything that cannot be taken back: each commit of the store, each transaction that is
//! sent, and what lies between the two. A keeper that was built with the feature `failpoints` and started with
//! `KEEPER_FAILPOINT=NAME` aborts when it first gets there: no destructor runs and nothing is flushed, as after SIGKILL.
//! Without the feature a place costs nothing.
//!
//! The crate stands alone because the store and the chain both have such places, and neither knows the other.

use std::{fmt, sync::OnceLock};

/// The variable that names the failpoint to die at.
pub const VARIABLE: &str = "KEEPER_FAILPOINT";
/// The variable that names what is done wrong on purpose.
pub const SABOTAGE_VARIABLE: &str = "KEEPER_SABOTAGE";

macro_rules! failpoints {
    (
        keeper { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }
        store { $($(#[$store_doc:meta])* $store_variant:ident = $store_name:literal,)* }
    ) => {
        /// A place to die at.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Failpoint {
            $($(#[$doc])* $variant,)*
            $($(#[$store_doc])* $store_variant,)*
        }

        impl Failpoint {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)* $(Self::$store_variant),*];
            /// Those that every keeper gets to within a few rounds. `cargo xtask chaos failpoints` goes through them
            /// with the real keeper; the others take what a short run does not bring about, or what only keepers that
            /// share work do, and are gone through by the store's own tests, with a process that does that one call.
            pub const OF_KEEPER: &'static [Self] = &[$(Self::$variant),*];

            /// Its name, as the variable and the log have it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    $(Self::$store_variant => $store_name,)*
                }
            }
        }
    };
}

failpoints! {
    keeper {
        /// Blocks and events are written, not committed.
        AppendBeforeCommit = "store::append_blocks::before_commit",
        /// Blocks and events are committed; nobody knows yet.
        AppendAfterCommit = "store::append_blocks::after_commit",
        /// Blocks are taken back, not committed.
        RevertBeforeCommit = "store::revert_to::before_commit",
        /// Blocks are taken back for good; the market is still the old one.
        RevertAfterCommit = "store::revert_to::after_commit",
        /// What is accepted on L1 is written, not committed.
        FinalBeforeCommit = "store::record_final::before_commit",
        /// What is accepted on L1 is committed; nobody knows yet.
        FinalAfterCommit = "store::record_final::after_commit",
        /// Times are written, not committed.
        ObserveBeforeCommit = "store::observe::before_commit",
        /// Times are committed; nobody knows yet.
        ObserveAfterCommit = "store::observe::after_commit",
        /// Explanations are written, not committed.
        ExplainBeforeCommit = "store::save_explanations::before_commit",
        /// Explanations are committed; nothing of the round is recorded.
        ExplainAfterCommit = "store::save_explanations::after_commit",
        /// An intent is written, not committed; nothing is sent.
        RecordBeforeCommit = "store::record_intent::before_commit",
        /// An intent is committed; its transaction is not sent.
        RecordAfterCommit = "store::record_intent::after_commit",
        /// What became of an intent is written, not committed.
        UpdateBeforeCommit = "store::update_intent::before_commit",
        /// What became of an intent is committed.
        UpdateAfterCommit = "store::update_intent::after_commit",
        /// A transaction, whichever, is signed and about to be sent.
        InvokeBeforeSend = "send::invoke::before_send",
        /// The node has taken a transaction, whichever; nobody knows yet.
        InvokeAfterSend = "send::invoke::after_send",
        /// A round is decided; nothing of it is signed or recorded.
        RoundBeforeRecord = "send::round::before_record",
        /// A round is recorded; it may be sent or not.
        RoundAfterRecord = "send::round::after_record",
        /// A round is in a block, and that is recorded; it is not yet believed.
        RoundAfterReceipt = "send::round::after_receipt",
        /// Exits are due; nothing is sent.
        ExitsBeforeSend = "send::exits::before_send",
        /// Exits are in a block; it is not yet believed.
        ExitsAfterReceipt = "send::exits::after_receipt",
        /// Workers are owed; nothing is sent.
        PayoutBeforeSend = "send::payout::before_send",
        /// Workers are paid out; it is not yet believed.
        PayoutAfterReceipt = "send::payout::after_receipt",
    }
    store {
        /// The database has the new layout, not committed.
        MigrateBeforeCommit = "store::migrate::before_commit",
        /// The database has the new layout for good; nothing else was done yet.
        MigrateAfterCommit = "store::migrate::after_commit",
        /// Another first block is written, and what began too late is removed, not committed.
        BeginAtBeforeCommit = "store::begin_at::before_commit",
        /// Another first block is committed.
        BeginAtAfterCommit = "store::begin_at::after_commit",
        /// What was accepted on L1 is forgotten, not committed.
        ForgetFinalBeforeCommit = "store::forget_final::before_commit",
        /// What was accepted on L1 is forgotten for good.
        ForgetFinalAfterCommit = "store::forget_final::after_commit",
        /// A replacement is written, not committed; it is not sent.
        TransactionBeforeCommit = "store::record_transaction::before_commit",
        /// A replacement is committed, and not sent.
        TransactionAfterCommit = "store::record_transaction::after_commit",
        /// Intents that landed in final blocks are closed, not committed.
        FinaliseBeforeCommit = "store::finalise_intents::before_commit",
        /// Intents that landed in final blocks are closed for good.
        FinaliseAfterCommit = "store::finalise_intents::after_commit",
        /// What is over and old is removed, not committed.
        HistoryBeforeCommit = "store::forget_history::before_commit",
        /// What is over and old is removed for good.
        HistoryAfterCommit = "store::forget_history::after_commit",
        /// A lease is granted, not committed.
        AcquireBeforeCommit = "store::acquire_lease::before_commit",
        /// A lease is granted for good; its holder does not know.
        AcquireAfterCommit = "store::acquire_lease::after_commit",
        /// A lease is renewed, not committed.
        RenewBeforeCommit = "store::renew_lease::before_commit",
        /// A lease is renewed for good; its holder does not know.
        RenewAfterCommit = "store::renew_lease::after_commit",
        /// A lease is ended, not committed.
        ReleaseBeforeCommit = "store::release_lease::before_commit",
        /// A lease is ended for good; its holder does not know.
        ReleaseAfterCommit = "store::release_lease::after_commit",
        /// An intent is written under a lease, not committed.
        RecordUnderBeforeCommit = "store::record_intent_under::before_commit",
        /// An intent is committed under a lease; its transaction is not sent.
        RecordUnderAfterCommit = "store::record_intent_under::after_commit",
        /// Items are written, not committed; whoever enqueued them was not answered.
        EnqueueBeforeCommit = "store::enqueue::before_commit",
        /// Items are committed; whoever enqueued them was not answered.
        EnqueueAfterCommit = "store::enqueue::after_commit",
        /// Items are claimed, not committed.
        ClaimBeforeCommit = "store::claim::before_commit",
        /// Items are claimed for good; their claimer does not know.
        ClaimAfterCommit = "store::claim::after_commit",
        /// Items are removed, not committed.
        AcknowledgeBeforeCommit = "store::acknowledge::before_commit",
        /// Items are removed for good; their claimer does not know.
        AcknowledgeAfterCommit = "store::acknowledge::after_commit",
        /// Claims are extended, not committed.
        ExtendBeforeCommit = "store::extend::before_commit",
        /// Claims are extended for good; their claimer does not know.
        ExtendAfterCommit = "store::extend::after_commit",
        /// An item is given back or buried, not committed.
        FailBeforeCommit = "store::fail::before_commit",
        /// An item is given back or buried for good; its claimer does not know.
        FailAfterCommit = "store::fail::after_commit",
        /// Dead letters are raised, not committed.
        RequeueBeforeCommit = "store::requeue::before_commit",
        /// Dead letters are raised for good.
        RequeueAfterCommit = "store::requeue::after_commit",
    }
}

impl fmt::Display for Failpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What can be done wrong on purpose, to see that tests notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// What was sent is forgotten at each start.
    ForgetIntents,
    /// Of several keepers on one database none asks whether another is at work.
    NoLeases,
}

impl Sabotage {
    const ALL: [Self; 2] = [Self::ForgetIntents, Self::NoLeases];

    /// Its name, as the variable has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ForgetIntents => "forget-intents",
            Self::NoLeases => "no-leases",
        }
    }
}

/// A variable names something that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names `{found}`, which is none of: {known}")]
pub struct UnknownName {
    variable: &'static str,
    found: String,
    known: String,
}

/// What the environment asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Asked {
    failpoint: Option<Failpoint>,
    sabotage: Option<Sabotage>,
}

impl Asked {
    fn read(value: impl Fn(&str) -> Option<String>) -> Result<Self, UnknownName> {
        let failpoint = find(VARIABLE, value(VARIABLE), Failpoint::ALL, Failpoint::name)?;
        let sabotage = find(SABOTAGE_VARIABLE, value(SABOTAGE_VARIABLE), &Sabotage::ALL, Sabotage::name)?;
        Ok(Self { failpoint, sabotage })
    }
}

fn find<T: Copy>(
    variable: &'static str,
    value: Option<String>,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Result<Option<T>, UnknownName> {
    let Some(found) = value else { return Ok(None) };
    match all.iter().find(|one| name(**one) == found) {
        Some(one) => Ok(Some(*one)),
        None => {
            let known = all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", ");
            Err(UnknownName { variable, found, known })
        }
    }
}

static ASKED: OnceLock<Asked> = OnceLock::new();

/// Reads from the environment where to die, once and before anything else. Without the feature nothing is read.
///
/// # Errors
/// Fails where a variable names something that there is not.
pub fn arm() -> Result<(), UnknownName> {
    if cfg!(feature = "enabled") {
        let asked = Asked::read(|variable| std::env::var(variable).ok())?;
        ASKED.get_or_init(|| asked);
    }
    Ok(())
}

/// The process dies here where it was told to.
#[inline]
pub fn reach(failpoint: Failpoint) {
    if cfg!(feature = "enabled") && asked().failpoint == Some(failpoint) {
        tracing::error!(%failpoint, "reached the failpoint: the process dies here");
        std::process::abort();
    }
}

/// Whether this is to be done wrong.
#[inline]
pub fn is_sabotaged(sabotage: Sabotage) -> bool {
    cfg!(feature = "enabled") && asked().sabotage == Some(sabotage)
}

fn asked() -> Asked {
    ASKED.get().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn asked(failpoint: Option<&str>, sabotage: Option<&str>) -> Result<Asked, UnknownName> {
        let value = |variable: &str| if variable == VARIABLE { failpoint } else { sabotage };
        Asked::read(|variable| value(variable).map(ToOwned::to_owned))
    }

    #[test]
    fn every_failpoint_is_found_by_its_name_and_no_name_is_used_twice() {
        for failpoint in Failpoint::ALL {
            assert_eq!(asked(Some(failpoint.name()), None).unwrap().failpoint, Some(*failpoint));
        }
        let names: BTreeSet<_> = Failpoint::ALL.iter().map(|failpoint| failpoint.name()).collect();
        assert_eq!(names.len(), Failpoint::ALL.len());
    }

    #[test]
    fn what_there_is_not_is_refused_by_name() {
        assert_eq!(asked(None, None), Ok(Asked::default()));
        let error = asked(Some("store::nowhere"), None).unwrap_err().to_string();
        assert!(error.starts_with("KEEPER_FAILPOINT names `store::nowhere`, which is none of: store::"), "{error}");
        let error = asked(None, Some("everything")).unwrap_err().to_string();
        assert_eq!(error, "KEEPER_SABOTAGE names `everything`, which is none of: forget-intents, no-leases");
    }

    #[test]
    fn nothing_dies_where_nothing_is_asked_for() {
        Failpoint::ALL.iter().copied().for_each(reach);
        assert!(!is_sabotaged(Sabotage::ForgetIntents));
    }

    /// The table in docs/reliability.md has every failpoint, with what is said of it here.
    #[test]
    fn the_documents_know_every_failpoint() {
        let document = include_str!("../../../docs/reliability.md");
        for failpoint in Failpoint::ALL {
            assert!(document.contains(&format!("| `{failpoint}` |")), "{failpoint} is not in docs/reliability.md");
        }
    }
}
