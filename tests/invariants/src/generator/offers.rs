//! Workers: what they offer, and their lives.

use keeper_types::{Felt, WorkerStatus};

use super::Generator;
use crate::{
    actors::{Actor, felt_of},
    calls::{Call, Capabilities, Offer},
    model::{Model, Worker},
};

impl Generator {
    pub(super) fn register(&mut self, model: &Model) -> (Actor, Call) {
        let mut owner = self.dice.weighted(&[
            (6, Actor::Worker1),
            (6, Actor::Worker2),
            (6, Actor::Worker3),
            (1, Actor::Client1),
            (1, Actor::Keeper1),
            (1, Actor::Account),
        ]);
        // Whoever has no worker comes first.
        let is_new = |actor: &Actor| !model.cdc_pool.worker_of.contains_key(&actor.address());
        let likely = [Actor::Worker1, Actor::Worker2, Actor::Worker3, Actor::Keeper1, Actor::Account];
        if let Some(newcomer) = likely.into_iter().find(is_new)
            && self.dice.chance(80)
        {
            owner = newcomer;
        }
        let offer = self.offer();
        let least = model.terms.min_stake_per_slot.saturating_mul(offer.slots.into());
        let stake = self.dice.weighted(&[
            (8, least),
            (8, least.saturating_mul(3).saturating_add(1)),
            (1, least.saturating_sub(1)),
            (1, u128::MAX),
            (1, 0),
        ]);
        (owner, Call::RegisterWorker { offer: Box::new(offer), stake })
    }

    /// A change in the life of a worker, asked for by its owner.
    pub(super) fn worker_life(&mut self, model: &Model) -> (Actor, Call) {
        let id = self.worker_id(model);
        let worker = model.worker(id);
        let owner = worker.and_then(|worker| Actor::of_address(worker.owner)).unwrap_or(Actor::Worker2);
        let status = worker.map(|worker| worker.status);
        let is_active = u64::from(status == Some(WorkerStatus::Active));
        let is_draining = u64::from(status == Some(WorkerStatus::Draining));
        let is_exiting = u64::from(status == Some(WorkerStatus::Exiting));
        let update = self.changed_offer(worker);
        let least = model.terms.min_stake_per_slot;
        let amount = self.dice.weighted(&[(4, least), (2, 1), (1, 0), (1, u128::MAX), (1, least * 5)]);
        let call = self.dice.weighted(&[
            (4, Call::UpdateWorker(Box::new(update))),
            (1 + is_active, Call::DrainWorker),
            (1 + 12 * is_draining, Call::ResumeWorker),
            (1 + is_draining, Call::ExitWorker),
            (1 + 8 * is_exiting, Call::WithdrawStake),
            (2 + is_draining, Call::AddStake(amount)),
            (1, Call::DecayReputation(id)),
        ]);
        (owner, call)
    }

    fn changed_offer(&mut self, worker: Option<&Worker>) -> Offer {
        let mut offer = self.offer();
        if let Some(worker) = worker
            && self.dice.chance(60)
        {
            offer.slots = worker.offer.slots.saturating_add(u8::try_from(self.dice.below(3)).unwrap_or(0));
        }
        offer
    }

    fn offer(&mut self) -> Offer {
        let capabilities = Capabilities {
            gpu_count: self.dice.weighted(&[(4, 4), (2, 1), (2, 8), (1, 0), (1, 63)]),
            vram_gib: self.dice.pick(&[80, 24, 1023, 1]),
            compute_capability: self.dice.pick(&[90, 89, 127, 0]),
            cuda_version: self.dice.pick(&[124, 255, 1]),
            driver_version: self.dice.pick(&[550, 1023, 2]),
            cpu_cores: self.dice.pick(&[64, 511, 1]),
            memory_gib: self.dice.pick(&[512, 4095, 1]),
            features: self.dice.pick(&[7, 0, u16::MAX, 0x8001]),
            region: self.dice.weighted(&[
                (5, felt_of("eu")),
                (2, felt_of("us-e1")),
                (1, Felt::from((1_u64 << 40) - 1)),
            ]),
        };
        let mut offer = Offer {
            capabilities,
            slots: self.dice.weighted(&[(5, 2), (4, 1), (3, 3), (1, 255)]),
            rate_gfri: self.dice.weighted(&[(5, 1_000), (3, 1), (3, 999_999), (1, (1 << 40) - 1)]),
        };
        if self.dice.chance(10) {
            self.spoil_offer(&mut offer);
        }
        offer
    }

    /// Puts one field at or beyond its limit.
    fn spoil_offer(&mut self, offer: &mut Offer) {
        let offered = &mut offer.capabilities;
        match self.dice.below(10) {
            0 => offer.slots = 0,
            1 => offer.rate_gfri = self.dice.pick(&[0, 1 << 40, u64::MAX]),
            2 => offered.gpu_count = self.dice.pick(&[63, 64, 255]),
            3 => offered.vram_gib = self.dice.pick(&[1023, 1024, u16::MAX]),
            4 => offered.compute_capability = self.dice.pick(&[127, 128, 255]),
            5 => offered.driver_version = self.dice.pick(&[1023, 1024, u16::MAX]),
            6 => offered.cpu_cores = self.dice.pick(&[511, 512, u16::MAX]),
            7 => offered.memory_gib = self.dice.pick(&[4095, 4096, u16::MAX]),
            8 => offered.region = Felt::ZERO,
            _ => offered.region = self.dice.pick(&[Felt::from(1_u64 << 40), Felt::MAX]),
        }
    }
}
