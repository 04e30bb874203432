//! Numbers side by side in one, so that one subtraction and one AND decide whether each is large enough.
//!
//! ```text
//! bits     field                guard bit
//!   0..8   GPUs                   8
//!   9..25  GiB per GPU           25
//!  26..34  compute capability    34
//!  35..43  CUDA version          43
//!  44..60  driver version        60
//!  61..77  CPU cores             77
//!  78..94  GiB of memory         94
//!  95..111 reputation           111
//! 112..128 features (a set)       -
//! ```
//!
//! Requirements leave their guard bits 0, capabilities have theirs set. Each lane's difference is then at least 1,
//! so no lane borrows from the next, and its guard bit survives exactly where capability >= requirement. The
//! features lie above all lanes: of the required ones that are missing the lowest leaves a 1 in the difference.

use keeper_types::{Capabilities, Features, Requirements};

/// Where each lane starts, and how many bits its values have.
const GPUS: (u32, u32) = (0, 8);
const VRAM: (u32, u32) = (9, 16);
const COMPUTE_CAPABILITY: (u32, u32) = (26, 8);
const CUDA: (u32, u32) = (35, 8);
const DRIVER: (u32, u32) = (44, 16);
const CPU: (u32, u32) = (61, 16);
const MEMORY: (u32, u32) = (78, 16);
const REPUTATION: (u32, u32) = (95, 16);
const FEATURES: u32 = 112;

const LANES: [(u32, u32); 8] = [GPUS, VRAM, COMPUTE_CAPABILITY, CUDA, DRIVER, CPU, MEMORY, REPUTATION];
const GUARDS: u128 = guards();
const FEATURES_MASK: u128 = (u16::MAX as u128) << FEATURES;

const fn guards() -> u128 {
    let (mut guards, mut lane) = (0, 0);
    while lane < LANES.len() {
        guards |= 1 << (LANES[lane].0 + LANES[lane].1);
        lane += 1;
    }
    guards
}

/// What a job needs, or what a worker has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lanes(u128);

impl Lanes {
    /// How many lanes there are beside the features.
    pub(super) const COUNT: usize = LANES.len();
    /// Which lane is the reputation.
    pub(super) const REPUTATION: usize = 7;

    /// What a job needs: no guard bits.
    pub(super) fn of_requirements(needs: &Requirements) -> Self {
        let values = [
            u16::from(needs.gpu_count),
            needs.vram_gib,
            u16::from(needs.compute_capability),
            u16::from(needs.cuda_version),
            needs.driver_version,
            needs.cpu_cores,
            needs.memory_gib,
            needs.min_reputation,
        ];
        Self::pack(values, needs.features)
    }

    /// What a worker has: guard bits set.
    pub(super) fn of_capabilities(has: &Capabilities, reputation: u16) -> Self {
        let values = [
            u16::from(has.gpu_count),
            has.vram_gib,
            u16::from(has.compute_capability),
            u16::from(has.cuda_version),
            has.driver_version,
            has.cpu_cores,
            has.memory_gib,
            reputation,
        ];
        Self(Self::pack(values, has.features).0 | GUARDS)
    }

    fn pack(values: [u16; LANES.len()], features: Features) -> Self {
        let lanes = LANES.into_iter().zip(values).map(|((start, _), value)| u128::from(value) << start);
        Self(lanes.fold(u128::from(features.0) << FEATURES, |packed, lane| packed | lane))
    }

    /// Whether these capabilities are at least the requirements in every lane, every feature included.
    pub(super) fn meet(self, need: Self) -> bool {
        let relevant = GUARDS | (need.0 & FEATURES_MASK);
        self.0.wrapping_sub(need.0) & relevant == GUARDS
    }

    /// The larger value in every lane, and every feature of either: what meets a need if one of the two does.
    pub(super) fn max(self, other: Self) -> Self {
        let lanes = LANES.into_iter().map(|lane| u128::from(self.value(lane).max(other.value(lane))) << lane.0);
        Self(lanes.fold((self.0 | other.0) & (FEATURES_MASK | GUARDS), |packed, lane| packed | lane))
    }

    fn value(self, (start, bits): (u32, u32)) -> u16 {
        u16::try_from((self.0 >> start) & ((1 << bits) - 1)).expect("no lane is wider than 16 bits")
    }

    pub(super) fn gpus(self) -> u8 {
        self.0.to_le_bytes()[0]
    }

    /// What tells GPU models apart: compute capability and memory.
    pub(super) fn model(self) -> (u16, u16) {
        (self.value(COMPUTE_CAPABILITY), self.value(VRAM))
    }

    pub(super) fn features(self) -> Features {
        let [.., low, high] = self.0.to_le_bytes();
        Features(u16::from_le_bytes([low, high]))
    }

    /// What a tight fit is measured by, in the order of the terms of [`Terms::fit`](crate::Terms::fit): GPUs, memory
    /// of a GPU, compute capability, CPU cores, memory, and how many features.
    pub(super) fn sizes(self) -> [u16; 6] {
        let [gpus, vram, compute_capability, cpu, memory] =
            [GPUS, VRAM, COMPUTE_CAPABILITY, CPU, MEMORY].map(|lane| self.value(lane));
        let features = u16::try_from(self.features().0.count_ones()).expect("16 bits are at most 16");
        [gpus, vram, compute_capability, cpu, memory, features]
    }

    /// The values of all lanes, in order.
    pub(super) fn values(self) -> [u16; Self::COUNT] {
        LANES.map(|lane| self.value(lane))
    }

    pub(super) fn reputation(self) -> u16 {
        self.value(REPUTATION)
    }

    /// The same without the reputation, which a worker earns and does not come with.
    pub(super) fn without_reputation(self) -> Self {
        Self(self.0 & !(u128::from(u16::MAX) << REPUTATION.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Values = ((u8, u16, u8, u8), (u16, u16, u16, u16), u16);

    fn pack(((gpus, vram, compute, cuda), (driver, cpu, memory, reputation), features): Values) -> Lanes {
        let values = [u16::from(gpus), vram, u16::from(compute), u16::from(cuda), driver, cpu, memory, reputation];
        Lanes::pack(values, Features(features))
    }

    /// Often equal, often one apart, often anything.
    fn near(values: Values) -> impl Strategy<Value = Values> {
        let ((gpus, vram, compute, cuda), (driver, cpu, memory, reputation), features) = values;
        fn wide(value: u16) -> impl Strategy<Value = u16> {
            prop_oneof![6 => Just(value), 2 => Just(value.saturating_sub(1)), 1 => any::<u16>()]
        }
        fn narrow(value: u8) -> impl Strategy<Value = u8> {
            prop_oneof![6 => Just(value), 2 => Just(value.saturating_sub(1)), 1 => any::<u8>()]
        }
        (
            (narrow(gpus), wide(vram), narrow(compute), narrow(cuda)),
            (wide(driver), wide(cpu), wide(memory), wide(reputation)),
            any::<u16>().prop_map(move |bits| features & bits),
        )
    }

    proptest! {
        #[test]
        fn lanes_meet_a_need_where_every_one_does((has, need) in any::<Values>().prop_flat_map(|has| (Just(has), near(has)))) {
            let (has, need) = (pack(has), pack(need));
            let expected = has.values().iter().zip(need.values()).all(|(has, need)| *has >= need)
                && has.features().contains(need.features());
            prop_assert_eq!(Lanes(has.0 | GUARDS).meet(need), expected);
        }

        #[test]
        fn the_larger_of_two_is_the_larger_in_every_lane(a: Values, b: Values) {
            let (a, b) = (pack(a), pack(b));
            let both = a.max(b);
            for ((a, b), both) in a.values().into_iter().zip(b.values()).zip(both.values()) {
                prop_assert_eq!(a.max(b), both);
            }
            prop_assert_eq!(both.features().0, a.features().0 | b.features().0);
        }
    }
}
