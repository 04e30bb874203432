//! The contracts on a real local chain: every role, error, event and deadline.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "tests fail by panicking")]

mod abi;
mod accounting;
mod alone;
mod attempts;
mod beats;
mod claims;
mod commits;
mod committees;
mod components;
mod credit;
mod defects;
mod disputes;
mod gas;
mod gasless;
mod gateways;
mod groups;
mod keepers;
mod largest;
mod life;
mod matrix;
mod packing;
mod parties;
mod pauses;
mod paying;
mod paymaster;
mod random;
mod referee;
mod relay;
mod reputation;
mod results;
mod roles;
mod rounds;
mod skips;
mod stage;
mod stakes;
mod submit;
mod texts;
mod upgrades;
mod views;
mod workers;
mod world;
