//! A TCP proxy between a keeper and its node, which can be shut.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A proxy in front of a node; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    node: watch::Sender<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    /// A proxy on a free port, open, in front of the node at `rpc_url`.
    ///
    /// # Panics
    /// Panics where it cannot listen.
    pub async fn before(rpc_url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let (open, is_open) = watch::channel(true);
        let (node, behind) = watch::channel(host_of(rpc_url));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                // A connection that is refused is closed as soon as it is there.
                if *is_open.borrow() {
                    tokio::spawn(carry(client, behind.clone(), is_open.clone()));
                }
            }
        });
        Self { address, open, node, task }
    }

    /// Where it answers, as the node does.
    pub fn rpc_url(&self) -> String {
        format!("http://{}/rpc", self.address)
    }

    /// Cuts every connection and refuses others, or lets them through again.
    pub fn set_open(&self, is_open: bool) {
        self.open.send_replace(is_open);
    }

    /// Puts another node behind it, and cuts every connection to the one before.
    pub fn set_node(&self, rpc_url: &str) {
        self.node.send_replace(host_of(rpc_url));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn host_of(rpc_url: &str) -> String {
    rpc_url.trim_start_matches("http://").split('/').next().expect("a host and a port").to_owned()
}

/// Carries bytes both ways until one end closes, the proxy is shut, or another node is behind it.
async fn carry(mut client: TcpStream, mut node: watch::Receiver<String>, mut is_open: watch::Receiver<bool>) {
    let address = node.borrow_and_update().clone();
    let Ok(mut server) = TcpStream::connect(address).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = is_open.wait_for(|is_open| !is_open) => {}
        _ = node.changed() => {}
    }
}
