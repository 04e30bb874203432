//! What a deployment lets an operator choose.

use keeper_types::{Felt, Fri};

use crate::Network;

/// What a deployment lets an operator choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeploymentTerms {
    /// What each slot of a worker must stake.
    pub min_stake_per_slot: Fri,
    /// How long a leaving worker's stake stays bound, in seconds.
    pub unbonding_s: u64,
    /// How long a client may look at a result before anyone may settle it, in seconds.
    pub challenge_window_s: u64,
    /// What the referee has for a ruling, and a committee to be allocated, in seconds.
    pub dispute_window_s: u64,
    /// What a keeper must have at stake.
    pub min_keeper_bond: Fri,
    /// How long a policy is announced before rounds may name it, and a keeper's bond stays bound, in seconds.
    pub policy_delay_s: u64,
    /// How long an upgrade is announced before it may be made, in seconds.
    pub upgrade_delay_s: u64,
    /// Tells deployments of one account apart.
    pub salt: Felt,
}

impl DeploymentTerms {
    /// What suits the network: quick on a local chain, careful where money is real.
    pub fn of(network: Network) -> Self {
        const STRK: u128 = 1_000_000_000_000_000_000;
        const DAY_S: u64 = 86_400;
        match network {
            Network::Devnet => Self {
                min_stake_per_slot: Fri(10 * STRK),
                unbonding_s: 30,
                challenge_window_s: 3,
                dispute_window_s: 60,
                min_keeper_bond: Fri(10 * STRK),
                policy_delay_s: 0,
                upgrade_delay_s: 0,
                salt: Felt::ZERO,
            },
            Network::Sepolia => Self {
                min_stake_per_slot: Fri(10 * STRK),
                unbonding_s: 3_600,
                challenge_window_s: 60,
                dispute_window_s: 3_600,
                min_keeper_bond: Fri(10 * STRK),
                policy_delay_s: 0,
                upgrade_delay_s: 3_600,
                salt: Felt::ZERO,
            },
            Network::Mainnet => Self {
                min_stake_per_slot: Fri(100 * STRK),
                unbonding_s: 7 * DAY_S,
                challenge_window_s: 1_800,
                dispute_window_s: DAY_S,
                min_keeper_bond: Fri(1_000 * STRK),
                policy_delay_s: DAY_S,
                upgrade_delay_s: 7 * DAY_S,
                salt: Felt::ZERO,
            },
        }
    }
}
