//! Admins, guardians and pauses, the same in every contract that has them.

use keeper_types::Felt;
use starknet::core::utils::get_selector_from_name;

use crate::{
    paying::ADMINISTERED,
    stage::{Stage, W3, W4, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, NOT_ADMIN, OTHER, W1},
};

const HEIR: usize = W3;
const GUARDIAN: usize = W4;
const NOT_OFFERED: &str = "Access: caller not offered";
const MAY_NOT_PAUSE: &str = "Access: caller may not pause";
const PAUSED: &str = "Pausable: paused";

async fn address_in(stage: &Stage, contract: &str, view: &str) -> Felt {
    stage.ask(contract, view, &[]).await.felt()
}

#[tokio::test]
async fn the_admin_is_told_from_the_first_block() {
    let stage = Stage::start_paying().await;
    let admin = stage.address(ADMIN);
    for contract in ADMINISTERED {
        let history = stage.history(contract, "AdminTransferred").await;
        let [event] = history.as_slice() else { panic!("{contract}: {history:?}") };
        let selector = get_selector_from_name("AdminTransferred").unwrap();
        assert_eq!((event.keys.clone(), event.data.clone()), (vec![selector, Felt::ZERO, admin], vec![]), "{contract}");
        assert_eq!(address_in(&stage, contract, "admin").await, admin);
        for view in ["pending_admin", "guardian", "is_paused"] {
            assert_eq!(address_in(&stage, contract, view).await, Felt::ZERO, "{contract}.{view}");
        }
    }
    // The Referee has nobody.
    assert!(!stage.abi("Referee").functions.contains_key("admin"));
    stage.all_conserved().await;
}

#[tokio::test]
async fn the_admins_role_is_handed_on_in_two_steps() {
    let stage = Stage::start_paying().await;
    let [admin, heir, other] = [ADMIN, HEIR, OTHER].map(|account| stage.address(account));
    for contract in ADMINISTERED {
        let offer = async |account, to: Felt| stage.act(account, contract, "transfer_admin", &[to]).await;
        let accept = async |account| stage.act(account, contract, "accept_admin", &[]).await;
        for stranger in [HEIR, KEEPER, CLIENT, OTHER, W1] {
            refused(offer(stranger, stage.address(stranger)).await, NOT_ADMIN);
            refused(accept(stranger).await, NOT_OFFERED);
        }
        // Without an offer not even the admin has anything to accept.
        refused(accept(ADMIN).await, NOT_OFFERED);

        // An offer can be replaced, and taken back.
        for to in [other, heir, Felt::ZERO] {
            let started = said(contract, "AdminTransferStarted", &[admin, to], &[]);
            assert_eq!(told(offer(ADMIN, to).await), [started]);
            assert_eq!(address_in(&stage, contract, "pending_admin").await, to);
            assert_eq!(address_in(&stage, contract, "admin").await, admin);
        }
        refused(accept(HEIR).await, NOT_OFFERED);
        offer(ADMIN, heir).await.unwrap();
        refused(accept(OTHER).await, NOT_OFFERED);
        refused(accept(ADMIN).await, NOT_OFFERED);
        // Until it accepts, the heir is nobody.
        refused(stage.act(HEIR, contract, "pause", &[]).await, MAY_NOT_PAUSE);
        refused(offer(HEIR, heir).await, NOT_ADMIN);

        let accepted = told(accept(HEIR).await);
        assert_eq!(accepted, [said(contract, "AdminTransferred", &[admin, heir], &[])]);
        assert_eq!(address_in(&stage, contract, "admin").await, heir);
        assert_eq!(address_in(&stage, contract, "pending_admin").await, Felt::ZERO);
        refused(accept(HEIR).await, NOT_OFFERED);
        // The one before has lost everything.
        refused(stage.act(ADMIN, contract, "pause", &[]).await, MAY_NOT_PAUSE);
        refused(stage.act(ADMIN, contract, "set_guardian", &[admin]).await, NOT_ADMIN);
        refused(stage.act(ADMIN, contract, "announce_upgrade", &[heir]).await, NOT_ADMIN);
        refused(offer(ADMIN, admin).await, NOT_ADMIN);
        stage.act(HEIR, contract, "set_guardian", &[heir]).await.unwrap();
    }
    // What a contract has of its own for the admin is the new one's, too.
    let wiring = [
        ("JobMgr", "set_task_allocator", "JobMgr: allocator set before"),
        ("CdcPool", "set_job_mgr", "CdcPool: job manager set before"),
        ("TaskAllocator", "add_keeper", "TaskAllocator: already keeper"),
    ];
    for (contract, function, words) in wiring {
        let keeper = [stage.address(KEEPER)];
        refused(stage.act(ADMIN, contract, function, &keeper).await, NOT_ADMIN);
        refused(stage.act(HEIR, contract, function, &keeper).await, words);
        assert_eq!(stage.ask(contract, "get_config", &[]).await["admin"].felt(), heir);
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn an_offer_to_oneself_changes_nothing() {
    let stage = Stage::start_paying().await;
    let admin = stage.address(ADMIN);
    for contract in ADMINISTERED {
        stage.act(ADMIN, contract, "transfer_admin", &[admin]).await.unwrap();
        let accepted = told(stage.act(ADMIN, contract, "accept_admin", &[]).await);
        assert_eq!(accepted, [said(contract, "AdminTransferred", &[admin, admin], &[])]);
        stage.act(ADMIN, contract, "set_guardian", &[admin]).await.unwrap();
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn a_guardian_can_pause_and_nothing_else() {
    let stage = Stage::start_paying().await;
    let [admin, guardian, other] = [ADMIN, GUARDIAN, OTHER].map(|account| stage.address(account));
    for contract in ADMINISTERED {
        let act = async |account, function| stage.act(account, contract, function, &[]).await;
        let name = async |account, whom: Felt| stage.act(account, contract, "set_guardian", &[whom]).await;
        for stranger in [GUARDIAN, KEEPER, CLIENT, OTHER] {
            refused(name(stranger, stage.address(stranger)).await, NOT_ADMIN);
            refused(act(stranger, "pause").await, MAY_NOT_PAUSE);
            refused(act(stranger, "unpause").await, NOT_ADMIN);
        }
        refused(act(ADMIN, "unpause").await, "Pausable: not paused");
        for whom in [other, guardian] {
            assert_eq!(told(name(ADMIN, whom).await), [said(contract, "GuardianSet", &[whom], &[])]);
            assert_eq!(address_in(&stage, contract, "guardian").await, whom);
        }
        // The one before is none any more.
        refused(act(OTHER, "pause").await, MAY_NOT_PAUSE);
        assert_eq!(told(act(GUARDIAN, "pause").await), [said(contract, "Paused", &[], &[guardian])]);
        assert!(stage.ask(contract, "is_paused", &[]).await.is_true());
        for account in [GUARDIAN, ADMIN] {
            refused(act(account, "pause").await, PAUSED);
        }
        refused(act(OTHER, "pause").await, MAY_NOT_PAUSE);
        refused(act(GUARDIAN, "unpause").await, NOT_ADMIN);
        for function in ["transfer_admin", "set_guardian", "announce_upgrade"] {
            refused(stage.act(GUARDIAN, contract, function, &[guardian]).await, NOT_ADMIN);
        }
        for function in ["cancel_upgrade", "upgrade"] {
            refused(act(GUARDIAN, function).await, NOT_ADMIN);
        }
        refused(act(GUARDIAN, "accept_admin").await, NOT_OFFERED);

        assert_eq!(told(act(ADMIN, "unpause").await), [said(contract, "Unpaused", &[], &[admin])]);
        assert!(!stage.ask(contract, "is_paused", &[]).await.is_true());
        refused(act(ADMIN, "unpause").await, "Pausable: not paused");
        assert_eq!(told(act(ADMIN, "pause").await), [said(contract, "Paused", &[], &[admin])]);
        act(ADMIN, "unpause").await.unwrap();

        // Without one, the zero address that stands there is nobody.
        assert_eq!(told(name(ADMIN, Felt::ZERO).await), [said(contract, "GuardianSet", &felts![0], &[])]);
        refused(act(GUARDIAN, "pause").await, MAY_NOT_PAUSE);
    }
    stage.all_conserved().await;
}

#[tokio::test]
async fn each_contract_pauses_for_itself() {
    let stage = Stage::start_paying().await;
    for paused in ADMINISTERED {
        stage.act(ADMIN, paused, "pause", &[]).await.unwrap();
        for contract in ADMINISTERED {
            let shown = stage.ask(contract, "is_paused", &[]).await.is_true();
            assert_eq!(shown, contract == paused, "{contract} while {paused} is paused");
        }
        stage.act(ADMIN, paused, "unpause", &[]).await.unwrap();
    }
    stage.all_conserved().await;
}
