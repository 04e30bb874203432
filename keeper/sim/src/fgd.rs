//! The experiment of Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with Fragmentation Gradient
//! Descent" (USENIX ATC'23), figures 7, 9 and 11 to 14: how much of a cluster's GPUs can be allocated before what is
//! free is of no use.
//!
//! A mix of jobs is made 130 % of the cluster's GPUs large, shuffled, and placed job by job. No job ends, and one that
//! does not fit is not tried again. What is recorded is the percentage of GPUs allocated when jobs for 100 % and for
//! 130 % of them have arrived.

mod arrivals;
mod published;
mod replay;
mod report;
mod table;

pub use arrivals::Arrivals;
pub use published::{Published, PublishedError};
pub use replay::{Policies, PolicyName, Run, replay};
pub use table::{Figures, Table};
