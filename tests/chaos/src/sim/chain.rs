//! The chain: blocks, what waits to be in one, and reorganisations.

mod pool;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use keeper_store::IntentAction;
use keeper_types::{
    Address, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, Felt, MarketEvent, TxHash,
};
use serde::{Deserialize, Serialize};

pub(super) use self::pool::Refused;
use super::{
    contracts::{Call, Contracts, Moment},
    executor::Sim,
    history::fnv,
};

/// The first block with contracts.
pub(super) const FIRST: u64 = 10;
/// When the world begins, in seconds since the epoch.
pub(super) const EPOCH_S: u64 = 1_700_000_000;
/// What gas costs at first.
const FIRST_PRICE: u64 = 1_000;

/// A keeper's transaction, as it is signed and recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) sender: Address,
    pub(super) nonce: u64,
    pub(super) tip: u64,
    pub(super) l2_gas_price: u64,
    /// None where it does nothing.
    pub(super) action: Option<IntentAction>,
    /// Tells transactions apart that somebody else signs with the same key.
    pub(super) outsider: u64,
}

impl Request {
    /// The hash that its bytes have; there is no signature in it, since nobody here would forge one.
    pub(super) fn hash(text: &str) -> TxHash {
        let words = [1, 2].map(|begin| u128::from(fnv(begin, text.as_bytes())));
        TxHash(Felt::from(words[0] << 64 | words[1]))
    }
}

/// What waits to be in a block, or is in one.
#[derive(Clone, Debug)]
pub(super) struct Tx {
    pub(super) hash: TxHash,
    pub(super) body: Body,
    /// It is not included before.
    pub(super) from_ms: u64,
    /// It is thrown out then.
    pub(super) until_ms: u64,
    /// It fails in its block.
    pub(super) reverts: bool,
}

/// Whose transaction it is.
#[derive(Clone, Debug)]
pub(super) enum Body {
    Keeper(Arc<Request>),
    /// A client's or a worker's wallet, which counts its nonces well: a transaction is in the chain once.
    Wallet(Address, Arc<Call>),
}

/// A transaction in a block.
#[derive(Clone, Debug)]
pub(super) struct Included {
    pub(super) tx: Tx,
    pub(super) is_reverted: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) header: BlockHeader,
    pub(super) at_ms: u64,
    pub(super) events: Vec<(EventPosition, MarketEvent)>,
    pub(super) txs: Vec<Included>,
    /// As of its end.
    pub(super) contracts: Arc<Contracts>,
    /// Of the keepers' accounts, as of its end.
    pub(super) nonces: Arc<BTreeMap<Address, u64>>,
    pub(super) price: u64,
}

impl Block {
    pub(super) fn nonce(&self, account: Address) -> u64 {
        self.nonces.get(&account).copied().unwrap_or_default()
    }

    pub(super) fn events(&self) -> BlockEvents {
        BlockEvents { header: self.header, events: self.events.clone() }
    }
}

/// Where the node of a keeper stands.
#[derive(Debug, Default)]
pub(super) struct NodeState {
    /// Blocks that it is behind.
    pub(super) lag: usize,
    /// It shows this chain instead, until then.
    pub(super) instead: Option<Instead>,
    pub(super) down_until_ms: u64,
}

/// What a node shows instead of the chain.
#[derive(Debug)]
pub(super) struct Instead {
    blocks: Vec<Arc<Block>>,
    /// Index of the newest block of these that was accepted on L1: L1 knows one chain.
    accepted: usize,
    pub(super) until_ms: u64,
}

/// The chain as it is, whoever sees it how.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) sim: Sim,
    pub(super) blocks: Vec<Arc<Block>>,
    /// The transactions in them.
    pub(super) included: BTreeSet<TxHash>,
    pub(super) wallets: Vec<Tx>,
    pub(super) pool: BTreeMap<(Address, u64), Tx>,
    pub(super) is_strict: bool,
    pub(super) price: u64,
    pub(super) halted_until_ms: u64,
    /// Index of the newest block that was accepted on L1.
    pub(super) accepted: usize,
    fork: u64,
    pub(super) nodes: Vec<NodeState>,
    pub(super) reorganisations: u64,
    pub(super) deepest: usize,
}

impl Chain {
    pub(super) fn new(
        sim: Sim,
        contracts: Contracts,
        events: Vec<MarketEvent>,
        keepers: usize,
        is_strict: bool,
    ) -> Self {
        let header = BlockHeader {
            number: BlockNumber(FIRST),
            hash: Felt::from(FIRST),
            parent_hash: Felt::ONE,
            timestamp: EPOCH_S,
        };
        let position = |index| EventPosition {
            block: header.number,
            timestamp: header.timestamp,
            index,
            tx_hash: TxHash(Felt::ONE),
        };
        let first = Block {
            header,
            at_ms: 0,
            events: (0..).map(position).zip(events).collect(),
            txs: Vec::new(),
            contracts: Arc::new(contracts),
            nonces: Arc::default(),
            price: FIRST_PRICE,
        };
        Self {
            sim,
            blocks: vec![Arc::new(first)],
            included: BTreeSet::new(),
            wallets: Vec::new(),
            pool: BTreeMap::new(),
            is_strict,
            price: FIRST_PRICE,
            halted_until_ms: 0,
            accepted: 0,
            fork: 0,
            nodes: (0..keepers).map(|_| NodeState::default()).collect(),
            reorganisations: 0,
            deepest: 0,
        }
    }

    pub(super) fn head(&self) -> &Arc<Block> {
        self.blocks.last().expect("the first block is never taken back")
    }

    /// The chain as a keeper's node shows it.
    pub(super) fn shown(&self, node: usize) -> &[Arc<Block>] {
        match self.instead(node) {
            Some(instead) => &instead.blocks,
            None => &self.blocks[..self.blocks.len().saturating_sub(self.nodes[node].lag).max(1)],
        }
    }

    fn instead(&self, node: usize) -> Option<&Instead> {
        self.nodes[node].instead.as_ref().filter(|instead| instead.until_ms > self.sim.now_ms())
    }

    /// The newest block that was accepted on L1, as a keeper's node shows it.
    pub(super) fn shown_accepted(&self, node: usize) -> Option<&Arc<Block>> {
        let accepted = self.instead(node).map_or(self.accepted, |instead| instead.accepted);
        self.shown(node).get(accepted).filter(|_| accepted > 0)
    }

    /// Makes a block of what may be in one.
    pub(super) fn mine(&mut self) {
        let (now_ms, head) = (self.sim.now_ms(), self.head().clone());
        if now_ms < self.halted_until_ms {
            return;
        }
        let number = head.header.number.0 + 1;
        let timestamp = (EPOCH_S + now_ms / 1_000).max(head.header.timestamp);
        let now = Moment { timestamp, block: number };
        let (mut contracts, mut nonces) = (head.contracts.clone(), head.nonces.clone());
        let (mut txs, mut said) = (Vec::new(), Vec::new());
        for tx in self.take_due(&nonces) {
            let before = contracts.clone();
            let done = Self::execute(&mut contracts, &mut nonces, now, &tx);
            let is_reverted = done.is_err();
            match done {
                Ok(events) => said.extend(events.into_iter().map(|event| (tx.hash, event))),
                Err(_) => contracts = before,
            }
            self.included.insert(tx.hash);
            txs.push(Included { tx, is_reverted });
        }
        let hash = self.block_hash(&head, &txs);
        let header = BlockHeader { number: BlockNumber(number), hash, parent_hash: head.header.hash, timestamp };
        let events = (0..).zip(said).map(|(index, (tx_hash, event))| {
            let position = EventPosition { block: header.number, timestamp, index: 2 * index, tx_hash };
            (position, event)
        });
        let (events, price) = (events.collect::<Vec<_>>(), self.price);
        self.sim.note("block", [number, word(hash), events.len() as u64], || {
            let names: Vec<_> = events.iter().map(|(_, event)| told(event)).collect();
            format!("{number} {:x} {}", word(hash), names.join(", "))
        });
        self.blocks.push(Arc::new(Block { header, at_ms: now_ms, events, txs, contracts, nonces, price }));
    }

    fn execute(
        contracts: &mut Arc<Contracts>,
        nonces: &mut Arc<BTreeMap<Address, u64>>,
        now: Moment,
        tx: &Tx,
    ) -> Result<Vec<MarketEvent>, &'static str> {
        match &tx.body {
            Body::Keeper(request) => {
                Arc::make_mut(nonces).insert(request.sender, request.nonce + 1);
                match &request.action {
                    _ if tx.reverts => Err("out of gas"),
                    Some(action) => Arc::make_mut(contracts).keep(now, request.sender, action),
                    None => Ok(Vec::new()),
                }
            }
            Body::Wallet(caller, call) => Arc::make_mut(contracts).call(now, *caller, call),
        }
    }

    fn block_hash(&self, below: &Block, txs: &[Included]) -> Felt {
        let mut hash = fnv(self.fork, &below.header.hash.to_bytes_le());
        for tx in txs {
            hash = fnv(hash, &tx.tx.hash.0.to_bytes_le());
        }
        Felt::from(u128::from(hash) << 64 | u128::from(self.fork << 32 | below.header.number.0))
    }

    /// Takes back the newest blocks, but none that was accepted on L1. Of their transactions so many in a thousand wait
    /// again to be included.
    pub(super) fn reorganise(&mut self, depth: usize, returned: u32) {
        let depth = depth.min(self.blocks.len() - 1 - self.accepted);
        if depth == 0 {
            return;
        }
        let before = self.blocks.clone();
        let taken = self.blocks.split_off(self.blocks.len() - depth);
        (self.fork, self.reorganisations) = (self.fork + 1, self.reorganisations + 1);
        self.deepest = self.deepest.max(depth);
        let now_ms = self.sim.now_ms();
        for Included { tx, .. } in taken.iter().flat_map(|block| &block.txs) {
            self.included.remove(&tx.hash);
            if self.sim.chance(returned) {
                self.put_back(Tx { reverts: false, until_ms: now_ms + 300_000, ..tx.clone() });
            }
        }
        let standing = self.head().header.number.0;
        self.sim.note("reorganised", [standing, depth as u64, 0], || format!("{depth} blocks, down to {standing}"));
        for node in 0..self.nodes.len() {
            if self.sim.fault("old chain", |faults| faults.stale) {
                let until_ms = now_ms + self.sim.draw(1_000..20_000);
                let (blocks, accepted) = (before.clone(), self.accepted);
                self.nodes[node].instead = Some(Instead { blocks, accepted, until_ms });
            }
        }
    }

    /// A chain that parts from this one below what was accepted on L1, and is as long.
    pub(super) fn other_chain(&mut self, until_ms: u64) -> Instead {
        self.fork += 1;
        let from = self.accepted.saturating_sub(2).max(1);
        let mut blocks = self.blocks[..from.min(self.blocks.len())].to_vec();
        for block in self.blocks.iter().skip(from) {
            let below = blocks.last().expect("the first block is of every chain").clone();
            let hash = self.block_hash(&below, &[]);
            let header = BlockHeader { hash, parent_hash: below.header.hash, ..block.header };
            let (contracts, nonces) = (below.contracts.clone(), below.nonces.clone());
            let (events, txs) = (Vec::new(), Vec::new());
            blocks.push(Arc::new(Block { header, events, txs, contracts, nonces, ..**block }));
        }
        Instead { blocks, accepted: from - 1, until_ms }
    }

    /// What the contracts would say to an action at the next block of a chain.
    ///
    /// # Errors
    /// Says what they would.
    pub(super) fn dry_run(block: &Block, keeper: Address, action: &IntentAction) -> Result<(), &'static str> {
        let now = Moment { timestamp: block.header.timestamp, block: block.header.number.0 };
        let mut contracts = (*block.contracts).clone();
        contracts.keep(now, keeper, action).map(|_| ())
    }
}

/// The block of a height.
pub(super) fn at(blocks: &[Arc<Block>], number: BlockNumber) -> Option<&Arc<Block>> {
    blocks.get(usize::try_from(number.0.checked_sub(FIRST)?).ok()?)
}

/// The block by its hash.
pub(super) fn by_ref(blocks: &[Arc<Block>], block: BlockRef) -> Option<&Arc<Block>> {
    at(blocks, block.number).filter(|found| found.header.hash == block.hash)
}

/// The highest 64 bits that differ between hashes here.
pub(super) fn word(hash: Felt) -> u64 {
    let bytes = hash.to_bytes_be();
    bytes[16..24].iter().fold(0, |word, byte| word << 8 | u64::from(*byte))
}

/// An event for people: its name, and what it is about.
fn told(event: &MarketEvent) -> String {
    let about = match event {
        MarketEvent::JobsAllocated { items } => {
            let items = items.iter().map(|item| format!("{}/{}>{}", item.job_id, item.attempt, item.worker_id));
            items.collect::<Vec<_>>().join(" ")
        }
        MarketEvent::AllocationSkipped { job_id, attempt, reason, .. } => format!("{job_id}/{attempt} {reason}"),
        MarketEvent::RoundApplied { keeper, round, .. } => format!("{:x} {round}", keeper.0),
        other => other.job_ids().iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    };
    format!("{}({about})", event.name())
}
