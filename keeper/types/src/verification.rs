//! How a result is checked: what the client asked for, and how a check can end.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest latency that the contract's slot holds, in milliseconds.
pub const MAX_LATENCY_MS: u16 = (1 << 14) - 1;
/// The most replicas of a job.
pub const MAX_REPLICAS: u8 = 15;
/// The fewest replicas of a job that has any.
const MIN_REPLICAS: u8 = 3;

/// Who decides a dispute about a result. The numbers are the contract's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Verification {
    /// Nobody: the result cannot be disputed.
    #[default]
    None = 0,
    /// A committee that runs the job again: its command gives the same output bit for bit.
    Rerun = 1,
    /// The referee contract: the manifest is the canonical manifest of a matrix product.
    Matmul = 2,
}

impl Verification {
    /// Every kind, in the contract's order.
    pub const ALL: [Self; 3] = [Self::None, Self::Rerun, Self::Matmul];

    /// The kind with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == number)
    }

    /// The kind's name, as the command line writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Rerun => "rerun",
            Self::Matmul => "matmul",
        }
    }
}

impl fmt::Display for Verification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Verification {
    type Err = VerificationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| VerificationError::Unknown { text: text.to_owned() })
    }
}

/// How many workers run a job, and how many of them must agree. Only counts that one liar can neither decide nor
/// block exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawReplication")]
pub struct Replication {
    replicas: u8,
    quorum: u8,
}

impl Replication {
    /// One worker, whose result counts.
    pub const ALONE: Self = Self { replicas: 1, quorum: 1 };

    /// `quorum` of `replicas` must agree.
    ///
    /// # Errors
    /// Names the number that is out of bounds, and its bounds.
    pub fn new(replicas: u8, quorum: u8) -> Result<Self, VerificationError> {
        if replicas == 1 {
            return if quorum == 1 { Ok(Self::ALONE) } else { Err(VerificationError::QuorumAlone { quorum }) };
        }
        if !(MIN_REPLICAS..=MAX_REPLICAS).contains(&replicas) {
            return Err(VerificationError::Replicas { replicas });
        }
        if quorum <= replicas / 2 || quorum >= replicas {
            return Err(VerificationError::Quorum { replicas, quorum });
        }
        Ok(Self { replicas, quorum })
    }

    /// The smallest quorum of so many replicas.
    ///
    /// # Errors
    /// Names the number of replicas where it is out of bounds.
    pub fn majority_of(replicas: u8) -> Result<Self, VerificationError> {
        Self::new(replicas, replicas / 2 + 1)
    }

    /// Workers that run the job.
    pub fn replicas(self) -> u8 {
        self.replicas
    }

    /// Workers that must agree.
    pub fn quorum(self) -> u8 {
        self.quorum
    }

    /// Whether more than one worker runs the job.
    pub fn is_replicated(self) -> bool {
        self.replicas > 1
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self::ALONE
    }
}

#[derive(Deserialize)]
struct RawReplication {
    replicas: u8,
    quorum: u8,
}

impl TryFrom<RawReplication> for Replication {
    type Error = VerificationError;

    fn try_from(raw: RawReplication) -> Result<Self, Self::Error> {
        Self::new(raw.replicas, raw.quorum)
    }
}

/// What a client asks for cannot be verified that way.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each text names its field")]
pub enum VerificationError {
    #[error("max_latency_ms is {latency_ms}, but at most {MAX_LATENCY_MS} can be asked for: use 0 for any latency")]
    Latency { latency_ms: u16 },
    #[error("verification `{text}` is unknown: use none, rerun or matmul")]
    Unknown { text: String },
    #[error("verification is {verification}, but replicas are verified by each other: use verification none")]
    OfReplicas { verification: Verification },
    #[error("replicas is {replicas}: use 1, or {MIN_REPLICAS} to {MAX_REPLICAS}")]
    Replicas { replicas: u8 },
    #[error("quorum is {quorum}, but a job with one replica needs one result: use quorum 1, or more replicas")]
    QuorumAlone { quorum: u8 },
    #[error(
        "quorum is {quorum} of {replicas} replicas: use {} to {}, so that one liar can neither decide nor block",
        .replicas / 2 + 1, .replicas - 1
    )]
    Quorum { replicas: u8, quorum: u8 },
}

/// Checks what a job asks for, in the contract's order.
///
/// # Errors
/// Names the first field that the contract would refuse, and what to use instead.
pub(crate) fn check_verification(
    max_latency_ms: u16,
    verification: Verification,
    replicas: u8,
    quorum: u8,
) -> Result<(), VerificationError> {
    if max_latency_ms > MAX_LATENCY_MS {
        return Err(VerificationError::Latency { latency_ms: max_latency_ms });
    }
    let replication = Replication::new(replicas, quorum)?;
    if replication.is_replicated() && verification != Verification::None {
        return Err(VerificationError::OfReplicas { verification });
    }
    Ok(())
}

/// Why a result was not paid. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RejectionCause {
    /// The other replicas agree on another result.
    Outlier = 1,
    /// Too few replicas agree on any result.
    NoQuorum = 2,
    /// The dispute about it was lost.
    Ruled = 3,
}

impl RejectionCause {
    /// The cause with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Outlier, Self::NoQuorum, Self::Ruled].into_iter().find(|cause| *cause as u8 == number)
    }
}

impl fmt::Display for RejectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Outlier => "the other replicas agree on another result",
            Self::NoQuorum => "too few replicas agree",
            Self::Ruled => "the dispute was lost",
        })
    }
}

/// What a worker is slashed for. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum WorkerFault {
    /// It committed to a result and did not reveal it.
    Unrevealed = 1,
    /// Its result was wrong.
    Wrong = 2,
}

impl WorkerFault {
    /// The fault with this number on chain.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Unrevealed, Self::Wrong].into_iter().find(|fault| *fault as u8 == number)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_names_read_back() {
        for kind in Verification::ALL {
            assert_eq!(Verification::from_number(kind as u8), Some(kind));
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        assert_eq!(Verification::from_number(3), None);
        assert!("optimistic".parse::<Verification>().unwrap_err().to_string().contains("none, rerun or matmul"));
        assert_eq!(RejectionCause::from_number(3), Some(RejectionCause::Ruled));
        assert_eq!(RejectionCause::from_number(0), None);
        assert_eq!(WorkerFault::from_number(2), Some(WorkerFault::Wrong));
        assert_eq!(WorkerFault::from_number(3), None);
    }

    #[test]
    fn errors_name_the_field_and_what_to_use() {
        let none = Verification::None;
        for (checked, texts) in [
            (check_verification(16_384, none, 1, 1), ["max_latency_ms is 16384", "use 0"]),
            (check_verification(0, none, 2, 2), ["replicas is 2", "3 to 15"]),
            (check_verification(0, none, 16, 9), ["replicas is 16", "3 to 15"]),
            (check_verification(0, none, 1, 2), ["quorum is 2", "use quorum 1"]),
            (check_verification(0, none, 4, 2), ["quorum is 2 of 4", "use 3 to 3"]),
            (check_verification(0, none, 3, 3), ["quorum is 3 of 3", "use 2 to 2"]),
            (check_verification(0, Verification::Rerun, 3, 2), ["verification is rerun", "use verification none"]),
        ] {
            let error = checked.unwrap_err().to_string();
            assert!(texts.iter().all(|text| error.contains(text)), "{error}");
        }
        assert_eq!(check_verification(MAX_LATENCY_MS, Verification::Matmul, 1, 1), Ok(()));
    }

    proptest! {
        #[test]
        fn one_liar_neither_decides_nor_blocks(replicas: u8, quorum: u8) {
            if let Ok(replication) = Replication::new(replicas, quorum) {
                prop_assert!(!replication.is_replicated() || (2 * quorum > replicas && quorum < replicas));
                let json = serde_json::to_string(&replication).unwrap();
                prop_assert_eq!(serde_json::from_str::<Replication>(&json).unwrap(), replication);
            }
        }

        #[test]
        fn every_number_of_replicas_has_a_majority(replicas in 3_u8..=15) {
            let majority = Replication::majority_of(replicas).unwrap();
            prop_assert!(Replication::new(replicas, majority.quorum() - 1).is_err());
        }
    }
}
