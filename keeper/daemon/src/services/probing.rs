//! Answers `GET /live` and `GET /ready`, for orchestrators and load balancers.

use std::{io, net, sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use keeper_dispatch::BoundedListener;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, Health};

/// Connections at a time. Others wait in the kernel's backlog.
const CONNECTIONS: usize = 16;
/// How long one may stay open.
const CONNECTION_LIMIT: Duration = Duration::from_secs(10);

/// The service. It has no state: the socket stays open across its restarts, and so keeps its port.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub(crate) socket: Arc<net::TcpListener>,
    pub(crate) health: Arc<Health>,
}

impl Probing {
    /// Answers until cancelled.
    ///
    /// # Errors
    /// Fails where the socket does.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), Failure> {
        // Nobody is owed the rest of an answer: probes ask again.
        cancel.run_until_cancelled(self.serve()).await.unwrap_or(Ok(())).map_err(|error| Failure::Passing(error.into()))
    }

    async fn serve(&self) -> io::Result<()> {
        let listener = listener_of(&self.socket)?;
        let router =
            Router::new().route("/live", get(live)).route("/ready", get(ready)).with_state(self.health.clone());
        axum::serve(BoundedListener::new(listener, CONNECTIONS, CONNECTION_LIMIT), router).await
    }
}

/// A listener on a socket that outlives it.
///
/// # Errors
/// Fails where the process has no file descriptors left.
pub(super) fn listener_of(socket: &net::TcpListener) -> io::Result<TcpListener> {
    let socket = socket.try_clone()?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

async fn live(State(health): State<Arc<Health>>) -> Response {
    let liveness = health.liveness();
    (status(liveness.live), Json(liveness)).into_response()
}

async fn ready(State(health): State<Arc<Health>>) -> Response {
    let readiness = health.readiness();
    (status(readiness.ready), Json(readiness)).into_response()
}

fn status(is_well: bool) -> StatusCode {
    if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

#[cfg(test)]
mod tests {
    use keeper_types::BlockNumber;
    use serde_json::Value;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
    };

    use super::*;
    use crate::services::ALLOCATING;

    /// The status and the JSON that come back.
    async fn ask(address: net::SocketAddr, path: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: keeper\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn probes_are_answered_over_a_socket_and_again_after_a_restart() {
        let socket = Arc::new(net::TcpListener::bind("127.0.0.1:0").unwrap());
        let address = socket.local_addr().unwrap();
        let health = Arc::new(Health::new());
        let probing = Probing { socket, health: health.clone() };
        for is_ready in [false, true] {
            let cancel = CancellationToken::new();
            let task = tokio::spawn(probing.clone().run(cancel.clone()));
            let (status, body) = ask(address, "/live").await;
            assert_eq!((status, &body["live"]), (200, &Value::Bool(true)), "{body}");
            let (status, body) = ask(address, "/ready").await;
            assert_eq!(status, if is_ready { 200 } else { 503 }, "{body}");
            assert_eq!(
                (&body["ready"], &body["checks"]["chain"]["ok"]),
                (&is_ready.into(), &is_ready.into()),
                "{body}"
            );
            assert_eq!(body["checks"]["store"]["age_ms"].is_u64(), is_ready, "{body}");
            cancel.cancel();
            task.await.unwrap().unwrap();
            health.service(ALLOCATING, true);
            health.followed(BlockNumber(1), BlockNumber(1));

            health.latched(keeper_follow::LatchState::Open);
            health.stored();
            health.admitted();
            health.allocated();
        }
    }
}
