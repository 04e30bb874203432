//! What an operator does with the database: bring it to this version's layout, check it, copy it, set it aside.
//!
//! Each works on a file that is not open. Checking and copying read one moment of it and may go on while a keeper
//! runs; migrating and setting aside take the keeper's lock.

mod aside;
mod backup;
pub(crate) mod check;
mod migrate;

pub use aside::set_aside;
pub use backup::backup;
pub use check::{Finding, Report, check};
pub use migrate::{Migrated, migrate};

#[cfg(test)]
mod tests;
