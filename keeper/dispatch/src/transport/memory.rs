//! Two ends of a session in one process.

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{Transport, TransportError};

/// Frames that one end may be ahead of the other.
const CAPACITY: usize = 64;

struct MemoryEnd {
    outgoing: Option<mpsc::Sender<String>>,
    incoming: mpsc::Receiver<String>,
}

/// Two connected ends. Dropping or closing one closes the other.
pub fn memory_pair() -> (Box<dyn Transport>, Box<dyn Transport>) {
    let (left_out, right_in) = mpsc::channel(CAPACITY);
    let (right_out, left_in) = mpsc::channel(CAPACITY);
    let left = MemoryEnd { outgoing: Some(left_out), incoming: left_in };
    let right = MemoryEnd { outgoing: Some(right_out), incoming: right_in };
    (Box::new(left), Box::new(right))
}

#[async_trait]
impl Transport for MemoryEnd {
    async fn send(&mut self, frame: String) -> Result<(), TransportError> {
        let closed = || TransportError::Broken("the other end is gone".to_owned());
        let outgoing = self.outgoing.as_ref().ok_or_else(closed)?;
        outgoing.send(frame).await.map_err(|_| closed())
    }

    async fn recv(&mut self) -> Result<Option<String>, TransportError> {
        Ok(self.incoming.recv().await)
    }

    async fn close(&mut self) {
        self.outgoing = None;
        self.incoming.close();
    }
}
