//! What replacements have to offer, and how much may be spent in an hour.

use std::collections::VecDeque;

use keeper_store::IntentId;
use keeper_types::Fri;

use super::slot::Signed;

/// By how much a replacement raises tip and price, in percent. Sequencers ask for 10 % on both.
const RAISE_PERCENT: u128 = 111;
/// The time within which spending is limited, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// The tip and the price of L2 gas that a replacement offers at least: 11 % above the highest of those before it,
/// rounded up, and at least one unit more.
pub(super) fn raised(signed: &[Signed]) -> (u64, u128) {
    let tip = signed.iter().map(|signed| signed.tip).max().unwrap_or(0);
    let price = signed.iter().map(|signed| signed.l2_gas_price).max().unwrap_or(0);
    let raise = |value: u128| value.saturating_mul(RAISE_PERCENT).div_ceil(100).max(value.saturating_add(1));
    (u64::try_from(raise(u128::from(tip))).unwrap_or(u64::MAX), raise(price))
}

/// What an account spends in an hour: what landed at its cost, what may land at the most that it can cost.
#[derive(Clone, Debug)]
pub struct FeeCeiling {
    most: Fri,
    spent: VecDeque<Spent>,
}

#[derive(Clone, Copy, Debug)]
struct Spent {
    intent: IntentId,
    at_ms: u64,
    fee: Fri,
    is_open: bool,
}

impl FeeCeiling {
    /// A ceiling of `most` in an hour, of which nothing is spent.
    pub fn new(most: Fri) -> Self {
        Self { most, spent: VecDeque::new() }
    }

    /// The most that may be spent in an hour.
    pub fn most(&self) -> Fri {
        self.most
    }

    /// What is spent, or may yet be, in the hour before `now_ms`.
    pub fn spent(&mut self, now_ms: u64) -> Fri {
        self.spent.retain(|spent| spent.is_open || spent.at_ms.saturating_add(HOUR_MS) > now_ms);
        self.spent.iter().fold(Fri::ZERO, |sum, spent| Fri(sum.0.saturating_add(spent.fee.0)))
    }

    /// Whether so much more may be spent. `intent` is the one that it is for where it has cost something already: of its
    /// transactions only one is paid for.
    pub fn allows(&mut self, fee: Fri, intent: Option<IntentId>, now_ms: u64) -> bool {
        let own = self.spent.iter().find(|spent| Some(spent.intent) == intent).map_or(Fri::ZERO, |spent| spent.fee);
        let others = self.spent(now_ms).0.saturating_sub(own.0);
        others.saturating_add(fee.0) <= self.most.0
    }

    /// An intent may cost so much, or more than before.
    pub fn note(&mut self, intent: IntentId, fee: Fri, at_ms: u64) {
        match self.spent.iter_mut().find(|spent| spent.intent == intent) {
            Some(spent) => spent.fee = spent.fee.max(fee),
            None => self.spent.push_back(Spent { intent, at_ms, fee, is_open: true }),
        }
    }

    /// An intent cost so much; nothing, where it was lost.
    pub fn settle(&mut self, intent: IntentId, fee: Fri) {
        if let Some(spent) = self.spent.iter_mut().find(|spent| spent.intent == intent) {
            (spent.fee, spent.is_open) = (fee, false);
        }
    }
}

#[cfg(test)]
mod tests {
    use keeper_store::Purpose;
    use keeper_types::{Felt, TxHash};

    use super::*;

    fn signed(tip: u64, l2_gas_price: u128) -> Signed {
        let hash = TxHash(Felt::from(tip));
        Signed { hash, purpose: Purpose::Action, tip, l2_gas_price, signed_ms: 0, has_bytes: true }
    }

    #[test]
    fn a_replacement_offers_eleven_percent_more_rounded_up() {
        assert_eq!(raised(&[signed(0, 1)]), (1, 2));
        assert_eq!(raised(&[signed(100, 1_000_000_000)]), (111, 1_110_000_000));
        assert_eq!(raised(&[signed(101, 101)]), (113, 113), "112.11 is not enough");
        assert_eq!(raised(&[signed(200, 5), signed(10, 1_000)]), (222, 1_110), "above each that was signed");
        assert_eq!(raised(&[signed(u64::MAX, u128::MAX)]), (u64::MAX, u128::MAX));
        assert_eq!(raised(&[]), (1, 1));
    }

    #[test]
    fn an_hour_holds_so_much_and_no_more() {
        let (first, second) = (IntentId(1), IntentId(2));
        let mut ceiling = FeeCeiling::new(Fri(100));
        ceiling.note(first, Fri(60), 1_000);
        assert!(ceiling.allows(Fri(40), None, 2_000) && !ceiling.allows(Fri(41), None, 2_000));
        assert!(ceiling.allows(Fri(100), Some(first), 2_000), "only one of its transactions is paid for");
        ceiling.note(first, Fri(70), 2_000);
        ceiling.note(first, Fri(50), 2_000);
        assert_eq!(ceiling.spent(2_000), Fri(70));
        assert_eq!(ceiling.spent(1_000 + HOUR_MS), Fri(70), "what is open may still cost it");
        ceiling.settle(first, Fri(30));
        ceiling.note(second, Fri(60), 1_500);
        assert_eq!(ceiling.spent(HOUR_MS + 999), Fri(90));
        assert_eq!(ceiling.spent(HOUR_MS + 1_000), Fri(60), "an hour has passed");
        ceiling.settle(second, Fri::ZERO);
        assert_eq!(ceiling.spent(2_000), Fri::ZERO);
    }
}
