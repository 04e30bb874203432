//! A WebSocket server that claims to tell of new blocks.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use futures::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{accept_async, tungstenite::Message};

/// The server; it ends when this is dropped. Its connections lie, flood, say nothing, talk nonsense and close, in turn.
#[derive(Debug)]
pub struct LyingHeads {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl LyingHeads {
    /// A server on a free port.
    ///
    /// # Panics
    /// Panics where it cannot listen.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let connections = Arc::new(AtomicU64::new(0));
        let counted = connections.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(number, client));
            }
        });
        Self { address, connections, task }
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("ws://{}/ws", self.address)
    }

    /// Connections that were made to it.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for LyingHeads {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Does to a connection whatever its turn is.
async fn serve(number: u64, client: TcpStream) {
    let Ok(mut socket) = accept_async(client).await else { return };
    if !matches!(socket.next().await, Some(Ok(_))) {
        return;
    }
    let granted = json!({ "jsonrpc": "2.0", "id": 1, "result": "1" });
    if socket.send(Message::text(granted.to_string())).await.is_err() {
        return;
    }
    let head = |number: u64| {
        let header = json!({ "block_number": number, "block_hash": "0xbad", "parent_hash": "0xbad", "timestamp": 0 });
        let params = json!({ "subscription_id": "1", "result": header });
        json!({ "jsonrpc": "2.0", "method": "starknet_subscriptionNewHeads", "params": params }).to_string()
    };
    match number % 4 {
        // Blocks that never were, and a reorganisation of everything; then it floods.
        0 => {
            let reorganised = json!({ "starting_block_number": 0, "ending_block_number": u64::MAX });
            let params = json!({ "subscription_id": "1", "result": reorganised });
            let notice = json!({ "jsonrpc": "2.0", "method": "starknet_subscriptionReorg", "params": params });
            let mut said = vec![head(u64::MAX), notice.to_string(), head(0)].into_iter().cycle();
            while let Some(text) = said.next()
                && socket.send(Message::text(text)).await.is_ok()
            {}
        }
        1 => {
            let nonsense = [Message::text("\u{0}"), Message::text("[]"), Message::binary(vec![0xff; 70_000])];
            for message in nonsense {
                socket.send(message).await.ok();
            }
        }
        // More than anybody should take.
        2 => drop(socket.send(Message::binary(vec![b'x'; 8 << 20])).await),
        // Not another word.
        _ => while let Some(Ok(_)) = socket.next().await {},
    }
}
