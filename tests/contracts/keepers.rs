//! Keepers' bonds, the policies that they act by, and what a round says of itself.

use keeper_types::Felt;

use crate::{
    parties::{item, the},
    stage::{BOND, Moment, POLICY, Sent, Stage, Terms, felts, refused, said, told},
    world::{ADMIN, CLIENT, KEEPER, NOT_ADMIN, OTHER, STRK, W1},
};

const DELAY_S: u64 = 300;
const OTHER_POLICY: u64 = 77;

async fn delayed() -> Stage {
    Stage::start_on(Terms { policy_delay_s: DELAY_S, ..Terms::default() }).await
}

async fn act(stage: &Stage, account: usize, function: &str, arguments: &[Felt]) -> Sent {
    stage.act(account, "TaskAllocator", function, arguments).await
}

/// A round with one item that is skipped.
async fn round(stage: &Stage, account: usize, round: u64, policy: Felt) -> Sent {
    act(stage, account, "apply_batch", &Stage::batch(round, 0, policy, &[item(999, 1).pack()])).await
}

async fn is_keeper(stage: &Stage, account: usize) -> bool {
    stage.ask("TaskAllocator", "is_keeper", &[stage.address(account)]).await.is_true()
}

#[tokio::test]
async fn a_round_says_what_it_was_decided_on() {
    let stage = Stage::start().await;
    let worker = stage.register(W1).await;
    let job = stage.submit(&stage.spec().await).await;
    let keeper = stage.address(KEEPER);
    let items = [item(job, worker).pack(), item(999, worker).pack()];
    let largest = Felt::ZERO - Felt::ONE;
    let snapshot = stage.now().await.block;
    let header = felts![(1_u64 << 48) - 1, snapshot, largest, POLICY, 0];
    let arguments = [header, felts![2], items.to_vec()].concat();
    let events = told(act(&stage, KEEPER, "apply_batch", &arguments).await);
    let expected = [
        said("JobMgr", "JobsAllocated", &[], &felts![1, items[0]]),
        said("TaskAllocator", "AllocationSkipped", &felts![999, worker], &felts![1, 1]),
        said(
            "TaskAllocator",
            "RoundApplied",
            &[keeper],
            &felts![(1_u64 << 48) - 1, snapshot, largest, POLICY, 0, 1, 1],
        ),
    ];
    assert_eq!(events, expected);
    let shown = stage.ask("TaskAllocator", "get_keeper", &[keeper]).await;
    let expected = [BOND, (1 << 48) - 1, 0, 0];
    assert_eq!(shown.numbers(["bond", "last_round", "leaves_at", "leaves_block"]), expected);
    assert!(shown["is_admitted"].is_true());
    assert_eq!(stage.ask("TaskAllocator", "last_round_block", &[]).await.number(), snapshot.into());
    stage.conserved().await;
}

#[tokio::test]
async fn a_round_is_refused_for_its_first_fault() {
    let stage = Stage::start().await;
    let next = stage.now().await.block;
    let unknown = Felt::from(OTHER_POLICY);
    let some = [item(999, 1).pack()];
    let send = async |account, round: u64, snapshot, policy, items: &[Felt]| {
        act(&stage, account, "apply_batch", &Stage::batch(round, snapshot, policy, items)).await
    };
    let too_many = vec![Felt::ZERO; 501];
    refused(send(OTHER, 0, next + 9, unknown, &[]).await, "TaskAllocator: not a keeper");
    refused(send(KEEPER, 0, next + 9, unknown, &[]).await, "TaskAllocator: empty batch");
    refused(send(KEEPER, 0, next + 9, unknown, &too_many).await, "TaskAllocator: batch too large");
    refused(send(KEEPER, 0, next + 9, unknown, &some).await, "TaskAllocator: stale round");
    refused(send(KEEPER, 1 << 48, next + 9, unknown, &some).await, "TaskAllocator: round too high");
    refused(send(KEEPER, u64::MAX, next + 9, unknown, &some).await, "TaskAllocator: round too high");
    refused(send(KEEPER, 1, next + 9, unknown, &some).await, "TaskAllocator: future snapshot");
    refused(send(KEEPER, 1, next + 1, POLICY, &some).await, "TaskAllocator: future snapshot");
    refused(send(KEEPER, 1, next, unknown, &some).await, "TaskAllocator: unknown policy");
    refused(send(KEEPER, 1, next, Felt::ZERO, &some).await, "TaskAllocator: unknown policy");
    send(KEEPER, 1, next, POLICY, &some).await.unwrap();
    stage.conserved().await;
}

#[tokio::test]
async fn a_policy_is_announced_before_it_rules() {
    let stage = Stage::start_on(Terms { is_wired: false, policy_delay_s: DELAY_S, ..Terms::default() }).await;
    let stage = wired_without_policy(stage).await;
    let announce = async |account, policy: Felt| act(&stage, account, "announce_policy", &[policy]).await;
    for stranger in [KEEPER, CLIENT, OTHER] {
        refused(announce(stranger, Felt::ZERO).await, NOT_ADMIN);
    }
    refused(announce(ADMIN, Felt::ZERO).await, "TaskAllocator: zero policy");
    let shown = async || stage.ask("TaskAllocator", "get_policy", &[POLICY]).await;
    assert_eq!(shown().await.numbers(["active_from", "active_from_block"]), [0, 0]);
    let active = stage.now().await.after(DELAY_S);
    let announced = said("TaskAllocator", "PolicyAnnounced", &[POLICY], &active.felts());
    assert_eq!(told(announce(ADMIN, POLICY).await), [announced]);
    refused(announce(ADMIN, POLICY).await, "TaskAllocator: announced before");
    let seen = shown().await;
    assert_eq!(seen.numbers(["active_from", "active_from_block"]), [active.at.into(), active.block.into()]);
    assert!(!seen["is_retired"].is_true());

    // From that very moment on.
    let last = Moment { at: active.at - 1, block: active.block - 1 };
    let apply = async || round(&stage, KEEPER, 1, POLICY).await;
    stage.only_after(last, "TaskAllocator: policy inactive", apply).await;

    let retire = async |account, policy: Felt| act(&stage, account, "retire_policy", &[policy]).await;
    refused(retire(KEEPER, POLICY).await, NOT_ADMIN);
    refused(retire(ADMIN, Felt::from(OTHER_POLICY)).await, "TaskAllocator: unknown policy");
    let retired = said("TaskAllocator", "PolicyRetired", &[POLICY], &[]);
    assert_eq!(told(retire(ADMIN, POLICY).await), [retired]);
    assert!(shown().await["is_retired"].is_true());
    refused(retire(ADMIN, POLICY).await, "TaskAllocator: retired before");
    refused(announce(ADMIN, POLICY).await, "TaskAllocator: announced before");
    refused(round(&stage, KEEPER, 2, POLICY).await, "TaskAllocator: policy inactive");
    // A policy may be retired before it ever ruled.
    announce(ADMIN, Felt::from(OTHER_POLICY)).await.unwrap();
    retire(ADMIN, Felt::from(OTHER_POLICY)).await.unwrap();
    refused(round(&stage, KEEPER, 2, Felt::from(OTHER_POLICY)).await, "TaskAllocator: policy inactive");
    stage.conserved().await;
}

/// Set up as ever, but for the policy.
async fn wired_without_policy(stage: Stage) -> Stage {
    let (jobs, allocator) = (stage.at("JobMgr"), stage.at("TaskAllocator"));
    let calls = vec![
        stage.call("CdcPool", "set_job_mgr", &[jobs]),
        stage.call("JobMgr", "set_task_allocator", &[allocator]),
        stage.call("TaskAllocator", "add_keeper", &[stage.address(KEEPER)]),
    ];
    stage.send(ADMIN, calls).await.unwrap();
    stage.post_bond(KEEPER, BOND).await.unwrap();
    stage
}

#[tokio::test]
async fn a_keeper_works_once_it_is_admitted_and_bonded() {
    let stage = Stage::start().await;
    let other = stage.address(OTHER);
    for stranger in [OTHER, CLIENT, ADMIN] {
        refused(stage.post_bond(stranger, 0).await, "TaskAllocator: not admitted");
    }
    let added = told(act(&stage, ADMIN, "add_keeper", &[other]).await);
    assert_eq!(added, [said("TaskAllocator", "KeeperAdded", &[other], &[])]);
    assert!(!is_keeper(&stage, OTHER).await);
    refused(round(&stage, OTHER, 1, POLICY).await, "TaskAllocator: not a keeper");
    refused(stage.post_bond(OTHER, 0).await, "TaskAllocator: zero amount");
    let unpaid = act(&stage, OTHER, "post_bond", &felts![STRK]).await;
    refused(unpaid, "ERC20: insufficient allowance");

    let posted = |amount: u128, bond: u128| said("TaskAllocator", "BondPosted", &[other], &felts![amount, bond]);
    assert_eq!(told(stage.post_bond(OTHER, BOND - 1).await), [posted(BOND - 1, BOND - 1)]);
    assert!(!is_keeper(&stage, OTHER).await);
    refused(round(&stage, OTHER, 1, POLICY).await, "TaskAllocator: not a keeper");
    let before = stage.balance(OTHER).await;
    let done = stage.post_bond(OTHER, 1).await.unwrap();
    assert_eq!(done.said, [posted(1, BOND)]);
    assert_eq!(stage.balance(OTHER).await, before - 1 - done.fee);
    assert!(is_keeper(&stage, OTHER).await);
    round(&stage, OTHER, 7, POLICY).await.unwrap();
    stage.post_bond(OTHER, 2 * STRK).await.unwrap();
    let shown = stage.ask("TaskAllocator", "get_keeper", &[other]).await;
    assert_eq!(shown.numbers(["bond", "last_round"]), [BOND + 2 * STRK, 7]);
    stage.conserved().await;
}

#[tokio::test]
async fn a_bond_comes_back_after_the_wait() {
    let stage = delayed().await;
    let keeper = stage.address(KEEPER);
    let withdraw = async |account| act(&stage, account, "withdraw_bond", &[]).await;
    for stranger in [OTHER, CLIENT, ADMIN] {
        refused(withdraw(stranger).await, "TaskAllocator: no bond");
        refused(act(&stage, stranger, "leave", &[]).await, "TaskAllocator: not admitted");
    }
    refused(withdraw(KEEPER).await, "TaskAllocator: still bonded");
    let leaves = stage.now().await.after(DELAY_S);
    let left = said("TaskAllocator", "KeeperLeft", &[keeper], &leaves.felts());
    assert_eq!(told(act(&stage, KEEPER, "leave", &[]).await), [left]);
    assert!(!is_keeper(&stage, KEEPER).await);
    refused(round(&stage, KEEPER, 1, POLICY).await, "TaskAllocator: not a keeper");
    refused(act(&stage, KEEPER, "leave", &[]).await, "TaskAllocator: not admitted");
    refused(stage.post_bond(KEEPER, 1).await, "TaskAllocator: not admitted");
    refused(act(&stage, ADMIN, "remove_keeper", &[keeper]).await, "TaskAllocator: unknown keeper");
    let shown = stage.ask("TaskAllocator", "get_keeper", &[keeper]).await;
    assert_eq!(shown.numbers(["leaves_at", "leaves_block"]), [leaves.at.into(), leaves.block.into()]);
    let before = stage.balance(KEEPER).await;
    let done = stage.only_after(leaves, "TaskAllocator: still bonded", async || withdraw(KEEPER).await).await;
    assert_eq!(done.said, [said("TaskAllocator", "BondWithdrawn", &[keeper], &felts![BOND])]);
    assert_eq!(stage.balance(KEEPER).await, before + BOND - done.fee);
    refused(withdraw(KEEPER).await, "TaskAllocator: no bond");
    stage.conserved().await;
}

#[tokio::test]
async fn a_removed_keeper_gets_its_bond_back_and_its_rounds_stay_counted() {
    let stage = delayed().await;
    let keeper = stage.address(KEEPER);
    let active = stage.now().await.after(DELAY_S);
    stage.pass(active).await;
    round(&stage, KEEPER, 5, POLICY).await.unwrap();
    let leaves = stage.now().await.after(DELAY_S);
    refused(act(&stage, KEEPER, "remove_keeper", &[keeper]).await, NOT_ADMIN);
    let events = told(act(&stage, ADMIN, "remove_keeper", &[keeper]).await);
    assert_eq!(the(&events, "KeeperRemoved"), &said("TaskAllocator", "KeeperRemoved", &[keeper], &[]));
    refused(act(&stage, KEEPER, "withdraw_bond", &[]).await, "TaskAllocator: still bonded");
    // It cannot be added again, and so kept from its bond, before it has that back.
    let add = async || act(&stage, ADMIN, "add_keeper", &[keeper]).await;
    refused(add().await, "TaskAllocator: still bonded");
    stage.pass(leaves).await;
    refused(add().await, "TaskAllocator: still bonded");
    let shown = stage.ask("TaskAllocator", "get_keeper", &[keeper]).await;
    let expected = [BOND, 5, leaves.at.into(), leaves.block.into()];
    assert_eq!(shown.numbers(["bond", "last_round", "leaves_at", "leaves_block"]), expected);
    act(&stage, KEEPER, "withdraw_bond", &[]).await.unwrap();
    // Once more, without a bond it is none.
    add().await.unwrap();
    assert!(!is_keeper(&stage, KEEPER).await);
    let shown = stage.ask("TaskAllocator", "get_keeper", &[keeper]).await;
    assert_eq!(shown.numbers(["bond", "last_round", "leaves_at"]), [0, 5, 0]);
    stage.post_bond(KEEPER, BOND).await.unwrap();
    refused(round(&stage, KEEPER, 5, POLICY).await, "TaskAllocator: stale round");
    round(&stage, KEEPER, 6, POLICY).await.unwrap();
    stage.conserved().await;
}
