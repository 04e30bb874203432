//! Whether a worker takes a job that is rightly its own.

use keeper_dispatch::RefusalCode;
use keeper_types::{Address, AgentProfile, ExecutorKind, ManifestView};

use crate::FailureCode;

/// Why a job is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unwanted {
    pub(super) code: RefusalCode,
    pub(super) reason: String,
}

impl Unwanted {
    /// What the attempt is given up with.
    pub(super) fn failure(&self) -> FailureCode {
        match self.code {
            RefusalCode::PlacementUnmet => FailureCode::PlacementUnmet,
            _ => FailureCode::Unwanted,
        }
    }
}

/// Compares a job with what the worker is and refuses. Keepers do so before they allocate; what comes all the same
/// comes from one that knows the worker no longer, or does not care.
pub(super) fn check(profile: &AgentProfile, client: Address, manifest: &ManifestView) -> Result<(), Unwanted> {
    let refuse = |code, reason| Err(Unwanted { code, reason });
    if profile.refuses.clients.contains(&client) {
        let reason = format!("the worker's setting refuse_clients names client {client}");
        return refuse(RefusalCode::Unwanted, reason);
    }
    if profile.refuses.executors.contains(&manifest.executor) {
        let kind = match manifest.executor {
            ExecutorKind::Process => "process",
            ExecutorKind::Matmul => "matmul",
        };
        return refuse(RefusalCode::Unwanted, format!("the worker's setting refuse_executors names `{kind}`"));
    }
    let placement = &manifest.placement;
    let has = |what: &str, asked: String, has: String| {
        refuse(RefusalCode::PlacementUnmet, format!("placement.{what} is {asked}, but the worker has {has}"))
    };
    if !placement.takes_gpu_model(&profile.gpu_model) {
        let model = if profile.gpu_model.is_empty() { "none" } else { &profile.gpu_model };
        return has("gpu_models", placement.gpu_models.join(" or "), model.to_owned());
    }
    if placement.pcie_generation > profile.pcie_generation {
        return has("pcie_generation", placement.pcie_generation.to_string(), profile.pcie_generation.to_string());
    }
    if placement.disk_gib > profile.disk_gib {
        return has("disk_gib", placement.disk_gib.to_string(), format!("{} GiB free", profile.disk_gib));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use keeper_types::{Felt, Placement, Refusals};

    use super::*;

    const CLIENT: Address = Address(Felt::TWO);

    fn l4() -> AgentProfile {
        AgentProfile { gpu_model: "NVIDIA L4".to_owned(), disk_gib: 200, pcie_generation: 4, ..AgentProfile::default() }
    }

    fn manifest(placement: Placement) -> ManifestView {
        ManifestView { executor: ExecutorKind::Matmul, placement }
    }

    fn refused(profile: &AgentProfile, placement: Placement) -> (RefusalCode, FailureCode, String) {
        let unwanted = check(profile, CLIENT, &manifest(placement)).unwrap_err();
        (unwanted.code, unwanted.failure(), unwanted.reason)
    }

    #[test]
    fn what_the_operator_does_not_want_is_named_by_its_setting() {
        let picky = |refuses| AgentProfile { refuses, ..l4() };
        let clients = picky(Refusals { clients: [CLIENT].into(), ..Refusals::default() });
        let executors = picky(Refusals { executors: [ExecutorKind::Matmul].into(), ..Refusals::default() });
        for (profile, reason) in [
            (clients, format!("the worker's setting refuse_clients names client {CLIENT}")),
            (executors, "the worker's setting refuse_executors names `matmul`".to_owned()),
        ] {
            let expected = (RefusalCode::Unwanted, FailureCode::Unwanted, reason);
            assert_eq!(refused(&profile, Placement::default()), expected);
        }
        let others = Refusals { clients: [Address(Felt::ONE)].into(), executors: [ExecutorKind::Process].into() };
        assert_eq!(check(&picky(others), CLIENT, &manifest(Placement::default())), Ok(()));
    }

    #[test]
    fn what_the_worker_lacks_is_named() {
        let models = |name: &str| Placement { gpu_models: vec![name.to_owned()], ..Placement::default() };
        let disk = |disk_gib| Placement { disk_gib, ..Placement::default() };
        let pcie = |pcie_generation| Placement { pcie_generation, ..Placement::default() };
        for (placement, reason) in [
            (models("H100"), "placement.gpu_models is H100, but the worker has NVIDIA L4"),
            (pcie(5), "placement.pcie_generation is 5, but the worker has 4"),
            (disk(201), "placement.disk_gib is 201, but the worker has 200 GiB free"),
        ] {
            let expected = (RefusalCode::PlacementUnmet, FailureCode::PlacementUnmet, reason.to_owned());
            assert_eq!(refused(&l4(), placement), expected);
        }
        let none = refused(&AgentProfile::default(), models("H100")).2;
        assert_eq!(none, "placement.gpu_models is H100, but the worker has none");
        for placement in [models("l4"), pcie(4), disk(200)] {
            assert_eq!(check(&l4(), CLIENT, &manifest(placement)), Ok(()));
        }
        assert_eq!(check(&AgentProfile::default(), CLIENT, &manifest(Placement::default())), Ok(()));
    }
}
