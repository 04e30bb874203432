//! Several endpoints as one: whom to ask, whom to believe.
//!
//! With one endpoint a request is one request. With several, a read is put to as many as must agree, and to one more when
//! an answer is late, missing or contradicted ([`super::tally`]). A read of the newest block is pinned to the hash of a
//! block that they agree on ([`super::head`]), so that an endpoint that is behind, or on a fork, says that it does not know
//! that block and cannot answer of another. Transactions go to two endpoints, the same bytes ([`super::writing`]).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::{
    endpoint::{Endpoint, Fault, Read, Readable, Refusal, Reply, tree},
    essence::{essence, is_on_l1},
    head::HeadMemory,
    health::{EndpointHealth, Standing, order},
    request::{Kind, Request},
    settings::PoolSettings,
    tally::{Pace, Tally, Verdict},
};
use crate::Network;

/// How often a read is put to the endpoints.
const ROUNDS: u32 = 4;
/// The pause before a read is put to them again; doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
/// How old the agreed newest block may be for reads of the newest state.
const HEAD_AGE: Duration = Duration::from_millis(250);
/// What is late by this factor is waited for no longer, where anything else will do.
const OVERDUE: u32 = 4;
/// But this long at least.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// The endpoints.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) endpoints: Vec<Arc<Endpoint>>,
    pub(super) settings: PoolSettings,
    pub(super) network: Network,
    head: Mutex<HeadMemory>,
}

/// Nobody gave an answer that can be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PoolError {
    /// None came.
    #[error("{0}")]
    NoAnswer(String),
    /// Endpoints say different things, and none has enough beside it.
    #[error("its endpoints contradict each other: {}", .0.join(", "))]
    Contradiction(Vec<String>),
    /// Several requests in one.
    #[error("requests are asked one at a time, not in batches")]
    Batch,
    /// What is asked cannot be written as JSON.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// What came of putting a request to several endpoints.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What is to be believed, if anything.
    pub(super) verdict: Verdict,
    pub(super) replies: Vec<(usize, Reply)>,
    pub(super) faults: Vec<(usize, Fault)>,
    /// Who said as the believed one did.
    pub(super) same: Vec<usize>,
    /// Who said otherwise.
    pub(super) other: Vec<usize>,
}

/// A request to one endpoint, under way.
pub(super) type Asking<'a> = BoxFuture<'a, (usize, Result<Reply, Fault>)>;

impl Gathered {
    /// The believed answer. Of those who say the same, nodes learn at different times that a block is accepted on L1, and
    /// some never: whoever knows it is believed, or a block would never be final where the fastest does not follow L1.
    pub(super) fn believed(&self) -> Option<&Reply> {
        let Verdict::Believe(who) = self.verdict else { return None };
        let mut same = self.replies.iter().filter(|(place, _)| self.same.contains(place));
        let knows = |(_, reply): &&(usize, Reply)| matches!(reply, Reply::Result(result) if is_on_l1(result));
        let of_who = || self.replies.iter().find(|(place, _)| *place == who);
        same.find(knows).or_else(of_who).map(|(_, reply)| reply)
    }

    /// Whether nobody has the block that was asked for.
    fn is_nowhere(&self) -> bool {
        self.replies.is_empty()
            && !self.faults.is_empty()
            && self.faults.iter().all(|(_, fault)| matches!(fault, Fault::Behind(_)))
    }
}

impl Pool {
    pub(super) fn new(network: Network, urls: &[Url], mut settings: PoolSettings, http: &reqwest::Client) -> Self {
        if urls.len() == 1 {
            // There is nothing to ask in its place.
            settings.rest = Duration::ZERO;
        }
        let endpoints = urls.iter().map(|url| Arc::new(Endpoint::new(url, http, &settings))).collect();
        Self { endpoints, settings, network, head: Mutex::new(HeadMemory::default()) }
    }

    /// What is known of the newest block.
    pub(super) fn memory(&self) -> MutexGuard<'_, HeadMemory> {
        // Every change is a single assignment.
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How every endpoint is.
    pub(super) fn health(&self) -> Vec<EndpointHealth> {
        let now = Instant::now().into_std();
        self.endpoints.iter().map(|endpoint| endpoint.health().told(endpoint.shown(), now)).collect()
    }

    /// Whether there is somebody to compare an answer with.
    pub(super) fn compares(&self) -> bool {
        self.settings.compares && self.endpoints.len() > 1
    }

    /// Puts a request to the endpoints.
    pub(super) async fn send(&self, request: &Request, readable: Readable<'_>) -> Result<Reply, PoolError> {
        if !self.compares() {
            let read = |id: u64, body: &[u8]| tree(id, body, request, readable);
            return self.ask_only(request, &read, Reply::Refusal).await;
        }
        match request.kind() {
            Kind::Write => self.write(request).await,
            Kind::Head => self.newest(request).await,
            Kind::Events => self.events(request).await,
            Kind::OfLatest => self.read_latest(request, readable).await,
            Kind::Read => self.read(request, readable).await,
        }
    }

    /// Asks the only endpoint. Once: what to do about a failure is for the caller to say.
    pub(super) async fn ask_only<T>(
        &self,
        request: &Request,
        read: Read<'_, T>,
        refusal: fn(Refusal) -> T,
    ) -> Result<T, PoolError> {
        let Some(endpoint) = self.endpoints.first() else {
            return Err(PoolError::NoAnswer("there is none".to_owned()));
        };
        let until = Instant::now() + self.settings.timeout;
        loop {
            match endpoint.ask_and_read(request, read).await {
                Ok(reply) => return Ok(reply),
                // It will answer once it was left alone, and was not asked to do anything.
                Err(Fault::TooOften(Some(wait))) if Instant::now() + wait < until => {}
                Err(fault) => match fault.refusal() {
                    Some(refused) => return Ok(refusal(refused.clone())),
                    None => return Err(PoolError::NoAnswer(fault.to_string())),
                },
            }
        }
    }

    /// The newest block's number, or its number and hash.
    async fn newest(&self, request: &Request) -> Result<Reply, PoolError> {
        let head = self.agreed_head(Duration::ZERO).await?;
        let is_number = request.method == "starknet_blockNumber";
        let whole = json!({ "block_number": head.number, "block_hash": head.hash });
        Ok(Reply::Result(if is_number { json!(head.number) } else { whole }))
    }

    /// Reads the state after the newest block that the endpoints agree on.
    async fn read_latest(&self, request: &Request, readable: Readable<'_>) -> Result<Reply, PoolError> {
        let mut age = if request.wants_block() { Duration::ZERO } else { HEAD_AGE };
        let mut last = PoolError::NoAnswer("there is no newest block".to_owned());
        for _ in 0..ROUNDS {
            let head = self.agreed_head(age).await?;
            match self.read(&request.pinned(head), readable).await {
                // That block may have been replaced meanwhile; then another is the newest.
                Err(error) => last = error,
                answered => return answered,
            }
            age = Duration::ZERO;
        }
        Err(last)
    }

    /// Reads what does not change with every block, or changes as it likes.
    pub(super) async fn read<'a>(&'a self, request: &Request, readable: Readable<'a>) -> Result<Reply, PoolError> {
        let agreement = if is_self_evident(&request.method) { 1 } else { self.settings.agreement };
        let ask = |request: Arc<Request>, place: usize| -> Asking<'a> {
            let endpoint = self.endpoints[place].clone();
            Box::pin(async move { (place, endpoint.ask(&request, readable).await) })
        };
        let essence = |reply: &Reply| match reply {
            Reply::Result(result) => json!({ "result": essence(&request.method, result) }),
            Reply::Refusal(refusal) => json!({ "code": refusal.code }),
        };
        self.in_rounds(request, agreement, &[], ask, essence).await.map(|(reply, _)| reply)
    }

    /// Puts a request to the endpoints, `preferred` ones first, until something can be believed; also says who said it.
    pub(super) async fn in_rounds<'a>(
        &'a self,
        request: &Request,
        agreement: usize,
        preferred: &[usize],
        ask: impl Fn(Arc<Request>, usize) -> Asking<'a>,
        essence: impl Fn(&Reply) -> Value,
    ) -> Result<(Reply, Gathered), PoolError> {
        let give_up = Instant::now() + self.settings.timeout;
        let mut pause = FIRST_PAUSE;
        for round in 1.. {
            let known = self.is_of_known_block(&request.params);
            let asked = Arc::new(Request { is_pinned: request.is_pinned || known, ..request.clone() });
            let mut order = self.order();
            order.sort_by_key(|place| !preferred.contains(place));
            let gathered = self.gather(&order, agreement, |place| ask(asked.clone(), place), &essence).await;
            if let Some(reply) = gathered.believed().cloned() {
                if known || request.is_pinned {
                    self.note_contradicted(&gathered.other);
                }
                self.memory().saw(&reply, gathered.same.len() >= self.settings.agreement);
                return Ok((reply, gathered));
            }
            let is_gone = request.is_pinned && gathered.is_nowhere();
            if round >= ROUNDS || is_gone || Instant::now() + pause > give_up {
                return self.unanswered(gathered).map(|(refusal, gathered)| (Reply::Refusal(refusal), gathered));
            }
            let is_behind = gathered.faults.iter().any(|(_, fault)| matches!(fault, Fault::Behind(_)));
            if is_behind && !request.is_pinned {
                // Either they lag, or the block was replaced by a shorter chain.
                self.agreed_head(Duration::ZERO).await?;
            }
            sleep_until(Instant::now() + pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause *= 2;
        }
        Err(PoolError::NoAnswer("it was not asked".to_owned()))
    }

    /// What to say where nothing can be believed.
    fn unanswered(&self, gathered: Gathered) -> Result<(Refusal, Gathered), PoolError> {
        if gathered.verdict == Verdict::Split {
            let said = gathered.replies.iter().map(|(place, _)| self.endpoints[*place].shown());
            return Err(PoolError::Contradiction(said.collect()));
        }
        let unwell = gathered.faults.iter().find_map(|(_, fault)| match fault {
            Fault::Unwell(refusal) => Some(refusal.clone()),
            _ => None,
        });
        match unwell {
            Some(refusal) => Ok((refusal, gathered)),
            None => Err(self.no_answer(&gathered.faults)),
        }
    }

    pub(super) fn no_answer(&self, faults: &[(usize, Fault)]) -> PoolError {
        if faults.is_empty() {
            return PoolError::NoAnswer("no endpoint can be believed now".to_owned());
        }
        let told = faults.iter().map(|(place, fault)| format!("{}: {fault}", self.endpoints[*place].shown()));
        PoolError::NoAnswer(told.collect::<Vec<_>>().join("; "))
    }

    /// Whom to ask, in this order.
    pub(super) fn order(&self) -> Vec<usize> {
        let now = Instant::now().into_std();
        let stand: Vec<(Standing, Duration)> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                let health = endpoint.health();
                (health.standing(now), health.latency.percentile(50))
            })
            .collect();
        order(&stand)
    }

    pub(super) fn note_contradicted(&self, places: &[usize]) {
        let now = Instant::now().into_std();
        for place in places {
            self.endpoints[*place].health().contradicted(now);
            tracing::warn!(
                endpoint = self.endpoints[*place].shown(),
                "others agree on another answer than this endpoint's"
            );
        }
    }

    /// Asks endpoints in `order` until enough agree or all were asked.
    pub(super) async fn gather<'a>(
        &'a self,
        order: &[usize],
        agreement: usize,
        ask: impl Fn(usize) -> Asking<'a>,
        essence: impl Fn(&Reply) -> Value,
    ) -> Gathered {
        let mut tally = Tally::new(agreement.min(order.len()));
        let (mut replies, mut faults) = (Vec::new(), Vec::new());
        let mut asked: Vec<(usize, Instant, Duration)> = Vec::new();
        let mut outstanding = FuturesUnordered::new();
        let mut left = order.iter().copied();
        let (mut pace, mut turns) = (Pace::InTime, Instant::now());
        let verdict = loop {
            match tally.verdict(outstanding.len(), left.len(), pace) {
                Verdict::Ask => {
                    let Some(place) = left.next() else { break Verdict::Nothing };
                    (pace, turns) = (Pace::InTime, self.endpoints[place].late_at());
                    let now = Instant::now();
                    asked.push((place, now, turns - now));
                    outstanding.push(ask(place));
                }
                Verdict::Wait => tokio::select! {
                    Some((place, answer)) = outstanding.next() => {
                        asked.retain(|(who, ..)| *who != place);
                        match answer {
                            Ok(reply) => {
                                tally.cast(place, essence(&reply));
                                replies.push((place, reply));
                            }
                            Err(fault) => faults.push((place, fault)),
                        }
                    }
                    () = sleep_until(turns), if pace != Pace::Overdue => {
                        let late = asked.last().map_or(Duration::ZERO, |(.., late)| *late);
                        pace = if pace == Pace::InTime { Pace::Late } else { Pace::Overdue };
                        turns = Instant::now() + patience(late).saturating_sub(late);
                    }
                },
                ended => break ended,
            }
        };
        self.note_overtaken(&asked);
        let (same, other) = match verdict {
            Verdict::Believe(who) => tally.sides(who),
            _ => (Vec::new(), Vec::new()),
        };
        Gathered { verdict, replies, faults, same, other }
    }

    /// Those that others were faster than lose their place in the order, and their standing where it was by far.
    fn note_overtaken(&self, asked: &[(usize, Instant, Duration)]) {
        let now = Instant::now();
        for (place, since, late) in asked {
            let waited = now - *since;
            if waited > *late {
                self.endpoints[*place].health().overtaken(now.into_std(), waited, waited >= patience(*late));
            }
        }
    }
}

/// How long something is waited for that is late after `late`.
fn patience(late: Duration) -> Duration {
    (late * OVERDUE).max(LEAST_PATIENCE)
}

/// Whether one answer is enough: it is named by its hash, or only shown.
fn is_self_evident(method: &str) -> bool {
    matches!(method, "starknet_getClass" | "starknet_getClassAt" | "starknet_specVersion")
}
