//! The lane's decision.
//!
//! Every observation changes what is known; then each nonce gets what is due for it. Nothing is done twice at a time for
//! one nonce, and whatever was begun and never answered is begun anew after a while, so that nothing waits for ever.

use keeper_store::{IntentState, Purpose};
use keeper_types::BlockRef;

use super::{
    fees::raised,
    slot::{Slot, Stage},
    state::{Action, Answer, LEAST_LOOKS, LaneState, Look, MOST_REFUSALS, Observation, Pin},
    sweep::Checked,
};

impl LaneState {
    /// Takes in what was observed, and says what is to be done.
    pub fn step(&mut self, observation: &Observation, now_ms: u64) -> Vec<Action> {
        let mut actions = Vec::new();
        match observation {
            Observation::Recorded { nonce, intent, signed, is_repeatable } => {
                self.holes.remove(nonce);
                self.filling.remove(nonce);
                self.next = self.next.max(nonce + 1);
                let mut slot = Slot::new(*intent, vec![*signed], *is_repeatable, Stage::Signed, now_ms);
                slot.openings = self.first_opening;
                self.slots.insert(*nonce, slot);
            }
            Observation::Answered { nonce, hash, answer } => {
                let pin = self.pin;
                if let Some(slot) = self.slots.get_mut(nonce) {
                    answered(slot, *answer, *nonce > pin.map_or(0, |pin| pin.nonce), now_ms);
                    if matches!(answer, Answer::Accepted | Answer::Duplicate) && slot.held_since.is_none() {
                        slot.held_since = pin.map(|pin| pin.block.number.0);
                    }
                    if !slot.is_landed() && slot.stage != Stage::Consumed {
                        slot.stage = Stage::MaybeSent;
                        let (intent, sent) = (slot.intent, Some(*hash));
                        // That it is of another fork must survive a restart.
                        let state = if slot.is_reorged { IntentState::Reorged } else { IntentState::MaybeSent };
                        actions.push(Action::Record { intent, state, sent, landed: None });
                    }
                }
            }
            Observation::Pinned { block, nonce, l2_gas_price } => {
                self.pinned(*block, *nonce, *l2_gas_price, now_ms, &mut actions);
            }
            Observation::Looked { nonce, opening, look } => {
                self.looked((*nonce, *opening), *look, now_ms, &mut actions);
            }
            Observation::Replaced { nonce, signed } => {
                if let Some(slot) = self.slots.get_mut(nonce) {
                    slot.signed.push(*signed);
                    slot.is_wanted &= signed.purpose == Purpose::Action;
                    (slot.is_busy, slot.is_underpriced, slot.is_too_early) = (false, false, false);
                    slot.is_held = false;
                    (slot.refusals, slot.idle_since_ms, slot.held_since) = (0, now_ms, None);
                    if !slot.is_landed() && slot.stage != Stage::Consumed {
                        slot.is_busy = true;
                        actions.push(Action::Send { nonce: *nonce, hash: signed.hash });
                    }
                }
            }
            Observation::NotSigned { nonce } => {
                self.filling.remove(nonce);
                if let Some(since) = self.holes.get_mut(nonce) {
                    *since = now_ms;
                }
                if let Some(slot) = self.slots.get_mut(nonce) {
                    (slot.is_busy, slot.idle_since_ms) = (false, now_ms);
                }
            }
            Observation::Checked(checked) => self.checked(checked, now_ms, &mut actions),
            Observation::AcceptedOnL1 { up_to } => self.on_l1 = self.on_l1.max(Some(*up_to)),
            Observation::Finality { accepted, replaced } => self.finalise(accepted, replaced, &mut actions),
            Observation::Abandoned { intent } => {
                if let Some(slot) = self.slots.values_mut().find(|slot| slot.intent == *intent) {
                    slot.is_wanted = false;
                }
            }
            Observation::Tick => {}
        }
        self.plan(now_ms, &mut actions);
        actions
    }

    fn pinned(&mut self, block: BlockRef, nonce: u64, l2_gas_price: u128, now_ms: u64, actions: &mut Vec<Action>) {
        // An older view is that of a node that lags, unless it is all that there is.
        if let Some(pin) = self.pin
            && block.number < pin.block.number
            && now_ms.saturating_sub(pin.seen_ms) <= self.times.gap_after_ms
        {
            return;
        }
        if self.pin.is_some_and(|pin| block.number < pin.block.number) {
            // The chain is shorter than it was: blocks were replaced, by which it cannot be told yet.
            self.forget_looks(now_ms);
        }
        self.pin = Some(Pin { block, nonce, l2_gas_price, seen_ms: now_ms });
        self.next = self.next.max(nonce);
        // Whatever landed is below the nonce, and in a block that is there.
        let mut gone = Vec::new();
        for (number, slot) in &self.slots {
            if let Stage::Landed { landed, .. } = slot.stage {
                let is_above = landed.block.is_some_and(|landed| landed.number > block.number);
                if *number >= nonce || is_above {
                    gone.push(slot.intent);
                }
            }
        }
        for slot in self.slots.values_mut().filter(|slot| gone.contains(&slot.intent)) {
            reopen(slot, now_ms, actions);
        }
        let verdicts = self.slots.range(..nonce).filter_map(|(nonce, slot)| Some((*nonce, slot.verdict?)));
        for (nonce, hash) in verdicts.collect::<Vec<_>>() {
            self.lose(nonce, hash, actions);
        }
    }

    /// What was looked up was of another fork.
    fn forget_looks(&mut self, now_ms: u64) {
        for slot in self.slots.values_mut().filter(|slot| slot.stage == Stage::Consumed) {
            (slot.openings, slot.looks, slot.is_busy) = (slot.openings + 1, (now_ms, 0), false);
            slot.verdict = None;
        }
    }

    fn checked(&mut self, checked: &Checked, now_ms: u64, actions: &mut Vec<Action>) {
        if !checked.gone.is_empty() {
            self.forget_looks(now_ms);
        }
        for slot in self.slots.values_mut() {
            let Some(block) = slot.landed_block() else { continue };
            if checked.gone.contains(&block) {
                reopen(slot, now_ms, actions);
            } else if checked.standing.contains(&block) || checked.unknown.contains(&block) {
                slot.is_confirmed = checked.standing.contains(&block);
            }
        }
    }

    fn looked(&mut self, (nonce, opening): (u64, u32), look: Look, now_ms: u64, actions: &mut Vec<Action>) {
        let times = self.times;
        let Some(slot) = self.slots.get_mut(&nonce) else { return };
        if slot.openings != opening || slot.stage != Stage::Consumed {
            return;
        }
        slot.is_busy = false;
        slot.idle_since_ms = now_ms;
        match look {
            Look::Landed { landed, is_reverted } => {
                let signed = slot.signed.iter().find(|signed| signed.hash == landed.tx_hash);
                let is_no_op = signed.is_some_and(|signed| signed.purpose == Purpose::NoOp);
                let state = match (is_no_op, is_reverted) {
                    (true, _) => IntentState::Replaced,
                    (false, true) => IntentState::Reverted,
                    (false, false) => IntentState::AcceptedL2,
                };
                slot.stage = Stage::Landed { state, landed };
                (slot.verdict, slot.is_confirmed) = (None, false);
                (slot.is_reorged, slot.is_repeated) = (false, false);
                actions.push(Action::Record { intent: slot.intent, state, sent: None, landed: Some(landed) });
            }
            Look::Nothing | Look::Foreign(_) => {
                let (since, count) = slot.looks;
                slot.looks = (since, count + 1);
                // Another's transaction with the nonce is proof, but of the chain that the node shows. One that shows a
                // fork that was left takes nothing from those who make blocks, and ours may be in theirs.
                let (least, foreign) = match look {
                    Look::Foreign(hash) => (1, Some(hash)),
                    _ => (LEAST_LOOKS, None),
                };
                let is_certain = count + 1 >= least && now_ms.saturating_sub(since) >= times.lost_after_ms;
                slot.verdict = is_certain.then_some(foreign);
            }
        }
    }

    fn lose(&mut self, nonce: u64, hash: Option<keeper_types::TxHash>, actions: &mut Vec<Action>) {
        let Some(slot) = self.slots.remove(&nonce) else { return };
        self.first_opening = self.first_opening.max(slot.openings + 1);
        actions.push(Action::Record { intent: slot.intent, state: IntentState::Lost, sent: None, landed: None });
        actions.push(Action::OutsideUse { nonce, hash });
    }

    fn finalise(&mut self, accepted: &[BlockRef], replaced: &[BlockRef], actions: &mut Vec<Action>) {
        let mut blocks = Vec::new();
        let (final_below, on_l1) = (&mut self.final_below, self.on_l1);
        self.slots.retain(|nonce, slot| {
            let Some(block) = slot.landed_block() else { return true };
            // The next sweep asks for it again, and sees what became of it.
            slot.is_confirmed &= !replaced.contains(&block);
            if !accepted.contains(&block) || on_l1.is_none_or(|up_to| block.number > up_to) {
                return true;
            }
            *final_below = (*final_below).max(nonce + 1);
            if !blocks.contains(&block) {
                blocks.push(block);
            }
            false
        });
        if !blocks.is_empty() {
            actions.push(Action::Finalise { blocks });
        }
    }

    /// What is due for each nonce.
    fn plan(&mut self, now_ms: u64, actions: &mut Vec<Action>) {
        let Some(pin) = self.pin else { return };
        let times = self.times;
        // The lowest that is missing holds up all above it. Those may be missing as well, and are not waited for one by
        // one.
        let is_stuck = self.slots.get(&pin.nonce).is_some_and(|slot| {
            !slot.is_landed() && now_ms.saturating_sub(slot.idle_since_ms) >= slot.patience_ms(times.gap_after_ms)
        });
        // What was never sent waits for the no-op below it that is being signed: a node may refuse what comes too early.
        let mut is_early = false;
        for (nonce, slot) in &mut self.slots {
            let idle_ms = now_ms.saturating_sub(slot.idle_since_ms);
            match slot.stage {
                Stage::Landed { .. } => {}
                _ if *nonce < pin.nonce => look(*nonce, slot, idle_ms, times.look_every_ms, now_ms, actions),
                Stage::Consumed => reopen(slot, now_ms, actions),
                _ if slot.is_busy => is_early |= slot.gives_way(),
                // Decided before a restart for what may no longer be: whether it was sent or not, a no-op stands in its
                // place.
                Stage::Signed if slot.gives_way() => {
                    slot.stage = Stage::MaybeSent;
                    repair(*nonce, slot, pin, times.life_ms, now_ms, actions);
                    is_early = true;
                }
                Stage::Signed if is_early => {}
                Stage::Signed => begin(*nonce, slot, actions),
                Stage::MaybeSent => {
                    let is_next = *nonce == pin.nonce;
                    // It was refused for what was missing below it, and nothing is.
                    let is_called = is_next && slot.is_too_early;
                    let is_late = idle_ms >= slot.patience_ms(times.gap_after_ms) && (is_next || is_stuck);
                    let is_cheap = slot.is_underpriced || slot.is_passed_over(*nonce, &pin);
                    // Nobody wants it to land, and no node said that it has it: nothing is gained by patience.
                    let is_void = is_next && slot.gives_way() && slot.held_since.is_none();
                    let is_due = (is_cheap || is_void) && idle_ms >= times.look_every_ms;
                    if is_due || is_called || is_late {
                        repair(*nonce, slot, pin, times.life_ms, now_ms, actions);
                    }
                }
            }
        }
        self.fill_holes(pin, now_ms, actions);
    }

    /// Nonces that no intent has and that stay unused hold up all above them.
    fn fill_holes(&mut self, pin: Pin, now_ms: u64, actions: &mut Vec<Action>) {
        self.holes.retain(|nonce, _| *nonce >= pin.nonce);
        for nonce in pin.nonce.max(self.final_below)..self.next {
            if self.slots.contains_key(&nonce) {
                continue;
            }
            let since = *self.holes.entry(nonce).or_insert(now_ms);
            if now_ms.saturating_sub(since) >= self.times.gap_after_ms && self.filling.insert(nonce) {
                actions.push(Action::Fill { nonce });
            }
        }
    }
}

/// Sends what was recorded, for the first time in this process.
fn begin(nonce: u64, slot: &mut Slot, actions: &mut Vec<Action>) {
    let Some(latest) = slot.latest().filter(|latest| latest.has_bytes).copied() else {
        // Its bytes are lost; whether they were sent shows once something stands in their place.
        slot.stage = Stage::MaybeSent;
        slot.is_wanted = false;
        return;
    };
    slot.is_busy = true;
    actions.push(Action::Send { nonce, hash: latest.hash });
}

/// Looks for the transaction of a used nonce.
fn look(nonce: u64, slot: &mut Slot, idle_ms: u64, every_ms: u64, now_ms: u64, actions: &mut Vec<Action>) {
    let is_news = slot.stage != Stage::Consumed;
    if is_news {
        slot.stage = Stage::Consumed;
        slot.looks = (now_ms, 0);
        slot.is_busy = false;
        let (intent, state) = (slot.intent, IntentState::NonceConsumed);
        actions.push(Action::Record { intent, state, sent: None, landed: None });
    }
    if !slot.is_busy && (is_news || idle_ms >= every_ms) {
        slot.is_busy = true;
        actions.push(Action::Look { nonce, opening: slot.openings });
    }
}

/// Its block, or the use of its nonce, is gone.
fn reopen(slot: &mut Slot, now_ms: u64, actions: &mut Vec<Action>) {
    slot.stage = Stage::MaybeSent;
    slot.is_wanted &= slot.is_repeatable;
    slot.is_reorged = true;
    slot.openings += 1;
    slot.held_since = None;
    slot.verdict = None;
    (slot.is_busy, slot.idle_since_ms) = (false, now_ms);
    actions.push(Action::Record { intent: slot.intent, state: IntentState::Reorged, sent: None, landed: None });
}

/// Brings a missing transaction on its way again: by the same bytes, or by ones that replace them.
fn repair(nonce: u64, slot: &mut Slot, pin: Pin, life_ms: u64, now_ms: u64, actions: &mut Vec<Action>) {
    slot.is_busy = true;
    slot.is_too_early = false;
    let purpose = if slot.is_wanted { Purpose::Action } else { Purpose::NoOp };
    let Some(latest) = slot.latest().copied() else {
        actions.push(Action::Replace { nonce, purpose, least_tip: 0, least_l2_gas_price: 0 });
        return;
    };
    let is_old = now_ms.saturating_sub(latest.signed_ms) >= life_ms;
    let is_cheap = slot.is_underpriced || slot.is_passed_over(nonce, &pin) || pin.l2_gas_price > latest.l2_gas_price;
    let is_other = purpose == Purpose::NoOp && latest.purpose == Purpose::Action;
    if is_old || is_cheap || is_other || !latest.has_bytes {
        let (least_tip, least_l2_gas_price) = raised(&slot.signed);
        actions.push(Action::Replace { nonce, purpose, least_tip, least_l2_gas_price });
    } else {
        slot.is_repeated = true;
        actions.push(Action::Send { nonce, hash: latest.hash });
    }
}

fn answered(slot: &mut Slot, answer: Answer, is_above_lowest: bool, now_ms: u64) {
    (slot.is_busy, slot.idle_since_ms) = (false, now_ms);
    slot.is_too_early = answer == Answer::WrongNonce && is_above_lowest;
    slot.is_held = answer == Answer::Duplicate;
    match answer {
        Answer::Accepted | Answer::Duplicate | Answer::Unknown | Answer::WrongNonce | Answer::Unfunded => {}
        Answer::Underpriced => slot.is_underpriced = true,
        Answer::Refused => {
            slot.refusals += 1;
            slot.is_wanted &= slot.refusals < MOST_REFUSALS;
        }
    }
}
