//! Places jobs on nodes whose GPUs are shared in thousandths, so that what is left stays of use.
//!
//! ```text
//!  Demand (CPU, memory, GPUs, thousandths, models)        NodeState (what is free), equal ones in one group
//!            |                                                      |
//!            +---------------> Placer: does it fit? <---------------+
//!                                 |  a score for each group that changed since the last demand like this one
//!                          PlacementPolicy
//!                                 |
//!                 best group, its first node; GPU; the node moves to the group of its new state
//! ```
//!
//! [`Fgd`] is fragmentation gradient descent (Weng et al., USENIX ATC'23), [`WasteDescent`] the keeper's own policy; the
//! others are what they are compared with. Everything is an integer and every tie goes to the node that comes first,
//! so the same demands in the same order are placed the same on every machine.

mod allotment;
mod baselines;
mod fgd;
mod fill;
mod fragmentation;
mod groups;
mod node;
mod placer;
mod policy;
mod random;
mod residue;
mod waste;
mod workload;

pub use baselines::{BestFit, DotProd, GpuClustering, GpuPacking, Random};
pub use fgd::Fgd;
pub use fragmentation::{Fragmentation, Fragments};
pub use node::{Demand, DemandKind, DemandKinds, GPU_MILLI, GpuModel, GpuModels, MAX_GPUS, NodeState};
pub use placer::{Placement, Placer};
pub use policy::{Fit, PlacementPolicy, Score};
pub use random::SplitMix64;
pub use waste::{WasteDescent, WasteWeights};
pub use workload::{TypicalDemand, Workload};

#[cfg(test)]
mod tests;
