//! Where a job may run and what a worker takes, besides what the contracts check.
//!
//! A job's [`Placement`] is part of its manifest, so that the client has signed for it by the manifest's hash. An
//! agent tells its [`AgentProfile`] when it connects. Both bind the keeper, which publishes them with every round that
//! they were part of; the contracts know neither.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};
use starknet_types_core::felt::Felt;

use crate::{Address, Preferences};

/// GPU models that a placement may list.
const MAX_GPU_MODELS: usize = 32;
/// The longest name of a GPU model, in bytes.
const MAX_GPU_MODEL_BYTES: usize = 64;
/// The newest generation of PCI Express that can be asked for.
const MAX_PCIE_GENERATION: u8 = 15;

/// What a job asks of a worker besides its requirements on chain. Zero, or an empty list, asks for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Placement {
    /// GPU models that will do: part of the name that the driver gives is enough, whatever its case. Empty for any.
    pub gpu_models: Vec<String>,
    /// Free space in the worker's work folder, in GiB.
    pub disk_gib: u32,
    /// The generation of PCI Express that GPUs are connected by.
    pub pcie_generation: u8,
    /// Who vouches for the worker.
    pub trust: TrustTier,
    /// What the job would like and can do without.
    pub prefers: Preferences,
}

/// Who vouches for a worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustTier {
    /// Nobody but its own stake.
    #[default]
    Staked,
    /// The admin, who admitted it to the static workers.
    Admitted,
}

/// What an agent says about its worker when it connects. Nobody checks it: a worker that claims too much fails the
/// jobs that it gets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentProfile {
    /// What the driver calls the GPUs; empty where there are none.
    pub gpu_model: String,
    /// Free space in the work folder, in GiB.
    pub disk_gib: u32,
    /// The lowest generation of PCI Express among the GPUs' connections; 0 where it is not known.
    pub pcie_generation: u8,
    /// Models that it holds already, as jobs name theirs.
    pub models: BTreeSet<Felt>,
    /// What it does not take.
    pub refuses: Refusals,
}

/// Jobs that a worker does not take.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refusals {
    /// Of these clients.
    pub clients: BTreeSet<Address>,
    /// Of these kinds.
    pub executors: BTreeSet<ExecutorKind>,
}

/// A kind of job: which executor it needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum ExecutorKind {
    /// [`Executor::Process`](crate::Executor::Process).
    #[default]
    Process,
    /// [`Executor::Matmul`](crate::Executor::Matmul).
    Matmul,
}

/// What a manifest says about where its job may run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManifestView {
    /// What runs it.
    pub executor: ExecutorKind,
    /// Where.
    pub placement: Placement,
}

/// A connected agent, as a keeper sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AgentView {
    /// What it says about its worker.
    pub profile: AgentProfile,
    /// The round trip between keeper and agent in milliseconds, as far as it was measured.
    pub latency_ms: Option<u32>,
    /// Whether it has not begun a job that it was offered for as long as the keeper waits for that. Left out where it is not
    /// so, as before there was such a thing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_stalled: bool,
}

impl Placement {
    /// Checks that the numbers and names can be meant.
    ///
    /// # Errors
    /// Names the first field that cannot, and what it may be.
    pub fn validate(&self) -> Result<(), PlacementError> {
        let error = |field, reason: String| Err(PlacementError { field, reason });
        if self.gpu_models.len() > MAX_GPU_MODELS {
            return error(
                "gpu_models",
                format!("lists {}, but at most {MAX_GPU_MODELS} can be", self.gpu_models.len()),
            );
        }
        let is_bad = |name: &&String| name.trim().is_empty() || name.len() > MAX_GPU_MODEL_BYTES;
        if let Some(name) = self.gpu_models.iter().find(is_bad) {
            let reason = format!("has `{name}`, but a name has 1 to {MAX_GPU_MODEL_BYTES} bytes");
            return error("gpu_models", reason);
        }
        if self.pcie_generation > MAX_PCIE_GENERATION {
            let reason = format!("is {}, but must be 0 to {MAX_PCIE_GENERATION}", self.pcie_generation);
            return error("pcie_generation", reason);
        }
        if let Some(least) = self.prefers.min_reputation.filter(|least| *least > crate::MAX_REPUTATION) {
            let reason = format!("is {least}, but must be 0 to {}", crate::MAX_REPUTATION);
            return error("prefers.min_reputation", reason);
        }
        Ok(())
    }

    /// Whether GPUs that the driver calls `gpu_model` will do.
    pub fn takes_gpu_model(&self, gpu_model: &str) -> bool {
        let has = gpu_model.to_ascii_lowercase();
        self.gpu_models.is_empty()
            || self.gpu_models.iter().any(|model| has.contains(&model.trim().to_ascii_lowercase()))
    }
}

impl AgentProfile {
    /// Whether the worker holds a job's model; true of the model zero, which is none.
    pub fn holds_model(&self, model_id: Felt) -> bool {
        model_id == Felt::ZERO || self.models.contains(&model_id)
    }
}

impl AgentView {
    /// The same, of models and refused clients only those that are named here: all that matters to jobs of these. An
    /// agent may list thousands.
    #[must_use]
    pub fn about(mut self, models: &BTreeSet<Felt>, clients: &BTreeSet<Address>) -> Self {
        self.profile.models.retain(|model| models.contains(model));
        self.profile.refuses.clients.retain(|client| clients.contains(client));
        self
    }
}

impl TrustTier {
    /// The tier of a worker that is static or not.
    pub fn of(is_static: bool) -> Self {
        if is_static { Self::Admitted } else { Self::Staked }
    }
}

impl fmt::Display for TrustTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Staked => "staked",
            Self::Admitted => "admitted",
        })
    }
}

/// A placement makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("placement.{field} {reason}")]
pub struct PlacementError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_gpus_name_is_enough_whatever_its_case() {
        let placement = Placement { gpu_models: vec!["h100".to_owned(), " A100 ".to_owned()], ..Placement::default() };
        assert!(placement.takes_gpu_model("NVIDIA H100 80GB HBM3"));
        assert!(placement.takes_gpu_model("NVIDIA A100-SXM4-40GB"));
        assert!(!placement.takes_gpu_model("NVIDIA L4"));
        assert!(!placement.takes_gpu_model(""), "no GPU is none of them");
        assert!(Placement::default().takes_gpu_model(""));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        let refused = |placement: Placement| placement.validate().unwrap_err().to_string();
        let empty = Placement { gpu_models: vec!["H100".to_owned(), " ".to_owned()], ..Placement::default() };
        assert_eq!(refused(empty), "placement.gpu_models has ` `, but a name has 1 to 64 bytes");
        let many = Placement { gpu_models: vec!["H100".to_owned(); 33], ..Placement::default() };
        assert_eq!(refused(many), "placement.gpu_models lists 33, but at most 32 can be");
        let future = Placement { pcie_generation: 16, ..Placement::default() };
        assert_eq!(refused(future), "placement.pcie_generation is 16, but must be 0 to 15");
        let prefers = Preferences { min_reputation: Some(1_001), ..Preferences::default() };
        let picky = Placement { prefers, ..Placement::default() };
        assert_eq!(refused(picky), "placement.prefers.min_reputation is 1001, but must be 0 to 1000");
        assert_eq!(Placement::default().validate(), Ok(()));
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        assert!(serde_json::from_str::<Placement>(r#"{"gpu_model":["H100"]}"#).is_err());
        let read: Placement = serde_json::from_str(r#"{"trust":"admitted","prefers":{"warm_model":true}}"#).unwrap();
        assert_eq!(read.trust, TrustTier::Admitted);
        assert!(read.prefers.warm_model);
    }

    /// Snapshots' roots hold the hash of what manifests say.
    #[test]
    fn a_manifest_that_names_no_place_of_the_client_is_written_as_before_there_was_one() {
        let written = |prefers| serde_json::to_string(&Placement { prefers, ..Placement::default() }).unwrap();
        let before =
            r#"{"gpu_models":[],"disk_gib":0,"pcie_generation":0,"trust":"staked","prefers":{"warm_model":true,"#
                .to_owned()
                + r#""region":null,"max_latency_ms":null,"max_rate":null,"min_reputation":null}}"#;
        assert_eq!(written(Preferences { warm_model: true, ..Preferences::default() }), before);
        let near = Preferences { near: Some("eu-w1".parse().unwrap()), ..Preferences::default() };
        let json = written(near);
        assert!(json.ends_with(r#""near":"eu-w1"}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Placement>(&json).unwrap().prefers, near);
    }

    #[test]
    fn an_agents_lists_shrink_to_what_is_asked_about() {
        let (ours, theirs) = (Address(Felt::TWO), Address(Felt::THREE));
        let refuses = Refusals { clients: [ours, theirs].into(), executors: [ExecutorKind::Matmul].into() };
        let profile = AgentProfile { models: [Felt::ONE, Felt::TWO].into(), refuses, ..AgentProfile::default() };
        let about = AgentView { profile, latency_ms: Some(3), is_stalled: true };
        assert!(serde_json::to_string(&about).unwrap().ends_with(r#""latency_ms":3,"is_stalled":true}"#));
        assert!(!serde_json::to_string(&AgentView::default()).unwrap().contains("stalled"));
        let about = about.about(&[Felt::ONE].into(), &[ours].into());
        assert_eq!(about.profile.models, [Felt::ONE].into());
        assert_eq!(about.profile.refuses.clients, [ours].into());
        assert_eq!((about.profile.refuses.executors.len(), about.latency_ms, about.is_stalled), (1, Some(3), true));
        assert_eq!(about.clone().about(&[Felt::ONE].into(), &[ours].into()), about);
    }

    #[test]
    fn no_model_is_held_by_everybody() {
        let profile = AgentProfile { models: [Felt::THREE].into(), ..AgentProfile::default() };
        assert!(profile.holds_model(Felt::ZERO) && profile.holds_model(Felt::THREE) && !profile.holds_model(Felt::TWO));
    }
}
