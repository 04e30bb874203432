//! Serves worker agents' sessions.
//!
//! The sessions are the server's, not the service's: they go on while the service is started again, on the same socket.
//! An agent that was connecting just then tries again.

use std::{net, sync::Arc};

use anyhow::Context as _;
use keeper_dispatch::DispatchServer;
use tokio_util::sync::CancellationToken;

use super::{Failure, failure::Cause, probing::listener_of};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    pub(crate) server: DispatchServer,
    pub(crate) socket: Arc<net::TcpListener>,
}

impl Serving {
    /// Serves until cancelled; then tells every agent that the keeper is going down.
    ///
    /// # Errors
    /// Fails where the socket does.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        let listener = listener_of(&self.socket).map_err(|error| Failure::Passing(error.into()))?;
        // A server that has ended its sessions takes no others, so there is nothing to start again.
        let served = self.server.serve(listener, cancel).await.context("serving worker agents");
        served.map_err(|error| Failure::Final(Cause::Listener, error))
    }
}
