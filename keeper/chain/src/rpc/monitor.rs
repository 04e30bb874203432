//! Looks at every endpoint again and again: is it of the right network, how far is it behind, has it the same blocks as the
//! others, is it well again.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use keeper_types::{BlockNumber, ChainId, Felt};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::{
    RpcError,
    breaker::Circuit,
    endpoint::{Endpoint, Fault, Reply},
    head::pin_of,
    health::{Identity, Standing},
    pool::Pool,
    request::Request,
};
use crate::Network;

/// How far below the newest block the endpoints' blocks are compared: what is above may still be on its way.
const SETTLED: u64 = 10;
/// How often those that rest are looked at.
const TICK: Duration = Duration::from_secs(1);
/// Every so many rounds an endpoint says once more which network it is of.
const IDENTIFY_EVERY: u32 = 12;
/// How long a start waits for the other endpoints once one is good.
const GRACE: Duration = Duration::from_secs(1);
/// How long a check does.
pub(super) const SHORT_GRACE: Duration = Duration::from_millis(250);

/// What the endpoints say about one block.
#[derive(Clone, Debug)]
pub struct CrossCheck {
    /// The block.
    pub number: BlockNumber,
    /// The hash that most of them have, where no other has as many.
    pub hash: Option<Felt>,
    /// Endpoints with that hash.
    pub agreeing: Vec<String>,
    /// Endpoints with another one.
    pub differing: Vec<String>,
    /// Endpoints that do not have the block, or did not answer.
    pub silent: Vec<String>,
}

impl CrossCheck {
    /// Whether all that answered have the same block, and at least one did.
    pub fn is_agreed(&self) -> bool {
        self.hash.is_some() && self.differing.is_empty()
    }
}

/// Looks at the pool's endpoints for as long as somebody uses it.
pub(super) fn watch(pool: &Arc<Pool>) {
    let pool: Weak<Pool> = Arc::downgrade(pool);
    tokio::spawn(async move {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looked, mut rounds) = (Instant::now(), 0);
        loop {
            ticks.tick().await;
            let Some(pool) = pool.upgrade() else { return };
            pool.look_at_resting().await;
            if looked.elapsed() >= pool.settings.check_every {
                (looked, rounds) = (Instant::now(), rounds + 1);
                if rounds % IDENTIFY_EVERY == 0
                    && let Err(error) = pool.identify_all(pool.settings.timeout).await
                {
                    tracing::warn!(%error, "no endpoint can be used");
                }
                pool.look().await;
            }
        }
    });
}

impl Pool {
    /// Checks every endpoint at the start.
    ///
    /// # Errors
    /// Fails where none is good, with what is wrong with the first.
    pub(super) async fn start(&self) -> Result<(), RpcError> {
        for (_, error) in self.identify_all(GRACE).await? {
            tracing::warn!(%error, "an endpoint cannot be used; it is tried again");
        }
        Ok(())
    }

    /// Asks all of them which network they are of, and waits for `grace` longer than for the first good one. Returns what
    /// is wrong with others.
    ///
    /// # Errors
    /// Fails where none is good, with what is wrong with the first.
    pub(super) async fn identify_all(&self, grace: Duration) -> Result<Vec<(usize, RpcError)>, RpcError> {
        let mut checks: FuturesUnordered<_> =
            (0..self.endpoints.len()).map(|place| async move { (place, self.identify(place).await) }).collect();
        let (mut patience, mut errors) = (None, Vec::new());
        loop {
            let checked = tokio::select! {
                checked = checks.next() => checked,
                () = sleep_until(patience.unwrap_or_else(Instant::now)), if patience.is_some() => break,
            };
            match checked {
                Some((_, Ok(()))) => patience = patience.or(Some(Instant::now() + grace)),
                Some((place, Err(error))) => errors.push((place, error)),
                None => break,
            }
        }
        errors.sort_by_key(|(place, _)| *place);
        if patience.is_some() {
            return Ok(errors);
        }
        let first = errors.into_iter().next().map(|(_, error)| error);
        Err(first.unwrap_or(RpcError::Unreachable { url: String::new(), reason: "no endpoint is given".to_owned() }))
    }

    /// Asks an endpoint which network it is of.
    ///
    /// # Errors
    /// Fails where it is of another, or cannot be asked.
    pub(super) async fn identify(&self, place: usize) -> Result<(), RpcError> {
        let endpoint = &self.endpoints[place];
        let found = identity(endpoint, self.network).await;
        endpoint.health().identity = match &found {
            Ok(()) => Identity::Right,
            Err(RpcError::WrongChain { .. } | RpcError::WrongVersion { .. }) => Identity::Wrong,
            // What was found out before holds until something else is.
            Err(_) => return found,
        };
        found
    }

    /// Tries those once that were left alone for long enough, or not yet found to be of the network.
    async fn look_at_resting(&self) {
        let now = Instant::now().into_std();
        let due = (0..self.endpoints.len()).filter(|place| {
            let health = self.endpoints[*place].health();
            let circuit = health.breaker.circuit(now);
            circuit == Circuit::HalfOpen || (health.identity != Identity::Right && circuit == Circuit::Closed)
        });
        join_all(due.map(|place| async move {
            if self.identify(place).await.is_ok() {
                tracing::info!(endpoint = self.endpoints[place].shown(), "an endpoint can be used again");
            }
        }))
        .await;
    }

    /// Finds out how far each is behind, and whether each has the blocks of the others.
    pub(super) async fn look(&self) {
        let Ok(agreed) = self.agreed_head(Duration::ZERO).await else { return };
        let heads = self.usable().into_iter().map(|place| async move {
            let endpoint = &self.endpoints[place];
            let head = endpoint.ask(&Request::head(), &|head| pin_of(head).is_some()).await;
            if let Ok(Reply::Result(head)) = head
                && let Some(pin) = pin_of(&head)
            {
                endpoint.health().told_head(pin.number, agreed.number);
            }
        });
        join_all(heads).await;
        if let Some(number) = agreed.number.checked_sub(SETTLED) {
            self.compare(BlockNumber(number)).await;
        }
    }

    /// Compares the endpoints' blocks of this number, and remembers who disagrees.
    async fn compare(&self, number: BlockNumber) {
        let (check, answers) = self.cross_check(number, self.usable()).await;
        for (place, hash) in answers {
            let disagrees = check.hash.is_some() && hash.is_some() && hash != check.hash;
            let endpoint = &self.endpoints[place];
            let before = std::mem::replace(&mut endpoint.health().disagrees, disagrees);
            if disagrees && !before {
                tracing::warn!(endpoint = endpoint.shown(), block = %number, "an endpoint has another block than the others");
            }
        }
    }

    /// Those of the network that do not rest.
    fn usable(&self) -> Vec<usize> {
        let now = Instant::now().into_std();
        let usable = |place: &usize| {
            let standing = self.endpoints[*place].health().standing(now);
            matches!(standing, Standing::Healthy | Standing::Lagging | Standing::Disagreeing)
        };
        (0..self.endpoints.len()).filter(usable).collect()
    }

    /// What these endpoints say about a block.
    pub(super) async fn cross_check(
        &self,
        number: BlockNumber,
        places: Vec<usize>,
    ) -> (CrossCheck, Vec<(usize, Option<Felt>)>) {
        let answers =
            join_all(places.into_iter().map(|place| async move { (place, self.block_hash(place, number.0).await) }))
                .await;
        let hash = plurality(&answers.iter().filter_map(|(_, hash)| *hash).collect::<Vec<_>>());
        let named = |wanted: &dyn Fn(Option<Felt>) -> bool| {
            let chosen = answers.iter().filter(|(_, hash)| wanted(*hash));
            chosen.map(|(place, _)| self.endpoints[*place].shown()).collect()
        };
        let check = CrossCheck {
            number,
            hash,
            agreeing: named(&|found| found.is_some() && found == hash),
            differing: named(&|found| found.is_some() && found != hash),
            silent: named(&|found| found.is_none()),
        };
        (check, answers)
    }
}

/// What is there most often, where nothing else is as often.
fn plurality(hashes: &[Felt]) -> Option<Felt> {
    let count = |hash: &Felt| hashes.iter().filter(|other| *other == hash).count();
    let best = hashes.iter().max_by_key(|hash| count(hash))?;
    hashes.iter().all(|hash| hash == best || count(hash) < count(best)).then_some(*best)
}

/// Checks that an endpoint is of the network and speaks a specification that this client was written for.
async fn identity(endpoint: &Endpoint, network: Network) -> Result<(), RpcError> {
    let url = endpoint.shown();
    let version = text(endpoint, "starknet_specVersion").await?;
    if !matches!(version.split('.').collect::<Vec<_>>()[..], ["0", "9" | "10", ..]) {
        return Err(RpcError::WrongVersion { url, version });
    }
    let chain = text(endpoint, "starknet_chainId").await?;
    let malformed = |_| RpcError::Malformed { request: "the chain id", reason: "it is no number".to_owned() };
    let actual = ChainId(Felt::from_hex(&chain).map_err(malformed)?);
    if actual != network.chain_id() {
        let expected = network.chain_id().name();
        return Err(RpcError::WrongChain { url, network, expected, actual: actual.name() });
    }
    Ok(())
}

async fn text(endpoint: &Endpoint, method: &str) -> Result<String, RpcError> {
    let reason = match endpoint.ask(&Request::new(method, json!([])), &Value::is_string).await {
        Ok(Reply::Result(text)) => return Ok(text.as_str().unwrap_or_default().to_owned()),
        Ok(Reply::Refusal(refusal)) => Fault::Unwell(refusal).to_string(),
        Err(fault) => fault.to_string(),
    };
    Err(RpcError::Unreachable { url: endpoint.shown(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_that_most_have_is_found_and_a_tie_has_none() {
        let hashes = |numbers: &[u8]| numbers.iter().map(|number| Felt::from(*number)).collect::<Vec<_>>();
        assert_eq!(plurality(&hashes(&[1, 2, 1])), Some(Felt::ONE));
        assert_eq!(plurality(&hashes(&[2])), Some(Felt::TWO));
        assert_eq!(plurality(&hashes(&[1, 2])), None);
        assert_eq!(plurality(&[]), None);
    }
}
