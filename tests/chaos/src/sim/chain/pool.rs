//! What waits to be included.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use keeper_types::{Address, TxHash};

use super::{Body, Chain, Request, Tx};

/// How long the network keeps what it does not include, in milliseconds.
const LIFE_MS: u64 = 300_000;

/// Why a node does not take a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Refused {
    Duplicate,
    WrongNonce,
    Underpriced,
}

impl Chain {
    /// Takes a keeper's transaction, or refuses it as a sequencer does.
    ///
    /// # Errors
    /// Says why it is not taken.
    pub(in super::super) fn send(&mut self, hash: TxHash, request: Request) -> Result<(), Refused> {
        let next = self.head().nonce(request.sender);
        if request.nonce < next {
            return Err(if self.included.contains(&hash) { Refused::Duplicate } else { Refused::WrongNonce });
        }
        let key = (request.sender, request.nonce);
        if let Some(Tx { hash: held, body: Body::Keeper(before), .. }) = self.pool.get(&key) {
            let is_raised = |old: u64, new: u64| new >= old.saturating_add(old / 10);
            if *held == hash {
                return Err(Refused::Duplicate);
            }
            if !is_raised(before.l2_gas_price, request.l2_gas_price) || !is_raised(before.tip, request.tip) {
                return Err(Refused::Underpriced);
            }
        }
        if self.is_strict && request.nonce > self.pending_nonce(request.sender, next) {
            return Err(Refused::WrongNonce);
        }
        if request.l2_gas_price < self.price {
            return Err(Refused::Underpriced);
        }
        let tx = self.waiting(hash, Body::Keeper(Arc::new(request)));
        self.pool.insert(key, tx);
        Ok(())
    }

    /// The account's nonce, counting what waits to be included on top of a block with this nonce.
    pub(in super::super) fn pending_nonce(&self, account: Address, nonce: u64) -> u64 {
        (nonce..).find(|nonce| !self.pool.contains_key(&(account, *nonce))).unwrap_or_default()
    }

    /// Takes a wallet's transaction, unless it has it or it is included.
    pub(in super::super) fn send_of_wallet(&mut self, hash: TxHash, body: Body) {
        if !self.included.contains(&hash) && !self.wallets.iter().any(|tx| tx.hash == hash) {
            let tx = self.waiting(hash, body);
            self.wallets.push(tx);
        }
    }

    fn waiting(&self, hash: TxHash, body: Body) -> Tx {
        let now_ms = self.sim.now_ms();
        let is_held_back = self.sim.fault("held back", |faults| faults.held_back);
        let from_ms = now_ms + if is_held_back { self.sim.draw(2_000..60_000) } else { 0 };
        let is_keepers = matches!(body, Body::Keeper(_));
        let reverts = is_keepers && self.sim.fault("revert", |faults| faults.revert);
        Tx { hash, body, from_ms, until_ms: now_ms + LIFE_MS, reverts }
    }

    /// Puts back what was in a block.
    pub(super) fn put_back(&mut self, tx: Tx) {
        match &tx.body {
            Body::Keeper(request) => _ = self.pool.insert((request.sender, request.nonce), tx),
            Body::Wallet(..) => self.wallets.push(tx),
        }
    }

    /// Takes out what the next block holds.
    pub(super) fn take_due(&mut self, nonces: &BTreeMap<Address, u64>) -> Vec<Tx> {
        let (now_ms, price) = (self.sim.now_ms(), self.price);
        self.pool.retain(|_, tx| tx.until_ms > now_ms);
        let waiting = std::mem::take(&mut self.wallets);
        let (mut due, later): (Vec<Tx>, Vec<Tx>) = waiting.into_iter().partition(|tx| tx.from_ms <= now_ms);
        self.wallets = later;
        let senders: BTreeSet<Address> = self.pool.keys().map(|(sender, _)| *sender).collect();
        for sender in senders {
            let mut nonce = nonces.get(&sender).copied().unwrap_or_default();
            while let Some(tx) = self.pool.get(&(sender, nonce)) {
                let is_paid = matches!(&tx.body, Body::Keeper(request) if request.l2_gas_price >= price);
                if tx.from_ms > now_ms || !is_paid {
                    break;
                }
                due.extend(self.pool.remove(&(sender, nonce)));
                nonce += 1;
            }
            self.pool.retain(|(of, pooled), _| *of != sender || *pooled >= nonce);
        }
        due
    }

    /// Throws out one of what waits.
    pub(in super::super) fn evict(&mut self) {
        let count = (self.pool.len() + self.wallets.len()) as u64;
        if count == 0 {
            return;
        }
        let index = usize::try_from(self.sim.draw(0..count)).unwrap_or_default();
        let key = self.pool.keys().nth(index).copied();
        match key {
            Some(key) => _ = self.pool.remove(&key),
            None => _ = self.wallets.swap_remove(index - self.pool.len()),
        }
    }

    /// Somebody else signs with a keeper's key, for the nonce that comes next, and pays well.
    pub(in super::super) fn use_key(&mut self, account: Address) {
        let (nonce, outsider) = (self.head().nonce(account), self.sim.draw(1..u64::MAX));
        let request = Request { sender: account, nonce, tip: u64::MAX, l2_gas_price: u64::MAX, action: None, outsider };
        let hash = TxHash(keeper_types::Felt::from(outsider));
        let now_ms = self.sim.now_ms();
        let body = Body::Keeper(Arc::new(request));
        let tx = Tx { hash, body, from_ms: now_ms, until_ms: now_ms + LIFE_MS, reverts: false };
        self.pool.insert((account, nonce), tx);
    }
}
