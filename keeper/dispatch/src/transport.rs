//! How frames get from one end of a session to the other.

mod memory;
mod websocket;

use std::{fmt, marker::PhantomData};

use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};

use crate::MAX_MESSAGE_BYTES;

pub use memory::memory_pair;
pub(crate) use websocket::{ServerSocket, size_limited};
pub use websocket::{WebSocketConnector, session_url};

/// One end of a connection that carries text frames, in order, each at most [`MAX_MESSAGE_BYTES`] long.
#[async_trait]
pub trait Transport: Send {
    /// Sends a frame.
    ///
    /// # Errors
    /// Fails where the connection is lost.
    async fn send(&mut self, frame: String) -> Result<(), TransportError>;

    /// The next frame, or `None` once the other end has closed. May be dropped while it waits without losing a frame.
    ///
    /// # Errors
    /// Fails where the connection is lost or carries something that is no text frame.
    async fn recv(&mut self) -> Result<Option<String>, TransportError>;

    /// Says good-bye, as far as that is still possible.
    async fn close(&mut self);
}

/// Opens connections from the agent's side.
#[async_trait]
pub trait Connector: Send + Sync {
    /// Opens a connection.
    ///
    /// # Errors
    /// Fails where the keeper cannot be reached.
    async fn connect(&self) -> Result<Box<dyn Transport>, TransportError>;

    /// What is connected to, for logs.
    fn target(&self) -> String;
}

/// Why a connection does not carry messages.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The address is not one that this transport connects to.
    #[error("`{address}` is not a keeper's address: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The connection could not be opened.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// What was connected to.
        address: String,
        /// Why it failed.
        reason: String,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
    /// A frame exceeds the limit.
    #[error("a message of {bytes} bytes exceeds the {MAX_MESSAGE_BYTES} bytes that a session carries")]
    TooLarge {
        /// The frame's length.
        bytes: usize,
    },
    /// A frame is not a message of the protocol.
    #[error("not a message of the protocol: {0}")]
    Malformed(String),
}

/// A transport that carries messages: `Out` from here, `In` from the other end.
pub struct Channel<Out, In> {
    transport: Box<dyn Transport>,
    messages: PhantomData<fn(Out) -> In>,
}

impl<Out: Serialize, In: DeserializeOwned> Channel<Out, In> {
    /// Speaks over `transport`.
    pub fn new(transport: Box<dyn Transport>) -> Self {
        Self { transport, messages: PhantomData }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Fails where the message is too large or the connection is lost.
    pub async fn send(&mut self, message: &Out) -> Result<(), TransportError> {
        let frame = serde_json::to_string(message).map_err(|error| TransportError::Malformed(error.to_string()))?;
        check_size(&frame)?;
        self.transport.send(frame).await
    }

    /// The next message, or `None` once the other end has closed. May be dropped while it waits.
    ///
    /// # Errors
    /// Fails where the connection is lost, or what came is no message.
    pub async fn recv(&mut self) -> Result<Option<In>, TransportError> {
        match self.recv_frame().await? {
            Some(frame) => Self::decode(&frame).map(Some),
            None => Ok(None),
        }
    }

    /// Says good-bye.
    pub async fn close(&mut self) {
        self.transport.close().await;
    }

    pub(crate) async fn recv_frame(&mut self) -> Result<Option<String>, TransportError> {
        let frame = self.transport.recv().await?;
        frame.as_deref().map_or(Ok(()), check_size)?;
        Ok(frame)
    }

    pub(crate) fn decode(frame: &str) -> Result<In, TransportError> {
        serde_json::from_str(frame).map_err(|error| TransportError::Malformed(error.to_string()))
    }
}

impl<Out, In> fmt::Debug for Channel<Out, In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").finish_non_exhaustive()
    }
}

fn check_size(frame: &str) -> Result<(), TransportError> {
    if frame.len() > MAX_MESSAGE_BYTES { Err(TransportError::TooLarge { bytes: frame.len() }) } else { Ok(()) }
}
