//! The contracts on a real local chain: every role, error, event and deadline.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

mod life;
mod roles;
mod submit;
mod workers;
mod world;
