//! The log of intents.

use std::collections::BTreeMap;

use keeper_store::{
    Intent, IntentAction, IntentId, IntentState, IntentTransaction, IntentUpdate, NewIntent, StoreError,
};
use keeper_types::{Address, BlockRef};

/// Every intent, and which of them has which key.
#[derive(Debug, Default)]
pub(in super::super) struct Log {
    intents: BTreeMap<IntentId, Intent>,
    keys: BTreeMap<String, IntentId>,
    /// Intents that were said to be written down and are not, for the sabotage that is this.
    unwritten: Vec<IntentId>,
}

impl Log {
    pub(in super::super) fn all(&self) -> impl DoubleEndedIterator<Item = &Intent> {
        self.intents.values()
    }

    pub(super) fn found(&self, is_wanted: impl Fn(&Intent) -> bool) -> Vec<Intent> {
        self.all().filter(|intent| is_wanted(intent)).cloned().collect()
    }

    pub(super) fn latest(&self, is_wanted: impl Fn(&Intent) -> bool) -> Option<Intent> {
        self.all().rev().find(|intent| is_wanted(intent)).cloned()
    }

    /// What a process that dies takes along.
    pub(in super::super) fn forget_unwritten(&mut self) {
        for intent_id in std::mem::take(&mut self.unwritten) {
            self.intents.remove(&intent_id);
            self.keys.retain(|_, holder| *holder != intent_id);
        }
    }

    pub(super) fn record(&mut self, new: &NewIntent, is_unwritten: bool) -> Result<IntentId, StoreError> {
        let keys = new.action.keys(new.account);
        for key in &keys {
            if let Some(intent_id) = self.keys.get(key) {
                return Err(StoreError::IntentExists { key: key.clone(), intent_id: *intent_id });
            }
        }
        if let Some((nonce, _)) = &new.signed {
            self.check_nonce(new.account, *nonce, None)?;
        }
        let last = self.intents.last_key_value().map_or(0, |(intent_id, _)| intent_id.0);
        let intent_id = IntentId(last + 1);
        let intent = Intent {
            intent_id,
            action: new.action.clone(),
            account: new.account,
            nonce: new.signed.as_ref().map(|(nonce, _)| *nonce),
            state: if new.signed.is_some() { IntentState::Signed } else { IntentState::Planned },
            is_final: false,
            transactions: new.signed.iter().map(|(_, transaction)| transaction.clone()).collect(),
            landed: None,
            created_ms: new.created_ms,
            updated_ms: new.created_ms,
        };
        self.intents.insert(intent_id, intent);
        if is_unwritten {
            self.unwritten.push(intent_id);
        }
        self.take_keys(intent_id, keys);
        Ok(intent_id)
    }

    /// Removes what nothing changes any more, but each account's newest round.
    pub(super) fn forget(&mut self, before_ms: u64, most: usize) -> u64 {
        let newest =
            |of: &Intent| self.all().filter(|one| one.account == of.account).filter_map(|one| one.action.round()).max();
        let is_over = |intent: &&Intent| intent.is_final && intent.updated_ms < before_ms;
        let is_newest = |intent: &&Intent| intent.action.round().is_some() && intent.action.round() == newest(intent);
        let over = self.all().filter(is_over).filter(|intent| !is_newest(intent)).take(most);
        let over: Vec<IntentId> = over.map(|intent| intent.intent_id).collect();
        for intent_id in &over {
            self.intents.remove(intent_id);
            self.keys.retain(|_, holder| holder != intent_id);
        }
        over.len() as u64
    }

    fn take_keys(&mut self, intent_id: IntentId, keys: Vec<String>) {
        for key in keys {
            self.keys.entry(key).or_insert(intent_id);
        }
    }

    fn check_nonce(&self, account: Address, nonce: u64, own: Option<IntentId>) -> Result<(), StoreError> {
        let mut holders = self.all().filter(|intent| intent.account == account && intent.nonce == Some(nonce));
        match holders.find(|intent| intent.state.holds_nonce() && Some(intent.intent_id) != own) {
            Some(holder) => Err(StoreError::NonceHeld { nonce, intent_id: holder.intent_id }),
            None => Ok(()),
        }
    }

    pub(super) fn record_transaction(
        &mut self,
        intent_id: IntentId,
        nonce: u64,
        transaction: &IntentTransaction,
    ) -> Result<(), StoreError> {
        let intent = self.intents.get(&intent_id).ok_or(StoreError::IntentUnknown(intent_id))?;
        if intent.nonce.is_some_and(|held| held != nonce) {
            return Err(StoreError::NonceChanged { intent_id, nonce });
        }
        self.check_nonce(intent.account, nonce, Some(intent_id))?;
        let intent = self.intents.get_mut(&intent_id).ok_or(StoreError::IntentUnknown(intent_id))?;
        intent.nonce = Some(nonce);
        intent.updated_ms = transaction.signed_ms;
        if intent.state == IntentState::Planned {
            intent.state = IntentState::Signed;
        }
        intent.transactions.push(transaction.clone());
        Ok(())
    }

    pub(super) fn update(&mut self, intent_id: IntentId, update: &IntentUpdate) -> Result<(), StoreError> {
        let intent = self.intents.get_mut(&intent_id).ok_or(StoreError::IntentUnknown(intent_id))?;
        (intent.state, intent.landed, intent.updated_ms) = (update.state, update.landed, update.updated_ms);
        intent.is_final = matches!(update.state, IntentState::Lost | IntentState::AcceptedL1);
        for transaction in intent.transactions.iter_mut().filter(|one| Some(one.tx_hash) == update.sent) {
            transaction.sent_ms = Some(update.updated_ms);
        }
        let keeps_its_keys = matches!(intent.action, IntentAction::ApplyBatch { .. });
        let keys = intent.action.keys(intent.account);
        if update.state.is_open() {
            self.take_keys(intent_id, keys);
        } else if !keeps_its_keys {
            self.keys.retain(|_, holder| *holder != intent_id);
        }
        Ok(())
    }

    pub(super) fn finalise(&mut self, account: Address, blocks: &[BlockRef]) -> u64 {
        let mut count = 0;
        for intent in self.intents.values_mut().filter(|intent| intent.account == account && !intent.is_final) {
            let is_there = intent.landed.and_then(|landed| landed.block).is_some_and(|block| blocks.contains(&block));
            if intent.state.is_landed() && is_there {
                intent.is_final = true;
                if intent.state == IntentState::AcceptedL2 {
                    intent.state = IntentState::AcceptedL1;
                }
                count += 1;
            }
        }
        count
    }
}
