//! Taking the chain into the store, and its events into the market, one turn after the other.

mod finality;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use futures::TryStreamExt as _;
use keeper_chain::{ChainSource, Reading, read};
use keeper_store::{Observation, RebuildError, Store, StoreError};
use keeper_types::{BlockEvents, BlockHeader, BlockNumber, BlockRef, Market};

use crate::{
    FollowError, Latch, Violation,
    fork::{self, is_part},
    history::History,
    observe::observations,
    reconcile::Reconciler,
};

/// Blocks that a keeper that keeps up takes in at once at most: several, where a node or a database made it wait.
const MOST_SEEN_AT_ONCE: usize = 32;

/// Follows a chain. It owns the market; the store holds everything that it cannot make again.
#[derive(Debug)]
pub struct Fold {
    pub(crate) chain: Arc<dyn ChainSource>,
    pub(crate) store: Arc<dyn Store>,
    latch: Arc<Latch>,
    pub(crate) market: Market,
    /// The last block that is folded into the market.
    pub(crate) folded: Option<BlockHeader>,
    history: History,
    fork: u64,
    /// The highest block known as accepted on L1.
    final_block: Option<BlockRef>,
    /// Asked for what is accepted on L1 from this block on.
    next_final: BlockNumber,
    /// Whether everything was read anew because it did not fit, and nothing has proved right since.
    reread: Arc<AtomicBool>,
    /// Whether nothing recorded is of use, and nothing of it is thrown away, where none of it is part of the chain.
    ends_with_its_chain: bool,
    /// What time it is, in milliseconds since the epoch: for records that people read.
    now_ms: fn() -> u64,
    pub(crate) reconciler: Reconciler,
    /// What comes after the last block that was folded, where it was read while that was being written; and when it was.
    ahead: Option<(BlockHeader, Reading, Instant)>,
    /// When the node's last answer was at hand: for measuring, never for a decision.
    read_at: Instant,
    /// When the last turn's jobs were seen to move, not recorded yet.
    unobserved: Vec<Observation>,
}

/// What a turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// The market is as of the newest block; nothing where the contracts are not there yet.
    CaughtUp(Option<BlockHeader>),
    /// Blocks were taken in.
    Extended {
        /// The last of them.
        last: BlockHeader,
        /// The newest of the chain.
        head: BlockNumber,
    },
    /// The chain was reorganised, and what it took back was forgotten.
    Reverted {
        /// The highest block that stands, if any.
        standing: Option<BlockNumber>,
    },
    /// The node is behind what is recorded. Nothing is forgotten for that.
    Behind {
        /// Its newest block.
        head: BlockNumber,
    },
    /// The chain, or the store, changed meanwhile: once more.
    Again,
    /// A block that is accepted on L1 was replaced. What is recorded stays, and nothing may be sent.
    Latched(Violation),
}

impl Fold {
    /// Follows `chain` into `store`, from what is stored on. `reread` outlives the value: whether everything was read
    /// anew without anything proving right since. `fork` is what counting reorganisations begins with.
    pub fn new(
        chain: Arc<dyn ChainSource>,
        store: Arc<dyn Store>,
        latch: Arc<Latch>,
        reread: Arc<AtomicBool>,
        fork: u64,
        now_ms: fn() -> u64,
    ) -> Self {
        Self {
            chain,
            store,
            latch,
            market: Market::default(),
            folded: None,
            history: History::default(),
            fork,
            final_block: None,
            next_final: BlockNumber(0),
            reread,
            ends_with_its_chain: false,
            now_ms,
            reconciler: Reconciler::default(),
            ahead: None,
            read_at: Instant::now(),
            unobserved: Vec::new(),
        }
    }

    /// Fails with [`FollowError::BeganAnew`], and leaves the store as it is, where none of the recorded blocks is part of
    /// the chain: for local chains, which are stopped and started anew. What was sent on the one before is not on this
    /// one, and to revert the blocks alone would leave the records of that.
    #[must_use]
    pub fn ending_with_its_chain(mut self) -> Self {
        self.ends_with_its_chain = true;
        self
    }

    /// The market as of the last block that was folded.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// How often the market was not continued but replaced: by a reorganisation, or by reading anew.
    pub fn fork(&self) -> u64 {
        self.fork
    }

    /// When what the last turn took in was at hand.
    pub fn read_at(&self) -> Instant {
        self.read_at
    }

    /// The highest block known as accepted on L1.
    pub fn final_block(&self) -> Option<BlockRef> {
        self.final_block
    }

    /// Records when the jobs of the last turn were seen to move. The next turn does it first, but whoever waits for the
    /// market should not wait for this.
    ///
    /// # Errors
    /// Fails where the store does.
    pub async fn observe(&mut self) -> Result<(), FollowError> {
        if !self.unobserved.is_empty() {
            self.store.observe(&self.unobserved).await?;
            self.unobserved.clear();
        }
        Ok(())
    }

    /// Takes what comes next into the store and the market.
    ///
    /// # Errors
    /// Fails where the chain or the store cannot be read or written, and where the chain's events do not fit together
    /// even when all of them are read anew. The next turn begins where this one did.
    pub async fn turn(&mut self) -> Result<Turn, FollowError> {
        self.observe().await?;
        self.join_store().await?;
        if let Some(turn) = self.confirm().await? {
            return Ok(turn);
        }
        if let Some(turn) = self.learn_final().await? {
            return Ok(turn);
        }
        let (reading, read_at) = match self.ahead.take() {
            Some((after, reading, read_at)) if Some(after) == self.folded => (reading, read_at),
            _ => (read(&*self.chain, self.folded, self.dense_from()).await?, Instant::now()),
        };
        self.read_at = read_at;
        match reading {
            Reading::UpToDate => Ok(Turn::CaughtUp(self.folded)),
            Reading::Extended { blocks, head } => self.extend(blocks, head).await,
            Reading::Behind { head } => self.behind(head).await,
            Reading::Reorganised => self.reorganised().await,
            Reading::Changed => Ok(Turn::Again),
        }
    }

    /// From here on every block is recorded.
    fn dense_from(&self) -> BlockNumber {
        self.final_block.map_or(BlockNumber(0), |block| BlockNumber(block.number.0 + 1))
    }

    fn cursor(&self) -> Option<BlockRef> {
        self.folded.map(|header| header.reference())
    }

    /// Takes over what another keeper has appended to the same store, or everything where what is folded is no longer
    /// stored.
    async fn join_store(&mut self) -> Result<(), FollowError> {
        let Some(cursor) = self.store.cursor().await? else {
            if self.folded.is_some() {
                self.start_over();
            }
            return Ok(());
        };
        if self.folded == Some(cursor) {
            return Ok(());
        }
        let is_stored = match self.folded {
            // Where the cursor is not above it, blocks were taken back. What is folded may be stored again meanwhile, if
            // others appended it since the cursor was read, and is no beginning for what ends at that cursor.
            Some(folded) if folded.number < cursor.number => self.store.block(folded.number).await? == Some(folded),
            _ => false,
        };
        if !is_stored && self.folded.is_some() {
            self.start_over();
        }
        let from = self.folded.map_or(BlockNumber(0), |folded| BlockNumber(folded.number.0 + 1));
        let store = self.store.clone();
        let mut events = store.load_events(from);
        let mut market = std::mem::take(&mut self.market);
        // Until it is all there nothing of it counts.
        (self.folded, self.history) = (None, History::default());
        while let Some((position, event)) = events.try_next().await? {
            if position.block > cursor.number {
                break;
            }
            market.apply(&event, &position).map_err(RebuildError::Apply)?;
        }
        drop(events);
        if store.block(cursor.number).await? == Some(cursor) {
            (self.market, self.folded) = (market, Some(cursor));
        }
        Ok(())
    }

    /// Forgets what is folded; the store is not touched, and read anew by the next turn.
    fn start_over(&mut self) {
        self.market = Market::default();
        self.folded = None;
        self.history.clear();
        self.fork += 1;
    }

    async fn extend(&mut self, blocks: Vec<BlockEvents>, head: BlockNumber) -> Result<Turn, FollowError> {
        let Some(last) = blocks.last().map(|block| block.header) else { return Ok(Turn::Again) };
        let before = self.folded;
        let final_number = self.final_block.map(|block| block.number);
        if final_number.is_some_and(|number| last.number <= number) {
            self.history.clear();
        } else {
            self.history.begin(self.cursor(), &self.market);
        }
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            if let Err(error) = self.market.apply(event, position) {
                return self.read_anew(&error.to_string()).await;
            }
        }
        // What comes next is read while this is written, unless there is nothing.
        let ahead = async {
            if last.number >= head {
                return None;
            }
            // What fails is read again by the next turn, which tells why.
            let reading = read(&*self.chain, Some(last), self.dense_from()).await.ok()?;
            Some((last, reading, Instant::now()))
        };
        let (appended, ahead) = futures::join!(self.store.append_after(before, &blocks), ahead);
        self.ahead = ahead;
        if let Err(error) = appended {
            self.undo(before);
            return match error {
                // Another keeper on the same store was faster, or reverted meanwhile.
                StoreError::CursorMoved { .. } | StoreError::NotAfterCursor { .. } | StoreError::Fork { .. } => {
                    Ok(Turn::Again)
                }
                StoreError::FinalityViolation { recorded, told } => Ok(self.violated(Violation { recorded, told })),
                error => Err(error.into()),
            };
        }
        self.folded = Some(last);
        // Of what happened while the keeper was away nobody can say when it would have been seen.
        if last.number >= head && blocks.len() <= MOST_SEEN_AT_ONCE {
            self.unobserved = observations(&blocks, &self.market, (self.now_ms)());
        }
        for (position, event) in blocks.iter().flat_map(|block| &block.events) {
            tracing::debug!(block = %position.block, event = event.name(), job_ids = ?event.job_ids(), "event");
        }
        self.history.push(blocks, final_number);
        Ok(Turn::Extended { last, head })
    }

    /// Takes back what was folded but not recorded.
    fn undo(&mut self, before: Option<BlockHeader>) {
        match before.and_then(|block| self.history.take_back(block.reference())) {
            Some(market) => (self.market, self.folded) = (market, before),
            None => {
                (self.market, self.folded) = (Market::default(), None);
                self.history.clear();
            }
        }
    }

    /// The node's newest block is below the cursor: it is behind, unless its chain is another.
    async fn behind(&mut self, head: BlockHeader) -> Result<Turn, FollowError> {
        let behind = Turn::Behind { head: head.number };
        let Some(recorded) = self.store.block_at_or_below(head.number).await? else { return Ok(behind) };
        let is_known =
            if recorded.number == head.number { recorded == head } else { is_part(&*self.chain, &recorded).await? };
        if is_known { Ok(behind) } else { self.reorganised().await }
    }

    /// Finds what still stands, and forgets what does not.
    async fn reorganised(&mut self) -> Result<Turn, FollowError> {
        // Another network has none of these blocks, and must not have what was recorded thrown away.
        self.chain.check().await?;
        if self.ends_with_its_chain {
            let fork = fork::find(&*self.chain, &*self.store).await?;
            if fork.is_replaced && fork.standing.is_none() {
                return Err(FollowError::BeganAnew);
            }
        }
        if let Some(turn) = self.confirm_again().await? {
            return Ok(turn);
        }
        let fork::Fork { standing, is_replaced } = fork::find(&*self.chain, &*self.store).await?;
        if !is_replaced {
            return Ok(Turn::Again);
        }
        if let Some(violation) = self.is_below_final(standing).await? {
            return Ok(self.violated(violation));
        }
        let standing = standing.map(|header| header.number);
        self.revert_to(standing).await?;
        tracing::warn!(standing = standing.map(|block| block.0), "the chain was reorganised");
        Ok(Turn::Reverted { standing })
    }

    /// Forgets every block above `block`, or all of them.
    pub(crate) async fn revert_to(&mut self, block: Option<BlockNumber>) -> Result<(), FollowError> {
        // Not only from the deployment on: the contracts may have been deployed later than what is recorded.
        self.store.revert_to(block.unwrap_or(BlockNumber(0))).await?;
        self.fork += 1;
        let standing = self.store.cursor().await?;
        self.undo(standing);
        Ok(())
    }

    /// What is believed does not fit what the chain says: everything is read anew, once.
    async fn read_anew(&mut self, reason: &str) -> Result<Turn, FollowError> {
        self.undo(self.folded);
        if self.reread.swap(true, Ordering::Relaxed) {
            return Err(FollowError::Inconsistent(reason.to_owned()));
        }
        tracing::error!(reason, "the recorded events do not fit the chain's: reading everything again");
        self.revert_to(None).await?;
        Ok(Turn::Reverted { standing: None })
    }

    /// The market has proved right.
    pub(crate) fn proved(&self) {
        self.reread.store(false, Ordering::Relaxed);
    }
}
