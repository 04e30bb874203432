//! Money at the paymaster: balances, gateways, sponsors and what relayers bring.

use super::Generator;
use crate::{
    actors::{Actor, Contract, felt_of},
    calls::{Call, Relay},
    model::Model,
};
use keeper_types::Felt;

const STRK: u128 = 1_000_000_000_000_000_000;
const CLIENTS: [Actor; 2] = [Actor::Client1, Actor::Client2];

impl Generator {
    pub(super) fn pay(&mut self, model: &Model) -> (Actor, Call) {
        let client = self.dice.pick(&CLIENTS);
        let balance = model.balance_at_paymaster(client.address());
        let payer = self.dice.pick(&Actor::ALL);
        let amount = self.dice.weighted(&[(6, 900_000 * STRK), (3, STRK), (1, 0), (1, u128::MAX), (1, 7)]);
        let taken = self.dice.weighted(&[(3, balance), (2, balance / 2), (1, balance + 1), (1, 0), (1, u128::MAX)]);
        let gateway = self.dice.weighted(&[(8, Actor::Keeper2.address()), (1, Felt::ZERO)]);
        let account = self.dice.weighted(&[(9, Actor::Account.address()), (1, Felt::ZERO)]);
        let relayer = self.dice.weighted(&[(8, Actor::Keeper1.address()), (1, Felt::ZERO)]);
        let cap = self.dice.weighted(&[(4, u128::MAX), (3, STRK), (1, 0)]);
        let budget = self.dice.weighted(&[(4, 50), (2, STRK), (1, 0), (1, u128::MAX)]);
        let max_fee = self.dice.weighted(&[(4, 20), (2, budget), (1, budget.saturating_add(1)), (1, 0)]);
        let needs_money = u64::from(balance == 0);
        self.dice.weighted(&[
            (2 + 6 * needs_money, (payer, Call::Deposit { account: client.address(), amount })),
            (2, (client, Call::WithdrawBalance(taken))),
            (5, (client, Call::AuthoriseGateway { gateway, cap })),
            (1, (client, Call::RevokeGateway(gateway))),
            (5, (client, Call::SponsorAccount { account, budget, max_fee })),
            (1, (client, Call::StopSponsoring(account))),
            (4, (client, Call::AuthoriseRelayer(relayer))),
            (1, (client, Call::RevokeRelayer(relayer))),
        ])
    }

    /// A gateway submits for a client, mostly one that lets it.
    pub(super) fn submit_for(&mut self, model: &Model) -> (Actor, Call) {
        let gateway = Actor::Keeper2;
        let lets = |client: &Actor| model.gateway_allowance(client.address(), gateway.address()) > 0;
        let willing: Vec<Actor> = CLIENTS.into_iter().filter(lets).collect();
        let any = self.dice.pick(&CLIENTS);
        let client = self.dice.pick_any(&willing).unwrap_or(any).address();
        let client = self.dice.weighted(&[(14, client), (1, Felt::ZERO)]);
        let spec = Box::new(self.spec(model));
        (gateway, Call::SubmitJobFor { client, spec })
    }

    pub(super) fn relay(&mut self, model: &Model) -> (Actor, Call) {
        let paymaster = &model.paymaster;
        let account = Actor::Account.address();
        let sponsors: Vec<Felt> = paymaster.sponsored.keys().map(|(sponsor, _)| *sponsor).collect();
        let any = self.dice.pick(&CLIENTS).address();
        let sponsor = self.dice.pick_any(&sponsors).unwrap_or(any);
        let relayers: Vec<Felt> =
            paymaster.relayers.iter().filter(|(of, _)| *of == sponsor).map(|(_, relayer)| *relayer).collect();
        let has_money = model.balance_at_paymaster(sponsor) > 0;
        if !relayers.is_empty() && !sponsors.is_empty() && has_money || self.dice.chance(5) {
            let relayer = self.dice.pick_any(&relayers).and_then(Actor::of_address).unwrap_or(Actor::Keeper1);
            return (relayer, Call::Relay(Box::new(self.bundle(model, sponsor, account))));
        }
        // What is missing comes first.
        let client = Actor::of_address(sponsor).unwrap_or(Actor::Client1);
        if sponsors.is_empty() {
            return (client, Call::SponsorAccount { account, budget: 50, max_fee: 20 });
        }
        if !has_money {
            return (client, Call::Deposit { account: sponsor, amount: 100_000 * STRK });
        }
        (client, Call::AuthoriseRelayer(Actor::Keeper1.address()))
    }

    fn bundle(&mut self, model: &Model, sponsor: Felt, account: Felt) -> Relay {
        let now = model.now.timestamp;
        let terms = model.paymaster.sponsored.get(&(sponsor, account));
        let max_fee = terms.map_or(1, |terms| terms.max_fee);
        let (_, spent) = model.spent_today(sponsor, account);
        let left = terms.map_or(0, |terms| terms.budget.saturating_sub(spent));
        let length = self.dice.weighted(&[(6, 1), (3, 2), (1, 0)]);
        let calls = (0..length).map(|_| self.brought(model)).collect();
        let signed = felt_of("signed");
        Relay {
            sponsor,
            fee: self.dice.weighted(&[
                (6, max_fee),
                (2, 0),
                (2, left),
                (1, left.saturating_add(1)),
                (1, max_fee.saturating_add(1)),
            ]),
            account,
            bearer: self.dice.weighted(&[
                (4, felt_of("ANY_CALLER")),
                (4, Contract::Paymaster.address()),
                (1, Actor::Keeper1.address()),
            ]),
            nonce: self.dice.between(0, 40),
            execute_after: self.dice.weighted(&[(12, 0), (4, now - 1), (1, now)]),
            execute_before: self.dice.weighted(&[(12, u64::MAX), (4, now + 1), (1, now)]),
            calls,
            signature: self.dice.weighted(&[(20, vec![signed]), (1, Vec::new()), (1, vec![signed, signed])]),
        }
    }

    /// A call for the account, mostly one that sponsors pay for.
    fn brought(&mut self, model: &Model) -> Call {
        let spender = self.dice.pick(&Contract::OURS);
        let amount = self.dice.weighted(&[(4, u128::MAX >> 1), (1, 0)]);
        let spec = Box::new(self.spec(model));
        let (_, register) = self.register(model);
        self.dice.weighted(&[
            (3, Call::Approve { spender: Contract::JobMgr, amount }),
            (2, Call::Approve { spender, amount }),
            (6, Call::SubmitJob(spec)),
            (4, register),
            (1, Call::DrainWorker),
            (1, Call::WithdrawBalance(1)),
            (1, Call::Withdraw(Actor::Account.address())),
        ])
    }
}
