//! What the follower reads of a node's answers. The rest of them, which is most, is passed over.

use std::fmt;

use keeper_types::{BlockHeader, BlockNumber, Felt};
use serde::{
    Deserialize, Deserializer as _,
    de::{SeqAccess, Visitor},
};
use serde_json::value::RawValue;
use starknet::core::types::Event;

/// The header of a block; one that is not in its place yet lacks its hashes.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    block_number: u64,
    block_hash: Option<Felt>,
    parent_hash: Option<Felt>,
    timestamp: u64,
}

impl Header {
    /// The header, where the block is in its place.
    pub(super) fn placed(&self) -> Option<BlockHeader> {
        Some(BlockHeader {
            number: BlockNumber(self.block_number),
            hash: self.block_hash?,
            parent_hash: self.parent_hash?,
            timestamp: self.timestamp,
        })
    }
}

/// A block with what was said in it.
#[derive(Debug, Deserialize)]
pub(super) struct Block {
    block_number: u64,
    block_hash: Option<Felt>,
    parent_hash: Option<Felt>,
    timestamp: u64,
    pub(super) transactions: Vec<Transaction>,
}

impl Block {
    /// Its header, where it is in its place.
    pub(super) fn header(&self) -> Option<BlockHeader> {
        let Self { block_number, block_hash, parent_hash, timestamp, .. } = *self;
        Header { block_number, block_hash, parent_hash, timestamp }.placed()
    }
}

/// A transaction, by its receipt.
#[derive(Debug, Deserialize)]
pub(super) struct Transaction {
    pub(super) receipt: Receipt,
}

#[derive(Debug, Deserialize)]
pub(super) struct Receipt {
    pub(super) transaction_hash: Felt,
    pub(super) events: Vec<Said>,
}

/// An event. Its felts are read where it is one of ours; in a full block most are not.
#[derive(Debug, Deserialize)]
pub(super) struct Said {
    pub(super) from_address: Felt,
    keys: Box<RawValue>,
    data: Box<RawValue>,
}

impl Said {
    /// The event with its felts.
    ///
    /// # Errors
    /// Fails where they are none.
    pub(super) fn event(&self) -> Result<Event, serde_json::Error> {
        Ok(Event { from_address: self.from_address, keys: felts(&self.keys)?, data: felts(&self.data)? })
    }
}

/// Reads a list of felts, into as much memory as it needs.
fn felts(list: &RawValue) -> Result<Vec<Felt>, serde_json::Error> {
    struct Felts(usize);

    impl<'de> Visitor<'de> for Felts {
        type Value = Vec<Felt>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of felts")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Felt>, A::Error> {
            let mut felts = Vec::with_capacity(self.0);
            while let Some(felt) = list.next_element()? {
                felts.push(felt);
            }
            Ok(felts)
        }
    }

    let text = list.get();
    let most = text.bytes().filter(|byte| *byte == b',').count() + 1;
    serde_json::Deserializer::from_str(text).deserialize_seq(Felts(most))
}

/// A page of the event index: where events are, not what they say.
#[derive(Debug, Deserialize)]
pub(super) struct Page {
    pub(super) events: Vec<Place>,
    #[serde(default)]
    pub(super) continuation_token: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Place {
    #[serde(default)]
    pub(super) block_hash: Option<Felt>,
    #[serde(default)]
    pub(super) block_number: Option<u64>,
}
