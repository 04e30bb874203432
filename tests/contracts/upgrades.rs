//! Upgrades with notice, the same in every contract that can be upgraded.

use crate::{
    abi::Shown,
    parties::{Spec, outcome},
    paying::{ADMINISTERED, GATEWAY, SPONSOR},
    stage::{Moment, Stage, Terms, W3, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, NOT_ADMIN, OTHER, STRK, W1},
};
use keeper_types::Felt;

const HEIR: usize = W3;
const NOT_ANNOUNCED: &str = "Upgradeable: not announced";
const NOTICE: &str = "Upgradeable: notice running";
const ALREADY: &str = "Upgradeable: already announced";

fn delay() -> u64 {
    Terms::default().upgrade_delay_s
}

async fn announced(stage: &Stage, contract: &str) -> [Felt; 3] {
    let upgrade = stage.ask(contract, "get_upgrade", &[]).await;
    ["class_hash", "ready_at", "ready_block"].map(|field| upgrade[field].felt())
}

#[tokio::test]
async fn an_upgrade_is_announced_and_waited_for() {
    let stage = Stage::start_paying().await;
    let other_class = stage.class_of("Referee").await;
    let nothing = [Felt::ZERO; 3];
    for contract in ADMINISTERED {
        let act = async |account, function| stage.act(account, contract, function, &[]).await;
        let announce = async |account, class: Felt| stage.act(account, contract, "announce_upgrade", &[class]).await;
        let class = stage.class_of(contract).await;
        assert_eq!(announced(&stage, contract).await, nothing);
        assert_eq!(stage.ask(contract, "upgrade_delay_s", &[]).await.number(), delay().into());
        for stranger in [KEEPER, CLIENT, OTHER] {
            refused(announce(stranger, Felt::ZERO).await, NOT_ADMIN);
            refused(act(stranger, "cancel_upgrade").await, NOT_ADMIN);
            refused(act(stranger, "upgrade").await, NOT_ADMIN);
        }
        for function in ["cancel_upgrade", "upgrade"] {
            refused(act(ADMIN, function).await, NOT_ANNOUNCED);
        }
        refused(announce(ADMIN, Felt::ZERO).await, "Upgradeable: zero class hash");

        let ready = stage.now().await.after(delay());
        let said_so = told(announce(ADMIN, other_class).await);
        assert_eq!(said_so, [said(contract, "UpgradeAnnounced", &[other_class], &ready.felts())]);
        let [at, block] = ready.felts();
        assert_eq!(announced(&stage, contract).await, [other_class, at, block]);
        // The notice cannot be given to one class and used for another.
        for class in [class, other_class] {
            refused(announce(ADMIN, class).await, ALREADY);
        }
        refused(act(OTHER, "upgrade").await, NOT_ADMIN);
        refused(act(ADMIN, "upgrade").await, NOTICE);

        // Taken back, there is nothing, however long one waits; announced again, the notice begins anew.
        assert_eq!(told(act(ADMIN, "cancel_upgrade").await), [said(contract, "UpgradeCancelled", &[other_class], &[])]);
        assert_eq!(announced(&stage, contract).await, nothing);
        refused(act(ADMIN, "cancel_upgrade").await, NOT_ANNOUNCED);
        stage.pass(ready).await;
        refused(act(ADMIN, "upgrade").await, NOT_ANNOUNCED);
        let ready = stage.now().await.after(delay());
        announce(ADMIN, class).await.unwrap();
        let done = stage.only_after(ready, NOTICE, async || act(ADMIN, "upgrade").await).await;
        assert_eq!(done.said, [said(contract, "Upgraded", &[class], &[])]);
        assert_eq!(announced(&stage, contract).await, nothing);
        assert_eq!(stage.class_of(contract).await, class);
        // Once is once.
        refused(act(ADMIN, "upgrade").await, NOT_ANNOUNCED);
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_class_that_is_not_declared_is_no_upgrade() {
    let stage = Stage::start_paying().await;
    for contract in ADMINISTERED {
        let class = stage.class_of(contract).await;
        let ready = stage.now().await.after(delay());
        stage.act(ADMIN, contract, "announce_upgrade", &felts![0xbad]).await.unwrap();
        stage.pass(ready).await;
        let reason = stage.act(ADMIN, contract, "upgrade", &[]).await.unwrap_err();
        assert!(reason.contains("0xbad") || reason.contains("is not declared"), "{reason}");
        assert_eq!(stage.class_of(contract).await, class);
        assert_eq!(announced(&stage, contract).await[0], Felt::from(0xbad));
        stage.act(ADMIN, contract, "cancel_upgrade", &[]).await.unwrap();
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn an_upgrade_passes_to_the_next_admin_and_through_a_pause() {
    let stage = Stage::start_paying().await;
    let ready = stage.now().await.after(delay());
    for contract in ADMINISTERED {
        let class = stage.class_of(contract).await;
        let calls = vec![
            stage.call(contract, "announce_upgrade", &[class]),
            stage.call(contract, "transfer_admin", &[stage.address(HEIR)]),
            stage.call(contract, "pause", &[]),
        ];
        stage.send(ADMIN, calls).await.unwrap();
        stage.act(HEIR, contract, "accept_admin", &[]).await.unwrap();
    }
    let last = Moment { block: ready.block + 10, at: ready.at + 600 };
    stage.pass(last).await;
    for contract in ADMINISTERED {
        refused(stage.act(ADMIN, contract, "upgrade", &[]).await, NOT_ADMIN);
        stage.act(HEIR, contract, "upgrade", &[]).await.unwrap();
        assert!(stage.ask(contract, "is_paused", &[]).await.is_true());
        stage.act(HEIR, contract, "unpause", &[]).await.unwrap();
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn without_a_delay_an_upgrade_still_takes_a_second_block() {
    let stage = Stage::start_paying_on(Terms { upgrade_delay_s: 0, ..Terms::default() }).await;
    for contract in ADMINISTERED {
        let class = stage.class_of(contract).await;
        let announce = stage.call(contract, "announce_upgrade", &[class]);
        let upgrade = stage.call(contract, "upgrade", &[]);
        refused(stage.send(ADMIN, vec![announce.clone(), upgrade.clone()]).await, NOTICE);
        let now = stage.now().await;
        stage.send(ADMIN, vec![announce]).await.unwrap();
        stage.pass(now).await;
        stage.send(ADMIN, vec![upgrade]).await.unwrap();
    }
    stage.all_conserved().await;
}

/// What each contract shows of a market in the middle of its work.
async fn shown(stage: &Stage) -> Vec<Shown> {
    let [client, gateway, sponsor, keeper] = [CLIENT, GATEWAY, SPONSOR, KEEPER].map(|account| stage.address(account));
    let mut shown = Vec::new();
    for job in 1..=4 {
        shown.push(stage.job(job).await);
    }
    shown.push(stage.ask("JobMgr", "credit_of", &[client]).await);
    shown.push(stage.worker(1).await);
    shown.push(stage.ask("TaskAllocator", "get_keeper", &[keeper]).await);
    shown.push(stage.ask("Paymaster", "balance_of", &[client]).await);
    shown.push(stage.ask("Paymaster", "gateway_allowance", &[client, gateway]).await);
    shown.push(stage.ask("Paymaster", "is_relayer", &[sponsor, gateway]).await);
    for contract in ADMINISTERED {
        for view in ["get_config", "admin", "pending_admin", "guardian", "upgrade_delay_s"] {
            shown.push(stage.ask(contract, view, &[]).await);
        }
    }
    shown
}

/// A market with something of everything in its storage.
async fn busy() -> Stage {
    let stage = Stage::start_paying().await;
    let worker = stage.register(W1).await;
    let spec = Spec { deadline: stage.now().await.at + 100_000, ..stage.spec().await };
    stage.answered(&spec, W1, worker, outcome("right")).await;
    let cancelled = stage.submit(&spec).await;
    stage.on_job(CLIENT, "cancel_job", cancelled).await.unwrap();
    stage.submit(&spec).await;
    let committed = stage.running(&spec, worker).await;
    stage.commit(W1, committed, 1, outcome("hidden")).await.unwrap();
    // Some credit is left over.
    let cancelled = stage.submit(&spec).await;
    stage.on_job(CLIENT, "cancel_job", cancelled).await.unwrap();
    stage.deposit(OTHER, CLIENT, 7 * STRK).await.unwrap();
    stage.pay(CLIENT, "authorise_gateway", &felts![stage.address(GATEWAY), STRK]).await.unwrap();
    stage.pay(SPONSOR, "authorise_relayer", &[stage.address(GATEWAY)]).await.unwrap();
    for contract in ADMINISTERED {
        stage.act(ADMIN, contract, "set_guardian", &[stage.address(HEIR)]).await.unwrap();
    }
    stage
}

/// Upgrades every contract at once.
async fn upgrade_all(stage: &Stage, classes: [Felt; 4]) {
    for (contract, class) in ADMINISTERED.into_iter().zip(classes) {
        stage.act(ADMIN, contract, "announce_upgrade", &[class]).await.unwrap();
    }
    stage.pass(stage.now().await.after(delay())).await;
    for (contract, class) in ADMINISTERED.into_iter().zip(classes) {
        let upgraded = told(stage.act(ADMIN, contract, "upgrade", &[]).await);
        assert_eq!(upgraded, [said(contract, "Upgraded", &[class], &[])]);
        assert_eq!(stage.class_of(contract).await, class);
    }
}

#[tokio::test]
async fn storage_survives_other_code_and_the_way_back() {
    // Each contract with a view that only its class has.
    const VIEWS: [&str; 4] = ["job_count", "worker_count", "last_round_block", "get_sponsorship"];
    let stage = busy().await;
    let before = shown(&stage).await;
    let mut classes = [Felt::ZERO; 4];
    for (class, contract) in classes.iter_mut().zip(ADMINISTERED) {
        *class = stage.class_of(contract).await;
    }
    let mut others = classes;
    others.rotate_left(1);
    upgrade_all(&stage, others).await;
    for (index, contract) in ADMINISTERED.into_iter().enumerate() {
        let arguments = |view: &str| if view == "get_sponsorship" { felts![1, 2] } else { vec![] };
        let (old, new) = (VIEWS[index], VIEWS[(index + 1) % 4]);
        stage.act(OTHER, contract, new, &arguments(new)).await.unwrap();
        assert!(stage.act(OTHER, contract, old, &arguments(old)).await.is_err(), "{contract} still has {old}");
    }
    upgrade_all(&stage, classes).await;
    assert_eq!(shown(&stage).await, before);
    stage.all_conserved().await;
    // And goes on.
    stage.reveal(W1, 4, 1, outcome("hidden")).await.unwrap();
    for job in [1, 4] {
        stage.on_job(CLIENT, "accept_result", job).await.unwrap();
    }
    stage.allocate(3, 1).await;
    stage.all_conserved().await;
}
