//! What a keeper packs into a felt: an allocation, and the heartbeats of a hundred workers.

use keeper_types::Felt;

/// The reasons to skip an item, by their numbers in the ABI.
pub(crate) mod skip {
    pub(crate) const JOB_UNKNOWN: u8 = 1;
    pub(crate) const JOB_NOT_QUEUED: u8 = 2;
    pub(crate) const ATTEMPT_MISMATCH: u8 = 3;
    pub(crate) const DEADLINE_PASSED: u8 = 4;
    pub(crate) const WORKER_UNKNOWN: u8 = 5;
    pub(crate) const WORKER_UNAVAILABLE: u8 = 6;
    pub(crate) const NO_FREE_SLOT: u8 = 7;
    pub(crate) const NO_FREE_GPU: u8 = 8;
    pub(crate) const REQUIREMENT_UNMET: u8 = 9;
    pub(crate) const RATE_TOO_HIGH: u8 = 10;
    pub(crate) const REPUTATION_TOO_LOW: u8 = 11;
    pub(crate) const REGION_MISMATCH: u8 = 12;
    pub(crate) const WORKER_EXCLUDED: u8 = 13;
    pub(crate) const ITEM_MALFORMED: u8 = 14;
    pub(crate) const RATE_CHANGED: u8 = 15;

    pub(crate) fn name(reason: u8) -> &'static str {
        const NAMES: [&str; 16] = [
            "allocated",
            "job unknown",
            "job not queued",
            "attempt mismatch",
            "deadline passed",
            "worker unknown",
            "worker unavailable",
            "no free slot",
            "no free GPU",
            "requirement unmet",
            "rate too high",
            "reputation too low",
            "region mismatch",
            "worker excluded",
            "item malformed",
            "rate changed",
        ];
        NAMES.get(usize::from(reason)).copied().unwrap_or("?")
    }
}

/// Bits of an item that must be 0 start here.
pub(crate) const ITEM_BITS: u64 = 164;
/// Where the strategy stands in an item.
pub(crate) const STRATEGY_BIT: u64 = 104;
/// Workers of a felt of heartbeats.
pub(crate) const GROUP_SIZE: u32 = 100;

/// An allocation that a keeper proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) job_id: u64,
    pub(crate) worker_id: u32,
    pub(crate) attempt: u8,
    /// 4 bits, of which 0 to 3 are known.
    pub(crate) strategy: u8,
    pub(crate) score: u16,
    /// 40 bits.
    pub(crate) rate_gfri: u64,
}

impl Item {
    pub(crate) fn pack(self) -> Felt {
        let low = u128::from(self.job_id)
            + (u128::from(self.worker_id) << 64)
            + (u128::from(self.attempt) << 96)
            + (u128::from(self.strategy) << 104)
            + (u128::from(self.score) << 108);
        Felt::from(low) + Felt::from(self.rate_gfri) * Felt::TWO.pow(124_u32)
    }

    /// Reads the fields where they lie, and whether everything above and the strategy are well formed.
    pub(crate) fn unpack(felt: Felt) -> (Self, bool) {
        let bytes = felt.to_bytes_be();
        let (mut low, mut high) = ([0; 16], [0; 16]);
        low.copy_from_slice(&bytes[16..]);
        high.copy_from_slice(&bytes[..16]);
        let (low, high) = (u128::from_be_bytes(low), u128::from_be_bytes(high));
        let field = |value: u128, bits: u32| value & ((1 << bits) - 1);
        let rate = (low >> 124) | (field(high, 36) << 4);
        let narrow = |value: u128| u64::try_from(value).expect("a field is narrow");
        let item = Self {
            job_id: narrow(field(low, 64)),
            worker_id: narrow(field(low >> 64, 32)) as u32,
            attempt: narrow(field(low >> 96, 8)) as u8,
            strategy: narrow(field(low >> 104, 4)) as u8,
            score: narrow(field(low >> 108, 16)) as u16,
            rate_gfri: narrow(rate),
        };
        (item, high >> 36 == 0 && item.strategy <= 3)
    }
}

/// Those of a group that are set in `bitmap`; only a hundred bits are the group's.
pub(crate) fn heartbeats(group: u64, bitmap: u128) -> Felt {
    Felt::from(bitmap) + Felt::from(group) * Felt::TWO.pow(100_u32)
}

/// The group's number and its workers.
pub(crate) fn group_of(felt: Felt) -> (Felt, Vec<u32>) {
    let bytes = felt.to_bytes_be();
    let mut low = [0; 16];
    low.copy_from_slice(&bytes[16..]);
    let low = u128::from_be_bytes(low);
    let index = Felt::from_bytes_be_slice(&bytes[..16]) * Felt::TWO.pow(28_u32) + Felt::from(low >> 100);
    (index, (0..GROUP_SIZE).filter(|bit| low >> bit & 1 == 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_back_as_they_were_packed() {
        let item =
            Item { job_id: u64::MAX, worker_id: u32::MAX, attempt: 7, strategy: 3, score: 65_535, rate_gfri: 1 << 39 };
        assert_eq!(Item::unpack(item.pack()), (item, true));
        for bit in [STRATEGY_BIT + 2, ITEM_BITS, 250] {
            let strange = Item { strategy: 0, ..item }.pack() + Felt::TWO.pow(bit);
            assert!(!Item::unpack(strange).1, "{bit}");
        }
    }

    #[test]
    fn heartbeats_name_their_workers() {
        assert_eq!(group_of(heartbeats(3, 1 + (1 << 99))), (Felt::THREE, vec![0, 99]));
        assert_eq!(group_of(heartbeats(1 << 40, 0)), (Felt::from(1_u64 << 40), vec![]));
    }
}
