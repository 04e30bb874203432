//! What keepers, owners and the admin do beside jobs.

use keeper_types::Felt;

use super::Generator;
use crate::{
    actors::{Actor, Contract},
    calls::{Call, GROUP_SIZE, Metrics, heartbeats},
    model::Model,
};

impl Generator {
    pub(super) fn report(&mut self, model: &Model) -> (Actor, Call) {
        let id = self.worker_id(model);
        let owner = model.worker(id).and_then(|worker| Actor::of_address(worker.owner)).unwrap_or(Actor::Worker1);
        let beyond = [Felt::from(1_u64 << 32), Felt::MAX, Felt::from(id)];
        let worker_id = self.dice.weighted(&[(12, Felt::from(id)), (1, self.dice.clone().pick(&beyond))]);
        let mut share =
            || u16::try_from(self.dice.weighted(&[(6, 9_000), (2, 10_000), (1, 10_001), (1, 65_535), (2, 0)]));
        let (success_bps, utilisation_bps) = (share().unwrap_or(0), share().unwrap_or(0));
        let mut number = || u32::try_from(self.dice.edge(u32::MAX.into())).unwrap_or(u32::MAX);
        let metrics = Metrics { queue_length: number(), response_ms: number(), success_bps, utilisation_bps };
        let caller = self.dice.weighted(&[(4, owner), (3, Actor::Keeper1), (1, Actor::Client1), (1, Actor::Worker2)]);
        (caller, Call::UpdateWorkerMetrics { worker_id, metrics })
    }

    /// Heartbeats, of one worker or by a keeper.
    pub(super) fn beat(&mut self, model: &Model) -> (Actor, Call) {
        let id = self.worker_id(model);
        let owner = model.worker(id).and_then(|worker| Actor::of_address(worker.owner)).unwrap_or(Actor::Worker1);
        let last = model.cdc_pool.workers.len() as u64;
        let known = u128::from(self.dice.below(1 << last.min(12)));
        let any = u128::from(self.dice.next()) << 36;
        let right = heartbeats(0, known);
        let far = heartbeats(self.dice.edge(u64::MAX), known);
        let next = heartbeats(last.div_ceil(u64::from(GROUP_SIZE)), known);
        let mut groups = vec![self.dice.weighted(&[(12, right), (1, heartbeats(0, any)), (1, far), (1, next)])];
        let length = self.dice.weighted(&[(40, 1), (3, 2), (1, 0), (1, 250), (1, 251)]);
        groups = groups.into_iter().cycle().take(length).collect();
        let keeper = self.dice.pick(&Actor::KEEPERS);
        self.dice.weighted(&[(2, (owner, Call::Heartbeat)), (3, (keeper, Call::HeartbeatBatch(groups)))])
    }

    /// Bonds and leaving.
    pub(super) fn keeper_life(&mut self, model: &Model) -> (Actor, Call) {
        let keeper = self.dice.weighted(&[(5, Actor::Keeper1), (5, Actor::Keeper2), (1, Actor::Client2)]);
        let known = model.keeper(keeper.address());
        let least = model.terms.min_keeper_bond;
        let amount = self.dice.weighted(&[(4, least), (2, 1), (1, 0), (1, u128::MAX), (1, least * 3)]);
        let (is_poor, has_left) = (u64::from(!model.is_keeper(keeper.address())), u64::from(!known.is_admitted));
        let leaving = if is_poor == 0 && self.dice.chance(15) { 3 } else { 0 };
        let call = self.dice.weighted(&[
            (2 + 8 * is_poor, Call::PostBond(amount)),
            (leaving, Call::Leave),
            (1 + 4 * has_left, Call::WithdrawBond),
        ]);
        (keeper, call)
    }

    pub(super) fn administer(&mut self, model: &Model) -> (Actor, Call) {
        let contract = self.dice.pick(&Contract::OURS);
        let paused: Vec<Contract> =
            Contract::OURS.into_iter().filter(|contract| model.control(*contract).is_paused).collect();
        if let Some(contract) = self.dice.pick_any(&paused)
            && self.dice.chance(60)
        {
            return (self.admin_of(model, contract), Call::Unpause(contract));
        }
        if model.control(contract).is_embedded && self.dice.chance(45) {
            return self.control(model, contract);
        }
        let keeper = self.dice.weighted(&[
            (4, Actor::Keeper1.address()),
            (4, Actor::Keeper2.address()),
            (1, Actor::Client2.address()),
            (1, Felt::ZERO),
        ]);
        // Whoever names another contract has lost the deployment; only the zero address is refused.
        let right_or_zero = |dice: &mut crate::dice::Dice, right: Felt| dice.weighted(&[(5, right), (1, Felt::ZERO)]);
        let job_mgr = right_or_zero(&mut self.dice, Contract::JobMgr.address());
        let allocator = right_or_zero(&mut self.dice, Contract::TaskAllocator.address());
        let paymaster = right_or_zero(&mut self.dice, Contract::Paymaster.address());
        let referee = right_or_zero(&mut self.dice, Actor::Referee.address());
        let worker_id = self.worker_id(model);
        let is_static = |id: &u32| model.worker(*id).is_some_and(|worker| worker.is_static);
        let admitted = (1..=model.cdc_pool.workers.len() as u32).find(is_static).unwrap_or(worker_id);
        let policy = self.new_policy(model);
        let known_policy = Felt::from(self.dice.between(0, 2));
        let call = self.dice.weighted(&[
            (4, Call::AddKeeper(keeper)),
            (1, Call::RemoveKeeper(keeper)),
            (2, Call::SetJobMgr(job_mgr)),
            (2, Call::SetTaskAllocator(allocator)),
            (2, Call::SetAllocatorOfPool(allocator)),
            (2, Call::SetPaymaster(paymaster)),
            (2, Call::SetReferee(referee)),
            (3, Call::AdmitWorker(worker_id)),
            (3, Call::DismissWorker(admitted)),
            (4, Call::AnnouncePolicy(policy)),
            (1, Call::RetirePolicy(known_policy)),
        ]);
        let right = self.admin_of(model, call.target().0);
        (self.dice.weighted(&[(6, right), (1, Actor::Keeper1), (1, Actor::Client1)]), call)
    }

    fn admin_of(&self, model: &Model, contract: Contract) -> Actor {
        Actor::of_address(model.control(contract).admin).unwrap_or(Actor::Admin)
    }

    /// What every contract's admin can do.
    fn control(&mut self, model: &Model, contract: Contract) -> (Actor, Call) {
        let control = *model.control(contract);
        let admin = self.admin_of(model, contract);
        let pending = Actor::of_address(control.pending_admin).unwrap_or(Actor::Worker3);
        let guardian = Actor::of_address(control.guardian).unwrap_or(Actor::Worker2);
        let someone = self.dice.pick(&[Actor::Admin, Actor::Keeper1, Actor::Client2]).address();
        let someone = self.dice.weighted(&[(6, someone), (1, Felt::ZERO)]);
        // No other class can be told of: what it would do is not modelled.
        let class_hash = self.dice.weighted(&[(5, contract.address()), (1, Felt::ZERO)]);
        let is_offered = u64::from(control.pending_admin != Felt::ZERO);
        let is_announced = u64::from(control.upgrade.is_some());
        self.dice.weighted(&[
            (3, (admin, Call::TransferAdmin(contract, someone))),
            (1 + 12 * is_offered, (pending, Call::AcceptAdmin(contract))),
            (2, (admin, Call::SetGuardian(contract, someone))),
            (1, (admin, Call::Pause(contract))),
            (1, (guardian, Call::Pause(contract))),
            (1, (guardian, Call::Unpause(contract))),
            (3, (admin, Call::AnnounceUpgrade(contract, class_hash))),
            (1 + 3 * is_announced, (admin, Call::CancelUpgrade(contract))),
            (3, (admin, Call::Upgrade(contract))),
            (1, (guardian, Call::AnnounceUpgrade(contract, class_hash))),
        ])
    }
}
