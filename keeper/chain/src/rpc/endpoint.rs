//! One endpoint: a request over HTTP, and what can go wrong with it.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError, atomic::AtomicU64, atomic::Ordering},
    time::{Duration, SystemTime},
};

use reqwest::{Response, StatusCode, header::RETRY_AFTER};
use serde_json::{Value, json};
use tokio::time::Instant;
use url::Url;

use super::{
    essence::{Meaning, meaning},
    health::Health,
    request::Request,
    settings::PoolSettings,
    text::{short, shown_url},
};

/// The largest answer that is read. A full block with receipts is a few megabytes.
const LARGEST_ANSWER: usize = 64 << 20;
/// How long an endpoint that says "too often" and not until when is left alone.
const DEFAULT_HOLD: Duration = Duration::from_secs(1);

pub(super) const NO_JSON: Fault = Fault::Unreadable("its answer is no JSON");
pub(super) const OF_ANOTHER: Fault = Fault::Unreadable("it answered another request");
pub(super) const OF_ANOTHER_FORM: Fault = Fault::Unreadable("its answer has another form than the specification's");

/// Whether a result has the shape that the caller can read.
pub(super) type Readable<'a> = &'a (dyn Fn(&Value) -> bool + Send + Sync);

/// Makes something of an answer's bytes, where the answer has this id.
pub(super) type Read<'a, T> = &'a (dyn Fn(u64, &[u8]) -> Result<T, Fault> + Send + Sync);

/// An endpoint of the pool.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) url: Url,
    http: reqwest::Client,
    timeout: Duration,
    /// Requests are numbered, so that an answer to another one is noticed.
    next_id: AtomicU64,
    /// What is known of it. Locked for moments, never while something is waited for.
    health: Mutex<Health>,
}

/// What came of a request.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    /// A result that can be read.
    Result(Value),
    /// A refusal by code: an answer too.
    Refusal(Refusal),
}

/// An error object of JSON-RPC.
#[derive(Clone, Debug, serde::Deserialize)]
pub(super) struct Refusal {
    pub(super) code: i64,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) data: Option<Value>,
}

/// Why there is no answer.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// It could not be connected to; nothing was sent.
    NotConnected,
    /// The connection broke, or no answer came in time.
    NoAnswer(&'static str),
    /// An HTTP status that is no success.
    Status(u16),
    /// It is asked too often; perhaps it said for how long not to.
    TooOften(Option<Duration>),
    /// What came is not what was asked for.
    Unreadable(&'static str),
    /// It has not seen a block that exists.
    Behind(Refusal),
    /// It said that it failed.
    Unwell(Refusal),
}

impl Fault {
    /// Whether the request may have been carried out all the same.
    pub(super) fn may_have_arrived(&self) -> bool {
        match self {
            Self::NotConnected | Self::TooOften(_) => false,
            Self::NoAnswer(_) | Self::Status(_) | Self::Unreadable(_) | Self::Behind(_) | Self::Unwell(_) => true,
        }
    }

    /// The endpoint's own error, where it gave one.
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Behind(refusal) | Self::Unwell(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotConnected => f.write_str("it cannot be connected to"),
            Self::NoAnswer(how) => f.write_str(how),
            Self::Status(status) => write!(f, "HTTP status {status}"),
            Self::TooOften(_) => f.write_str("it is asked too often"),
            Self::Unreadable(what) => f.write_str(what),
            Self::Behind(_) => f.write_str("it has not seen a block that others have"),
            Self::Unwell(refusal) => write!(f, "code {}: {}", refusal.code, short(&refusal.message)),
        }
    }
}

impl Endpoint {
    pub(super) fn new(url: &Url, http: &reqwest::Client, settings: &PoolSettings) -> Self {
        Self {
            url: url.clone(),
            http: http.clone(),
            timeout: settings.timeout,
            next_id: AtomicU64::new(1),
            health: Mutex::new(Health::new(settings)),
        }
    }

    /// How it may be shown.
    pub(super) fn shown(&self) -> String {
        shown_url(&self.url)
    }

    /// What is known of it.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        // Every change is whole: no panic can leave it half made.
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When an answer that is asked for now is late.
    pub(super) fn late_at(&self) -> Instant {
        Instant::now() + self.health().latency.late_after(self.timeout / 2)
    }

    /// Asks, and notes how it went.
    pub(super) async fn ask(&self, request: &Request, readable: Readable<'_>) -> Result<Reply, Fault> {
        self.ask_and_read(request, &|id, body| tree(id, body, request, readable)).await
    }

    /// Asks, and notes how it went. `read` makes something of the answer.
    pub(super) async fn ask_and_read<T>(&self, request: &Request, read: Read<'_, T>) -> Result<T, Fault> {
        self.admitted().await;
        let asked = Instant::now();
        let reply = match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(reply) => reply.and_then(|(id, body)| read(id, &body)),
            Err(_) => Err(Fault::NoAnswer("no answer came in time")),
        };
        let now = Instant::now();
        self.health().answered(now.into_std(), now - asked, reply.as_ref().err());
        reply
    }

    /// Notes what is wrong with an answer beyond its form.
    pub(super) fn failed(&self, fault: Fault) -> Fault {
        self.health().failed(Instant::now().into_std(), &fault.to_string());
        fault
    }

    /// Waits until it may be asked.
    async fn admitted(&self) {
        loop {
            let now = Instant::now();
            let Err(free_at) = self.health().try_ask(now.into_std()) else { return };
            tokio::time::sleep_until(free_at.into()).await;
        }
    }

    /// Sends a request; returns its id and the answer.
    async fn exchange(&self, request: &Request) -> Result<(u64, Vec<u8>), Fault> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "id": id, "jsonrpc": "2.0", "method": request.method, "params": request.params });
        let response = self.http.post(self.url.clone()).json(&body).send().await.map_err(|error| broken(&error))?;
        check_status(&response)?;
        Ok((id, read(response).await?))
    }
}

fn broken(error: &reqwest::Error) -> Fault {
    if error.is_connect() {
        Fault::NotConnected
    } else if error.is_timeout() {
        Fault::NoAnswer("no answer came in time")
    } else {
        Fault::NoAnswer("the connection broke")
    }
}

fn check_status(response: &Response) -> Result<(), Fault> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let wait = wait.and_then(|text| retry_after(text, SystemTime::now()));
    match status {
        StatusCode::TOO_MANY_REQUESTS => Err(Fault::TooOften(Some(wait.unwrap_or(DEFAULT_HOLD)))),
        StatusCode::SERVICE_UNAVAILABLE if wait.is_some() => Err(Fault::TooOften(wait)),
        status => Err(Fault::Status(status.as_u16())),
    }
}

/// Seconds, or a date, as RFC 9110 section 10.2.3 has it.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

/// The answer. What is larger than anything that is asked for is not read to its end.
async fn read(mut response: Response) -> Result<Vec<u8>, Fault> {
    let told = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut body = Vec::with_capacity(told.min(LARGEST_ANSWER));
    while let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))? {
        if body.len() + chunk.len() > LARGEST_ANSWER {
            return Err(Fault::Unreadable("its answer is too large"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What a refusal by code comes to: an answer, or the lack of one.
pub(super) fn refused(refusal: Refusal, request: &Request) -> Result<Refusal, Fault> {
    match meaning(refusal.code, request.is_pinned) {
        Meaning::Answer => Ok(refusal),
        Meaning::Fault => Err(Fault::Unwell(refusal)),
        Meaning::TooOften => Err(Fault::TooOften(Some(DEFAULT_HOLD))),
        Meaning::Behind => Err(Fault::Behind(refusal)),
    }
}

/// Reads an answer into a tree.
pub(super) fn tree(id: u64, body: &[u8], request: &Request, readable: Readable<'_>) -> Result<Reply, Fault> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| NO_JSON)?;
    if answer.get("id").and_then(Value::as_u64) != Some(id) {
        return Err(OF_ANOTHER);
    }
    sort(answer, request, readable)
}

/// Tells results from refusals, and refusals that answer from those that do not.
fn sort(mut answer: Value, request: &Request, readable: Readable<'_>) -> Result<Reply, Fault> {
    if let Some(error) = answer.get_mut("error").map(Value::take).filter(|error| !error.is_null()) {
        let Ok(refusal) = serde_json::from_value::<Refusal>(error) else {
            return Err(Fault::Unreadable("its error is none of JSON-RPC"));
        };
        return refused(refusal, request).map(Reply::Refusal);
    }
    match answer.get_mut("result").map(Value::take) {
        Some(result) if readable(&result) => Ok(Reply::Result(result)),
        _ => Err(OF_ANOTHER_FORM),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_endpoint_asks_for_is_read_in_seconds_and_as_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:40 GMT", now), Some(Duration::from_secs(3)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn a_result_of_another_form_is_no_answer_and_a_refusal_by_code_is() {
        let request = Request::new("starknet_getNonce", json!({}));
        let sorted = |answer| sort(answer, &request, &|result| result.is_string());
        assert!(matches!(sorted(json!({ "result": "0x1" })), Ok(Reply::Result(_))));
        assert!(matches!(sorted(json!({ "result": 1 })), Err(Fault::Unreadable(_))));
        assert!(matches!(sorted(json!({ "nothing": 1 })), Err(Fault::Unreadable(_))));
        let refused = |code: i64| sorted(json!({ "error": { "code": code, "message": "any words" } }));
        assert!(matches!(refused(20), Ok(Reply::Refusal(Refusal { code: 20, .. }))));
        assert!(matches!(refused(-32_603), Err(Fault::Unwell(_))));
        assert!(matches!(refused(-32_005), Err(Fault::TooOften(_))));
        assert!(matches!(sorted(json!({ "error": "broken" })), Err(Fault::Unreadable(_))));
    }
}
