//! Pages of events that several endpoints agree on.
//!
//! A continuation token means something only to the endpoint that gave it, and endpoints cut pages where they like. So each
//! endpoint is read by its own tokens until it has as many events as were asked for, and those are compared. What the
//! caller gets as a token holds the place of every endpoint that agreed; one that has no place yet reads from the beginning
//! and passes over what was read already.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    endpoint::{Endpoint, Fault, Refusal, Reply},
    essence::event,
    pool::{Asking, Pool, PoolError},
    request::{Request, is_to_latest},
};

/// Pages of an endpoint that are read for one of ours. Nodes give up on a page after so many blocks without an event.
const MOST_PAGES: usize = 10_000;
/// What our tokens begin with.
const PREFIX: &str = "pool:";
/// INVALID_CONTINUATION_TOKEN
const INVALID_TOKEN: i64 = 33;

/// Where the next page begins.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Cursor {
    /// Events before it.
    read: usize,
    /// Up to which block, where the newest was asked for: it must be the same for all pages.
    to: Value,
    places: Vec<Place>,
}

/// Where the next page begins at an endpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Place {
    endpoint: usize,
    token: Option<String>,
    /// Events of that page of the endpoint's that were read already.
    skip: usize,
}

impl Cursor {
    fn read(token: &str) -> Option<Self> {
        serde_json::from_str(token.strip_prefix(PREFIX)?).ok()
    }

    fn token(&self) -> Result<String, PoolError> {
        Ok(format!("{PREFIX}{}", serde_json::to_string(self)?))
    }

    /// Where to go on at an endpoint.
    fn place(&self, endpoint: usize) -> Place {
        let known = self.places.iter().find(|place| place.endpoint == endpoint);
        known.cloned().unwrap_or(Place { endpoint, token: None, skip: self.read })
    }
}

impl Pool {
    /// A page of events.
    ///
    /// # Errors
    /// Fails where the endpoints do not answer, or do not agree.
    pub(super) async fn events(&self, request: &Request) -> Result<Reply, PoolError> {
        let filter = &request.params["filter"];
        let chunk = filter["chunk_size"].as_u64().and_then(|size| usize::try_from(size).ok()).unwrap_or(1).max(1);
        let cursor = match filter.get("continuation_token").and_then(Value::as_str).map(Cursor::read) {
            Some(Some(cursor)) => cursor,
            Some(None) => return Ok(Reply::Refusal(invalid_token())),
            None => Cursor { read: 0, to: self.last_block(filter).await?, places: Vec::new() },
        };
        let mut pinned = request.clone();
        pinned.params["filter"]["to_block"] = cursor.to.clone();
        let to = cursor.to.get("block_number").and_then(Value::as_u64);
        pinned.is_pinned = to.zip(self.memory().number()).is_some_and(|(to, head)| to <= head);
        let ask = |request: Arc<Request>, place: usize| -> Asking<'_> {
            let (endpoint, from) = (self.endpoints[place].clone(), cursor.place(place));
            Box::pin(async move { (place, read_page(&endpoint, &request, chunk, from).await) })
        };
        let preferred: Vec<usize> = cursor.places.iter().map(|place| place.endpoint).collect();
        let essence = |reply: &Reply| match reply {
            Reply::Result(page) => page["events"].as_array().into_iter().flatten().map(event).collect(),
            Reply::Refusal(refusal) => json!({ "code": refusal.code }),
        };
        let asked = self.in_rounds(&pinned, self.settings.agreement, &preferred, ask, essence).await?;
        let (Reply::Result(mut page), gathered) = asked else { return Ok(asked.0) };
        let events = page["events"].take();
        let read = cursor.read + events.as_array().map_or(0, Vec::len);
        let places = gathered.replies.iter().filter(|(place, _)| gathered.same.contains(place));
        let places = places.filter_map(|(_, reply)| match reply {
            Reply::Result(page) => serde_json::from_value(page["next"].clone()).ok(),
            Reply::Refusal(_) => None,
        });
        let next = Cursor { read, to: cursor.to.clone(), places: places.collect() };
        if next.places.is_empty() {
            return Ok(Reply::Result(json!({ "events": events })));
        }
        Ok(Reply::Result(json!({ "events": events, "continuation_token": next.token()? })))
    }

    /// The block up to which events are read.
    async fn last_block(&self, filter: &Value) -> Result<Value, PoolError> {
        if !is_to_latest(filter) {
            return Ok(filter["to_block"].clone());
        }
        Ok(json!({ "block_number": self.agreed_head(std::time::Duration::ZERO).await?.number }))
    }
}

fn invalid_token() -> Refusal {
    Refusal { code: INVALID_TOKEN, message: "the token is none of this connection's".to_owned(), data: None }
}

/// Reads `chunk` events of one endpoint, or as many as there are, and where to go on.
async fn read_page(endpoint: &Endpoint, request: &Request, chunk: usize, mut at: Place) -> Result<Reply, Fault> {
    let mut events = Vec::new();
    for _ in 0..MOST_PAGES {
        let mut asked = request.clone();
        asked.params["filter"]["continuation_token"] = json!(at.token);
        if at.token.is_none()
            && let Some(filter) = asked.params["filter"].as_object_mut()
        {
            filter.remove("continuation_token");
        }
        let mut page = match endpoint.ask(&asked, &is_page).await? {
            Reply::Result(page) => page,
            refused @ Reply::Refusal(_) => return Ok(refused),
        };
        let Value::Array(found) = page["events"].take() else { return Err(Fault::Unreadable("it has no events")) };
        let next = page["continuation_token"].as_str().map(ToOwned::to_owned);
        if next.is_some() && next == at.token {
            return Err(endpoint.failed(Fault::Unreadable("its continuation token does not move on")));
        }
        let (count, wanted) = (found.len(), chunk - events.len());
        events.extend(found.into_iter().skip(at.skip).take(wanted));
        if count.saturating_sub(at.skip) > wanted {
            at.skip += wanted;
            return Ok(page_of(&events, Some(&at)));
        }
        at.skip = at.skip.saturating_sub(count);
        let Some(token) = next else { return Ok(page_of(&events, None)) };
        at.token = Some(token);
        if events.len() == chunk {
            return Ok(page_of(&events, Some(&at)));
        }
    }
    Err(endpoint.failed(Fault::Unreadable("its pages do not end")))
}

fn page_of(events: &[Value], next: Option<&Place>) -> Reply {
    Reply::Result(json!({ "events": events, "next": next }))
}

fn is_page(page: &Value) -> bool {
    serde_json::from_value::<starknet::core::types::EventsPage>(page.clone()).is_ok()
}

#[cfg(test)]
mod tests;
