//! End-to-end tests: the contracts on a real local chain, and the real binaries around them.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

mod contracts;
