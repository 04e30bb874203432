//! A listener that bounds what strangers can hold: connections in all, and the time that one may take until it
//! becomes a session. Neither hyper nor axum bounds either.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Sleep, sleep},
};

/// A listener with bounds.
#[derive(Debug)]
pub struct BoundedListener {
    listener: TcpListener,
    connections: Arc<Semaphore>,
    admission: Duration,
}

impl BoundedListener {
    /// At most `connections` at a time, each closed unless it becomes a session within `admission`.
    pub fn new(listener: TcpListener, connections: usize, admission: Duration) -> Self {
        let connections = Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS)));
        Self { listener, connections, admission }
    }
}

impl Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; without a permit the kernel's backlog holds the newcomers.
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // Offers are small and wanted at once. A socket that refuses the option works all the same.
        let _ = stream.set_nodelay(true);
        let peer = Peer { address, admitted: Arc::new(AtomicBool::new(false)) };
        let connection = Connection { stream, peer, deadline: Box::pin(sleep(self.admission)), _permit: permit };
        (connection, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    address: SocketAddr,
    admitted: Arc<AtomicBool>,
}

impl Peer {
    /// Lifts the connection's time limit: it is a session now, and has limits of its own.
    pub(super) fn admit(&self) -> SocketAddr {
        self.admitted.store(true, Ordering::Release);
        self.address
    }
}

impl Connected<IncomingStream<'_, BoundedListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, BoundedListener>) -> Self {
        stream.io().peer.clone()
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    peer: Peer,
    deadline: Pin<Box<Sleep>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn poll_overdue(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let admitted = self.peer.admitted.load(Ordering::Acquire);
        if !admitted && self.deadline.as_mut().poll(context).is_ready() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(())
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.poll_overdue(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_overdue(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_overdue(context)?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
