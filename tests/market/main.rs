//! The real binaries around a real local chain, used as people use them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

mod anew;
mod balancing;
mod databases;
mod endpoints;
mod errors;
mod heads;
mod hidden;
mod mempool;
mod placement;
mod recovery;
mod replicas;
mod sponsored;
mod supervision;
mod unplaceable;
mod verification;
mod whole_loop;
