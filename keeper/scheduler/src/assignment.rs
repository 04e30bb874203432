//! x

mod auction;
mod augment;
mod buckets;
mod certificate;
mod instance;
mod matcher;
mod search;
mod state;

pub use certificate::{Certificate, CertificateError, Solution};
pub use instance::{Instance, InstanceError, JobScores};
pub use matcher::Matcher;

/// The highest score of a pair.
pub const MAX_SCORE: u32 = 10_000;
/// No slot costs more: at this price nobody gains anything.
const MAX_PRICE: i16 = 10_000;
