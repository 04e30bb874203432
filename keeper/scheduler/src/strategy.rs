//! The four ways to allocate, as the chain records them ([`keeper_types::Strategy`]): standard, batch, emergency,
//! fallback.
//!
//! ```text
//!  workers that meet every requirement: pool, score, preferences met
//!        |
//!     standard    one job; the workers that meet all its preferences
//!        | nobody
//!     fallback    the same with preferences dropped, in a stated order; requirements never are
//!
//!     batch       many jobs that are alike, over the same workers
//!     emergency   one urgent job; jobs that allow it may be put off for it
//! ```
//!
//! Everywhere static workers, whom the admin admitted, go before dynamic ones, then the higher score, then the lower
//! id. All functions are pure and say what would be done. [`plan`](crate::plan()) does not call them yet.

mod batch;
mod candidate;
mod emergency;
mod warmth;

pub use batch::{BatchAllocation, batch};
pub use candidate::{Allocation, Candidate, Pool, fallback, standard};
pub use emergency::{EmergencyAllocation, EmergencyError, EmergencyNeed, EmergencyRules, Host, RunningJob, emergency};
pub use keeper_types::{Preference, PreferenceSet, Preferences, WorkerFacts};
pub use warmth::ModelWarmth;

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;
