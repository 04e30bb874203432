//! What becomes of the keeper when one of its parts fails: tried again, or stopped for good.
//!
//! The type decides, never a text. A [`Failure::Passing`] may be gone a moment later, without anybody doing anything: a
//! node that does not answer, a database that is busy. A [`Failure::Final`] is there until a person has mended it, and to
//! go on would do harm or look like health; each [`Cause`] has an exit code of its own, so that an orchestrator and the
//! one whom it wakes can tell them apart.

use std::{fmt, time::Duration};

use keeper_chain::{RpcError, SendError, lane::LaneError};
use keeper_store::{RebuildError, StoreError};

use super::{leading::OtherShards, signals::Signal};
use crate::{installation::DataDirInUse, records::OfFormerChain, rights::NotAllowed};

/// How a service failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service is started again.
    Passing(anyhow::Error),
    /// The database's server does not answer. The service is started again until it does, however long that takes.
    Outage(anyhow::Error),
    /// The keeper stops.
    Final(Cause, anyhow::Error),
}

/// Why a keeper stops for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The node is on another chain, speaks another specification, or tells events that do not fit together.
    Chain,
    /// The database follows other contracts, or a chain that is no more.
    Market,
    /// The account may not apply rounds.
    Rights,
    /// The database cannot be opened, trusted or written.
    Store,
    /// An address cannot be listened on.
    Listener,
    /// Services failed too often in a short time.
    Restarts,
    /// A service panicked twice in a short time.
    Panics,
    /// A service did not stop in time.
    Stuck,
    /// Keepers on the database deal out jobs in another way.
    Shards,
    /// A second signal came while the keeper was stopping.
    Signal(Signal),
}

impl Cause {
    /// The program's exit code; docs/configuration.md lists them.
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Chain => 10,
            Self::Market => 11,
            Self::Rights => 12,
            Self::Store => 13,
            Self::Listener => 14,
            Self::Restarts => 15,
            Self::Panics => 16,
            Self::Stuck => 17,
            Self::Shards => 18,
            Self::Signal(signal) => signal.exit_code(),
        }
    }

    /// The cause of an error that came up before there were services; `None` where it has no exit code of its own.
    pub(crate) fn of(error: &anyhow::Error) -> Option<Self> {
        error.chain().find_map(|cause| {
            if let Some(error) = cause.downcast_ref::<RpcError>() {
                return of_rpc(error);
            }
            if let Some(SendError::Rpc(error)) = cause.downcast_ref() {
                return of_rpc(error);
            }
            if let Some(error) = cause.downcast_ref::<StoreError>() {
                return of_store(error);
            }
            if cause.is::<DataDirInUse>() {
                return Some(Self::Store);
            }
            if cause.is::<OfFormerChain>() {
                return Some(Self::Market);
            }
            if cause.is::<NotAllowed>() {
                return Some(Self::Rights);
            }
            if cause.is::<OtherShards>() {
                return Some(Self::Shards);
            }
            cause.is::<CannotListen>().then_some(Self::Listener)
        })
    }
}

fn of_rpc(error: &RpcError) -> Option<Cause> {
    match error {
        RpcError::WrongChain { .. } | RpcError::WrongVersion { .. } => Some(Cause::Chain),
        RpcError::Unreachable { .. }
        | RpcError::Unspecified { .. }
        | RpcError::Contradiction { .. }
        | RpcError::Refused { .. }
        | RpcError::Malformed { .. } => None,
    }
}

fn of_store(error: &StoreError) -> Option<Cause> {
    match error {
        StoreError::IdentityMismatch { .. } => Some(Cause::Market),
        // The node's doing: what it told does not belong where it told it. The next reading may.
        StoreError::Fork { .. }
        | StoreError::NotAfterCursor { .. }
        | StoreError::CursorMoved { .. }
        | StoreError::MisplacedEvent { .. } => None,
        // The node knows less of the account's nonces than the log does: it lags, or is on another chain.
        StoreError::NonceHeld { .. } => None,
        // Another keeper has taken over; whoever starts again begins by asking for the lease or the item anew.
        StoreError::Fenced { .. } | StoreError::ClaimLost { .. } => None,
        error => (!error.is_transient()).then_some(Cause::Store),
    }
}

impl Failure {
    fn new(cause: Option<Cause>, error: impl Into<anyhow::Error>) -> Self {
        match cause {
            Some(cause) => Self::Final(cause, error.into()),
            None => Self::Passing(error.into()),
        }
    }
}

impl Failure {
    /// Whether what was to be written came after the end of the lease that it was decided under.
    pub(super) fn is_fenced(&self) -> bool {
        let (Self::Passing(error) | Self::Outage(error) | Self::Final(_, error)) = self;
        error.downcast_ref().is_some_and(|error| matches!(error, StoreError::Fenced { .. }))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if error.is_outage() {
            return Self::Outage(error.into());
        }
        Self::new(of_store(&error), error)
    }
}

impl From<LaneError> for Failure {
    fn from(error: LaneError) -> Self {
        match error {
            LaneError::Store(error) => error.into(),
            error => Self::Passing(error.into()),
        }
    }
}

impl From<RpcError> for Failure {
    fn from(error: RpcError) -> Self {
        Self::new(of_rpc(&error), error)
    }
}

impl From<NotAllowed> for Failure {
    fn from(error: NotAllowed) -> Self {
        Self::Final(Cause::Rights, error.into())
    }
}

impl From<RebuildError> for Failure {
    fn from(error: RebuildError) -> Self {
        match error {
            RebuildError::Store(error) => error.into(),
            error @ RebuildError::Apply(_) => Self::Final(Cause::Store, error.into()),
        }
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}\nhint: choose another {option} address")]
pub(crate) struct CannotListen {
    /// The address.
    pub(crate) address: std::net::SocketAddr,
    /// What names it.
    pub(crate) option: &'static str,
    /// Why not.
    pub(crate) source: std::io::Error,
}

/// The keeper's end, where nobody asked for it.
#[derive(Debug)]
pub(crate) struct Stopped {
    cause: Cause,
    what: String,
    source: Option<anyhow::Error>,
}

impl Stopped {
    /// Ended by `what`, and by nothing else.
    pub(super) fn by(cause: Cause, what: impl Into<String>) -> Self {
        Self { cause, what: what.into(), source: None }
    }

    /// Ended by a service's failure.
    pub(super) fn failed(cause: Cause, service: &str, source: anyhow::Error) -> Self {
        Self { cause, what: format!("{service} failed"), source: Some(source) }
    }

    /// Did not stop within `limit`.
    pub(crate) fn stuck(services: &str, limit: Duration) -> Self {
        Self::by(Cause::Stuck, format!("{services} did not stop within {} s", limit.as_secs()))
    }

    /// Ended by a second signal.
    pub(crate) fn at_once(signal: Signal) -> Self {
        Self::by(Cause::Signal(signal), format!("a second signal, {signal}, ended the program at once"))
    }

    /// Gives an error from before there were services its exit code, where it has one.
    pub(crate) fn at_start(error: anyhow::Error) -> anyhow::Error {
        match Cause::of(&error) {
            Some(cause) => Self { cause, what: "the keeper cannot start".to_owned(), source: Some(error) }.into(),
            None => error,
        }
    }

    /// Why.
    pub(crate) fn cause(&self) -> Cause {
        self.cause
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Stopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use anyhow::Context as _;

    use super::*;

    fn unreachable() -> RpcError {
        RpcError::Unreachable { url: "http://node".to_owned(), reason: "no route".to_owned() }
    }

    fn wrong_version() -> RpcError {
        RpcError::WrongVersion { url: "http://node".to_owned(), version: "0.7".to_owned() }
    }

    #[test]
    fn what_a_service_is_told_decides_whether_it_is_started_again() {
        assert!(matches!(Failure::from(unreachable()), Failure::Passing(_)));
        assert!(matches!(Failure::from(wrong_version()), Failure::Final(Cause::Chain, _)));
        assert!(matches!(Failure::from(NotAllowed::new("no")), Failure::Final(Cause::Rights, _)));
        assert!(matches!(Failure::from(StoreError::Unanswered { limit_s: 60 }), Failure::Outage(_)));
        let fenced = || StoreError::Fenced { name: "leader".to_owned(), term: 1 };
        assert!(Failure::from(fenced()).is_fenced() && matches!(Failure::from(fenced()), Failure::Passing(_)));
        assert!(!Failure::from(unreachable()).is_fenced());
        let not_durable =
            StoreError::NotDurable { setting: "synchronous", found: "1".to_owned(), expected: "2 (FULL)" };
        assert!(matches!(Failure::from(not_durable), Failure::Final(Cause::Store, _)));
        let nowhere = keeper_types::Address(keeper_types::Felt::ZERO);
        let identity = keeper_store::Identity {
            chain_id: keeper_types::ChainId::SEPOLIA,
            job_mgr: nowhere,
            cdc_pool: nowhere,
            task_allocator: nowhere,
            deployment_block: keeper_types::BlockNumber(1),
        };
        let (found, expected) = (Box::new(identity.clone()), Box::new(identity));
        let foreign = StoreError::IdentityMismatch { database: PathBuf::from("k").into(), found, expected };
        assert!(matches!(Failure::from(foreign), Failure::Final(Cause::Market, _)));
        let unreadable = StoreError::Unreadable { field: "event", text: "?".to_owned() };
        assert!(matches!(Failure::from(RebuildError::Store(unreadable)), Failure::Final(Cause::Store, _)));
    }

    #[test]
    fn errors_of_the_start_have_their_exit_codes_under_whatever_context() {
        let code = |error: anyhow::Error| {
            Stopped::at_start(error).downcast_ref::<Stopped>().map(|stopped| stopped.cause().exit_code())
        };
        assert_eq!(code(anyhow::Error::from(wrong_version()).context("connecting")), Some(10));
        assert_eq!(code(SendError::Rpc(wrong_version()).into()), Some(10));
        assert_eq!(code(NotAllowed::new("no").into()), Some(12));
        let in_use = Err::<(), _>(StoreError::InUse { path: PathBuf::from("k") }).context("opening").unwrap_err();
        assert_eq!(code(in_use), Some(13));
        let held = tempfile::tempdir().unwrap();
        let _held = crate::installation::Installation::take(held.path()).unwrap();
        assert_eq!(code(crate::installation::Installation::take(held.path()).unwrap_err()), Some(13));
        let taken = CannotListen {
            address: "127.0.0.1:1".parse().unwrap(),
            option: "--listen",
            source: std::io::ErrorKind::AddrInUse.into(),
        };
        assert_eq!(code(taken.into()), Some(14));
        assert_eq!(code(unreachable().into()), None);
        assert_eq!(code(anyhow::anyhow!("another")), None);
    }

    #[test]
    fn every_cause_has_an_exit_code_of_its_own() {
        let causes = [
            Cause::Chain,
            Cause::Market,
            Cause::Rights,
            Cause::Store,
            Cause::Listener,
            Cause::Restarts,
            Cause::Panics,
            Cause::Stuck,
            Cause::Shards,
            Cause::Signal(Signal::Interrupt),
            Cause::Signal(Signal::Terminate),
        ];
        let codes: Vec<u8> = causes.map(Cause::exit_code).into();
        assert_eq!(codes, [10, 11, 12, 13, 14, 15, 16, 17, 18, 130, 143]);
    }
}
