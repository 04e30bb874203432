//! Jobs to submit: around what some worker offers, so that each requirement decides now and then.

use keeper_types::Felt;

use super::{Generator, Theme, answers::RERUN};
use crate::{
    actors::{Actor, felt_of},
    calls::{Call, JobSpec, Requirements},
    model::{Model, Worker, max_rate, price},
};

const FRI_PER_GFRI: u128 = 1_000_000_000;

impl Generator {
    pub(super) fn submit(&mut self, model: &Model) -> (Actor, Call) {
        let spec = self.spec(model);
        let client = self.dice.weighted(&[(4, Actor::Client1), (4, Actor::Client2), (1, Actor::Worker1)]);
        (client, Call::SubmitJob(Box::new(spec)))
    }

    pub(super) fn spec(&mut self, model: &Model) -> JobSpec {
        let count = model.cdc_pool.workers.len() as u64;
        let worker = if count == 0 {
            None
        } else {
            let id = u32::try_from(self.dice.between(1, count)).unwrap_or(1);
            model.worker(id)
        };
        let mut spec = self.sound_spec(model, worker);
        if self.dice.chance(if self.theme == Theme::Committees { 3 } else { 14 }) {
            self.spoil_spec(model, &mut spec);
        }
        spec
    }

    fn sound_spec(&mut self, model: &Model, worker: Option<&Worker>) -> JobSpec {
        let requirements = self.requirements(worker);
        let ahead = self.dice.weighted(&[(8, 3_601), (5, 600), (2, 60), (1, 1), (2, 31_536_000)]);
        let mut spec = JobSpec {
            manifest_hash: Felt::from(self.dice.next().max(1)),
            model_id: self.dice.weighted(&[(3, Felt::ZERO), (2, felt_of("llama-3")), (1, Felt::MAX)]),
            requirements,
            priority: u8::try_from(self.dice.between(1, 10)).unwrap_or(1),
            queue: u8::try_from(self.dice.below(3)).unwrap_or(0),
            max_price: 0,
            deadline: model.now.timestamp + ahead,
            execution_timeout_s: self.dice.weighted(&[(6, 100), (3, 7), (2, 3_600), (1, 1), (1, 2_592_000)]),
            max_attempts: self.dice.weighted(&[(4, 2), (3, 3), (3, 1), (1, 15)]),
            max_latency_ms: self.dice.weighted(&[(4, 0), (2, 250), (1, 16_383)]),
            verification: self.dice.weighted(&[(3, 0), (4, 1), (4, 2)]),
            replicas: 1,
            quorum: 1,
        };
        if self.dice.chance(30) {
            spec.verification = 0;
            (spec.replicas, spec.quorum) = self.dice.weighted(&[(16, (3, 2)), (1, (4, 3)), (1, (5, 3)), (1, (15, 8))]);
        }
        match self.theme {
            Theme::Replicas if self.dice.chance(80) => {
                (spec.verification, spec.replicas, spec.quorum) = (0, 3, 2);
            }
            Theme::Disputes if self.dice.chance(80) => {
                (spec.replicas, spec.quorum) = (1, 1);
                spec.verification = self.dice.weighted(&[(3, 1), (2, 2)]);
            }
            Theme::Committees if self.dice.chance(95) => {
                (spec.verification, spec.replicas, spec.quorum) = (RERUN, 1, 1);
                (spec.deadline, spec.execution_timeout_s) = (model.now.timestamp + 3_601, 100);
            }
            _ => {}
        }
        if spec.replicas != 1 {
            spec.deadline = spec.deadline.min(model.now.timestamp + 604_800);
            spec.execution_timeout_s = spec.execution_timeout_s.min(86_400);
        }
        // Whatever takes several workers should find them.
        if (spec.replicas > 1 || spec.verification == 1) && self.dice.chance(80) {
            spec.requirements =
                Requirements { gpu_count: u8::try_from(self.dice.below(2)).unwrap_or(1), ..Requirements::default() };
        }
        spec.max_price = self.max_price(&spec, worker);
        spec
    }

    /// Often just what the worker's rate comes to, or a fri or a gFri less.
    fn max_price(&mut self, spec: &JobSpec, worker: Option<&Worker>) -> u128 {
        let rate = worker.map_or(1_000, |worker| worker.offer.rate_gfri);
        let exact = price(spec, rate);
        let unit = price(spec, 1);
        let odd = u128::from(self.dice.below(unit.min(u64::MAX.into()).max(1) as u64));
        let tight = [exact, exact.saturating_sub(1), exact.saturating_sub(unit), exact + unit - 1];
        let price = match self.dice.below(5) {
            0 | 1 => self.dice.pick(&tight),
            2 => exact * 2 + odd,
            _ => exact + odd,
        };
        price.max(unit)
    }

    fn requirements(&mut self, worker: Option<&Worker>) -> Requirements {
        let Some(worker) = worker else { return Requirements { gpu_count: 1, ..Requirements::default() } };
        let offered = worker.offer.capabilities;
        // Of each: nothing, a little less, or all there is.
        let mut part = |all: u16| match self.dice.below(4) {
            0 => 0,
            1 => all.saturating_sub(1),
            _ => all,
        };
        let narrow = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
        let mut wanted = Requirements {
            gpu_count: 0,
            vram_gib: part(offered.vram_gib),
            compute_capability: narrow(part(offered.compute_capability.into())),
            cuda_version: narrow(part(offered.cuda_version.into())),
            driver_version: part(offered.driver_version),
            cpu_cores: part(offered.cpu_cores),
            memory_gib: part(offered.memory_gib),
            min_reputation: part(worker.reputation),
            features: 0,
            region: Felt::ZERO,
        };
        let gpus = u64::from(offered.gpu_count);
        let some = self.dice.between(0, gpus / 2 + 1).min(63);
        wanted.gpu_count = u8::try_from(self.dice.weighted(&[(6, some), (2, gpus), (1, 0)])).unwrap_or(63);
        wanted.features = offered.features & u16::try_from(self.dice.below(1 << 16)).unwrap_or(0);
        wanted.region = self.dice.weighted(&[(2, Felt::ZERO), (3, offered.region)]);
        if self.dice.chance(30) {
            self.ask_too_much(&mut wanted, worker);
        }
        wanted
    }

    /// Raises one requirement just above what the worker has.
    fn ask_too_much(&mut self, wanted: &mut Requirements, worker: &Worker) {
        let offered = worker.offer.capabilities;
        match self.dice.below(10) {
            0 => wanted.gpu_count = (offered.gpu_count + 1).min(63),
            1 => wanted.vram_gib = (offered.vram_gib + 1).min(1023),
            2 => wanted.compute_capability = (offered.compute_capability + 1).min(127),
            3 => wanted.cuda_version = offered.cuda_version.saturating_add(1),
            4 => wanted.driver_version = (offered.driver_version + 1).min(1023),
            5 => wanted.cpu_cores = (offered.cpu_cores + 1).min(511),
            6 => wanted.memory_gib = (offered.memory_gib + 1).min(4095),
            7 => wanted.min_reputation = (worker.reputation + 1).min(1000),
            8 => wanted.features |= 1 << self.dice.below(16),
            _ => wanted.region = self.dice.pick(&[felt_of("zz"), felt_of("eu"), Felt::from((1_u64 << 40) - 1)]),
        }
    }

    /// Puts one field at or beyond its limit.
    fn spoil_spec(&mut self, model: &Model, spec: &mut JobSpec) {
        let now = model.now.timestamp;
        let wanted = &mut spec.requirements;
        match self.dice.below(24) {
            0 => spec.manifest_hash = Felt::ZERO,
            1 => spec.priority = self.dice.pick(&[0, 10, 11, 255]),
            2 => spec.queue = self.dice.pick(&[2, 3, 255]),
            3 => spec.max_attempts = self.dice.pick(&[0, 15, 16, 255]),
            4 => wanted.gpu_count = self.dice.pick(&[63, 64, 255]),
            5 => wanted.vram_gib = self.dice.pick(&[1023, 1024, u16::MAX]),
            6 => wanted.compute_capability = self.dice.pick(&[127, 128, 255]),
            7 => wanted.driver_version = self.dice.pick(&[1023, 1024, u16::MAX]),
            8 => wanted.cpu_cores = self.dice.pick(&[511, 512, u16::MAX]),
            9 => wanted.memory_gib = self.dice.pick(&[4095, 4096, u16::MAX]),
            10 => wanted.min_reputation = self.dice.pick(&[1000, 1001, u16::MAX]),
            11 => wanted.region = self.dice.pick(&[Felt::from((1_u64 << 40) - 1), Felt::from(1_u64 << 40), Felt::MAX]),
            12 => spec.execution_timeout_s = self.dice.pick(&[0, 86_400, 86_401, 2_592_000, 2_592_001, u32::MAX]),
            13 => spec.deadline = self.dice.pick(&[0, now, now - 1, now + 1]),
            14 => {
                let ahead = [604_800, 604_801, 31_536_000, 31_536_001, u64::MAX - now];
                spec.deadline = now + self.dice.pick(&ahead);
            }
            15 => spec.max_price = self.dice.pick(&[0, 1, u128::MAX]),
            16 => {
                let least = FRI_PER_GFRI * u128::from(spec.requirements.gpu_count.max(1));
                spec.max_price = least * u128::from(spec.execution_timeout_s) - u128::from(self.dice.below(2));
            }
            17 => {
                // A short job, so that the highest rates are within somebody's means.
                spec.execution_timeout_s = 1;
                let highest = price(spec, (1 << 40) - 1);
                spec.max_price = self.dice.pick(&[highest, highest + price(spec, 1) - 1, highest + price(spec, 1)]);
            }
            18 => spec.max_latency_ms = self.dice.pick(&[16_383, 16_384, u16::MAX]),
            19 => spec.verification = self.dice.pick(&[1, 2, 3, 255]),
            20 => (spec.replicas, spec.quorum) = self.dice.pick(&[(3, 1), (3, 3), (4, 2), (1, 2), (1, 0), (5, 2)]),
            21 => (spec.replicas, spec.quorum) = self.dice.pick(&[(0, 0), (2, 2), (2, 1), (16, 9), (255, 130), (0, 1)]),
            22 => spec.replicas = self.dice.pick(&[3, 1]),
            _ => spec.max_price = price(spec, u64::try_from(max_rate(spec)).unwrap_or(1)).saturating_mul(1_000_000),
        }
    }
}
