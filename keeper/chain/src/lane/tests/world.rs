//! A chain, its mempool, a log and a lane, in one thread and by a drawn clock.

use std::collections::{BTreeMap, BTreeSet};

use keeper_store::{IntentId, IntentState, Landed, Purpose};
use keeper_types::{BlockNumber, BlockRef, Felt, Fri, TxHash};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::lane::{Action, Answer, LaneState, LaneTimes, Look, Observation, Signed, Slot};

/// How long a node may not know the receipt of what is in a block.
const RECEIPT_DELAY_MS: u64 = 20_000;
/// How long it may take, once the faults have ended, until nothing is on its way.
const HEALED_WITHIN_MS: u64 = 240_000;

/// What goes wrong, in percent of the occasions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Faults {
    /// The node refuses nonces that do not come next.
    pub(super) is_strict: bool,
    pub(super) percent: u32,
}

impl Faults {
    pub(super) fn all() -> Self {
        Self { is_strict: false, percent: 8 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Tx {
    nonce: u64,
    signed: Signed,
    /// What it does, for whom; none where it is a no-op or somebody else's.
    wish: Option<u64>,
    reverts: bool,
}

#[derive(Clone, Debug)]
struct Block {
    id: BlockRef,
    at_ms: u64,
    txs: Vec<Tx>,
}

/// An intent as the log has it.
#[derive(Clone, Debug)]
struct Logged {
    nonce: u64,
    txs: Vec<Tx>,
    state: IntentState,
    landed: Option<Landed>,
    is_final: bool,
    is_repeatable: bool,
    wish: Option<u64>,
}

#[derive(Debug)]
pub(super) struct World {
    rng: StdRng,
    faults: Faults,
    times: LaneTimes,
    now: u64,
    blocks: Vec<Block>,
    /// Index of the newest block that is accepted on L1.
    accepted: usize,
    /// The fork that was left last, and what of it was accepted then: a node may still show it.
    left: Option<(Vec<Block>, usize)>,
    fork: u64,
    next_block_at: u64,
    price: u128,
    pool: BTreeMap<u64, Tx>,
    log: BTreeMap<IntentId, Logged>,
    lane: LaneState,
    seen: Option<BlockRef>,
    /// What was begun, and when it is answered.
    pending: Vec<(u64, Observation)>,
    hashes: u64,
    wishes: u64,
    fault: Option<String>,
}

impl World {
    pub(super) fn new(seed: u64, times: LaneTimes, faults: Faults) -> Self {
        let genesis = Block { id: BlockRef { number: BlockNumber(0), hash: Felt::ZERO }, at_ms: 0, txs: Vec::new() };
        Self {
            rng: StdRng::seed_from_u64(seed),
            faults,
            times,
            now: 0,
            blocks: vec![genesis],
            accepted: 0,
            left: None,
            fork: 0,
            next_block_at: 2_000,
            price: 100,
            pool: BTreeMap::new(),
            log: BTreeMap::new(),
            lane: LaneState::restore(times, BTreeMap::new(), 0),
            seen: None,
            pending: Vec::new(),
            hashes: 0,
            wishes: 0,
            fault: None,
        }
    }

    /// So many turns with faults, then as many as it takes without.
    pub(super) fn run(&mut self, turns: u32) -> Result<(), String> {
        for _ in 0..turns {
            self.turn(true)?;
        }
        self.faults.percent = 0;
        let quiet_from = self.now;
        while self.lane.in_flight() > 0
            || self.open_wishes() > 0
            || self.lane.pinned_block() != Some(self.head())
            || self.log.values().any(|one| one.state.is_landed() && !one.is_final)
        {
            self.accepted = self.blocks.len() - 1;
            if self.now - quiet_from > HEALED_WITHIN_MS {
                return Err(format!("stuck: {:?}", self.lane));
            }
            self.turn(false)?;
        }
        self.check(true)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_ratio(percent.min(100), 100)
    }

    fn turn(&mut self, with_faults: bool) -> Result<(), String> {
        self.now += self.rng.random_range(50..1_500);
        self.mine();
        if self.chance(5) {
            self.accepted = self.rng.random_range(self.accepted..self.blocks.len());
        }
        if with_faults {
            self.disturb();
        }
        while let Some(at) = self.pending.iter().position(|(due, _)| *due <= self.now) {
            let (_, observation) = self.pending.swap_remove(at);
            self.observe(&observation);
        }
        self.look_at_chain();
        self.submit(with_faults);
        self.observe(&Observation::Tick);
        self.check(false)
    }

    fn disturb(&mut self) {
        let percent = self.faults.percent;
        if self.chance(percent) && !self.pool.is_empty() {
            let at = self.rng.random_range(0..self.pool.len());
            let nonce = *self.pool.keys().nth(at).expect("it is one of them");
            self.pool.remove(&nonce);
        }
        if self.chance(percent / 2) {
            // Somebody else signs with the same key, for whatever nonce comes next.
            let nonce = self.chain_nonce();
            let signed = self.new_signed(Purpose::NoOp, u64::MAX, u128::MAX);
            self.pool.insert(nonce, Tx { nonce, signed, wish: None, reverts: false });
        }
        if self.chance(percent / 2) {
            self.reorganise();
        }
        if self.chance(percent / 2) {
            self.price = self.price * self.rng.random_range(80..=150_u128) / 100 + 1;
        }
        if self.chance(percent / 2) {
            let open: Vec<IntentId> =
                self.log.iter().filter(|(_, one)| one.state.is_open()).map(|(id, _)| *id).collect();
            if !open.is_empty() {
                let intent = open[self.rng.random_range(0..open.len())];
                self.observe(&Observation::Abandoned { intent });
            }
        }
        if self.chance(percent) {
            self.restart();
        }
    }

    /// The process dies: what it knew and had begun is gone, what it had sent is not.
    fn restart(&mut self) {
        self.pending.clear();
        self.seen = None;
        let mut slots = BTreeMap::new();
        for (intent, one) in self.log.iter().filter(|(_, one)| one.state != IntentState::Lost && !one.is_final) {
            let signed = one.txs.iter().map(|tx| tx.signed).collect();
            let slot = Slot::restored(*intent, signed, one.is_repeatable, (one.state, one.landed), self.now);
            slots.insert(one.nonce, slot);
        }
        // What a node counts that is in no block yet may be less than there is.
        let pooled = (self.chain_nonce()..).take_while(|nonce| self.pool.contains_key(nonce)).count() as u64;
        self.lane = LaneState::restore(self.times, slots, self.chain_nonce() + pooled);
    }

    fn reorganise(&mut self) {
        let deepest = self.blocks.len() - 1 - self.accepted;
        let depth = self.rng.random_range(0..=deepest.min(6));
        self.fork += 1;
        self.left = Some((self.blocks.clone(), self.accepted));
        for _ in 0..depth {
            let block = self.blocks.pop().expect("the first is never taken");
            for tx in block.txs {
                if self.rng.random_bool(0.5) {
                    self.pool.insert(tx.nonce, tx);
                }
            }
        }
    }

    fn chain_nonce(&self) -> u64 {
        self.blocks.iter().map(|block| block.txs.len() as u64).sum()
    }

    fn head(&self) -> BlockRef {
        self.blocks.last().expect("there is always the first").id
    }

    fn mine(&mut self) {
        if self.now < self.next_block_at {
            return;
        }
        self.next_block_at = self.now + 2_000;
        let mut nonce = self.chain_nonce();
        let mut txs = Vec::new();
        while let Some(tx) = self.pool.get(&nonce).filter(|tx| tx.signed.l2_gas_price >= self.price) {
            txs.push(*tx);
            self.pool.remove(&nonce);
            nonce += 1;
        }
        self.pool.retain(|pooled, _| *pooled >= nonce);
        let number = self.blocks.len() as u64;
        let id = BlockRef {
            number: BlockNumber(number),
            hash: Felt::from(u128::from(self.fork) << 64 | u128::from(number)),
        };
        self.blocks.push(Block { id, at_ms: self.now, txs });
    }

    /// As the driver does: what landed in a block that is no more, then the nonce as of the newest.
    fn look_at_chain(&mut self) {
        let percent = self.faults.percent;
        if self.chance(30) {
            return;
        }
        // A node that lags tells an older block; it takes the chain for no longer than that.
        let lag = if self.chance(percent) { self.rng.random_range(0..4_usize) } else { 0 };
        let height = self.blocks.len().saturating_sub(lag).max(1);
        let head = self.blocks[height - 1].id;
        let mut sweep = self.lane.sweep();
        if !sweep.is_idle(head) {
            while let Some(next) = sweep.next() {
                sweep.found(self.block_at(height, next).map(|(block, _)| block));
            }
            self.observe(&Observation::Checked(sweep.into_checked()));
        }
        self.seen = Some(head);
        let nonce = self.blocks[..height].iter().map(|block| block.txs.len() as u64).sum();
        let l2_gas_price = self.price;
        self.observe(&Observation::Pinned { block: head, nonce, l2_gas_price });
        let (blocks, accepted) = self.shown(height);
        let up_to = blocks[accepted.min(blocks.len() - 1)].id.number;
        self.observe(&Observation::AcceptedOnL1 { up_to });
        let (mut accepted, mut replaced) = (Vec::new(), Vec::new());
        for block in self.lane.maybe_final() {
            match self.block_at(height, block) {
                Some((found, _)) if found != block => replaced.push(block),
                Some((_, true)) => accepted.push(block),
                _ => {}
            }
        }
        self.observe(&Observation::Finality { accepted, replaced });
    }

    /// What one answer shows at the height of a block, and whether it is accepted on L1.
    fn block_at(&mut self, height: usize, block: BlockRef) -> Option<(BlockRef, bool)> {
        let (blocks, accepted) = self.shown(height);
        let found = blocks.iter().enumerate().find(|(_, one)| one.id.number == block.number);
        found.map(|(at, one)| (one.id, at <= accepted))
    }

    /// The chain as one answer shows it, and what of it is accepted on L1: each answer may come from another node.
    fn shown(&mut self, height: usize) -> (Vec<Block>, usize) {
        let percent = self.faults.percent;
        match &self.left {
            Some(left) if self.rng.random_ratio(percent.min(100), 100) => left.clone(),
            _ => (self.blocks[..height].to_vec(), self.accepted),
        }
    }

    /// As the store does: what landed in these blocks, whatever is at their heights now.
    fn finalise(&mut self, blocks: &[BlockRef]) {
        let is_accepted = |block: &BlockRef| self.blocks[..=self.accepted].iter().any(|one| one.id == *block);
        if let Some(block) = blocks.iter().find(|block| !is_accepted(block)) {
            self.fault.get_or_insert(format!("{block:?} is taken for final and is not"));
        }
        let is_in = |landed: Option<Landed>| landed.and_then(|one| one.block).is_some_and(|one| blocks.contains(&one));
        for one in self.log.values_mut().filter(|one| one.state.is_landed() && is_in(one.landed)) {
            one.is_final = true;
        }
    }

    fn open_wishes(&self) -> usize {
        self.unserved().len()
    }

    /// Wishes that no intent serves, or may serve yet.
    fn unserved(&self) -> Vec<u64> {
        let served: BTreeSet<u64> = self
            .log
            .values()
            .filter(|one| !matches!(one.state, IntentState::Lost | IntentState::Replaced))
            .filter_map(|one| one.wish)
            .collect();
        (0..self.wishes).filter(|wish| !served.contains(wish)).collect()
    }

    /// Whoever wants something asks for it again once it is told that it was lost or replaced.
    fn submit(&mut self, with_faults: bool) {
        if self.seen.is_none() || self.lane.in_flight() >= 8 {
            return;
        }
        let unserved = self.unserved();
        let wish = match unserved.first() {
            Some(wish) => *wish,
            None if with_faults && self.chance(50) => {
                self.wishes += 1;
                self.wishes - 1
            }
            None => return,
        };
        let is_repeatable = wish.is_multiple_of(2);
        let nonce = self.lane.next_nonce();
        let signed = self.new_signed(Purpose::Action, 0, self.price * 3 / 2);
        self.record(nonce, signed, is_repeatable, Some(wish));
    }

    fn new_signed(&mut self, purpose: Purpose, tip: u64, l2_gas_price: u128) -> Signed {
        self.hashes += 1;
        let hash = TxHash(Felt::from(self.hashes));
        Signed { hash, purpose, tip, l2_gas_price, signed_ms: self.now, has_bytes: true }
    }

    /// As the store does: a nonce is one intent's.
    fn record(&mut self, nonce: u64, signed: Signed, is_repeatable: bool, wish: Option<u64>) {
        if let Some((holder, _)) = self.log.iter().find(|(_, one)| one.nonce == nonce && one.state.holds_nonce()) {
            self.fault.get_or_insert(format!("nonce {nonce} is intent {holder}'s"));
            return;
        }
        let intent = IntentId(self.log.len() as u64 + 1);
        let tx = Tx { nonce, signed, wish, reverts: wish.is_some_and(|wish| wish % 50 == 7) };
        let (state, landed, is_final) = (IntentState::Signed, None, false);
        let logged = Logged { nonce, txs: vec![tx], state, landed, is_final, is_repeatable, wish };
        self.log.insert(intent, logged);
        self.observe(&Observation::Recorded { nonce, intent, signed, is_repeatable });
    }

    fn observe(&mut self, observation: &Observation) {
        for action in self.lane.step(observation, self.now) {
            self.act(&action);
        }
    }

    fn answer_later(&mut self, observation: Observation) {
        let due = self.now + self.rng.random_range(0..3_000);
        self.pending.push((due, observation));
    }

    fn act(&mut self, action: &Action) {
        match action.clone() {
            Action::Send { nonce, hash } => {
                let answer = self.send(hash);
                self.answer_later(Observation::Answered { nonce, hash, answer });
            }
            Action::Look { nonce, opening } => {
                let look = self.find(nonce);
                self.answer_later(Observation::Looked { nonce, opening, look });
            }
            Action::Replace { nonce, purpose, least_tip, least_l2_gas_price } => {
                self.replace(nonce, purpose, least_tip, least_l2_gas_price);
            }
            Action::Fill { nonce } => {
                let signed = self.new_signed(Purpose::NoOp, 0, self.price * 3 / 2);
                self.record(nonce, signed, true, None);
            }
            Action::Record { intent, state, landed, .. } => {
                let one = self.log.get_mut(&intent).expect("it was recorded");
                (one.state, one.landed) = (state, landed);
            }
            Action::Finalise { blocks } => self.finalise(&blocks),
            Action::OutsideUse { .. } => {}
        }
    }

    fn replace(&mut self, nonce: u64, purpose: Purpose, least_tip: u64, least_price: u128) {
        if self.chance(self.faults.percent) {
            self.answer_later(Observation::NotSigned { nonce });
            return;
        }
        let signed = self.new_signed(purpose, least_tip, least_price.max(self.price * 3 / 2));
        let intent = self.lane.slot(nonce).expect("it is replaced").intent;
        let one = self.log.get_mut(&intent).expect("it was recorded");
        let wish = one.wish.filter(|_| purpose == Purpose::Action);
        let reverts = wish.is_some_and(|wish| wish % 50 == 7);
        one.txs.push(Tx { nonce, signed, wish, reverts });
        self.observe(&Observation::Replaced { nonce, signed });
    }

    fn send(&mut self, hash: TxHash) -> Answer {
        let percent = self.faults.percent;
        let recorded = self.log.values().flat_map(|one| &one.txs).find(|tx| tx.signed.hash == hash).copied();
        let Some(tx) = recorded else {
            self.fault.get_or_insert(format!("{hash} is sent and was not recorded"));
            return Answer::Refused;
        };
        if self.chance(percent) {
            return Answer::Unknown;
        }
        if self.chance(percent) {
            return Answer::Accepted;
        }
        let answer = self.deliver(tx);
        if self.chance(percent) { Answer::Unknown } else { answer }
    }

    fn deliver(&mut self, tx: Tx) -> Answer {
        let next = (self.chain_nonce()..).find(|nonce| !self.pool.contains_key(nonce)).unwrap_or_default();
        if tx.nonce < self.chain_nonce() || (self.faults.is_strict && tx.nonce > next) {
            return Answer::WrongNonce;
        }
        if let Some(before) = self.pool.get(&tx.nonce) {
            if before.signed.hash == tx.signed.hash {
                return Answer::Duplicate;
            }
            let raised = |old: u128, new: u128| new >= old.saturating_add(old / 10);
            let signed = before.signed;
            if !raised(signed.l2_gas_price, tx.signed.l2_gas_price)
                || !raised(u128::from(signed.tip), u128::from(tx.signed.tip))
            {
                return Answer::Underpriced;
            }
        }
        if tx.signed.l2_gas_price < self.price {
            return Answer::Underpriced;
        }
        self.pool.insert(tx.nonce, tx);
        Answer::Accepted
    }

    fn find(&mut self, nonce: u64) -> Look {
        let hashes: Vec<TxHash> =
            self.lane.slot(nonce).map_or_else(Vec::new, |slot| slot.signed.iter().map(|signed| signed.hash).collect());
        let found = self
            .blocks
            .iter()
            .find_map(|block| block.txs.iter().find(|tx| tx.nonce == nonce).map(|tx| (block.id, block.at_ms, *tx)));
        let Some((id, at_ms, tx)) = found else { return Look::Nothing };
        let is_own = hashes.contains(&tx.signed.hash);
        let is_known = self.faults.percent == 0 || self.now >= at_ms + RECEIPT_DELAY_MS || self.chance(20);
        match (is_own, is_known) {
            (true, true) => {
                let landed = Landed { tx_hash: tx.signed.hash, block: Some(id), fee: Some(Fri(1)) };
                Look::Landed { landed, is_reverted: tx.reverts }
            }
            (false, _) if self.chance(50) => Look::Foreign(tx.signed.hash),
            _ => Look::Nothing,
        }
    }

    fn check(&self, at_end: bool) -> Result<(), String> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let mut effects: BTreeMap<u64, u32> = BTreeMap::new();
        for tx in self.blocks.iter().flat_map(|block| &block.txs).filter(|tx| !tx.reverts) {
            if let Some(wish) = tx.wish {
                *effects.entry(wish).or_default() += 1;
            }
        }
        if let Some((wish, count)) = effects.iter().find(|(_, count)| **count > 1) {
            let intents = self.log.iter().filter(|(_, one)| one.wish == Some(*wish)).collect::<Vec<_>>();
            return Err(format!("wish {wish} was served {count} times: {intents:?}"));
        }
        if !at_end {
            return Ok(());
        }
        for wish in (0..self.wishes).filter(|wish| wish % 50 != 7) {
            if !effects.contains_key(&wish) {
                return Err(format!("wish {wish} was never served"));
            }
        }
        if let Some((intent, _)) = self.log.iter().find(|(_, one)| one.is_final && !self.is_there(one)) {
            return Err(format!("intent {intent} is final, and not where it landed"));
        }
        let believed = self.log.values().filter(|one| one.state == IntentState::AcceptedL2).count();
        let real = effects.len() + self.filled();
        if believed == real { Ok(()) } else { Err(format!("{believed} are believed to have landed, {real} have")) }
    }

    fn is_there(&self, one: &Logged) -> bool {
        let Some(landed) = one.landed else { return false };
        let block = self.blocks.iter().find(|block| Some(block.id) == landed.block);
        block.is_some_and(|block| block.txs.iter().any(|tx| tx.signed.hash == landed.tx_hash))
    }

    /// Fillers of holes that landed.
    fn filled(&self) -> usize {
        let fillers = self.log.values().filter(|one| one.wish.is_none());
        fillers.filter(|one| one.state == IntentState::AcceptedL2).count()
    }
}
