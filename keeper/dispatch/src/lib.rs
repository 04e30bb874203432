//! Sessions between a keeper and worker agents, and the store of what they hand each other.
//!
//! ```text
//!   keeper                                               agent
//!     | <---------------- connects ---------------------- |
//!     | --- Challenge (nonce, audience, chain, pool) ---> |
//!     | <-- Hello (worker, account, profile), Proof ----- |
//!     | --- Welcome, Ping ------------------------------> |
//!     | <-- Pong, Profile (whenever it changes) --------- |
//!     | --- Offer (job, attempt, manifest) -------------> |  checks all of it on chain
//!     | <-- Accepted, Started, Finished ----------------- |
//! ```
//!
//! Nothing said in a session moves money or a job: the contracts do. A keeper that offers a job which is not
//! allocated is refused, and an agent that claims a result without having submitted it gains nothing. A session
//! therefore proves only one thing, that the other end may act for a worker's account, so that manifests reach
//! the worker which the job was allocated to and nobody else can silence it. The proof is for one keeper, by the URL
//! that the agent was told to connect to: another keeper that passes on a challenge, as it came or under its own name,
//! gets no proof that holds elsewhere.
//!
//! What an agent says about its worker, and the round trip that is measured to it, are no more than that: [`Sessions`]
//! holds them for whoever decides by them.
//!
//! [`Transport`] carries text frames. [`WebSocketConnector`] and [`DispatchServer::router`] are its WebSocket ends,
//! [`memory_pair`] joins two ends in one process.

mod artifacts;
mod auth;
mod client;
mod dispatcher;
mod message;
mod profile;
mod server;
mod transport;

pub use artifacts::{ArtifactError, ArtifactStore, MAX_ARTIFACT_BYTES};
pub use auth::{AuthError, Authenticator, ProofSigner, SignError};
pub use client::{AgentChannel, AgentIdentity, SessionError, authenticate};
pub use dispatcher::{ASSIGNMENT_TIMEOUT, Action, Allocation, Dispatcher, Ledger, RetryPolicy};
pub use message::{
    AgentMessage, Challenge, MAX_MESSAGE_BYTES, Outcome, PROTOCOL, RefusalCode, RejectionCode, ServerMessage,
};
pub use profile::{MAX_GPU_MODEL_BYTES, MAX_MODELS, MAX_REFUSED_CLIENTS, ProfileError, ProfileLine, check_profile};
pub use server::{
    AgentSession, BoundedListener, DispatchServer, OfferError, Report, ReportKind, ServerConfig, SessionEnd, SessionId,
    Sessions,
};
pub use transport::{Channel, Connector, Transport, TransportError, WebSocketConnector, memory_pair, session_url};
