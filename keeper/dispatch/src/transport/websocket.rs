//! WebSocket ends: axum's on the keeper's side, tungstenite's on the agent's.

use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::{self, WebSocketUpgrade};
use futures::{SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{self, protocol::WebSocketConfig},
};
use url::Url;

use super::{Connector, Transport, TransportError};
use crate::{MAX_MESSAGE_BYTES, server::SESSION_PATH};

/// How long opening a connection, or closing one properly, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// What may wait to be written to one agent, in bytes: several of the largest offers, the largest that it is sent.
const KEEPER_WRITE_BUFFER_BYTES: usize = 512 * 1024;

/// Connects an agent to a keeper's WebSocket.
#[derive(Clone, Debug)]
pub struct WebSocketConnector {
    url: Url,
}

impl WebSocketConnector {
    /// Will connect to `address`, such as `ws://keeper.example:7070`. The path may be left out.
    ///
    /// # Errors
    /// Fails where the address is not a `ws://` or `wss://` URL.
    pub fn new(address: &str) -> Result<Self, TransportError> {
        Ok(Self { url: session_url(address)? })
    }
}

/// The URL of a keeper's sessions, by which keeper and agents mean the same keeper: `address` with the path that may be
/// left out, and without a port that goes without saying.
///
/// # Errors
/// Fails where the address is not a `ws://` or `wss://` URL.
pub fn session_url(address: &str) -> Result<Url, TransportError> {
    let error = |reason: &str| TransportError::Address { address: address.to_owned(), reason: reason.to_owned() };
    let mut url = Url::parse(address).map_err(|_| error("expected a URL such as ws://127.0.0.1:7070"))?;
    if !matches!(url.scheme(), "ws" | "wss") {
        return Err(error("expected it to begin with ws:// or wss://"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(error("it names no host"));
    }
    if matches!(url.path(), "" | "/") {
        url.set_path(SESSION_PATH);
    }
    Ok(url)
}

#[async_trait]
impl Connector for WebSocketConnector {
    async fn connect(&self) -> Result<Box<dyn Transport>, TransportError> {
        let error = |reason: String| TransportError::Connect { address: self.target(), reason };
        let config = WebSocketConfig::default()
            .max_message_size(Some(MAX_MESSAGE_BYTES))
            .max_frame_size(Some(MAX_MESSAGE_BYTES))
            .max_write_buffer_size(2 * MAX_MESSAGE_BYTES);
        match timeout(CONNECT_TIMEOUT, connect_async_with_config(self.url.as_str(), Some(config), true)).await {
            Err(_) => Err(error(format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()))),
            Ok(Err(reason)) => Err(error(reason.to_string())),
            Ok(Ok((stream, _))) => Ok(Box::new(ClientSocket { stream })),
        }
    }

    fn target(&self) -> String {
        self.url.to_string()
    }
}

struct ClientSocket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

#[async_trait]
impl Transport for ClientSocket {
    async fn send(&mut self, frame: String) -> Result<(), TransportError> {
        self.stream.send(tungstenite::Message::text(frame)).await.map_err(|error| from_tungstenite(&error))
    }

    async fn recv(&mut self) -> Result<Option<String>, TransportError> {
        loop {
            match self.stream.next().await {
                Some(Ok(tungstenite::Message::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => {}
                Some(Ok(tungstenite::Message::Close(_))) | None => return Ok(None),
                Some(Ok(_)) => return Err(TransportError::Malformed("a frame that is not text".to_owned())),
                Some(Err(error)) => return Err(from_tungstenite(&error)),
            }
        }
    }

    async fn close(&mut self) {
        // The other end may be gone; there is nobody to tell that closing failed.
        let _ = timeout(CLOSE_TIMEOUT, self.stream.close(None)).await;
    }
}

fn from_tungstenite(error: &tungstenite::Error) -> TransportError {
    match error {
        tungstenite::Error::Capacity(tungstenite::error::CapacityError::MessageTooLong { size, .. }) => {
            TransportError::TooLarge { bytes: *size }
        }
        error => TransportError::Broken(error.to_string()),
    }
}

/// Bounds what a peer can make the keeper hold in memory.
pub(crate) fn size_limited(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MAX_MESSAGE_BYTES)
        .max_frame_size(MAX_MESSAGE_BYTES)
        .max_write_buffer_size(KEEPER_WRITE_BUFFER_BYTES)
}

/// The keeper's end.
pub(crate) struct ServerSocket(pub(crate) ws::WebSocket);

#[async_trait]
impl Transport for ServerSocket {
    async fn send(&mut self, frame: String) -> Result<(), TransportError> {
        self.0.send(ws::Message::text(frame)).await.map_err(|error| TransportError::Broken(error.to_string()))
    }

    async fn recv(&mut self) -> Result<Option<String>, TransportError> {
        loop {
            match self.0.recv().await {
                Some(Ok(ws::Message::Text(text))) => return Ok(Some(text.as_str().to_owned())),
                Some(Ok(ws::Message::Ping(_) | ws::Message::Pong(_))) => {}
                Some(Ok(ws::Message::Close(_))) | None => return Ok(None),
                Some(Ok(ws::Message::Binary(_))) => {
                    return Err(TransportError::Malformed("a frame that is not text".to_owned()));
                }
                Some(Err(error)) => return Err(TransportError::Broken(error.to_string())),
            }
        }
    }

    async fn close(&mut self) {
        // The other end may be gone; there is nobody to tell that closing failed.
        let _ = timeout(CLOSE_TIMEOUT, self.0.send(ws::Message::Close(None))).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_may_be_left_out() {
        for (address, expected) in [
            ("ws://127.0.0.1:7070", "ws://127.0.0.1:7070/v1/session"),
            ("wss://keeper.example/", "wss://keeper.example/v1/session"),
            ("wss://Keeper.Example:443", "wss://keeper.example/v1/session"),
            ("ws://keeper.example/behind/proxy", "ws://keeper.example/behind/proxy"),
        ] {
            assert_eq!(WebSocketConnector::new(address).unwrap().target(), expected);
        }
    }

    #[test]
    fn other_addresses_are_refused_with_a_reason() {
        for (address, expected) in [
            ("127.0.0.1:7070", "expected a URL"),
            ("http://127.0.0.1:7070", "begin with ws:// or wss://"),
            ("", "expected a URL"),
        ] {
            let error = WebSocketConnector::new(address).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
