//! Identifiers. Each is a type of its own, so that one cannot be passed for another.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, de};
use starknet_types_core::felt::Felt;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! felt_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(pub Felt);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(FeltText).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&hexadecimal(self.0)).expect("its digits are ASCII"))
            }
        }

        impl FromStr for $name {
            type Err = FeltParseError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_felt(text).map(Self)
            }
        }
    };
}

number_id! {
    /// A job, numbered by JobMgr from 1 in the order of submission.
    JobId(u64)
}

number_id! {
    /// A worker, numbered by CdcPool from 1 in the order of registration.
    WorkerId(u32)
}

number_id! {
    /// Which try at a job this is, from 1. A failed or expired attempt is followed by the next number.
    Attempt(u8)
}

number_id! {
    /// A block's height.
    BlockNumber(u64)
}

felt_id! {
    /// A contract's address; every account is a contract.
    Address
}

felt_id! {
    /// A transaction's hash.
    TxHash
}

felt_id! {
    /// A scheduling policy, named by the Poseidon hash of its weights; announced on chain before it may be used.
    PolicyId
}

felt_id! {
    /// A chain's id: the short string of its name, such as `SN_SEPOLIA`.
    ChainId
}

impl ChainId {
    /// Starknet's main network, `SN_MAIN`.
    pub const MAINNET: Self = Self(Felt::from_hex_unchecked("0x534e5f4d41494e"));
    /// Starknet's public test network, `SN_SEPOLIA`; local chains carry this id too.
    pub const SEPOLIA: Self = Self(Felt::from_hex_unchecked("0x534e5f5345504f4c4941"));

    /// The short string that the id spells, or its hexadecimal form where it spells none.
    pub fn name(self) -> String {
        let bytes: Vec<u8> = self.0.to_bytes_be().into_iter().skip_while(|byte| *byte == 0).collect();
        match String::from_utf8(bytes) {
            Ok(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic()) => name,
            _ => format!("{:#x}", self.0),
        }
    }
}

/// A felt in 64 hexadecimal digits, after `0x`.
fn hexadecimal(felt: Felt) -> [u8; 66] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'0'; 66];
    text[1] = b'x';
    for (byte, digits) in felt.to_bytes_be().iter().zip(text[2..].chunks_exact_mut(2)) {
        digits[0] = DIGITS[usize::from(byte >> 4)];
        digits[1] = DIGITS[usize::from(byte & 0xf)];
    }
    text
}

/// The prime of Starknet's field, 2^251 + 17 * 2^192 + 1, in hexadecimal digits.
const PRIME: &str = "800000000000011000000000000000000000000000000000000000000000001";

/// A text is not a field element in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeltParseError {
    /// It is no such number at all.
    #[error("`{0}` is not a Starknet felt: expected 0x followed by up to 64 hexadecimal digits")]
    Malformed(String),
    /// It is too large, and would stand for another number.
    #[error("`{0}` is not a Starknet felt: it is not below the field's prime, 0x{prime}", prime = PRIME)]
    NotBelowPrime(String),
}

/// Reads a field element: `0x` and up to 64 hexadecimal digits, below the field's prime. Nothing is taken modulo that:
/// an address that was mistyped would be another's.
///
/// # Errors
/// Says which of the two it is not.
pub fn parse_felt(text: &str) -> Result<Felt, FeltParseError> {
    let malformed = || FeltParseError::Malformed(text.to_owned());
    let digits = text.strip_prefix("0x").ok_or_else(malformed)?;
    if !(1..=64).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(malformed());
    }
    let significant = digits.trim_start_matches('0');
    let lower_case = significant.bytes().map(|digit| digit.to_ascii_lowercase());
    let is_below =
        significant.len() < PRIME.len() || (significant.len() == PRIME.len() && lower_case.lt(PRIME.bytes()));
    if !is_below {
        return Err(FeltParseError::NotBelowPrime(text.to_owned()));
    }
    Felt::from_hex(text).map_err(|_| malformed())
}

/// Reads a felt where the format has a string.
struct FeltText;

impl de::Visitor<'_> for FeltText {
    type Value = Felt;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a Starknet felt, 0x and hexadecimal digits")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Felt, E> {
        parse_felt(text).map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chain_ids_spell_their_names() {
        assert_eq!(ChainId::MAINNET.name(), "SN_MAIN");
        assert_eq!(ChainId::SEPOLIA.name(), "SN_SEPOLIA");
        assert_eq!(ChainId(Felt::ONE).name(), "0x1");
    }

    #[test]
    fn an_address_round_trips_through_its_text() {
        let address: Address = "0x4718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d".parse().unwrap();
        assert_eq!(address.to_string(), "0x04718f5a0fc34cc1af16a1cdee98ffb20c31f5cd61d6ab07201858f4287c938d");
        assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
    }

    #[test]
    fn what_is_not_below_the_prime_is_refused_and_not_taken_modulo_it() {
        let largest = "0x0800000000000011000000000000000000000000000000000000000000000000";
        let address: Address = largest.parse().unwrap();
        assert_eq!((address.0 + Felt::ONE, address.to_string()), (Felt::ZERO, largest.to_owned()));
        for text in [
            format!("0x{PRIME}"),
            format!("0x0{}", PRIME.replace("11", "1A")),
            "0x8800000000000011000000000000000000000000000000000000000000000000".to_owned(),
            format!("0x{}", "f".repeat(64)),
        ] {
            assert_eq!(text.parse::<Address>(), Err(FeltParseError::NotBelowPrime(text.clone())));
            let error = serde_json::from_str::<Address>(&format!("\"{text}\"")).unwrap_err().to_string();
            assert!(error.contains(&text) && error.contains("not below the field's prime"), "{error}");
        }
        assert_eq!(serde_json::from_str::<Address>("\"0xA\"").unwrap(), Address(Felt::from(10)));
    }

    #[test]
    fn a_malformed_felt_is_named() {
        for text in ["", "0x", "12", "0xzz", "0x1ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(error.to_string().contains("is not a Starknet felt"), "{error}");
        }
    }
}
