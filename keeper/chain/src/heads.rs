//! Notices of new blocks over WebSocket: a reason to look at the chain sooner, and nothing else.
//!
//! A node is asked for `starknet_subscribeNewHeads`, and whatever it sends from then on wakes whoever waits. What it says
//! is not read: a notice that lies costs one look at the chain. Notices that come while nobody waits are one. A node that
//! is silent, gone or talks nonsense is connected to again, after a pause that doubles; the chain is asked by its turn all
//! the same.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::Notify,
    time::{sleep, timeout, timeout_at},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use url::Url;

use crate::rpc::{short, shown_url};

/// The largest message that is taken; a block's header is a few kilobytes.
const LARGEST_MESSAGE: usize = 1 << 20;
/// The number of the one request that is sent.
const SUBSCRIBE: u64 = 1;

/// How patient a connection is.
#[derive(Clone, Debug)]
struct Patience {
    /// How long connecting, and the answer to the subscription, may take.
    connect: Duration,
    /// How often the node is asked for a sign of life. Nodes close connections whose other end does not answer theirs.
    ping: Duration,
    /// How long there may be no sign of life.
    silence: Duration,
    /// How long there may be no notice: subscriptions have been seen to end without a word.
    quiet: Duration,
    /// The pause before the node is connected to again. Doubles each time.
    pause: Duration,
    /// The longest such pause.
    longest_pause: Duration,
    /// A connection that lasted so long makes the pause the first one again.
    lasting: Duration,
    /// Notices within a second after which the node is left alone.
    most_a_second: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            ping: Duration::from_secs(15),
            silence: Duration::from_secs(45),
            quiet: Duration::from_secs(120),
            pause: Duration::from_millis(500),
            longest_pause: Duration::from_secs(60),
            lasting: Duration::from_secs(60),
            most_a_second: 1_000,
        }
    }
}

/// Notices of one node. Clones share them.
#[derive(Clone, Debug)]
pub struct Heads {
    url: Url,
    patience: Patience,
    wake: Arc<Notify>,
    /// Locked for moments, never while something is waited for.
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_subscribed: bool,
    notices: u64,
    last: Option<Instant>,
    connections: u64,
    failure: Option<String>,
}

/// How notices come, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadsHealth {
    /// The node, without a key that its path or query may hold.
    pub url: String,
    /// Whether the node has said that it will send notices, and is connected.
    pub is_subscribed: bool,
    /// Notices, whatever they said.
    pub notices: u64,
    /// How long ago the last came.
    pub age: Option<Duration>,
    /// Connections that were made.
    pub connections: u64,
    /// Why the last connection ended, while there is none.
    pub failure: Option<String>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

impl Heads {
    /// Notices of the node at `url`, `ws://` or `wss://`. Nothing is connected to before [`Heads::run`].
    pub fn new(url: &Url) -> Self {
        Self { url: url.clone(), patience: Patience::default(), wake: Arc::default(), state: Arc::default() }
    }

    /// Waits for a notice that came since the last one was waited for. May be dropped while it waits.
    pub async fn noticed(&self) {
        self.wake.notified().await;
    }

    /// How notices come; nothing is asked.
    pub fn health(&self) -> HeadsHealth {
        let state = self.state();
        HeadsHealth {
            url: shown_url(&self.url),
            is_subscribed: state.is_subscribed,
            notices: state.notices,
            age: state.last.map(|last| last.elapsed()),
            connections: state.connections,
            failure: state.failure.clone(),
        }
    }

    /// Subscribes once and leaves again, to see whether the node offers it.
    ///
    /// # Errors
    /// Says why not.
    pub async fn check(&self) -> Result<(), String> {
        self.try_once().await.map_err(|reason| without_secrets(&self.url, &reason))
    }

    async fn try_once(&self) -> Result<(), String> {
        let mut socket = self.subscribe().await?;
        let answer = async {
            loop {
                match socket.next().await {
                    Some(Ok(Message::Text(text))) => match answer(&text) {
                        Some(answer) => return answer,
                        None => return Err("it answered something else than the subscription".to_owned()),
                    },
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(short(&error.to_string())),
                    None => return Err("it closed the connection".to_owned()),
                }
            }
        };
        timeout(self.patience.connect, answer).await.unwrap_or_else(|_| Err("no answer came in time".to_owned()))
    }

    /// Takes notices until it is dropped.
    pub async fn run(&self) -> Infallible {
        let (mut pause, mut is_told) = (self.patience.pause, false);
        loop {
            let began = Instant::now();
            let reason = match self.subscribe().await {
                Ok(socket) => self.listen(socket).await,
                Err(reason) => reason,
            };
            let reason = without_secrets(&self.url, &reason);
            {
                let mut state = self.state();
                (state.is_subscribed, state.failure) = (false, Some(reason.clone()));
            }
            // Once for each outage, which is over when a connection has lasted.
            let has_lasted = began.elapsed() >= self.patience.lasting;
            if has_lasted || !is_told {
                is_told = true;
                tracing::warn!(
                    url = shown_url(&self.url),
                    reason,
                    "no notices of new blocks; the chain is asked by its turn until they come"
                );
            } else {
                tracing::debug!(url = shown_url(&self.url), reason, "still no notices of new blocks");
            }
            if has_lasted {
                pause = self.patience.pause;
            }
            sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(self.patience.longest_pause);
        }
    }

    /// Connects, and asks for notices.
    async fn subscribe(&self) -> Result<Socket, String> {
        let config = WebSocketConfig::default()
            .max_message_size(Some(LARGEST_MESSAGE))
            .max_frame_size(Some(LARGEST_MESSAGE))
            .max_write_buffer_size(2 * LARGEST_MESSAGE);
        let request = json!({
            "jsonrpc": "2.0", "id": SUBSCRIBE, "method": "starknet_subscribeNewHeads", "params": {},
        });
        let connect = async {
            let (mut socket, _) = connect_async_with_config(self.url.as_str(), Some(config), true).await?;
            socket.send(Message::text(request.to_string())).await?;
            Ok(socket)
        };
        match timeout(self.patience.connect, connect).await {
            Ok(Ok(socket)) => {
                self.state().connections += 1;
                Ok(socket)
            }
            Ok(Err::<_, tokio_tungstenite::tungstenite::Error>(error)) => Err(short(&error.to_string())),
            Err(_) => Err("it cannot be connected to in time".to_owned()),
        }
    }

    /// Takes notices until the connection is of no use any more; returns why.
    async fn listen(&self, mut socket: Socket) -> String {
        let mut connection = Connection::new(&self.patience);
        loop {
            let now = tokio::time::Instant::now();
            if let Some(reason) = connection.is_over(now) {
                return reason.to_owned();
            }
            match timeout_at(connection.ping_at, socket.next()).await {
                Err(_) => {
                    connection.ping_at = now + self.patience.ping;
                    // A node that takes nothing any more must not hold this up.
                    let ping = timeout(self.patience.ping, socket.send(Message::Ping(Vec::new().into()))).await;
                    if !matches!(ping, Ok(Ok(()))) {
                        return "it takes no sign of life".to_owned();
                    }
                }
                Ok(Some(Ok(message))) => {
                    connection.heard_at = tokio::time::Instant::now();
                    match message {
                        Message::Text(text) => {
                            if let Err(reason) = self.take(&mut connection, &text) {
                                return reason;
                            }
                        }
                        Message::Binary(_) => self.notice(&mut connection),
                        Message::Close(_) => return "it closed the connection".to_owned(),
                        Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
                    }
                }
                Ok(Some(Err(error))) => return short(&error.to_string()),
                Ok(None) => return "it closed the connection".to_owned(),
            }
        }
    }

    /// Takes a text: the answer to the subscription where that has not come, a notice otherwise.
    fn take(&self, connection: &mut Connection<'_>, text: &str) -> Result<(), String> {
        let answer = if connection.is_subscribed { None } else { answer(text) };
        match answer {
            Some(answer) => {
                answer?;
                connection.is_subscribed = true;
                let mut state = self.state();
                (state.is_subscribed, state.failure) = (true, None);
                // Blocks may have come before it.
                self.wake.notify_one();
            }
            None => self.notice(connection),
        }
        Ok(())
    }

    fn notice(&self, connection: &mut Connection<'_>) {
        connection.noticed();
        let mut state = self.state();
        state.notices += 1;
        state.last = Some(Instant::now());
        self.wake.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change is left half made that anybody could tell.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a connection.
struct Connection<'a> {
    patience: &'a Patience,
    is_subscribed: bool,
    began: tokio::time::Instant,
    ping_at: tokio::time::Instant,
    heard_at: tokio::time::Instant,
    noticed_at: tokio::time::Instant,
    /// The second that notices are counted in, and how many there were.
    second: (tokio::time::Instant, u32),
}

impl<'a> Connection<'a> {
    fn new(patience: &'a Patience) -> Self {
        let now = tokio::time::Instant::now();
        Self {
            patience,
            is_subscribed: false,
            began: now,
            ping_at: now + patience.ping,
            heard_at: now,
            noticed_at: now,
            second: (now, 0),
        }
    }

    fn noticed(&mut self) {
        let now = tokio::time::Instant::now();
        self.noticed_at = now;
        if now - self.second.0 >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 += 1;
    }

    /// Why the connection is given up, where it is.
    fn is_over(&self, now: tokio::time::Instant) -> Option<&'static str> {
        let Patience { connect, silence, quiet, most_a_second, .. } = *self.patience;
        if self.second.1 > most_a_second {
            Some("it sends too many notices")
        } else if now - self.heard_at > silence {
            Some("it gives no sign of life")
        } else if !self.is_subscribed && now - self.began > connect {
            Some("it does not answer the subscription")
        } else if now - self.noticed_at > quiet {
            Some("it sends no notices")
        } else {
            None
        }
    }
}

/// What went wrong, without what of the node's URL is not shown: libraries repeat the URL that they were given.
fn without_secrets(url: &Url, reason: &str) -> String {
    let shown = shown_url(url);
    let mut told = reason.replace(url.as_str(), &shown);
    let path = Some(url.path()).filter(|path| path.len() > 1 && !shown.contains(path));
    for secret in [path, url.query(), url.password()].into_iter().flatten().filter(|secret| !secret.is_empty()) {
        told = told.replace(secret, "...");
    }
    told
}

/// What a text says about the subscription, where it is the answer to it.
fn answer(text: &str) -> Option<Result<(), String>> {
    let answer: Value = serde_json::from_str(text).ok()?;
    if answer.get("id").and_then(Value::as_u64) != Some(SUBSCRIBE) {
        return None;
    }
    match answer.get("error") {
        Some(error) if !error.is_null() => {
            let said = error.get("message").and_then(Value::as_str).unwrap_or("it does not say why");
            Some(Err(format!("it refuses the subscription: {}", short(said))))
        }
        _ => Some(Ok(())),
    }
}

#[cfg(test)]
mod tests;
