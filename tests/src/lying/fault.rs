//! The ways in which a proxy lies.

/// A way to lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Takes the request, passes it on or not, and never answers.
    NoAnswer,
    /// Answers late.
    Delay,
    /// Answers a few bytes at a time.
    Trickle,
    /// Closes the connection in the middle of the answer.
    Cut,
    /// Answers what is no JSON.
    Garbage,
    /// Answers a result of other types than the specification's.
    WrongType,
    /// HTTP status 429, with `Retry-After`.
    TooManyRequests,
    /// HTTP status 500, 502, 503 or 504.
    ServerError,
    /// An internal error of JSON-RPC or of the specification.
    InternalError,
    /// Does not know any block after one that was the newest some time ago.
    OldBlocks,
    /// Has other hashes from some block on.
    ForkedHead,
    /// Tells a nonce that was used.
    NonceLow,
    /// Tells a nonce that is not due.
    NonceHigh,
    /// Takes a transaction and forgets it.
    Vanished,
    /// Cuts a page of events short without a token, or gives a token that does not move on.
    LostToken,
    /// Says that there are no events.
    MissingEvents,
    /// Has no events from some block on, neither in its index nor in receipts.
    HiddenEvents,
    /// Tells another chain's id.
    WrongChain,
    /// Answers with the answer before, or twice.
    Duplicate,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::NoAnswer,
        Self::Delay,
        Self::Trickle,
        Self::Cut,
        Self::Garbage,
        Self::WrongType,
        Self::TooManyRequests,
        Self::ServerError,
        Self::InternalError,
        Self::OldBlocks,
        Self::ForkedHead,
        Self::NonceLow,
        Self::NonceHigh,
        Self::Vanished,
        Self::LostToken,
        Self::MissingEvents,
        Self::HiddenEvents,
        Self::WrongChain,
        Self::Duplicate,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoAnswer => "no-answer",
            Self::Delay => "delay",
            Self::Trickle => "trickle",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::WrongType => "wrong-type",
            Self::TooManyRequests => "too-many-requests",
            Self::ServerError => "server-error",
            Self::InternalError => "internal-error",
            Self::OldBlocks => "old-blocks",
            Self::ForkedHead => "forked-head",
            Self::NonceLow => "nonce-low",
            Self::NonceHigh => "nonce-high",
            Self::Vanished => "vanished",
            Self::LostToken => "lost-token",
            Self::MissingEvents => "missing-events",
            Self::HiddenEvents => "hidden-events",
            Self::WrongChain => "wrong-chain",
            Self::Duplicate => "duplicate",
        }
    }

    /// Whether what it says is a lie, and not only unusable or late: who believes it does harm.
    pub fn is_lie(self) -> bool {
        matches!(
            self,
            Self::OldBlocks
                | Self::ForkedHead
                | Self::NonceLow
                | Self::NonceHigh
                | Self::Vanished
                | Self::LostToken
                | Self::MissingEvents
                | Self::HiddenEvents
        )
    }

    /// Whether it can alter the answer to this method.
    pub(super) fn is_about(self, method: &str) -> bool {
        match self {
            Self::NonceLow | Self::NonceHigh => method == "starknet_getNonce",
            Self::Vanished => method == "starknet_addInvokeTransaction",
            Self::LostToken | Self::MissingEvents => method == "starknet_getEvents",
            Self::HiddenEvents => matches!(method, "starknet_getEvents" | "starknet_getBlockWithReceipts"),
            Self::WrongChain => method == "starknet_chainId",
            _ => true,
        }
    }
}
