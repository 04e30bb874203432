//! How values stand in columns: numbers as INTEGER where 63 bits hold them, felts as 0x-hexadecimal TEXT,
//! structures as JSON TEXT.

use std::{str::FromStr, time::Duration};

use keeper_types::{Felt, TxHash};
use serde::{Serialize, de::DeserializeOwned};

use crate::StoreError;

pub(super) fn integer(field: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::OutOfRange { field, value })
}

/// The INTEGER at or below which every stored number is that is at or below `value`: for comparisons, where a
/// number that is more than the database holds is no error.
pub(super) fn bound(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A span in milliseconds, rounded up.
pub(super) fn millis(field: &'static str, span: Duration) -> Result<i64, StoreError> {
    let value = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
    // Half of the range, so that the clock can be added.
    integer(field, value).ok().filter(|ms| *ms <= i64::MAX / 2).ok_or(StoreError::OutOfRange { field, value })
}

/// Reads a number of any width.
pub(super) fn number<T: TryFrom<i64>>(field: &'static str, value: i64) -> Result<T, StoreError> {
    T::try_from(value).map_err(|_| StoreError::Unreadable { field, text: value.to_string() })
}

/// Reads whatever writes itself as text.
pub(super) fn parsed<T: FromStr>(field: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Unreadable { field, text: text.to_owned() })
}

pub(super) fn hex(felt: Felt) -> String {
    TxHash(felt).to_string()
}

pub(super) fn felt(field: &'static str, text: &str) -> Result<Felt, StoreError> {
    parsed::<TxHash>(field, text).map(|hash| hash.0)
}

pub(super) fn json<T: Serialize>(field: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|source| StoreError::Unwritable { field, source })
}

pub(super) fn from_json<T: DeserializeOwned>(field: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| StoreError::Unreadable { field, text: text.to_owned() })
}
