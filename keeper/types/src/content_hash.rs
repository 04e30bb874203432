//! Content addresses: what a manifest or an output is called, on chain and in the artifact store.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest as _, Sha256};
use starknet_types_core::felt::Felt;

/// Bytes of the digest that are kept: what fits a felt whatever their values.
const KEPT: usize = 31;

/// The first 31 bytes of the SHA-256 of some bytes: 62 hexadecimal digits, the beginning of what `sha256sum`
/// prints, and a number that any felt can hold.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; KEPT]);

impl ContentHash {
    /// The address of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes);
        let mut kept = [0; KEPT];
        kept.copy_from_slice(&digest[..KEPT]);
        Self(kept)
    }

    /// The address as the contracts hold it.
    pub fn to_felt(self) -> Felt {
        Felt::from_bytes_be_slice(&self.0)
    }

    /// Reads what a contract holds.
    ///
    /// # Errors
    /// Fails where the felt has more than 248 bits, so that nothing hashes to it.
    pub fn from_felt(felt: Felt) -> Result<Self, ContentHashError> {
        let bytes = felt.to_bytes_be();
        let (head, tail) = bytes.split_at(bytes.len() - KEPT);
        if head.iter().any(|byte| *byte != 0) {
            return Err(ContentHashError { text: format!("{felt:#x}") });
        }
        let mut kept = [0; KEPT];
        kept.copy_from_slice(tail);
        Ok(Self(kept))
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// As it is shown: logs are searched for it.
impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ContentHash {
    type Err = ContentHashError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ContentHashError { text: text.to_owned() };
        if text.len() != 2 * KEPT || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        let felt = Felt::from_hex(&format!("0x{text}")).map_err(|_| error())?;
        Self::from_felt(felt)
    }
}

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A text or a felt is not a content hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a content hash: expected 62 hexadecimal digits, the first 31 bytes of a SHA-256")]
pub struct ContentHashError {
    text: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_beginning_of_the_sha256() {
        // printf abc | sha256sum
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015";
        assert_eq!(ContentHash::of(b"abc").to_string(), expected);
    }

    #[test]
    fn it_round_trips_through_text_and_felt() {
        let hash = ContentHash::of(b"");
        assert_eq!(hash.to_string().parse::<ContentHash>().unwrap(), hash);
        assert_eq!(ContentHash::from_felt(hash.to_felt()).unwrap(), hash);
        assert!(ContentHash::from_felt(Felt::ZERO - Felt::ONE).is_err());
        assert!("abc".parse::<ContentHash>().is_err());
    }
}
