//! A stage with a Paymaster and the real Referee, and what clients, gateways and sponsors do there.

use keeper_chain::{NamedCall, Network, SponsoredCalls};
use keeper_types::{Address, Felt};
use starknet::{
    accounts::ConnectedAccount as _,
    core::{
        types::{BlockId, BlockTag, EmittedEvent, EventFilter, MaybePreConfirmedBlockWithTxHashes},
        utils::get_selector_from_name,
    },
    providers::Provider as _,
};

use crate::{
    stage::{REFEREE, Sent, Stage, TOKEN, Terms, W3, W4, felts},
    world::{ADMIN, BALANCE},
};

/// Pays others' fees.
pub(crate) const SPONSOR: usize = W3;
/// Hands in what others signed.
pub(crate) const RELAYER: usize = W4;
/// Submits jobs for others. The Referee is a contract here, so that its account is free.
pub(crate) const GATEWAY: usize = REFEREE;
/// The contracts with an admin.
pub(crate) const ADMINISTERED: [&str; 4] = ["JobMgr", "CdcPool", "TaskAllocator", "Paymaster"];
/// When calls may be handed in that may be so at any time.
pub(crate) const ANY_TIME: (u64, u64) = (0, u64::MAX);

impl Stage {
    pub(crate) async fn start_paying() -> Self {
        Self::start_paying_on(Terms::default()).await
    }

    /// With every contract there is, each knowing the others.
    pub(crate) async fn start_paying_on(terms: Terms) -> Self {
        let mut stage = Self::start_on(Terms { has_referee: false, ..terms }).await;
        let (admin, jobs, pool) = (stage.address(ADMIN), stage.at("JobMgr"), stage.at("CdcPool"));
        let class = stage.declare("Paymaster").await;
        let arguments = felts![admin, TOKEN, jobs, pool, terms.upgrade_delay_s];
        stage.place("Paymaster", class, &arguments).await.unwrap();
        let class = stage.declare("Referee").await;
        stage.place("Referee", class, &[jobs]).await.unwrap();
        let calls = vec![
            stage.call("JobMgr", "set_paymaster", &[stage.at("Paymaster")]),
            stage.call("JobMgr", "set_referee", &[stage.at("Referee")]),
        ];
        stage.send(ADMIN, calls).await.unwrap();
        stage
    }

    /// Calls one function of the Paymaster.
    pub(crate) async fn pay(&self, account: usize, function: &str, arguments: &[Felt]) -> Sent {
        self.act(account, "Paymaster", function, arguments).await
    }

    /// Pays into the balance of an account.
    pub(crate) async fn deposit(&self, payer: usize, account: usize, amount: u128) -> Sent {
        let deposit = self.call("Paymaster", "deposit", &felts![self.address(account), amount]);
        self.send(payer, vec![self.approve("Paymaster", amount), deposit]).await
    }

    /// What the Paymaster keeps for an account.
    pub(crate) async fn deposited(&self, account: usize) -> u128 {
        self.ask("Paymaster", "balance_of", &[self.address(account)]).await.number()
    }

    /// What is left of a gateway's cap.
    pub(crate) async fn cap(&self, client: usize, gateway: usize) -> u128 {
        let pair = [self.address(client), self.address(gateway)];
        self.ask("Paymaster", "gateway_allowance", &pair).await.number()
    }

    /// A sponsor's terms for an account, and what it has spent: the budget, the most for one fee, the epoch, the
    /// fees of that epoch.
    pub(crate) async fn sponsorship(&self, sponsor: usize, account: usize) -> [u128; 4] {
        let pair = [self.address(sponsor), self.address(account)];
        let shown = self.ask("Paymaster", "get_sponsorship", &pair).await;
        shown.numbers(["budget_per_epoch", "max_fee", "epoch", "spent"])
    }

    // Signed calls

    pub(crate) fn named(&self, contract: &str, function: &str, calldata: &[Felt]) -> NamedCall {
        let (to, function) = (Address(self.at(contract)), function.to_owned());
        NamedCall { to, function, calldata: calldata.to_vec() }
    }

    pub(crate) fn named_approval(&self, contract: &str, amount: u128) -> NamedCall {
        let call = self.approve(contract, amount);
        NamedCall { to: Address(call.to), function: "approve".to_owned(), calldata: call.calldata }
    }

    /// Has an account sign calls that the Paymaster may hand in.
    pub(crate) fn sign(&self, account: usize, nonce: u64, calls: &[NamedCall]) -> SponsoredCalls {
        self.sign_for(self.at("Paymaster"), account, nonce, ANY_TIME, calls)
    }

    /// Has an account sign calls that `caller` may hand in between two times.
    pub(crate) fn sign_for(
        &self,
        caller: Felt,
        account: usize,
        nonce: u64,
        times: (u64, u64),
        calls: &[NamedCall],
    ) -> SponsoredCalls {
        let credentials = self.chain.account(account).credentials();
        let chain_id = Network::Devnet.chain_id();
        SponsoredCalls::sign(&credentials, chain_id, Address(caller), nonce.into(), times, calls.to_vec()).unwrap()
    }

    // What always holds

    /// Every fri is where it should be: in the contracts what they owe, and all of it somewhere.
    pub(crate) async fn all_conserved(&self) {
        self.conserved().await;
        let mut deposits = 0;
        for account in 1..=self.accounts() {
            deposits += self.deposited(account).await;
        }
        assert_eq!(self.balance_at(self.at("Paymaster")).await, deposits, "Paymaster");
        assert_eq!(self.balance_at(self.at("Referee")).await, 0, "Referee");

        let mut all = self.burned().await + self.balance_at(self.sequencer().await).await;
        for contract in ADMINISTERED {
            all += self.balance_at(self.at(contract)).await;
        }
        for account in 1..=self.accounts() {
            all += self.balance(account).await;
        }
        assert_eq!(all, self.accounts() as u128 * BALANCE, "something came from or went elsewhere");
    }

    /// Who gets the fees.
    async fn sequencer(&self) -> Felt {
        let latest = BlockId::Tag(BlockTag::Latest);
        match self.wallet(ADMIN).provider().get_block_with_tx_hashes(latest).await.unwrap() {
            MaybePreConfirmedBlockWithTxHashes::Block(block) => block.sequencer_address,
            other => panic!("the newest block is none: {other:?}"),
        }
    }

    /// Every event of that name that a contract ever emitted.
    pub(crate) async fn history(&self, contract: &str, name: &str) -> Vec<EmittedEvent> {
        let filter = EventFilter {
            from_block: Some(BlockId::Number(0)),
            to_block: Some(BlockId::Tag(BlockTag::Latest)),
            address: Some(self.at(contract)),
            keys: Some(vec![vec![get_selector_from_name(name).unwrap()]]),
        };
        let page = self.wallet(ADMIN).provider().get_events(filter, None, 1_000).await.unwrap();
        assert_eq!(page.continuation_token, None);
        page.events
    }
}

/// The arguments of `Paymaster.relay`, as the ABI has them.
pub(crate) fn relay_arguments(sponsor: Felt, fee: u128, signed: &SponsoredCalls) -> Vec<Felt> {
    [felts![sponsor, fee], outside_execution(signed)].concat()
}

/// An account, what it signed, and its signature. Without the account it is what the account itself takes.
fn outside_execution(signed: &SponsoredCalls) -> Vec<Felt> {
    let SponsoredCalls { account, paymaster, nonce, execute_after, execute_before, calls, signature } = signed;
    let mut felts = felts![account.0, paymaster.0, *nonce, *execute_after, *execute_before, calls.len()];
    for call in calls {
        let selector = get_selector_from_name(&call.function).unwrap();
        felts.extend(felts![call.to.0, selector, call.calldata.len()]);
        felts.extend_from_slice(&call.calldata);
    }
    felts.push(signature.len().into());
    felts.extend_from_slice(signature);
    felts
}

/// The call by which anyone hands an account what it signed, without the Paymaster.
pub(crate) fn hand_in(signed: &SponsoredCalls) -> starknet::core::types::Call {
    let selector = get_selector_from_name("execute_from_outside_v2").unwrap();
    let calldata = outside_execution(signed)[1..].to_vec();
    starknet::core::types::Call { to: signed.account.0, selector, calldata }
}
