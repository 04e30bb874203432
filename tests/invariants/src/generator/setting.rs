//! What a sequence starts from.

use keeper_types::Felt;

use super::Generator;
use crate::{
    actors::{Actor, Contract, felt_of},
    calls::{Call, Capabilities, Offer, Step},
    dice::Dice,
    model::{Terms, TokenKind},
};

/// The first calls of an ordinary sequence: they wire the contracts, name keepers and a policy, register workers, and
/// let others act for a client.
pub(crate) fn set_up(terms: &Terms) -> Vec<Step> {
    if !terms.is_set_up {
        return Vec::new();
    }
    let admin = |call| (Actor::Admin, call);
    let allocator = Contract::TaskAllocator.address();
    let mut calls = vec![
        admin(Call::SetJobMgr(Contract::JobMgr.address())),
        admin(Call::SetTaskAllocator(allocator)),
        admin(Call::SetAllocatorOfPool(allocator)),
        admin(Call::SetPaymaster(Contract::Paymaster.address())),
        admin(Call::SetReferee(Actor::Referee.address())),
        admin(Call::AnnouncePolicy(Felt::ONE)),
    ];
    for keeper in Actor::KEEPERS {
        calls.push(admin(Call::AddKeeper(keeper.address())));
        if terms.min_keeper_bond > 0 {
            calls.push((keeper, Call::PostBond(terms.min_keeper_bond)));
        }
    }
    let offer = |gpu_count, slots| {
        let capabilities = Capabilities {
            gpu_count,
            vram_gib: 80,
            compute_capability: 90,
            cuda_version: 124,
            driver_version: 550,
            cpu_cores: 64,
            memory_gib: 512,
            features: 7,
            region: felt_of("eu"),
        };
        Box::new(Offer { capabilities, slots, rate_gfri: 1_000 })
    };
    let owners = [(Actor::Worker1, 4, 2), (Actor::Worker2, 8, 3), (Actor::Worker3, 1, 1), (Actor::Account, 4, 3)];
    for (owner, gpu_count, slots) in owners {
        let stake = terms.min_stake_per_slot * u128::from(slots) + 3;
        calls.push((owner, Call::RegisterWorker { offer: offer(gpu_count, slots), stake }));
    }
    let (client, account) = (Actor::Client1, Actor::Account.address());
    calls.extend([
        (client, Call::Deposit { account: client.address(), amount: 100_000_000_000_000_000_000_000 }),
        (client, Call::AuthoriseGateway { gateway: Actor::Keeper2.address(), cap: u128::MAX }),
        (client, Call::SponsorAccount { account, budget: 50, max_fee: 20 }),
        (client, Call::AuthoriseRelayer(Actor::Keeper1.address())),
    ]);
    let step = |(caller, call)| Step { after_s: 0, after_blocks: 0, caller, call };
    let mut steps: Vec<Step> = calls.into_iter().map(step).collect();
    // Until the policy is one to decide by.
    if let Some(last) = steps.last_mut() {
        last.after_s = terms.policy_delay_s;
        last.after_blocks = terms.policy_delay_s.div_ceil(10);
    }
    steps
}

impl Generator {
    /// The terms that a sequence's contracts are deployed with: one of a few, so that deployments can be shared.
    pub(crate) fn terms(dice: &mut Dice) -> Terms {
        let strk = 1_000_000_000_000_000_000;
        let usual = Terms {
            min_stake_per_slot: strk,
            unbonding_s: 600,
            challenge_window_s: 300,
            dispute_window_s: 3_600,
            min_keeper_bond: strk,
            policy_delay_s: 900,
            upgrade_delay_s: 700,
            token: TokenKind::Test,
            is_set_up: true,
        };
        let small = Terms {
            min_stake_per_slot: 7,
            unbonding_s: 95,
            challenge_window_s: 41,
            dispute_window_s: 333,
            min_keeper_bond: 3,
            policy_delay_s: 55,
            upgrade_delay_s: 1,
            ..usual
        };
        let none = Terms {
            min_stake_per_slot: 1,
            unbonding_s: 0,
            challenge_window_s: 0,
            dispute_window_s: 0,
            min_keeper_bond: 0,
            policy_delay_s: 0,
            upgrade_delay_s: 0,
            token: TokenKind::Strk,
            is_set_up: true,
        };
        let years = Terms {
            unbonding_s: 63_072_000,
            challenge_window_s: 63_072_000,
            dispute_window_s: 63_072_000,
            policy_delay_s: 63_072_000,
            upgrade_delay_s: 63_072_000,
            ..usual
        };
        let mut terms = dice.weighted(&[
            (5, usual),
            (3, Terms { token: TokenKind::Strk, ..usual }),
            (4, small),
            (1, none),
            (1, years),
        ]);
        terms.is_set_up = !dice.chance(7);
        terms
    }
}
