// SPDX-License-Identifier: MIT

//! Contracts of the invariants' harness alone: a token and an account that turn on whoever calls
//! them. They are never deployed on a network.

mod account;
mod token;
mod trap;
