//! Transactions that somebody else pays for.

use keeper_chain::SponsoredCalls;
use keeper_types::{Felt, Fri};

use super::{Cost, Costs, crew::Crew};

const STRK: u128 = 1_000_000_000_000_000_000;
/// The account that is sponsored.
const NEWCOMER: usize = 6;

impl Crew {
    /// A registration that the keeper relays and the admin pays for, and a job that a gateway submits.
    pub(crate) async fn measure_sponsored(&self) -> Costs {
        println!("measuring sponsored transactions");
        let (contracts, admin, keeper, client) =
            (&self.market.contracts, &self.market.admin, &self.market.keeper, &self.market.client);
        let paymaster = contracts.deployment().paymaster.expect("the paymaster is deployed").address;
        let account = self.market.chain.account(NEWCOMER);
        let newcomer = self.market.chain.sender(NEWCOMER).await;
        let deposited = contracts.deposit(admin, admin.address(), Fri(100 * STRK)).await.expect("depositing");
        let terms = Some((Fri(10 * STRK), Fri(STRK)));
        contracts.set_sponsorship(admin, newcomer.address(), terms).await.expect("sponsoring");
        contracts.set_relayer(admin, keeper.address(), true).await.expect("naming a relayer");
        let stake = Fri(10 * STRK);
        let calls = contracts.registration_calls(&newcomer, &e2e::capabilities(), 1, super::crew::RATE, stake);
        let chain_id = contracts.deployment().network.chain_id();
        let times = (0, self.market.now().await + 3_600);
        let signed = SponsoredCalls::sign(&account.credentials(), chain_id, paymaster, Felt::ONE, times, calls);
        let signed = signed.expect("signing");
        let relayed = contracts.relay(keeper, admin.address(), Fri(STRK / 10), &signed).await.expect("relaying");

        contracts.deposit(client, client.address(), Fri(100 * STRK)).await.expect("depositing");
        contracts.set_gateway(client, keeper.address(), Some(Fri(50 * STRK))).await.expect("naming a gateway");
        let specs = [self.spec().await];
        let submitted = contracts.submit_jobs_for(keeper, client.address(), &specs).await.expect("submitting");
        Costs::from([
            ("deposit", Cost::of(&deposited)),
            ("sponsored_register", Cost::of(&relayed)),
            ("submit_for", Cost::of(&submitted.1)),
        ])
    }
}
