//! Everything that knows Starknet; no other crate does.
//!
//! - [`Rpc`] is a connection to nodes that were checked to be on the right network, several as if they were one.
//! - [`Credentials`] are an account and its key, from the files that Starknet's tools write.
//! - [`Sender`] signs and sends transactions from one account, one after the other.
//! - [`lane::Lane`] does so by an intent log, and sees to it that each lands or is known not to.
//! - [`Contracts`] answers what the contracts hold and makes the calls of clients, workers and keepers.
//! - [`Follower`] says what the contracts told since the last recorded block.
//! - [`Heads`] wakes whoever waits for new blocks, as a node announces them.
//! - [`Deployer`] puts the contracts on a network.
//! - [`SponsoredCalls`] are calls that one account signs and another has executed.
//! - [`sign_proof`] and [`verify_proof`] let a worker's agent prove which account it acts for.
//!
//! Amounts are 256 bits wide at the ERC-20's edge only; inside they are [`keeper_types::Fri`].

mod account_proof;
mod contracts;
mod convert;
mod credentials;
mod decode;
mod deploy;
mod deployment;
mod follower;
mod heads;
pub mod lane;
mod network;
mod outside_execution;
mod rpc;
mod salt;
mod sender;

pub use account_proof::{ProofError, proof_hash, sign_proof, verify_proof};
pub use contracts::{AllocationStats, Calls, Contracts, DueExit, Governance, RoundReceipt, STRK_TOKEN};
pub use convert::{ChainDispute, ChainGroup, ChainJob, ChainKeeper, ValueError};
pub use credentials::{AccountSource, Credentials, CredentialsError, KeySource};
pub use decode::DecodeError;
pub use deploy::{ClassHashes, DeployError, Deployer, DeploymentTerms, built_in_class};
pub use deployment::{DeployedContract, Deployment, DeploymentError};
pub use follower::{BLOCKS_PER_STEP, ChainSource, Follower, Index, Indexed, JobStanding, Reading, Step, read};
pub use heads::{Heads, HeadsHealth};
pub use network::{Network, UnknownNetwork};
pub use outside_execution::{NamedCall, OutsideExecutionError, SponsoredCalls};
pub use rpc::{CrossCheck, EndpointHealth, PoolSettings, Rpc, RpcError, Standing, shown_url};
pub use salt::SaltSource;
pub use sender::{Receipt, SendError, Sender};
