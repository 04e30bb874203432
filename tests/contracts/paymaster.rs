//! The Paymaster with an account as its job manager: balances, caps and terms, and what it says of them.

use keeper_types::Felt;

use crate::{
    paying::{GATEWAY, RELAYER, SPONSOR},
    stage::{REFEREE, Stage, TOKEN, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, OTHER, STRK, W1, W2},
};

/// Plays the job manager.
const MANAGER: usize = W1;
const DELAY_S: u64 = 600;

/// A Paymaster, and no other contract of ours.
async fn alone() -> Stage {
    let mut stage = Stage::bare(REFEREE);
    let class = stage.declare("Paymaster").await;
    let [admin, manager, pool] = [ADMIN, MANAGER, W2].map(|account| stage.address(account));
    stage.place("Paymaster", class, &felts![admin, TOKEN, manager, pool, DELAY_S]).await.unwrap();
    stage
}

/// What the Paymaster holds is what it owes.
async fn covered(stage: &Stage) {
    let mut deposits = 0;
    for account in 1..=stage.accounts() {
        deposits += stage.deposited(account).await;
    }
    assert_eq!(stage.balance_at(stage.at("Paymaster")).await, deposits);
}

#[tokio::test]
async fn the_constructor_refuses_what_cannot_work() {
    const TWO_YEARS_S: u64 = 63_072_000;
    let mut stage = Stage::bare(ADMIN);
    let class = stage.declare("Paymaster").await;
    let some = stage.address(ADMIN);
    let cases = [
        (felts![0, 0, 0, 0, TWO_YEARS_S + 1], "Access: zero admin"),
        (felts![some, 0, 0, 0, TWO_YEARS_S + 1], "Upgradeable: delay too long"),
        (felts![some, 0, some, some, TWO_YEARS_S], "Paymaster: zero address"),
        (felts![some, some, 0, some, TWO_YEARS_S], "Paymaster: zero address"),
        (felts![some, some, some, 0, TWO_YEARS_S], "Paymaster: zero address"),
    ];
    for (arguments, words) in cases {
        refused(stage.place("Paymaster", class, &arguments).await, words);
    }
    stage.place("Paymaster", class, &felts![some, 5, 6, 7, TWO_YEARS_S]).await.unwrap();
    let config = stage.ask("Paymaster", "get_config", &[]).await;
    assert_eq!(config.numbers(["token", "job_mgr", "cdc_pool"]), [5, 6, 7]);
    assert_eq!(stage.ask("Paymaster", "upgrade_delay_s", &[]).await.number(), TWO_YEARS_S.into());
    assert_eq!(stage.ask("Paymaster", "admin", &[]).await.felt(), some);
    for (view, value) in [("pending_admin", 0), ("guardian", 0), ("is_paused", 0)] {
        assert_eq!(stage.ask("Paymaster", view, &[]).await.number(), value, "{view}");
    }
}

#[tokio::test]
async fn anyone_pays_in_and_only_the_owner_takes_out() {
    let stage = alone().await;
    let [client, other] = [CLIENT, OTHER].map(|account| stage.address(account));
    let deposit = |account: Felt, amount: u128| stage.call("Paymaster", "deposit", &felts![account, amount]);
    for (account, amount, words) in [
        (Felt::ZERO, 0, "Paymaster: zero address"),
        (client, 0, "Paymaster: zero amount"),
        (client, 5, "ERC20: insufficient allowance"),
    ] {
        refused(stage.send(CLIENT, vec![deposit(account, amount)]).await, words);
    }
    let approved = vec![stage.approve("Paymaster", 5), deposit(client, 6)];
    refused(stage.send(CLIENT, approved).await, "ERC20: insufficient allowance");
    let more = stage.balance(CLIENT).await + 1;
    refused(stage.deposit(CLIENT, CLIENT, more).await, "ERC20: insufficient balance");

    let before = [stage.balance(CLIENT).await, stage.balance(OTHER).await];
    let own = stage.deposit(CLIENT, CLIENT, 70).await.unwrap();
    assert_eq!(own.said, [said("Paymaster", "Deposited", &[client, client], &felts![70])]);
    let gift = stage.deposit(OTHER, CLIENT, STRK).await.unwrap();
    assert_eq!(gift.said, [said("Paymaster", "Deposited", &[client, other], &felts![STRK])]);
    assert_eq!(stage.deposited(CLIENT).await, STRK + 70);
    assert_eq!(stage.deposited(OTHER).await, 0);
    assert_eq!(stage.balance(CLIENT).await, before[0] - 70 - own.fee);
    assert_eq!(stage.balance(OTHER).await, before[1] - STRK - gift.fee);

    // What was a gift is the client's.
    refused(stage.pay(OTHER, "withdraw", &felts![1]).await, "Paymaster: balance too low");
    refused(stage.pay(CLIENT, "withdraw", &felts![0]).await, "Paymaster: zero amount");
    refused(stage.pay(CLIENT, "withdraw", &felts![STRK + 71]).await, "Paymaster: balance too low");
    refused(stage.pay(CLIENT, "withdraw", &felts![u128::MAX]).await, "Paymaster: balance too low");
    let before = stage.balance(CLIENT).await;
    let some = stage.pay(CLIENT, "withdraw", &felts![69]).await.unwrap();
    assert_eq!(some.said, [said("Paymaster", "Withdrawn", &[client], &felts![69])]);
    let rest = stage.pay(CLIENT, "withdraw", &felts![STRK + 1]).await.unwrap();
    assert_eq!(rest.said, [said("Paymaster", "Withdrawn", &[client], &felts![STRK + 1])]);
    assert_eq!(stage.balance(CLIENT).await, before + STRK + 70 - some.fee - rest.fee);
    refused(stage.pay(CLIENT, "withdraw", &felts![1]).await, "Paymaster: balance too low");
    assert_eq!(stage.balance_at(stage.at("Paymaster")).await, 0);
    covered(&stage).await;
}

#[tokio::test]
async fn a_gateway_draws_up_to_its_cap_and_the_balance() {
    let stage = alone().await;
    let [client, gateway] = [CLIENT, GATEWAY].map(|account| stage.address(account));
    let draw = async |account: usize, from: Felt, amount: u128| {
        stage.pay(account, "draw_escrow", &felts![from, gateway, amount]).await
    };
    for stranger in [ADMIN, KEEPER, CLIENT, GATEWAY, W2] {
        refused(draw(stranger, client, 0).await, "Paymaster: not the job manager");
    }
    for (whom, cap, words) in [(Felt::ZERO, 0, "Paymaster: zero address"), (gateway, 0, "Paymaster: zero cap")] {
        refused(stage.pay(CLIENT, "authorise_gateway", &felts![whom, cap]).await, words);
    }
    // The cap is asked for first.
    refused(draw(MANAGER, client, 1).await, "Paymaster: cap too low");
    let authorised = told(stage.pay(CLIENT, "authorise_gateway", &felts![gateway, 50]).await);
    assert_eq!(authorised, [said("Paymaster", "GatewayAuthorised", &[client, gateway], &felts![50])]);
    refused(draw(MANAGER, client, 51).await, "Paymaster: cap too low");
    refused(draw(MANAGER, client, 50).await, "Paymaster: balance too low");
    stage.deposit(CLIENT, CLIENT, 60).await.unwrap();
    stage.deposit(OTHER, OTHER, 1_000).await.unwrap();

    let before = stage.balance(MANAGER).await;
    let drawn = draw(MANAGER, client, 20).await.unwrap();
    assert_eq!(drawn.said, [said("Paymaster", "EscrowDrawn", &[client, gateway], &felts![20])]);
    assert_eq!(stage.balance(MANAGER).await, before + 20 - drawn.fee);
    assert_eq!((stage.cap(CLIENT, GATEWAY).await, stage.deposited(CLIENT).await), (30, 40));
    refused(draw(MANAGER, client, 31).await, "Paymaster: cap too low");
    draw(MANAGER, client, 30).await.unwrap();
    refused(draw(MANAGER, client, 1).await, "Paymaster: cap too low");
    assert_eq!((stage.cap(CLIENT, GATEWAY).await, stage.deposited(CLIENT).await), (0, 10));

    // A new cap replaces what was left of the old one, and is one client's and one gateway's only.
    stage.pay(CLIENT, "authorise_gateway", &felts![gateway, 5]).await.unwrap();
    stage.pay(CLIENT, "authorise_gateway", &felts![gateway, u128::MAX]).await.unwrap();
    assert_eq!(stage.cap(CLIENT, GATEWAY).await, u128::MAX);
    assert_eq!((stage.cap(GATEWAY, CLIENT).await, stage.cap(CLIENT, OTHER).await), (0, 0));
    refused(draw(MANAGER, stage.address(OTHER), 1).await, "Paymaster: cap too low");
    refused(draw(MANAGER, client, 11).await, "Paymaster: balance too low");
    draw(MANAGER, client, 10).await.unwrap();
    assert_eq!(stage.cap(CLIENT, GATEWAY).await, u128::MAX - 10);

    // Revoking never fails, even where there is nothing to revoke.
    for _ in 0..2 {
        let revoked = told(stage.pay(CLIENT, "revoke_gateway", &[gateway]).await);
        assert_eq!(revoked, [said("Paymaster", "GatewayRevoked", &[client, gateway], &[])]);
        assert_eq!(stage.cap(CLIENT, GATEWAY).await, 0);
    }
    stage.deposit(CLIENT, CLIENT, 7).await.unwrap();
    refused(draw(MANAGER, client, 1).await, "Paymaster: cap too low");
    // A job for nothing would be no job; the job manager never asks for that.
    draw(MANAGER, client, 0).await.unwrap();
    covered(&stage).await;
}

#[tokio::test]
async fn a_sponsor_sets_terms_and_names_relayers() {
    let stage = alone().await;
    let [sponsor, account, relayer] = [SPONSOR, CLIENT, RELAYER].map(|number| stage.address(number));
    for (arguments, words) in [
        (felts![0, 0, 0], "Paymaster: zero address"),
        (felts![account, 0, 0], "Paymaster: zero budget"),
        (felts![account, 10, 0], "Paymaster: bad max fee"),
        (felts![account, 10, 11], "Paymaster: bad max fee"),
        (felts![account, 10, u128::MAX], "Paymaster: bad max fee"),
    ] {
        refused(stage.pay(SPONSOR, "sponsor_account", &arguments).await, words);
    }
    refused(stage.pay(SPONSOR, "stop_sponsoring", &[account]).await, "Paymaster: not sponsored");
    for (budget, most) in [(10, 10), (u128::MAX, 1)] {
        let set = told(stage.pay(SPONSOR, "sponsor_account", &felts![account, budget, most]).await);
        assert_eq!(set, [said("Paymaster", "AccountSponsored", &[sponsor, account], &felts![budget, most])]);
        let [shown_budget, shown_most, _, spent] = stage.sponsorship(SPONSOR, CLIENT).await;
        assert_eq!((shown_budget, shown_most, spent), (budget, most, 0));
    }
    // It is the sponsor's only to end.
    refused(stage.pay(CLIENT, "stop_sponsoring", &[account]).await, "Paymaster: not sponsored");
    refused(stage.pay(SPONSOR, "stop_sponsoring", &[relayer]).await, "Paymaster: not sponsored");
    let stopped = told(stage.pay(SPONSOR, "stop_sponsoring", &[account]).await);
    assert_eq!(stopped, [said("Paymaster", "SponsoringStopped", &[sponsor, account], &[])]);
    assert_eq!(stage.sponsorship(SPONSOR, CLIENT).await[..2], [0, 0]);
    refused(stage.pay(SPONSOR, "stop_sponsoring", &[account]).await, "Paymaster: not sponsored");

    let is_relayer = async || stage.ask("Paymaster", "is_relayer", &[sponsor, relayer]).await.is_true();
    refused(stage.pay(SPONSOR, "authorise_relayer", &felts![0]).await, "Paymaster: zero address");
    refused(stage.pay(SPONSOR, "revoke_relayer", &[relayer]).await, "Paymaster: unknown relayer");
    assert!(!is_relayer().await);
    let authorised = told(stage.pay(SPONSOR, "authorise_relayer", &[relayer]).await);
    assert_eq!(authorised, [said("Paymaster", "RelayerAuthorised", &[sponsor, relayer], &[])]);
    assert!(is_relayer().await);
    refused(stage.pay(SPONSOR, "authorise_relayer", &[relayer]).await, "Paymaster: already a relayer");
    refused(stage.pay(CLIENT, "revoke_relayer", &[relayer]).await, "Paymaster: unknown relayer");
    let revoked = told(stage.pay(SPONSOR, "revoke_relayer", &[relayer]).await);
    assert_eq!(revoked, [said("Paymaster", "RelayerRevoked", &[sponsor, relayer], &[])]);
    assert!(!is_relayer().await);
    refused(stage.pay(SPONSOR, "revoke_relayer", &[relayer]).await, "Paymaster: unknown relayer");
    stage.pay(SPONSOR, "authorise_relayer", &[relayer]).await.unwrap();
    covered(&stage).await;
}
