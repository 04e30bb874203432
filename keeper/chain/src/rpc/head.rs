//! The newest block that the endpoints agree on.
//!
//! It is the highest block that as many endpoints hold, with the same hash, as must agree. It does not go down because an
//! endpoint is behind: below what was seen before, the others are asked, and the chain counts as shorter only where none
//! that answers is as high any more.

use std::{collections::BTreeSet, time::Duration};

use keeper_types::Felt;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{
    endpoint::Reply,
    pool::{Asking, Gathered, Pool, PoolError},
    request::{Pin, Request},
    tally::Verdict,
};

/// How often the endpoints are asked for it.
const ROUNDS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(50);
/// A chain that only one endpoint still tells of may be shorter than before once nobody has confirmed the higher one for
/// so long.
const UNCONFIRMED: Duration = Duration::from_secs(60);

/// What is known of the newest block.
#[derive(Debug, Default)]
pub(super) struct HeadMemory {
    /// What was last agreed on, and when.
    agreed: Option<(Pin, Instant)>,
    /// The highest block that was seen to exist.
    floor: u64,
}

impl HeadMemory {
    /// The newest block, where that was found out no longer ago than `age`.
    fn fresh(&self, age: Duration) -> Option<Pin> {
        let (pin, at) = self.agreed?;
        (at.elapsed() < age && pin.number >= self.floor).then_some(pin)
    }

    /// The agreed newest block's number.
    pub(super) fn number(&self) -> Option<u64> {
        self.agreed.map(|(pin, _)| pin.number)
    }

    /// Takes the block that a believed answer is of for one that exists.
    pub(super) fn saw(&mut self, reply: &Reply, is_agreed: bool) {
        let Reply::Result(result) = reply else { return };
        if let Some(number) = result.get("block_number").and_then(Value::as_u64)
            && is_agreed
        {
            self.floor = self.floor.max(number);
        }
    }

    fn agree(&mut self, pin: Pin) {
        self.agreed = Some((pin, Instant::now()));
        self.floor = pin.number;
    }

    /// Whether nobody confirmed the floor for long.
    fn is_stale(&self) -> bool {
        self.agreed.is_none_or(|(_, at)| at.elapsed() > UNCONFIRMED)
    }
}

impl Pool {
    /// The newest block that the endpoints agree on, found out no longer ago than `age`.
    ///
    /// # Errors
    /// Fails where they do not answer, or do not agree on any.
    pub(super) async fn agreed_head(&self, age: Duration) -> Result<Pin, PoolError> {
        if let Some(pin) = self.memory().fresh(age) {
            return Ok(pin);
        }
        let mut last = PoolError::NoAnswer("there is no newest block".to_owned());
        for _ in 0..ROUNDS {
            match self.look_for_head().await {
                Ok(pin) => return Ok(pin),
                Err(error) => last = error,
            }
            sleep(PAUSE).await;
        }
        Err(last)
    }

    async fn look_for_head(&self) -> Result<Pin, PoolError> {
        let order = self.order();
        let needed = self.settings.agreement.min(order.len()).max(1);
        let floor = self.memory().floor;
        let first = self.ask_heads(&order, needed).await;
        let mut heads = heads(&first);
        if let Verdict::Believe(who) = first.verdict
            && let Some((_, pin)) = heads.iter().find(|(place, _)| *place == who)
            && pin.number >= floor
            && first.other.is_empty()
        {
            return Ok(self.agree_on(*pin, &heads));
        }
        // They differ, be it by a block that not all have yet: everybody has a say.
        let rest: Vec<usize> =
            order.iter().copied().filter(|place| heads.iter().all(|(who, _)| who != place)).collect();
        let more = self.ask_heads(&rest, rest.len()).await;
        heads.extend(self::heads(&more));
        if heads.is_empty() {
            let faults: Vec<_> = first.faults.into_iter().chain(more.faults).collect();
            return Err(self.no_answer(&faults));
        }
        let agreed = self.settle(&heads, needed.min(heads.len())).await;
        match agreed {
            Some(pin) if pin.number >= floor => Ok(self.agree_on(pin, &heads)),
            Some(pin) if heads.iter().all(|(_, head)| head.number < floor) => self.shorten(pin, &heads),
            _ => self.keep(&heads).await,
        }
    }

    /// All that answer are below what was seen before.
    fn shorten(&self, pin: Pin, heads: &[(usize, Pin)]) -> Result<Pin, PoolError> {
        let is_certain = heads.len() >= self.settings.agreement.min(self.endpoints.len());
        if !is_certain && !self.memory().is_stale() {
            return Err(PoolError::NoAnswer("the endpoints that answer are behind the others".to_owned()));
        }
        tracing::warn!(block = pin.number, "the chain is shorter than it was");
        Ok(self.agree_on(pin, heads))
    }

    /// Some are as high as before and some are not: what was agreed on before stands where anybody still holds it.
    async fn keep(&self, heads: &[(usize, Pin)]) -> Result<Pin, PoolError> {
        let before = self.memory().agreed;
        if let Some((pin, _)) = before {
            for (place, head) in heads.iter().filter(|(_, head)| head.number >= pin.number) {
                if self.hash_at(*place, *head, pin.number).await == Some(pin.hash) {
                    return Ok(pin);
                }
            }
        }
        Err(PoolError::Contradiction(heads.iter().map(|(place, _)| self.endpoints[*place].shown()).collect()))
    }

    /// The highest block that `needed` endpoints hold with the same hash.
    async fn settle(&self, heads: &[(usize, Pin)], needed: usize) -> Option<Pin> {
        let numbers: BTreeSet<u64> = heads.iter().map(|(_, pin)| pin.number).collect();
        for number in numbers.into_iter().rev() {
            let holders: Vec<_> = heads.iter().filter(|(_, pin)| pin.number >= number).collect();
            if holders.len() < needed {
                continue;
            }
            let hashes = holders.iter().map(|(place, head)| self.hash_at(*place, *head, number));
            let hashes: Vec<Felt> = futures::future::join_all(hashes).await.into_iter().flatten().collect();
            let agreed = hashes.iter().find(|hash| hashes.iter().filter(|other| other == hash).count() >= needed);
            if let Some(hash) = agreed {
                return Some(Pin { number, hash: *hash });
            }
        }
        None
    }

    /// The hash of the block of this number, by an endpoint whose newest block is `head`.
    async fn hash_at(&self, place: usize, head: Pin, number: u64) -> Option<Felt> {
        if head.number == number {
            return Some(head.hash);
        }
        self.block_hash(place, number).await
    }

    /// The hash of a block, by one endpoint.
    pub(super) async fn block_hash(&self, place: usize, number: u64) -> Option<Felt> {
        let readable = |block: &Value| hash_of(block).is_some();
        let Ok(Reply::Result(block)) = self.endpoints[place].ask(&Request::block(number), &readable).await else {
            return None;
        };
        hash_of(&block)
    }

    async fn ask_heads(&self, order: &[usize], needed: usize) -> Gathered {
        let ask = |place: usize| -> Asking<'_> {
            let endpoint = self.endpoints[place].clone();
            Box::pin(async move { (place, endpoint.ask(&Request::head(), &|head| pin_of(head).is_some()).await) })
        };
        self.gather(order, needed, ask, |reply| match reply {
            Reply::Result(head) => super::essence::essence("starknet_blockHashAndNumber", head),
            Reply::Refusal(_) => Value::Null,
        })
        .await
    }

    fn agree_on(&self, pin: Pin, heads: &[(usize, Pin)]) -> Pin {
        self.memory().agree(pin);
        for (place, head) in heads {
            self.endpoints[*place].health().told_head(head.number, pin.number);
        }
        pin
    }

    /// Whether a request is of a block that was seen to exist.
    pub(super) fn is_of_known_block(&self, params: &Value) -> bool {
        let block = params.get("block_id").and_then(|block| block.get("block_number")).and_then(Value::as_u64);
        block.is_some_and(|number| number <= self.memory().floor)
    }
}

fn heads(gathered: &Gathered) -> Vec<(usize, Pin)> {
    let pins = gathered.replies.iter().filter_map(|(place, reply)| match reply {
        Reply::Result(head) => Some((*place, pin_of(head)?)),
        Reply::Refusal(_) => None,
    });
    pins.collect()
}

/// The block of an answer to [`Request::head`].
pub(super) fn pin_of(head: &Value) -> Option<Pin> {
    Some(Pin { number: head.get("block_number")?.as_u64()?, hash: hash_of(head)? })
}

fn hash_of(block: &Value) -> Option<Felt> {
    Felt::from_hex(block.get("block_hash")?.as_str()?).ok()
}
