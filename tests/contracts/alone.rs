//! The pool with an account as its job manager: what its functions for contracts do at their limits.

use keeper_types::Felt;

use crate::{
    parties::{names, offer, the},
    stage::{BURN, Stage, Terms, W3, felts, refused, said, told},
    world::{ADMIN, CLIENT, MIN_STAKE, OTHER, RATE, STRK, W1, W2},
};

/// Plays the job manager.
const MANAGER: usize = W3;
const UNREVEALED: u8 = 0;
const WRONG: u8 = 1;

async fn alone() -> Stage {
    let stage = Stage::start_on(Terms { is_wired: false, ..Terms::default() }).await;
    stage.act(ADMIN, "CdcPool", "set_job_mgr", &[stage.address(MANAGER)]).await.unwrap();
    stage
}

#[tokio::test]
async fn an_odd_slash_is_split_to_the_fri() {
    let stage = alone().await;
    let stake = 20 * STRK;
    let worker = stage.register_with(W1, 1, stake).await;
    let mut left = stake;
    // Each: the fault, the penalty and what is taken of it.
    let cases = [
        (WRONG, 0, MIN_STAKE),
        (WRONG, MIN_STAKE + 1, MIN_STAKE + 1),
        (WRONG, MIN_STAKE + 3, MIN_STAKE + 3),
        (UNREVEALED, 0, MIN_STAKE / 2),
        (UNREVEALED, MIN_STAKE + 1, MIN_STAKE / 2),
        (UNREVEALED, MIN_STAKE + 7, MIN_STAKE / 2 + 3),
        (UNREVEALED, u128::MAX, 20 * STRK),
        (WRONG, u128::MAX, 20 * STRK),
    ];
    for (fault, penalty, expected) in cases {
        let amount = expected.min(left);
        let quarter = amount / 4;
        stage.act(MANAGER, "CdcPool", "hold", &felts![worker]).await.unwrap();
        let before = [stage.balance(OTHER).await, stage.balance(CLIENT).await, stage.burned().await];
        let arguments = felts![worker, fault, penalty, stage.address(OTHER), stage.address(CLIENT)];
        let events = told(stage.act(MANAGER, "CdcPool", "record_fault", &arguments).await);
        let data = felts![fault + 1, amount, amount - 2 * quarter, quarter, quarter];
        assert_eq!(the(&events, "WorkerSlashed"), &said("CdcPool", "WorkerSlashed", &felts![worker], &data));
        let after = [stage.balance(OTHER).await, stage.balance(CLIENT).await, stage.balance_at(BURN).await];
        assert_eq!(after, [before[0] + quarter, before[1] + quarter, before[2] + amount - 2 * quarter]);
        left -= amount;
        assert_eq!(stage.worker(worker).await.numbers(["stake", "holds"]), [left, 0]);
    }
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_votes_take_is_burned_whole() {
    let stage = alone().await;
    let worker = stage.register_with(W1, 1, 20 * STRK).await;
    for (fault, amount) in [(WRONG, 3 * STRK + 1), (UNREVEALED, (3 * STRK).div_ceil(2))] {
        stage.act(MANAGER, "CdcPool", "hold", &felts![worker]).await.unwrap();
        let (stake, burned) = (stage.stake(worker).await, stage.burned().await);
        let arguments = felts![worker, fault, 3 * STRK + 1, 0, 0];
        let events = told(stage.act(MANAGER, "CdcPool", "record_fault", &arguments).await);
        let data = felts![fault + 1, amount, amount, 0, 0];
        assert_eq!(the(&events, "WorkerSlashed"), &said("CdcPool", "WorkerSlashed", &felts![worker], &data));
        assert_eq!((stage.stake(worker).await, stage.burned().await), (stake - amount, burned + amount));
    }
}

#[tokio::test]
async fn holds_are_counted() {
    let stage = alone().await;
    let (worker, neighbour) = (stage.register(W1).await, stage.register(W2).await);
    let act = async |function, arguments: Vec<Felt>| stage.act(MANAGER, "CdcPool", function, &arguments).await;
    for _ in 0..3 {
        act("hold", felts![worker]).await.unwrap();
    }
    assert_eq!(stage.worker(worker).await["holds"].number(), 3);
    stage.act(W1, "CdcPool", "exit_worker", &[]).await.unwrap();
    let exit = stage.now().await.after(Terms::default().unbonding_s);
    stage.pass(exit).await;
    for (function, arguments) in [
        ("unhold", felts![neighbour]),
        ("record_settlement", felts![neighbour, true]),
        ("record_fault", felts![neighbour, WRONG, 0, 0, 0]),
    ] {
        refused(act(function, arguments).await, "CdcPool: not held");
    }
    for left in [2, 1, 0] {
        refused(stage.act(W1, "CdcPool", "withdraw_stake", &[]).await, "CdcPool: dispute pending");
        act("unhold", felts![worker]).await.unwrap();
        assert_eq!(stage.worker(worker).await["holds"].number(), left);
    }
    stage.act(W1, "CdcPool", "withdraw_stake", &[]).await.unwrap();
    assert_eq!(stage.worker(neighbour).await.numbers(["holds", "free_slots", "free_gpus"]), [0, 2, 4]);
}

#[tokio::test]
async fn only_the_owner_named_is_given_anything_back() {
    let stage = alone().await;
    let worker = stage.register(W1).await;
    for (owner, hold) in [(OTHER, false), (OTHER, true)] {
        let arguments = felts![worker, 0, stage.address(owner), hold];
        let events = told(stage.act(MANAGER, "CdcPool", "release", &arguments).await);
        assert_eq!(events, []);
        assert_eq!(stage.worker(worker).await.numbers(["holds", "free_slots"]), [0, 2]);
    }
    // Reputation falls by a third, rounded up, and a fifth, rounded up.
    for (fault, from, to) in [(WRONG, 500_u16, 333_u16), (UNREVEALED, 333, 266), (WRONG, 266, 177)] {
        stage.act(MANAGER, "CdcPool", "hold", &felts![worker]).await.unwrap();
        let arguments = felts![worker, fault, 0, stage.address(OTHER), stage.address(OTHER)];
        let events = told(stage.act(MANAGER, "CdcPool", "record_fault", &arguments).await);
        assert_eq!(names(&events)[0], "ReputationChanged");
        assert_eq!(events[0].data, felts![from, to]);
    }
    // It had ten STRK, of which two and a half are gone: its two slots are covered.
    assert_eq!(stage.worker(worker).await["status"].variant(), "Active");
    let update = [offer().offer(), felts![8, RATE]].concat();
    refused(stage.act(W1, "CdcPool", "update_worker", &update).await, "CdcPool: stake too low");
}
