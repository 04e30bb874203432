//! Which of the workers that a job fits gets it, where the policy does not go by scores.

use keeper_types::WorkerId;

use crate::{Balancing, ChosenBy, Policy, Snapshot, balancing::LoadBalancer};

/// The policy's rule, with what it has chosen in this round.
pub(super) struct Chooser {
    rule: Balancing,
    balancer: LoadBalancer,
}

impl Chooser {
    /// A chooser that knows what the snapshot says; none where scores decide.
    pub(super) fn new(snapshot: &Snapshot, policy: &Policy) -> Option<Self> {
        let balancer = LoadBalancer::of_snapshot(policy.balancing_config()?, snapshot);
        Some(Self { rule: policy.balancing, balancer: balancer.expect("the policy was validated") })
    }

    /// One of these workers of the snapshot; none where there is none.
    pub(super) fn choose(&mut self, among: &[WorkerId]) -> Option<(WorkerId, ChosenBy)> {
        let choice = self.balancer.choose(among).expect("whoever has room is registered")?;
        let among = u32::try_from(among.len()).unwrap_or(u32::MAX);
        Some((choice.worker_id, ChosenBy { rule: self.rule, strategy: choice.strategy, among }))
    }

    /// Notes that a worker was given a job on so many GPUs.
    pub(super) fn started(&mut self, worker_id: WorkerId, gpus: u8) {
        self.balancer.start(worker_id, gpus);
    }
}
