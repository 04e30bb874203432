//! The events that every contract has: those of its components for admin, pause and upgrades.
//!
//! They carry no outer name on chain, so that they are read by their own, the same from each contract.

use keeper_types::{Address, AdminEvent, BlockNumber, Felt};
use starknet::{core::types::Event, macros::selector};

use super::DecodeError;

/// The administrative event that the felts spell, or `None` where they spell another event.
pub(super) fn decode(event: &Event) -> Result<Option<AdminEvent>, DecodeError> {
    let mut felts = event.keys.iter().skip(1).chain(&event.data).copied();
    let mut next = || felts.next().ok_or_else(|| DecodeError::Felts("felts are missing".to_owned()));
    let number = |felt: Felt| u64::try_from(felt).map_err(|error| DecodeError::Felts(error.to_string()));
    let Some(name) = event.keys.first().copied() else { return Ok(None) };
    let read = if name == selector!("AdminTransferStarted") {
        AdminEvent::AdminTransferStarted { previous_admin: Address(next()?), new_admin: Address(next()?) }
    } else if name == selector!("AdminTransferred") {
        AdminEvent::AdminTransferred { previous_admin: Address(next()?), new_admin: Address(next()?) }
    } else if name == selector!("GuardianSet") {
        AdminEvent::GuardianSet { guardian: Address(next()?) }
    } else if name == selector!("Paused") {
        AdminEvent::Paused { account: Address(next()?) }
    } else if name == selector!("Unpaused") {
        AdminEvent::Unpaused { account: Address(next()?) }
    } else if name == selector!("UpgradeAnnounced") {
        AdminEvent::UpgradeAnnounced {
            class_hash: next()?,
            ready_at: number(next()?)?,
            ready_block: BlockNumber(number(next()?)?),
        }
    } else if name == selector!("UpgradeCancelled") {
        AdminEvent::UpgradeCancelled { class_hash: next()? }
    } else if name == selector!("Upgraded") {
        AdminEvent::Upgraded { class_hash: next()? }
    } else {
        return Ok(None);
    };
    Ok(Some(read))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn event(keys: &[Felt], data: &[u64]) -> Event {
        Event {
            from_address: Felt::ONE,
            keys: keys.to_vec(),
            data: data.iter().map(|felt| Felt::from(*felt)).collect(),
        }
    }

    #[test]
    fn keys_come_before_data() {
        let announced = event(&[selector!("UpgradeAnnounced"), Felt::from(7)], &[8, 9]);
        let expected =
            AdminEvent::UpgradeAnnounced { class_hash: Felt::from(7), ready_at: 8, ready_block: BlockNumber(9) };
        assert_eq!(decode(&announced).unwrap(), Some(expected));
        let paused = event(&[selector!("Paused")], &[5]);
        assert_eq!(decode(&paused).unwrap(), Some(AdminEvent::Paused { account: Address(Felt::from(5)) }));
    }

    #[test]
    fn other_events_are_left_and_short_ones_refused() {
        assert_eq!(decode(&event(&[selector!("JobSettled")], &[])).unwrap(), None);
        assert_eq!(decode(&event(&[], &[])).unwrap(), None);
        decode(&event(&[selector!("Upgraded")], &[])).unwrap_err();
    }
}
