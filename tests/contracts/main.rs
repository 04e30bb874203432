//! The contracts on a real local chain: every role, error, event and deadline.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

mod attempts;
mod gas;
mod life;
mod random;
mod reputation;
mod results;
mod roles;
mod rounds;
mod skips;
mod submit;
mod views;
mod workers;
mod world;
