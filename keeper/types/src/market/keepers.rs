//! Keepers with their bonds and rounds, and the policies that rounds may name.

use super::{Address, ApplyErrorKind, BlockNumber, Deserialize, EventPosition, Market, MarketEvent, Serialize};
use crate::Fri;

/// A keeper's admission and bond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeeperBond {
    /// Whether the admin's admission stands.
    pub is_admitted: bool,
    /// What it has at stake.
    pub bond: Fri,
    /// When the bond can leave: timestamp and block, both of which must pass.
    pub leaves: Option<(u64, BlockNumber)>,
}

/// A scheduling policy as the contract knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyState {
    /// When rounds may name it: timestamp and block, both of which must have come.
    pub active_from: (u64, BlockNumber),
    /// Whether it was taken back.
    pub is_retired: bool,
}

impl PolicyState {
    /// Whether a round in a block of this number and timestamp may name the policy.
    pub fn is_active(&self, timestamp: u64, block: BlockNumber) -> bool {
        !self.is_retired && timestamp >= self.active_from.0 && block >= self.active_from.1
    }
}

impl Market {
    pub(super) fn apply_to_keeper(
        &mut self,
        event: &MarketEvent,
        position: &EventPosition,
    ) -> Result<(), ApplyErrorKind> {
        match event {
            MarketEvent::RoundApplied { keeper, round, .. } => {
                self.rounds.insert(*keeper, *round);
                self.last_round_block = Some(position.block);
            }
            MarketEvent::PolicyAnnounced { policy_id, active_from, active_from_block } => {
                let state = PolicyState { active_from: (*active_from, *active_from_block), is_retired: false };
                self.policies.insert(*policy_id, state);
            }
            MarketEvent::PolicyRetired { policy_id } => {
                let policy = self.policies.get_mut(policy_id).ok_or(ApplyErrorKind::PolicyUnknown(*policy_id))?;
                policy.is_retired = true;
            }
            MarketEvent::KeeperAdded { keeper } => {
                let entry = self.keeper(*keeper);
                (entry.is_admitted, entry.leaves) = (true, None);
            }
            MarketEvent::KeeperRemoved { keeper } => self.keeper(*keeper).is_admitted = false,
            MarketEvent::KeeperLeft { keeper, leaves_at, leaves_block } => {
                let entry = self.keeper(*keeper);
                (entry.is_admitted, entry.leaves) = (false, Some((*leaves_at, *leaves_block)));
            }
            MarketEvent::BondPosted { keeper, bond, .. } => self.keeper(*keeper).bond = *bond,
            MarketEvent::BondWithdrawn { keeper, .. } => {
                let entry = self.keeper(*keeper);
                (entry.bond, entry.leaves) = (Fri::ZERO, None);
            }
            _ => {}
        }
        Ok(())
    }

    fn keeper(&mut self, keeper: Address) -> &mut KeeperBond {
        self.keepers.get_or_default(keeper)
    }
}
