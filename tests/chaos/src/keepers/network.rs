//! A network for each keeper: a namespace of its own, and three cables to where everything else is. By one it reaches the
//! chain, by one the database, and by one agents and probes reach it, so that each can be pulled.
//!
//! At the near end of the first two sits a relay to what is behind: the chain listens on this machine's loopback, the
//! database on a socket in a folder, and neither is in the keeper's namespace. A cable that is pulled answers nothing, as a
//! network that is gone does; nobody is told.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, AsyncWrite, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixStream},
    process::Child,
    task::JoinHandle,
};

/// What is said where there can be no namespaces.
pub(crate) const NOT_RUN: &str = "cannot make network namespaces: not run";
/// Where a keeper listens in its own network.
const LISTEN: u16 = 7070;
const PROBES: u16 = 9070;
/// Where the chain is, for the keeper.
const HOME: &str = "127.0.0.1:5050";

/// A cable of a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cable {
    Chain,
    Database,
    Agents,
}

impl Cable {
    const ALL: [Self; 3] = [Self::Chain, Self::Database, Self::Agents];
}

/// Where a keeper is, and what it is told.
#[derive(Debug)]
pub(crate) struct Place {
    /// None where it is beside everything else, and nothing can be pulled.
    namespace: Option<Namespace>,
    pub(crate) rpc_url: String,
    pub(crate) database: String,
    pub(crate) listen: String,
    pub(crate) probes: String,
    relays: Vec<JoinHandle<()>>,
    /// Carries what the keeper says to its own machine to the cable to the chain.
    _inside: Option<Child>,
}

/// A namespace, which is gone when this is dropped.
#[derive(Debug)]
struct Namespace {
    name: String,
    /// What its addresses begin with; each cable has four.
    network: [u8; 3],
    number: u8,
}

impl Place {
    /// A place beside everything else.
    ///
    /// # Errors
    /// Fails where no port is free.
    pub(crate) fn beside(rpc_url: &str, database: &str) -> Result<Self> {
        let free = || -> Result<String> {
            let socket = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
            Ok(socket.local_addr()?.to_string())
        };
        let (rpc_url, database) = (rpc_url.to_owned(), database.to_owned());
        Ok(Self {
            namespace: None,
            rpc_url,
            database,
            listen: free()?,
            probes: free()?,
            relays: Vec::new(),
            _inside: None,
        })
    }

    /// A place in a network of its own, in front of the chain at `rpc_url` and of the database server's socket.
    ///
    /// # Errors
    /// Says [`NOT_RUN`] where this machine, or this user, has no namespaces.
    pub(crate) async fn apart(number: u8, rpc_url: &str, socket: &Path, database: &str) -> Result<Self> {
        let namespace = Namespace::make(number)?;
        let chain: SocketAddr = host_of(rpc_url)?.parse().context("the chain's address")?;
        let (to_chain, chain_relay) =
            relay(free_port(namespace.near(Cable::Chain)), move || TcpStream::connect(chain)).await?;
        let socket = socket.to_owned();
        let (to_database, database_relay) =
            relay(free_port(namespace.near(Cable::Database)), move || UnixStream::connect(socket.clone())).await?;
        let inside = namespace.relay_inside(HOME, to_chain).await?;
        let far = namespace.far(Cable::Agents);
        Ok(Self {
            // A local chain has to be on the keeper's own machine.
            rpc_url: format!("http://{HOME}/rpc"),
            database: format!("postgres://keeper@{to_database}/{database}?sslmode=disable"),
            listen: format!("{far}:{LISTEN}"),
            probes: format!("{far}:{PROBES}"),
            relays: vec![chain_relay, database_relay],
            _inside: Some(inside),
            namespace: Some(namespace),
        })
    }

    /// Its namespace's name.
    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_ref().map(|namespace| namespace.name.as_str())
    }

    /// Pulls a cable, or plugs it in again.
    ///
    /// # Errors
    /// Fails where there is none.
    pub(crate) fn set_cable(&self, cable: Cable, is_plugged: bool) -> Result<()> {
        let namespace = self.namespace.as_ref().context("a keeper beside everything else has no cables")?;
        ip(&["link", "set", "dev", &namespace.cable(cable), if is_plugged { "up" } else { "down" }])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.relays.iter().for_each(JoinHandle::abort);
    }
}

impl Namespace {
    fn make(number: u8) -> Result<Self> {
        // Two runs at a time have different numbers of their processes, and so other names and addresses.
        let process = std::process::id();
        let network = [10, u8::try_from(process % 251)?, u8::try_from(process / 251 % 251)?];
        let namespace = Self { name: format!("ck{process:x}-{number}"), network, number };
        ip(&["netns", "add", &namespace.name]).context(NOT_RUN)?;
        namespace.furnish().context(NOT_RUN)?;
        Ok(namespace)
    }

    fn furnish(&self) -> Result<()> {
        let inside = |arguments: &[&str]| ip(&[&["-n", &self.name], arguments].concat());
        inside(&["link", "set", "lo", "up"])?;
        for cable in Cable::ALL {
            let (near, far) = (self.cable(cable), format!("far{}", cable as u8));
            ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &self.name])?;
            ip(&["addr", "add", &format!("{}/30", self.near(cable)), "dev", &near])?;
            ip(&["link", "set", "dev", &near, "up"])?;
            inside(&["addr", "add", &format!("{}/30", self.far(cable)), "dev", &far])?;
            inside(&["link", "set", "dev", &far, "up"])?;
        }
        Ok(())
    }

    /// The name of a cable's near end.
    fn cable(&self, cable: Cable) -> String {
        format!("{}{}", self.name.replace('-', "k"), cable as u8)
    }

    fn near(&self, cable: Cable) -> Ipv4Addr {
        self.address(cable, 1)
    }

    fn far(&self, cable: Cable) -> Ipv4Addr {
        self.address(cable, 2)
    }

    fn address(&self, cable: Cable, end: u8) -> Ipv4Addr {
        let [first, second, third] = self.network;
        Ipv4Addr::new(first, second, third, self.number * 16 + cable as u8 * 4 + end)
    }
}

impl Namespace {
    /// Carries what comes to an address inside on to one outside.
    async fn relay_inside(&self, listen: &str, to: SocketAddr) -> Result<Child> {
        let own = std::env::current_exe().context("finding this program")?;
        let mut command = tokio::process::Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(own).args(["relay", listen, &to.to_string()]);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().context("starting a relay")?;
        let mut said = String::new();
        let output = child.stdout.as_mut().context("its output is piped")?;
        BufReader::new(output).read_line(&mut said).await.context("reading what a relay says")?;
        ensure!(!said.is_empty(), "a relay does not listen");
        Ok(child)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cables go with it.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip (apt-get install iproute2)")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}

fn free_port(address: Ipv4Addr) -> SocketAddr {
    (address, 0).into()
}

fn host_of(rpc_url: &str) -> Result<&str> {
    let rest = rpc_url.strip_prefix("http://").context("the chain is asked by http")?;
    Ok(rest.split('/').next().unwrap_or(rest))
}

/// Listens, and carries what comes to what is behind.
pub(super) async fn relay<S, F>(
    listen: SocketAddr,
    connect: impl Fn() -> F + Send + Sync + 'static,
) -> Result<(SocketAddr, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
    F: Future<Output = std::io::Result<S>> + Send + 'static,
{
    let listener = TcpListener::bind(listen).await.with_context(|| format!("listening on {listen}"))?;
    let address = listener.local_addr()?;
    let task = tokio::spawn(async move {
        while let Ok((mut keeper, _)) = listener.accept().await {
            let connecting = connect();
            tokio::spawn(async move {
                let Ok(mut behind) = connecting.await else { return };
                // However it ends, both ends are closed.
                let _ = copy_bidirectional(&mut keeper, &mut behind).await;
            });
        }
    });
    Ok((address, task))
}

/// The socket of a server that listens in this folder.
pub(crate) fn socket_in(folder: &Path) -> PathBuf {
    folder.join(".s.PGSQL.5432")
}
