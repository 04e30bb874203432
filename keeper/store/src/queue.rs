//! Durable work queues: what came in, what is to be handed out, and what could not be done.
//!
//! ```text
//!  enqueue --> waiting --claim--> claimed --acknowledge--> gone
//!                ^  ^               |  |
//!                |  +--time is up---+  +--fail--> waiting again later, or a dead letter
//!                |                                                        |
//!                +--------------------------requeue-----------------------+
//! ```
//!
//! An item is handed out at least once: whoever claims it and is not heard of again loses it to the next. A claim is
//! told apart from later ones of the same item by its attempt, and what an earlier one says is refused.

use std::{fmt, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{StoreError, columns::number};

/// Most bytes of the names of queues and claimers, and of keys.
pub(crate) const LONGEST_NAME: usize = 255;

/// An item's number in its database; later ones are higher, and none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ItemId(pub u64);

impl fmt::Display for ItemId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Work to be queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewItem {
    /// What tells it apart from others of its queue: 1 to 255 bytes.
    pub key: String,
    /// What is to be done.
    pub payload: Vec<u8>,
}

/// A claimed item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The item.
    pub item_id: ItemId,
    /// Its key.
    pub key: String,
    /// What is to be done.
    pub payload: Vec<u8>,
    /// The how many-th claim of the item this is, from 1.
    pub attempt: u32,
    /// When it was enqueued, in milliseconds since the epoch by the database's clock.
    pub enqueued_ms: u64,
}

impl Claim {
    /// What proves this claim.
    pub fn token(&self) -> ClaimToken {
        ClaimToken { item_id: self.item_id, attempt: self.attempt }
    }
}

/// One claim of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClaimToken {
    /// The item.
    pub item_id: ItemId,
    /// The claim's attempt.
    pub attempt: u32,
}

/// How a claimer takes items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimTerms {
    /// Who claims, for whoever looks at the queue: 1 to 255 bytes.
    pub claimer: String,
    /// Most items at once.
    pub limit: u32,
    /// How long they are nobody else's.
    pub visibility: Duration,
    /// How often an item may be claimed. One that was claimed so often, and whose last claimer was not heard of
    /// again, becomes a dead letter instead.
    pub max_attempts: u32,
}

/// What becomes of an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// How often an item may be claimed; after that it is a dead letter.
    pub max_attempts: u32,
    /// How long it waits after its first attempt; twice as long after each further one.
    pub backoff: Duration,
    /// How long it waits at most.
    pub max_backoff: Duration,
}

impl RetryPolicy {
    /// How long an item waits after this attempt; `None` where that was its last.
    pub fn delay(&self, attempt: u32) -> Option<Duration> {
        let doublings = attempt.saturating_sub(1);
        let delay = 1_u32.checked_shl(doublings).and_then(|factor| self.backoff.checked_mul(factor));
        (attempt < self.max_attempts).then(|| delay.unwrap_or(self.max_backoff).min(self.max_backoff))
    }
}

/// What became of an item that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failed {
    /// It waits, and may be claimed again from this time on, in milliseconds since the epoch.
    Retry {
        /// When.
        visible_ms: u64,
    },
    /// It is a dead letter.
    Dead,
}

/// Work that nobody could finish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeadLetter {
    /// The item.
    pub item_id: ItemId,
    /// Its key.
    pub key: String,
    /// What was to be done.
    pub payload: Vec<u8>,
    /// How often it was tried.
    pub attempt: u32,
    /// Why it failed the last time.
    pub error: String,
    /// When it was enqueued, in milliseconds since the epoch.
    pub enqueued_ms: u64,
    /// When it was given up, in milliseconds since the epoch.
    pub died_ms: u64,
}

/// A queue in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct QueueStats {
    /// Items that may be claimed now, those among them whose claim has run out.
    pub ready: u64,
    /// Items that wait for their next attempt.
    pub delayed: u64,
    /// Items that are claimed.
    pub claimed: u64,
    /// Dead letters.
    pub dead: u64,
    /// How long the item that has waited longest could have been claimed, in milliseconds.
    pub oldest_ready_ms: Option<u64>,
}

/// Queues in the database. Every call that writes is one transaction, durable when it returns.
#[async_trait]
pub trait WorkQueue: fmt::Debug + Send + Sync {
    /// Puts items at the end of a queue; gives how many. One whose key is in the queue or among its dead letters
    /// already is left out: the first stands. Once an item is acknowledged, its key may come again.
    async fn enqueue(&self, queue: &str, items: Vec<NewItem>) -> Result<u64, StoreError>;

    /// Takes the items that have been claimable longest, for a while. Claimers at the same time get different ones
    /// and do not wait for each other.
    async fn claim(&self, queue: &str, terms: &ClaimTerms) -> Result<Vec<Claim>, StoreError>;

    /// Removes items that are done; gives those of which another claim was made since, or that are gone. A claim that
    /// has run out still counts as long as nobody else made one.
    async fn acknowledge(&self, claims: Vec<ClaimToken>) -> Result<Vec<ItemId>, StoreError>;

    /// Keeps items for `visibility` from now; gives those that are not this claim's any more.
    async fn extend(&self, claims: Vec<ClaimToken>, visibility: Duration) -> Result<Vec<ItemId>, StoreError>;

    /// Gives an item back that could not be done, to be tried again later or, after its last attempt, as a dead
    /// letter.
    ///
    /// # Errors
    /// [`StoreError::ClaimLost`] where another claim of it was made since, or it is gone.
    async fn fail(&self, claim: ClaimToken, error: &str, retry: &RetryPolicy) -> Result<Failed, StoreError>;

    /// The first `limit` dead letters of a queue.
    async fn dead_letters(&self, queue: &str, limit: u32) -> Result<Vec<DeadLetter>, StoreError>;

    /// Puts dead letters back at the end of their queue, as new items that have not been tried; gives how many of
    /// them there were.
    async fn requeue(&self, queue: &str, dead: Vec<ItemId>) -> Result<u64, StoreError>;

    /// A queue in numbers.
    async fn stats(&self, queue: &str) -> Result<QueueStats, StoreError>;
}

/// What is written beside an item whose claimers were never heard of again.
pub(crate) const NEVER_FINISHED: &str = "it was claimed as often as allowed and never finished";

/// Checks the length of a name or key.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<(), StoreError> {
    let length = name.len();
    if (1..=LONGEST_NAME).contains(&length) && !name.contains('\0') {
        Ok(())
    } else {
        Err(StoreError::Length { field, length, longest: LONGEST_NAME })
    }
}

/// Checks what is to be enqueued.
pub(crate) fn check_items(queue: &str, items: &[NewItem]) -> Result<(), StoreError> {
    check_name("the queue's name", queue)?;
    items.iter().try_for_each(|item| check_name("an item's key", &item.key))
}

/// Item, key, payload, attempt and when it was enqueued.
pub(crate) type ClaimRow = (i64, String, Vec<u8>, i64, i64);
/// Item, key, payload, attempts, error, when it was enqueued and when it died.
pub(crate) type DeadRow = (i64, String, Vec<u8>, i64, String, i64, i64);
/// Ready, delayed, claimed, dead, and the age of the oldest that is ready.
pub(crate) type StatsRow = (i64, i64, i64, i64, Option<i64>);

impl TryFrom<ClaimRow> for Claim {
    type Error = StoreError;

    fn try_from((item_id, key, payload, attempt, enqueued_ms): ClaimRow) -> Result<Self, Self::Error> {
        Ok(Self {
            item_id: ItemId(number("item id", item_id)?),
            key,
            payload,
            attempt: number("attempt", attempt)?,
            enqueued_ms: number("time", enqueued_ms)?,
        })
    }
}

impl TryFrom<DeadRow> for DeadLetter {
    type Error = StoreError;

    fn try_from(row: DeadRow) -> Result<Self, Self::Error> {
        let (item_id, key, payload, attempt, error, enqueued_ms, died_ms) = row;
        Ok(Self {
            item_id: ItemId(number("item id", item_id)?),
            key,
            payload,
            attempt: number("attempt", attempt)?,
            error,
            enqueued_ms: number("time", enqueued_ms)?,
            died_ms: number("time", died_ms)?,
        })
    }
}

impl TryFrom<StatsRow> for QueueStats {
    type Error = StoreError;

    fn try_from((ready, delayed, claimed, dead, oldest): StatsRow) -> Result<Self, Self::Error> {
        Ok(Self {
            ready: number("count", ready)?,
            delayed: number("count", delayed)?,
            claimed: number("count", claimed)?,
            dead: number("count", dead)?,
            oldest_ready_ms: oldest.map(|age| number("time", age)).transpose()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_limit_and_ends_with_the_last_attempt() {
        let ms = Duration::from_millis;
        let policy = RetryPolicy { max_attempts: 5, backoff: ms(100), max_backoff: ms(350) };
        let delays: Vec<_> = (1..=6).map(|attempt| policy.delay(attempt)).collect();
        assert_eq!(delays, [Some(ms(100)), Some(ms(200)), Some(ms(350)), Some(ms(350)), None, None]);
        let patient = RetryPolicy { max_attempts: u32::MAX, ..policy };
        assert_eq!(patient.delay(1_000), Some(ms(350)), "no number of doublings overflows");
    }

    #[test]
    fn names_have_a_length() {
        check_name("key", "k").unwrap();
        check_name("key", &"k".repeat(255)).unwrap();
        for wrong in ["", "a\0b", &"k".repeat(256)] {
            let error = check_name("an item's key", wrong).unwrap_err().to_string();
            let expected = "an item's key has {} bytes, but must have 1 to 255, none of them zero";
            assert_eq!(error, expected.replace("{}", &wrong.len().to_string()));
        }
    }
}
