//! Replays public cluster traces against scheduling policies, simulates markets, and says how policies fare.
//!
//! The decisions come from the pure crate `keeper-scheduler`; files, figures for people and threads live here.
//! The same trace, seeds and policies give the same result on every machine, whatever the number of threads.

mod draws;
pub mod failures;
pub mod fgd;
pub mod openb;
pub mod philly;
pub mod simulation;
