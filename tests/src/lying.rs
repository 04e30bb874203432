//! A proxy in front of a node that lies on command.
//!
//! It takes JSON-RPC over HTTP as the node does, passes requests on, and alters what comes back, or how, as the
//! [`Fault`] says that it was last told. What is left to chance is drawn from a seed.

mod fault;
mod heads;
mod http;
mod lies;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

pub use fault::Fault;
pub use heads::LyingHeads;

use self::http::Deed;

/// A lying proxy; it ends when this is dropped.
#[derive(Debug)]
pub struct LyingProxy {
    address: SocketAddr,
    liar: Arc<Liar>,
    task: tokio::task::JoinHandle<()>,
}

/// What the proxy knows.
#[derive(Debug)]
struct Liar {
    node: String,
    http: reqwest::Client,
    mood: Mutex<Mood>,
    asked: AtomicU64,
    injected: AtomicU64,
}

/// How it is to lie.
#[derive(Debug)]
struct Mood {
    fault: Option<Fault>,
    /// Of a hundred requests that the fault is about, so many are lied to.
    share: u32,
    /// Before it answers, however truly.
    slowness: Duration,
    /// The newest block that it admits to, or the first that it has another of.
    block: u64,
    /// The answer before.
    last: Option<Vec<u8>>,
    rng: StdRng,
}

impl LyingProxy {
    /// A proxy on a free port, honest for now, in front of the node at `rpc_url`.
    ///
    /// # Panics
    /// Panics where it cannot listen.
    pub async fn before(rpc_url: &str, seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let mood = Mood {
            fault: None,
            share: 100,
            slowness: Duration::ZERO,
            block: 0,
            last: None,
            rng: StdRng::seed_from_u64(seed),
        };
        let liar = Arc::new(Liar {
            node: rpc_url.to_owned(),
            http: reqwest::Client::new(),
            mood: Mutex::new(mood),
            asked: AtomicU64::new(0),
            injected: AtomicU64::new(0),
        });
        let serving = liar.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let liar = serving.clone();
                tokio::spawn(async move { liar.serve(client).await });
            }
        });
        Self { address, liar, task }
    }

    /// Where it answers, as the node does.
    pub fn rpc_url(&self) -> String {
        format!("http://{}/rpc", self.address)
    }

    /// Lies in this way from now on, to `share` of a hundred requests that the fault is about.
    pub async fn lie(&self, fault: Fault, share: u32) {
        let head = self.liar.head().await;
        let mut mood = self.liar.mood();
        let back = mood.rng.random_range(1..=12);
        mood.block = head.saturating_sub(back);
        (mood.fault, mood.share) = (Some(fault), share);
    }

    /// Is honest from now on.
    pub fn be_honest(&self) {
        self.liar.mood().fault = None;
    }

    /// Waits this long before every answer from now on.
    pub fn be_slow(&self, slowness: Duration) {
        self.liar.mood().slowness = slowness;
    }

    /// Requests that it got.
    pub fn asked(&self) -> u64 {
        self.liar.asked.load(Ordering::Relaxed)
    }

    /// Requests that it lied to.
    pub fn injected(&self) -> u64 {
        self.liar.injected.load(Ordering::Relaxed)
    }
}

impl Drop for LyingProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(&self, mut client: TcpStream) {
        client.set_nodelay(true).ok();
        while let Some(body) = http::read_request(&mut client).await {
            self.asked.fetch_add(1, Ordering::Relaxed);
            let Ok(request) = serde_json::from_slice::<Value>(&body) else { return };
            let slowness = self.mood().slowness;
            tokio::time::sleep(slowness).await;
            let Some(deed) = self.deed(&request).await else { return };
            if !http::act(&mut client, deed).await {
                return;
            }
        }
    }

    /// What to do about a request; nothing where the node itself does not answer.
    async fn deed(&self, request: &Value) -> Option<Deed> {
        let method = request["method"].as_str().unwrap_or_default();
        let (fault, block) = {
            let mut mood = self.mood();
            let share = mood.share;
            let fault = mood.fault.filter(|fault| fault.is_about(method));
            (fault.filter(|_| mood.rng.random_range(0..100) < share), mood.block)
        };
        let deed = match fault {
            Some(fault) => self.fail(fault, request, block).await,
            None => None,
        };
        if deed.is_some() {
            self.injected.fetch_add(1, Ordering::Relaxed);
            return deed;
        }
        let answer = self.forward(request).await?;
        let body = answer.to_string().into_bytes();
        self.mood().last = Some(body.clone());
        Some(Deed::Answer { status: 200, headers: String::new(), body })
    }

    /// Passes a request on.
    async fn forward(&self, request: &Value) -> Option<Value> {
        self.http.post(&self.node).json(request).send().await.ok()?.json().await.ok()
    }

    /// Asks the node on its own account.
    async fn ask(&self, method: &str, params: Value) -> Option<Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.forward(&request).await?.get_mut("result").map(Value::take)
    }

    async fn head(&self) -> u64 {
        self.ask("starknet_blockNumber", json!([])).await.and_then(|head| head.as_u64()).unwrap_or(0)
    }
}
