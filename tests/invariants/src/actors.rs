//! Who and what takes part: ten accounts, the four contracts and the token.

use std::fmt;

use keeper_types::Felt;

/// An account. Its name says what it mostly does; any of them may call anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Actor {
    Admin,
    Keeper1,
    Keeper2,
    Client1,
    Client2,
    Worker1,
    Worker2,
    Worker3,
    /// Rules on disputes; where the market has a referee at all.
    Referee,
    /// A contract that lets others bring its calls, see `cairo/src/account.cairo`. It acts by itself as well.
    Account,
}

impl Actor {
    pub(crate) const ALL: [Self; 10] = [
        Self::Admin,
        Self::Keeper1,
        Self::Keeper2,
        Self::Client1,
        Self::Client2,
        Self::Worker1,
        Self::Worker2,
        Self::Worker3,
        Self::Referee,
        Self::Account,
    ];
    pub(crate) const KEEPERS: [Self; 2] = [Self::Keeper1, Self::Keeper2];

    pub(crate) fn address(self) -> Felt {
        match self {
            Self::Account => Contract::Account.address(),
            _ => Felt::from(0xac_0001_u64 + self as u64),
        }
    }

    pub(crate) fn of_address(address: Felt) -> Option<Self> {
        Self::ALL.into_iter().find(|actor| actor.address() == address)
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{self:?}").to_lowercase())
    }
}

/// A contract on the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Contract {
    JobMgr,
    CdcPool,
    TaskAllocator,
    Paymaster,
    Token,
    /// The account that is a contract.
    Account,
}

impl Contract {
    /// Those whose calls, events and views are compared with the model.
    pub(crate) const OURS: [Self; 4] = [Self::JobMgr, Self::CdcPool, Self::TaskAllocator, Self::Paymaster];
    /// Those that hold money.
    pub(crate) const HOLDERS: [Self; 4] = Self::OURS;

    pub(crate) fn address(self) -> Felt {
        Felt::from(0xc0_0001_u64 + self as u64)
    }

    pub(crate) fn of_address(address: Felt) -> Option<Self> {
        [Self::JobMgr, Self::CdcPool, Self::TaskAllocator, Self::Paymaster, Self::Token, Self::Account]
            .into_iter()
            .find(|contract| contract.address() == address)
    }

    /// The name in the sources and the artifacts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::JobMgr => "JobMgr",
            Self::CdcPool => "CdcPool",
            Self::TaskAllocator => "TaskAllocator",
            Self::Paymaster => "Paymaster",
            Self::Token => "Token",
            Self::Account => "Account",
        }
    }
}

/// Where burnt money goes.
pub(crate) fn burn_address() -> Felt {
    Felt::from(0xdead_u64)
}

/// A felt as people read it: an account's or contract's name, a short string, or a number.
pub(crate) fn describe(felt: Felt) -> String {
    if let Some(actor) = Actor::of_address(felt) {
        return actor.to_string();
    }
    if let Some(contract) = Contract::of_address(felt) {
        return contract.name().to_owned();
    }
    if let Ok(number) = u128::try_from(felt)
        && number < 1 << 96
    {
        return number.to_string();
    }
    short_string(felt).unwrap_or_else(|| format!("{felt:#x}"))
}

/// The text of a felt that is a Cairo short string of more than one character.
pub(crate) fn short_string(felt: Felt) -> Option<String> {
    let bytes: Vec<u8> = felt.to_bytes_be().into_iter().skip_while(|byte| *byte == 0).collect();
    let is_text = bytes.len() > 1 && bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    if is_text { String::from_utf8(bytes).ok() } else { None }
}

/// A short string as a felt.
pub(crate) fn felt_of(text: &str) -> Felt {
    Felt::from_bytes_be_slice(text.as_bytes())
}
