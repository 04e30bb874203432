//! A mempool between lanes and a chain: it keeps transactions whose nonce does not come next, replaces one by another that
//! offers a tenth more, and loses them in the ways in which the public ones do.
//!
//! It answers to `starknet_addInvokeTransaction` itself and hands everything else to the chain.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::post,
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A fault is drawn for so many sends in a hundred, of each kind.
const DROPPED: u32 = 5;
const FORGOTTEN: u32 = 3;
const UNANSWERED: u32 = 4;
const DELAYED: u32 = 3;
const STUCK: u32 = 2;
const DOUBLED: u32 = 2;
/// How late an answer is that comes late: later than a lane waits for it.
const DELAY: Duration = Duration::from_millis(2_500);

/// What is drawn for a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// It does not arrive, and gets no answer.
    Dropped,
    /// It is answered, and gone.
    Forgotten,
    /// It arrives, and gets no answer.
    Unanswered,
    /// It arrives, and is answered too late.
    Delayed,
    /// It arrives, and is held back until another offers more.
    Stuck,
    /// It arrives twice.
    Doubled,
}

/// The mempool; it ends with the program.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    chain: String,
    http: reqwest::Client,
    state: Mutex<Pooled>,
    /// Held while transactions go on to the chain, so that they do so in the order of their nonces.
    forwarding: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Pooled {
    rng: StdRng,
    waiting: BTreeMap<(String, u64), Transaction>,
    faults: BTreeMap<Fault, u64>,
    /// Nonces that something went wrong with, since when.
    missing: HashMap<(String, u64), Instant>,
    healed: Vec<Duration>,
}

#[derive(Clone, Debug)]
struct Transaction {
    sender: String,
    nonce: u64,
    tip: u128,
    price: u128,
    /// Unique for each transaction that is signed.
    signature: String,
    body: Value,
    is_stuck: bool,
}

impl Pool {
    /// A mempool before the chain at `chain`.
    pub(crate) async fn before(chain: &str, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/rpc", listener.local_addr()?);
        let state = Pooled {
            rng: StdRng::seed_from_u64(seed),
            waiting: BTreeMap::new(),
            faults: BTreeMap::new(),
            missing: HashMap::new(),
            healed: Vec::new(),
        };
        let inner = Arc::new(Inner {
            chain: chain.to_owned(),
            http: reqwest::Client::new(),
            state: Mutex::new(state),
            forwarding: tokio::sync::Mutex::new(()),
        });
        let router = Router::new().route("/rpc", post(answer)).with_state(inner.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { url, inner })
    }

    /// Where it answers, as the chain does.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How many faults there were of each kind.
    pub(crate) fn faults(&self) -> BTreeMap<String, u64> {
        let name = |(fault, count): (&Fault, &u64)| (format!("{fault:?}").to_lowercase(), *count);
        self.inner.state().faults.iter().map(name).collect()
    }

    /// How long each nonce that something went wrong with was missing.
    pub(crate) fn healed(&self) -> Vec<Duration> {
        self.inner.state().healed.clone()
    }
}

async fn answer(State(pool): State<Arc<Inner>>, body: Bytes) -> Response {
    let answered = match serde_json::from_slice::<Value>(&body) {
        Ok(request) if request["method"] == "starknet_addInvokeTransaction" => pool.take(request).await,
        Ok(request) => pool.ask(&request).await.map(Some),
        Err(error) => Err(error.into()),
    };
    match answered {
        Ok(Some(answer)) => axum::Json(answer).into_response(),
        // What a client sees of a connection that broke: no answer in JSON.
        Ok(None) => StatusCode::BAD_GATEWAY.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, Pooled> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn ask(&self, request: &Value) -> Result<Value> {
        Ok(self.http.post(&self.chain).json(request).send().await?.json().await?)
    }

    async fn chain_nonce(&self, sender: &str) -> Result<u64> {
        let params = json!({ "block_id": "pre_confirmed", "contract_address": sender });
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "starknet_getNonce", "params": params });
        let answer = self.ask(&request).await?;
        let nonce = u64::try_from(hex(&answer["result"])?)?;
        let mut state = self.state();
        let passed: Vec<_> =
            state.missing.keys().filter(|(of, missing)| of == sender && *missing < nonce).cloned().collect();
        for key in passed {
            let since = state.missing.remove(&key);
            state.healed.extend(since.map(|since| since.elapsed()));
        }
        Ok(nonce)
    }

    /// Takes a transaction in, or does what is drawn in place of it.
    async fn take(&self, request: Value) -> Result<Option<Value>> {
        let id = request["id"].clone();
        let mut transaction = Transaction::read(request)?;
        let fault = self.state().draw();
        if let Some(fault) = fault {
            let mut state = self.state();
            *state.faults.entry(fault).or_default() += 1;
            if matches!(fault, Fault::Dropped | Fault::Forgotten | Fault::Stuck) {
                state.missing.entry(transaction.key()).or_insert_with(Instant::now);
            }
        }
        let taken = json!({ "jsonrpc": "2.0", "id": id, "result": { "transaction_hash": transaction.signature } });
        match fault {
            Some(Fault::Dropped) => return Ok(None),
            // Whoever sends knows the hash before; nobody looks at that of the answer.
            Some(Fault::Forgotten) => return Ok(Some(taken)),
            Some(Fault::Stuck) => transaction.is_stuck = true,
            _ => {}
        }
        let sender = transaction.sender.clone();
        let lowest = self.chain_nonce(&sender).await?;
        let refusal = self.state().insert(transaction.clone(), lowest);
        self.forward(&sender).await?;
        // The same bytes come again by another way. Not before it is their turn: the chain would keep them until then, and
        // this pool is the one that keeps and loses.
        if fault == Some(Fault::Doubled) && self.chain_nonce(&sender).await? > transaction.nonce {
            self.ask(&transaction.body).await?;
        }
        if fault == Some(Fault::Delayed) {
            tokio::time::sleep(DELAY).await;
        }
        if fault == Some(Fault::Unanswered) {
            return Ok(None);
        }
        Ok(Some(match refusal {
            Some((code, message)) => {
                json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
            }
            None => taken,
        }))
    }

    /// Hands on what comes next, as long as there is something.
    async fn forward(&self, sender: &str) -> Result<()> {
        let _order = self.forwarding.lock().await;
        loop {
            let nonce = self.chain_nonce(sender).await?;
            let next = {
                let mut state = self.state();
                state.waiting.retain(|(of, waiting), _| of != sender || *waiting >= nonce);
                let key = (sender.to_owned(), nonce);
                match state.waiting.get(&key) {
                    Some(transaction) if !transaction.is_stuck => state.waiting.remove(&key),
                    _ => None,
                }
            };
            let Some(next) = next else { return Ok(()) };
            let answer = self.ask(&next.body).await?;
            // Somebody else may have taken the nonce meanwhile. Any other refusal is a fault of this test.
            if answer.get("error").is_some_and(|error| error["code"] != 52 && error["code"] != 59) {
                bail!("the chain refused what the pool took: {answer}");
            }
        }
    }
}

impl Pooled {
    fn draw(&mut self) -> Option<Fault> {
        let mut drawn = self.rng.random_range(0..100);
        let kinds = [
            (Fault::Dropped, DROPPED),
            (Fault::Forgotten, FORGOTTEN),
            (Fault::Unanswered, UNANSWERED),
            (Fault::Delayed, DELAYED),
            (Fault::Stuck, STUCK),
            (Fault::Doubled, DOUBLED),
        ];
        for (fault, percent) in kinds {
            if drawn < percent {
                return Some(fault);
            }
            drawn -= percent;
        }
        None
    }

    /// Takes a transaction in; returns the code and the words of a refusal, as the specification has them.
    fn insert(&mut self, transaction: Transaction, lowest: u64) -> Option<(i32, &'static str)> {
        if transaction.nonce < lowest {
            return Some((52, "Invalid transaction nonce"));
        }
        if let Some(before) = self.waiting.get(&transaction.key()) {
            if before.signature == transaction.signature {
                return Some((59, "A transaction with the same hash already exists in the mempool"));
            }
            let is_raised = |old: u128, new: u128| new >= old + old / 10;
            if !is_raised(before.price, transaction.price) || !is_raised(before.tip, transaction.tip) {
                return Some((64, "Replacement transaction is underpriced"));
            }
        }
        self.waiting.insert(transaction.key(), transaction);
        None
    }
}

impl Transaction {
    fn read(request: Value) -> Result<Self> {
        let params = &request["params"];
        let invoke = if params.is_array() { &params[0] } else { &params["invoke_transaction"] };
        let text = |value: &Value| value.as_str().map(str::to_owned).context("a text is missing");
        let transaction = Self {
            sender: text(&invoke["sender_address"])?,
            nonce: u64::try_from(hex(&invoke["nonce"])?)?,
            tip: hex(&invoke["tip"])?,
            price: hex(&invoke["resource_bounds"]["l2_gas"]["max_price_per_unit"])?,
            signature: text(&invoke["signature"][0])?,
            body: Value::Null,
            is_stuck: false,
        };
        Ok(Self { body: request, ..transaction })
    }

    fn key(&self) -> (String, u64) {
        (self.sender.clone(), self.nonce)
    }
}

fn hex(value: &Value) -> Result<u128> {
    let text = value.as_str().with_context(|| format!("{value} is no number"))?;
    Ok(u128::from_str_radix(text.trim_start_matches("0x"), 16)?)
}
