//! The lane's decisions in thousands of drawn histories, and by hand where one history says most.

mod world;

use keeper_store::{IntentId, IntentState, Landed, Purpose};
use keeper_types::{BlockNumber, BlockRef, Felt, Fri, TxHash};
use proptest::prelude::*;

use self::world::{Faults, World};
use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Drops, evictions, duplicates, reverts, outside use, reorganisations, lagging nodes and restarts at every point: no
    /// nonce is ever two intents', nothing is effective twice, and once the faults end nothing is stuck.
    #[test]
    fn whatever_happens_nothing_is_lost_doubled_or_stuck(seed in any::<u64>(), strict in any::<bool>()) {
        let mut world = World::new(seed, LaneTimes::default(), Faults { is_strict: strict, ..Faults::all() });
        prop_assert_eq!(world.run(150), Ok(()));
    }
}

/// A lane that gives up a used nonce before a node can know the receipt sends the same a second time; the histories show
/// it.
#[test]
fn a_lane_that_does_not_wait_for_certainty_is_caught() {
    let hasty = LaneTimes { lost_after_ms: 0, look_every_ms: 0, ..LaneTimes::default() };
    let caught = (0..300).filter(|seed| World::new(*seed, hasty, Faults::all()).run(150).is_err()).count();
    assert!(caught > 0, "no history of 300 shows it");
}

/// A lane that never sends anything again gets stuck; the histories show it.
#[test]
fn a_lane_that_does_not_send_again_is_caught() {
    let patient = LaneTimes { gap_after_ms: u64::MAX, life_ms: u64::MAX, ..LaneTimes::default() };
    let caught = (0..100).filter(|seed| World::new(*seed, patient, Faults::all()).run(150).is_err()).count();
    assert!(caught > 30, "only {caught} histories of 100 show it");
}

fn hash(number: u64) -> TxHash {
    TxHash(Felt::from(number))
}

fn transaction(number: u64, signed_ms: u64) -> Signed {
    Signed { hash: hash(number), purpose: Purpose::Action, tip: 0, l2_gas_price: 100, signed_ms, has_bytes: true }
}

fn block(number: u64) -> BlockRef {
    BlockRef { number: BlockNumber(number), hash: Felt::from(number) }
}

fn pinned(number: u64, nonce: u64) -> Observation {
    Observation::Pinned { block: block(number), nonce, l2_gas_price: 10 }
}

/// A lane at nonce 5 with one intent recorded under it, at time 0.
fn lane() -> LaneState {
    let mut lane = LaneState::restore(LaneTimes::default(), std::collections::BTreeMap::new(), 5);
    assert!(lane.step(&pinned(1, 5), 0).is_empty());
    let recorded =
        Observation::Recorded { nonce: 5, intent: IntentId(1), signed: transaction(1, 0), is_repeatable: false };
    assert_eq!(lane.step(&recorded, 0), [Action::Send { nonce: 5, hash: hash(1) }]);
    assert_eq!((lane.next_nonce(), lane.in_flight()), (6, 1));
    lane
}

fn answered(answer: Answer) -> Observation {
    Observation::Answered { nonce: 5, hash: hash(1), answer }
}

fn record(state: IntentState) -> Action {
    Action::Record { intent: IntentId(1), state, sent: None, landed: None }
}

#[test]
fn no_answer_is_no_failure_and_the_same_bytes_are_sent_again() {
    let mut lane = lane();
    let sent = Action::Record { intent: IntentId(1), state: IntentState::MaybeSent, sent: Some(hash(1)), landed: None };
    assert_eq!(lane.step(&answered(Answer::Unknown), 10), [sent]);
    assert!(lane.step(&pinned(2, 5), 10_009).is_empty(), "10 s have not passed");
    assert_eq!(lane.step(&pinned(3, 5), 10_010), [Action::Send { nonce: 5, hash: hash(1) }]);
    assert!(lane.step(&pinned(4, 5), 60_000).is_empty(), "it is being sent");
    lane.step(&answered(Answer::Unknown), 60_010);
    assert_eq!(lane.step(&pinned(5, 5), 63_343), [Action::Send { nonce: 5, hash: hash(1) }], "from then on sooner");
}

#[test]
fn what_outlived_its_life_or_its_price_is_replaced_at_eleven_percent_more() {
    let mut old = lane();
    old.step(&answered(Answer::Accepted), 10);
    let replace = Action::Replace { nonce: 5, purpose: Purpose::Action, least_tip: 1, least_l2_gas_price: 111 };
    assert_eq!(old.step(&pinned(2, 5), 300_000), std::slice::from_ref(&replace));
    let mut dear = lane();
    dear.step(&answered(Answer::Accepted), 10);
    let rise = Observation::Pinned { block: block(2), nonce: 5, l2_gas_price: 101 };
    assert_eq!(dear.step(&rise, 10_010), std::slice::from_ref(&replace));
    let mut refused = lane();
    assert_eq!(refused.step(&answered(Answer::Underpriced), 10).len(), 1);
    assert_eq!(refused.step(&Observation::Tick, 1_010), [replace]);
    let replaced = Observation::Replaced { nonce: 5, signed: Signed { l2_gas_price: 111, ..transaction(2, 1_020) } };
    assert_eq!(refused.step(&replaced, 1_020), [Action::Send { nonce: 5, hash: hash(2) }]);
}

#[test]
fn what_a_node_holds_and_blocks_pass_over_offers_more_but_not_without_blocks() {
    let mut halted = lane();
    halted.step(&answered(Answer::Accepted), 10);
    assert_eq!(halted.step(&pinned(3, 5), 10_010), [Action::Send { nonce: 5, hash: hash(1) }], "two blocks are few");
    halted.step(&answered(Answer::Duplicate), 10_020);
    for late in 2..9 {
        assert_eq!(halted.step(&pinned(3, 5), late * 10_020), [Action::Send { nonce: 5, hash: hash(1) }], "no blocks");
        halted.step(&answered(Answer::Duplicate), late * 10_020);
    }
    let mut passed_over = lane();
    passed_over.step(&answered(Answer::Accepted), 10);
    let price = |l2_gas_price| Observation::Pinned { block: block(4), nonce: 5, l2_gas_price };
    let again = [Action::Send { nonce: 5, hash: hash(1) }];
    assert_eq!(passed_over.step(&price(90), 10_010), again, "it may be gone");
    passed_over.step(&answered(Answer::Duplicate), 10_020);
    let replace = Action::Replace { nonce: 5, purpose: Purpose::Action, least_tip: 1, least_l2_gas_price: 111 };
    assert_eq!(passed_over.clone().step(&price(90), 11_020), [replace]);
    assert!(passed_over.step(&price(25), 11_020).is_empty(), "it offers four times the price already");
}

#[test]
fn what_is_wanted_no_more_gives_way_to_a_no_op() {
    let mut lane = lane();
    lane.step(&answered(Answer::Accepted), 10);
    assert!(lane.step(&Observation::Abandoned { intent: IntentId(1) }, 20).is_empty(), "it may land any moment");
    let replace = Action::Replace { nonce: 5, purpose: Purpose::NoOp, least_tip: 1, least_l2_gas_price: 111 };
    assert_eq!(lane.step(&pinned(2, 5), 10_010), [replace]);
    let signed = Signed { purpose: Purpose::NoOp, ..transaction(2, 10_020) };
    lane.step(&Observation::Replaced { nonce: 5, signed }, 10_020);
    assert_eq!(
        lane.step(&pinned(3, 6), 16_000),
        [record(IntentState::NonceConsumed), Action::Look { nonce: 5, opening: 0 }]
    );
    // Either may have landed.
    let landed = Landed { tx_hash: hash(2), block: Some(block(3)), fee: Some(Fri(1)) };
    let look = Observation::Looked { nonce: 5, opening: 0, look: Look::Landed { landed, is_reverted: false } };
    let state = IntentState::Replaced;
    assert_eq!(
        lane.step(&look, 16_010),
        [Action::Record { intent: IntentId(1), state, sent: None, landed: Some(landed) }]
    );
    assert_eq!(lane.in_flight(), 0);
}

#[test]
fn what_is_wanted_no_more_and_no_node_has_gives_way_at_once_and_again_until_it_is_signed() {
    let mut lane = lane();
    lane.step(&answered(Answer::Unknown), 10);
    lane.step(&Observation::Abandoned { intent: IntentId(1) }, 20);
    assert!(lane.step(&pinned(2, 5), 1_009).is_empty(), "it may land any moment");
    let replace = || Action::Replace { nonce: 5, purpose: Purpose::NoOp, least_tip: 1, least_l2_gas_price: 111 };
    assert_eq!(lane.step(&Observation::Tick, 1_010), [replace()]);
    // The node that is to say what it costs is cut off.
    assert!(lane.step(&Observation::NotSigned { nonce: 5 }, 6_010).is_empty());
    assert_eq!(lane.step(&Observation::Tick, 7_010), [replace()]);
    let signed = Signed { purpose: Purpose::NoOp, ..transaction(2, 7_020) };
    assert_eq!(
        lane.step(&Observation::Replaced { nonce: 5, signed }, 7_020),
        [Action::Send { nonce: 5, hash: hash(2) }]
    );
}

#[test]
fn a_used_nonce_is_lost_only_once_that_is_certain() {
    let mut lane = lane();
    lane.step(&answered(Answer::Unknown), 10);
    lane.step(&pinned(2, 6), 1_000);
    let nothing = Observation::Looked { nonce: 5, opening: 0, look: Look::Nothing };
    for second in 1..30 {
        let actions = lane.step(&nothing, 1_000 + 1_000 * second);
        assert!(actions.is_empty(), "{second}: {actions:?}");
        assert_eq!(lane.step(&Observation::Tick, 1_999 + 1_000 * second + 1), [Action::Look { nonce: 5, opening: 0 }]);
    }
    let lost = [record(IntentState::Lost), Action::OutsideUse { nonce: 5, hash: None }];
    assert!(lane.step(&nothing, 31_000).is_empty(), "the chain has to be seen once more");
    assert_eq!(lane.step(&pinned(3, 6), 31_001), lost);
    let mut lane = self::lane();
    lane.step(&pinned(2, 6), 1_000);
    let foreign = Observation::Looked { nonce: 5, opening: 0, look: Look::Foreign(hash(9)) };
    let lost = [record(IntentState::Lost), Action::OutsideUse { nonce: 5, hash: Some(hash(9)) }];
    assert!(lane.step(&foreign, 1_001).is_empty());
    assert!(lane.step(&pinned(3, 6), 1_002).is_empty(), "the node may show a fork that was left");
    assert_eq!(lane.step(&Observation::Tick, 30_999), [Action::Look { nonce: 5, opening: 0 }]);
    let mut other = lane.clone();
    assert!(lane.step(&foreign, 31_000).is_empty());
    assert_eq!(lane.step(&pinned(4, 6), 31_001), lost, "another's, as long as that, is proof");
    assert_eq!(other.step(&pinned(4, 5), 31_001), [record(IntentState::Reorged)], "it shows another now");
    assert!(other.step(&foreign, 31_002).is_empty(), "which was of the one before");
    assert_eq!(other.step(&pinned(5, 6), 33_000)[1], Action::Look { nonce: 5, opening: 1 });
}

#[test]
fn what_was_refused_for_those_below_it_is_sent_as_soon_as_they_are_there() {
    let mut lane = lane();
    let recorded =
        Observation::Recorded { nonce: 6, intent: IntentId(2), signed: transaction(2, 0), is_repeatable: true };
    lane.step(&recorded, 0);
    lane.step(&answered(Answer::Accepted), 10);
    lane.step(&Observation::Answered { nonce: 6, hash: hash(2), answer: Answer::WrongNonce }, 20);
    let actions = lane.step(&pinned(2, 6), 1_000);
    assert!(actions.contains(&Action::Send { nonce: 6, hash: hash(2) }), "{actions:?}");
}

#[test]
fn a_batch_of_another_fork_is_not_sent_again_but_an_exit_is() {
    for is_repeatable in [false, true] {
        let mut lane = lane();
        lane.slots.get_mut(&5).unwrap().is_repeatable = is_repeatable;
        lane.step(&answered(Answer::Accepted), 10);
        lane.step(&pinned(2, 6), 1_000);
        let landed = Landed { tx_hash: hash(1), block: Some(block(2)), fee: Some(Fri(1)) };
        lane.step(
            &Observation::Looked { nonce: 5, opening: 0, look: Look::Landed { landed, is_reverted: false } },
            1_010,
        );
        assert_eq!(lane.slot(5).and_then(Slot::landed_block), Some(block(2)));
        let gone = Checked { gone: vec![block(2)], ..Checked::default() };
        let actions = lane.step(&Observation::Checked(gone), 2_000);
        assert_eq!(actions[0], record(IntentState::Reorged));
        lane.step(&pinned(2, 5), 2_010);
        let actions = lane.step(&pinned(3, 5), 12_100);
        let is_sent_again = actions.iter().any(|action| matches!(action, Action::Send { .. }));
        let is_replaced = actions.iter().any(|action| matches!(action, Action::Replace { purpose: Purpose::NoOp, .. }));
        assert_eq!((is_sent_again, is_replaced), (is_repeatable, !is_repeatable), "{actions:?}");
    }
}

#[test]
fn a_nonce_that_no_intent_has_is_filled() {
    let slot = Slot::new(IntentId(1), vec![transaction(1, 0)], true, Stage::Signed, 0);
    let mut lane = LaneState::restore(LaneTimes::default(), [(7, slot)].into(), 5);
    lane.step(&pinned(1, 5), 0);
    assert!(lane.step(&Observation::Tick, 9_999).is_empty());
    assert_eq!(lane.step(&Observation::Tick, 10_000), [Action::Fill { nonce: 5 }, Action::Fill { nonce: 6 }]);
    assert!(lane.step(&Observation::Tick, 40_000).is_empty(), "they are being filled");
    lane.step(&Observation::NotSigned { nonce: 5 }, 40_000);
    assert_eq!(lane.step(&Observation::Tick, 50_000), [Action::Fill { nonce: 5 }]);
}

/// A hole at nonce 5 is filled and lost to somebody else, whose block is then replaced: the nonce is a hole again. What
/// fills it has the same price, and so the same bytes and hash, as what was lost.
#[test]
fn a_hole_that_was_lost_and_comes_back_is_filled_by_another_intent_with_the_same_bytes() {
    let mut lane = LaneState::restore(LaneTimes::default(), std::collections::BTreeMap::new(), 6);
    let signed = Signed { purpose: Purpose::NoOp, ..transaction(1, 10_000) };
    let recorded = |intent| Observation::Recorded { nonce: 5, intent: IntentId(intent), signed, is_repeatable: true };
    let fork = |number, nonce| {
        let block = BlockRef { hash: Felt::from(100 + number), ..block(number) };
        Observation::Pinned { block, nonce, l2_gas_price: 10 }
    };
    let record = |intent, state, landed| Action::Record { intent: IntentId(intent), state, sent: None, landed };
    lane.step(&pinned(1, 5), 0);
    assert_eq!(lane.step(&Observation::Tick, 10_000), [Action::Fill { nonce: 5 }]);
    assert_eq!(lane.step(&recorded(1), 10_000), [Action::Send { nonce: 5, hash: hash(1) }]);
    lane.step(&answered(Answer::Accepted), 10_010);
    let look = |opening| Action::Look { nonce: 5, opening };
    assert_eq!(lane.step(&pinned(2, 6), 12_000), [record(1, IntentState::NonceConsumed, None), look(0)]);
    let foreign = Observation::Looked { nonce: 5, opening: 0, look: Look::Foreign(hash(9)) };
    assert!(lane.step(&foreign, 12_010).is_empty());
    assert_eq!(lane.step(&Observation::Tick, 13_010), [look(0)]);
    assert!(lane.step(&foreign, 42_000).is_empty());
    assert_eq!(lane.step(&Observation::Tick, 43_000), [look(0)], "which is not answered for long");
    let lost = [record(1, IntentState::Lost, None), Action::OutsideUse { nonce: 5, hash: Some(hash(9)) }];
    assert_eq!(lane.step(&pinned(3, 6), 44_000), lost);

    assert!(lane.step(&fork(4, 5), 45_000).is_empty());
    assert_eq!(lane.step(&Observation::Tick, 55_000), [Action::Fill { nonce: 5 }]);
    assert_eq!(lane.step(&recorded(2), 55_000), [Action::Send { nonce: 5, hash: hash(1) }]);
    assert_eq!(lane.step(&fork(5, 6), 57_000), [record(2, IntentState::NonceConsumed, None), look(1)]);
    assert!(lane.step(&foreign, 90_000).is_empty(), "it was looked up on the other fork, for the other intent");
    assert!(lane.step(&fork(6, 6), 90_010).is_empty(), "so nothing is lost");
    let landed = Landed { tx_hash: hash(1), block: Some(block(105)), fee: None };
    let found = Look::Landed { landed, is_reverted: false };
    let actions = lane.step(&Observation::Looked { nonce: 5, opening: 1, look: found }, 90_020);
    assert_eq!(actions, [record(2, IntentState::Replaced, Some(landed))], "it is the later intent's, and no other's");
    assert_eq!(lane.in_flight(), 0);
}

/// A lane whose one intent landed in block 3 of the first fork, which was seen to stand.
fn landed_in_block_3() -> LaneState {
    let mut lane = lane();
    lane.step(&answered(Answer::Accepted), 10);
    lane.step(&pinned(4, 6), 1_000);
    let landed = Landed { tx_hash: hash(1), block: Some(block(3)), fee: None };
    lane.step(&Observation::Looked { nonce: 5, opening: 0, look: Look::Landed { landed, is_reverted: false } }, 1_010);
    let standing = Checked { standing: vec![block(3)], ..Checked::default() };
    assert!(lane.step(&Observation::Checked(standing), 1_020).is_empty());
    assert!(lane.maybe_final().is_empty(), "nothing is accepted");
    lane
}

#[test]
fn what_is_final_is_no_hole_on_another_chain() {
    let mut lane = landed_in_block_3();
    assert!(lane.step(&Observation::AcceptedOnL1 { up_to: BlockNumber(3) }, 1_030).is_empty());
    assert_eq!(lane.maybe_final(), [block(3)]);
    let accepted = Observation::Finality { accepted: vec![block(3)], replaced: Vec::new() };
    assert_eq!(lane.step(&accepted, 1_040), [Action::Finalise { blocks: vec![block(3)] }]);
    // A node shows a chain on which the account has sent nothing of it.
    lane.step(&pinned(9, 4), 2_000);
    assert_eq!(lane.step(&Observation::Tick, 60_000), []);
}

/// Seed 1191625 of the simulated worlds: a block was seen to stand, then replaced, and its height accepted on L1 before the
/// lane saw that.
#[test]
fn a_height_that_is_accepted_does_not_make_the_block_of_another_fork_final() {
    let mut lane = landed_in_block_3();
    assert!(lane.step(&Observation::AcceptedOnL1 { up_to: BlockNumber(3) }, 1_030).is_empty());
    let replaced = Observation::Finality { accepted: Vec::new(), replaced: vec![block(3)] };
    assert!(lane.step(&replaced, 1_040).is_empty());
    assert!(lane.maybe_final().is_empty(), "it is not confirmed any more");
    let mut sweep = lane.sweep();
    while let Some(next) = sweep.next() {
        sweep.found(Some(BlockRef { hash: Felt::from(100 + next.number.0), ..next }));
    }
    assert_eq!(lane.step(&Observation::Checked(sweep.into_checked()), 1_050)[0], record(IntentState::Reorged));
    assert_eq!(lane.in_flight(), 1, "it is looked for, and sent or replaced");
}

/// One node's word is not enough: as many as have to agree say how far L1 is.
#[test]
fn a_block_above_what_is_accepted_is_not_final_whatever_is_said_of_it() {
    let mut lane = landed_in_block_3();
    lane.step(&Observation::AcceptedOnL1 { up_to: BlockNumber(2) }, 1_030);
    let accepted = Observation::Finality { accepted: vec![block(3)], replaced: Vec::new() };
    assert!(lane.step(&accepted, 1_040).is_empty());
}

/// Thousands of blocks may be accepted at once, and a lane that looks at all of them sees nothing else meanwhile.
#[test]
fn few_of_the_accepted_blocks_are_asked_for_at_a_time_and_the_lowest_first() {
    let slots = (5..105).map(|nonce| {
        let landed = Landed { tx_hash: hash(nonce), block: Some(block(nonce)), fee: None };
        let stands = (IntentState::AcceptedL2, Some(landed));
        (nonce, Slot::restored(IntentId(nonce), vec![transaction(nonce, 0)], true, stands, 0))
    });
    let mut lane = LaneState::restore(LaneTimes::default(), slots.collect(), 105);
    lane.step(&pinned(200, 105), 0);
    let standing = Checked { standing: (5..105).map(block).collect(), ..Checked::default() };
    lane.step(&Observation::Checked(standing), 10);
    assert!(lane.sweep().is_idle(block(200)));
    lane.step(&Observation::AcceptedOnL1 { up_to: BlockNumber(60) }, 20);
    assert!(lane.sweep().is_idle(block(200)), "what is asked for every second has no more to ask for");
    for first in (5..=60).step_by(8) {
        let blocks: Vec<_> = (first..first + 8).map(block).collect();
        assert_eq!(lane.maybe_final(), blocks);
        let accepted = Observation::Finality { accepted: blocks.clone(), replaced: Vec::new() };
        assert_eq!(lane.step(&accepted, 30), [Action::Finalise { blocks }]);
    }
    assert!(lane.maybe_final().is_empty());
}

/// Whether it was sent or not: nobody wants it any more, and the nonce must be used.
#[test]
fn what_is_wanted_no_more_after_a_restart_gives_way_at_once() {
    let wanted = Slot::new(IntentId(1), vec![transaction(1, 0)], false, Stage::Signed, 0);
    let mut lane = LaneState::restore(LaneTimes::default(), [(5, wanted.clone())].into(), 5);
    assert_eq!(lane.step(&pinned(1, 5), 10), [Action::Send { nonce: 5, hash: hash(1) }]);
    let unwanted = Slot { is_wanted: false, ..wanted };
    let exit = Slot::new(IntentId(2), vec![transaction(2, 0)], true, Stage::Signed, 0);
    let mut both = LaneState::restore(LaneTimes::default(), [(5, unwanted.clone()), (6, exit)].into(), 5);
    assert_eq!(both.step(&pinned(1, 5), 10).len(), 1, "what comes after it waits for the no-op to be signed");
    assert!(both.step(&pinned(2, 5), 20).is_empty());
    let signed = Signed { purpose: Purpose::NoOp, ..transaction(3, 30) };
    let sent = [Action::Send { nonce: 5, hash: hash(3) }, Action::Send { nonce: 6, hash: hash(2) }];
    assert_eq!(both.step(&Observation::Replaced { nonce: 5, signed }, 30), sent);
    let mut lane = LaneState::restore(LaneTimes::default(), [(5, unwanted)].into(), 5);
    let no_op = Action::Replace { nonce: 5, purpose: Purpose::NoOp, least_tip: 1, least_l2_gas_price: 111 };
    assert_eq!(lane.step(&pinned(1, 5), 10), std::slice::from_ref(&no_op));
    assert!(
        lane.step(&Observation::NotSigned { nonce: 5 }, 20).is_empty(),
        "not in a hurry, where it cannot be signed"
    );
    assert_eq!(lane.step(&pinned(2, 5), 10_020), [no_op]);
}

#[test]
fn a_node_that_lags_takes_nothing_back() {
    let mut lane = lane();
    lane.step(&answered(Answer::Accepted), 10);
    lane.step(&pinned(4, 6), 1_000);
    let landed = Landed { tx_hash: hash(1), block: Some(block(3)), fee: None };
    lane.step(&Observation::Looked { nonce: 5, opening: 0, look: Look::Landed { landed, is_reverted: true } }, 1_010);
    assert!(lane.step(&pinned(2, 5), 2_000).is_empty());
    assert_eq!(lane.in_flight(), 0);
}
