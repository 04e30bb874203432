//! A chain in memory that is reorganised, lags and hides events on command.
//!
//! Blocks come from a seed, so the same commands give the same chain. What a block says follows from what is open below
//! it: jobs are submitted, and the oldest are cancelled. A fork uses job numbers again, as a real one does.

use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use keeper_chain::{ChainSource, Index, Indexed, JobStanding, RpcError};
use keeper_types::{
    Address, BlockEvents, BlockHeader, BlockNumber, BlockRef, EventPosition, Felt, Fri, JobId, JobSpec, Market,
    MarketEvent, Queue, Requirements, TxHash, Verification,
};

/// Jobs that are open at the same time; the oldest are cancelled for new ones.
const MOST_OPEN: u64 = 8;
/// The first block with contracts.
const FIRST: u64 = 10;

/// Something that becomes of the chain after so many requests, in the middle of whatever is being read then.
#[derive(Clone, Copy, Debug)]
pub struct Twist {
    /// Requests until then, counted from the twist before.
    pub after: u64,
    /// Blocks that are taken back.
    pub depth: u64,
    /// Blocks that come instead, or on top.
    pub blocks: u64,
}

/// The chain.
#[derive(Debug)]
pub struct SimulatedChain {
    /// Guards the chain; nothing waits while it is held.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    blocks: Vec<BlockEvents>,
    /// Which of the forks is being made, so that no two have a hash in common.
    fork: u64,
    accepted: Option<BlockNumber>,
    /// The height that is shown as the newest, where that is not the newest.
    shown: Option<u64>,
    hidden: Vec<BlockNumber>,
    twists: std::collections::VecDeque<Twist>,
    requests: u64,
    is_down: bool,
    /// It keeps no state, as local chains keep none but the newest.
    is_stateless: bool,
}

impl SimulatedChain {
    /// A chain of as many blocks.
    pub fn new(blocks: u64) -> Self {
        let mut state = State {
            blocks: Vec::new(),
            fork: 0,
            accepted: None,
            shown: None,
            hidden: Vec::new(),
            twists: std::collections::VecDeque::new(),
            requests: 0,
            is_down: false,
            is_stateless: false,
        };
        state.grow(blocks);
        Self { state: Mutex::new(state) }
    }

    /// Adds blocks.
    pub fn grow(&self, blocks: u64) {
        self.state().grow(blocks);
    }

    /// Replaces the newest `depth` blocks, though never the first, by others, which need not be as many.
    pub fn reorganise(&self, depth: u64, blocks: u64) {
        self.state().reorganise(depth, blocks);
    }

    /// Replaces every block, as where a local chain is started again.
    pub fn begin_anew(&self, blocks: u64) {
        let mut state = self.state();
        state.blocks.clear();
        state.fork += 1;
        state.grow(blocks);
    }

    /// Says what becomes of the chain while it is read.
    pub fn twist(&self, twists: impl IntoIterator<Item = Twist>) {
        self.state().twists.extend(twists);
    }

    /// Twists that are still to come.
    pub fn twists_left(&self) -> usize {
        self.state().twists.len()
    }

    /// Accepts on L1 every block up to this height.
    pub fn accept_on_l1(&self, number: BlockNumber) {
        self.state().accepted = Some(number);
    }

    /// Shows only the blocks up to this height, as a node does that is behind; all of them where none is given.
    pub fn show_up_to(&self, number: Option<BlockNumber>) {
        self.state().shown = number.map(|number| number.0);
    }

    /// Leaves a block's events out of the index and the receipts, as nodes have done.
    pub fn hide(&self, blocks: impl IntoIterator<Item = BlockNumber>) {
        self.state().hidden = blocks.into_iter().collect();
    }

    /// Answers nothing, or answers again.
    pub fn set_down(&self, is_down: bool) {
        self.state().is_down = is_down;
    }

    /// Keeps no state, and says so in the words and by the code of a local chain; or keeps it again.
    pub fn set_stateless(&self, is_stateless: bool) {
        self.state().is_stateless = is_stateless;
    }

    /// The newest block, whatever is shown.
    pub fn newest(&self) -> BlockHeader {
        let state = self.state();
        state.blocks[state.blocks.len() - 1].header
    }

    /// Every block, whatever is shown or hidden.
    pub fn blocks(&self) -> Vec<BlockEvents> {
        self.state().blocks.clone()
    }

    /// Requests that were answered.
    pub fn requests(&self) -> u64 {
        self.state().requests
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The chain as the next request finds it.
    fn asked(&self) -> Result<MutexGuard<'_, State>, RpcError> {
        let mut state = self.state();
        if state.is_down {
            let reason = "it is down".to_owned();
            return Err(RpcError::Unreachable { url: "simulation".to_owned(), reason });
        }
        state.requests += 1;
        if let Some(twist) = state.twists.front_mut() {
            match twist.after.checked_sub(1) {
                Some(after) => twist.after = after,
                None => {
                    let Twist { depth, blocks, .. } = *twist;
                    state.twists.pop_front();
                    state.reorganise(depth, blocks);
                }
            }
        }
        Ok(state)
    }
}

impl State {
    fn grow(&mut self, blocks: u64) {
        for _ in 0..blocks {
            let next = self.next();
            self.blocks.push(next);
        }
    }

    fn reorganise(&mut self, depth: u64, blocks: u64) {
        let depth = usize::try_from(depth).unwrap_or(usize::MAX).min(self.blocks.len() - 1);
        self.blocks.truncate(self.blocks.len() - depth);
        self.fork += 1;
        self.grow(blocks);
    }

    /// The block that comes next on this fork.
    fn next(&self) -> BlockEvents {
        let below = self.blocks.last();
        let number = below.map_or(FIRST, |block| block.header.number.0 + 1);
        let parent_hash = below.map_or(Felt::ONE, |block| block.header.hash);
        let salt = mix(number ^ (self.fork << 40));
        let header = BlockHeader {
            number: BlockNumber(number),
            hash: Felt::from(u128::from(salt) << 64 | u128::from(number << 16 | (self.fork & 0xffff))),
            parent_hash,
            timestamp: 1_000 + 2 * number,
        };
        let (open_from, next_job) = self.open();
        // Half of the blocks say nothing; the others up to three things.
        let count = if salt.is_multiple_of(2) { 0 } else { 1 + salt / 2 % 3 };
        let mut events = Vec::new();
        for job in next_job..next_job + count {
            events.push(submitted(job));
        }
        let too_many = (next_job + count).saturating_sub(open_from).saturating_sub(MOST_OPEN);
        for job in open_from..open_from + too_many {
            events.push(cancelled(job));
        }
        let position = |index| EventPosition {
            block: header.number,
            timestamp: header.timestamp,
            index,
            tx_hash: TxHash(header.hash + Felt::ONE),
        };
        BlockEvents { header, events: (0..).map(|index| position(2 * index)).zip(events).collect() }
    }

    /// The oldest open job, and the number of the next.
    fn open(&self) -> (u64, u64) {
        let (mut open_from, mut next) = (None, None);
        for (_, event) in self.blocks.iter().rev().flat_map(|block| block.events.iter().rev()) {
            match event {
                MarketEvent::JobSubmitted { job_id, .. } => next = next.or(Some(job_id.0 + 1)),
                MarketEvent::JobCancelled { job_id, .. } => open_from = open_from.or(Some(job_id.0 + 1)),
                _ => {}
            }
            if open_from.is_some() && next.is_some() {
                break;
            }
        }
        (open_from.unwrap_or(1), next.unwrap_or(1))
    }

    fn shown(&self) -> &[BlockEvents] {
        let end = match self.shown {
            Some(shown) => self.blocks.partition_point(|block| block.header.number.0 <= shown),
            None => self.blocks.len(),
        };
        &self.blocks[..end]
    }

    fn find(&self, number: BlockNumber) -> Option<&BlockEvents> {
        let index = usize::try_from(number.0.checked_sub(FIRST)?).ok()?;
        self.shown().get(index)
    }

    fn is_hidden(&self, number: BlockNumber) -> bool {
        self.hidden.contains(&number)
    }
}

#[async_trait]
impl ChainSource for SimulatedChain {
    fn first(&self) -> BlockNumber {
        BlockNumber(FIRST)
    }

    async fn check(&self) -> Result<(), RpcError> {
        self.asked().map(|_| ())
    }

    async fn head(&self) -> Result<BlockHeader, RpcError> {
        let none = || RpcError::Malformed { request: "the newest block", reason: "there is none".to_owned() };
        self.asked()?.shown().last().map(|block| block.header).ok_or_else(none)
    }

    async fn header(&self, number: BlockNumber) -> Result<Option<BlockHeader>, RpcError> {
        Ok(self.asked()?.find(number).map(|block| block.header))
    }

    async fn accepted_on_l1(&self) -> Result<Option<BlockHeader>, RpcError> {
        let state = self.asked()?;
        Ok(state.accepted.and_then(|number| state.find(number)).map(|block| block.header))
    }

    async fn index(&self, first: BlockNumber, last: BlockNumber) -> Result<Option<Index>, RpcError> {
        let state = self.asked()?;
        if state.find(last).is_none() {
            return Ok(None);
        }
        let range = state.shown().iter().filter(|block| (first..=last).contains(&block.header.number));
        let spoken = range.filter(|block| !block.events.is_empty() && !state.is_hidden(block.header.number));
        let entry = |block: &BlockEvents| {
            (block.header.number, Indexed { hash: Some(block.header.hash), events: block.events.len() })
        };
        Ok(Some(spoken.map(entry).collect()))
    }

    async fn block(&self, number: BlockNumber) -> Result<Option<BlockEvents>, RpcError> {
        Ok(self.asked()?.find(number).cloned())
    }

    async fn cross_check(&self, _block: BlockRef) -> Result<(), RpcError> {
        Ok(())
    }

    async fn jobs_at(&self, at: BlockRef, first: JobId, count: u8) -> Result<Vec<JobStanding>, RpcError> {
        let state = self.asked()?;
        if state.find(at.number).is_none_or(|block| block.header.hash != at.hash) {
            return Err(RpcError::Refused { request: "jobs", reason: "Block not found".to_owned() });
        }
        if state.is_stateless {
            let (url, reason) = ("simulation".to_owned(), format!("No state at block {}", at.number));
            return Err(RpcError::Unspecified { url, request: "jobs", code: -1, reason });
        }
        let mut market = Market::default();
        let blocks = state.shown().iter().filter(|block| block.header.number <= at.number);
        for (position, event) in blocks.flat_map(|block| &block.events) {
            if let Err(error) = market.apply(event, position) {
                return Err(RpcError::Malformed { request: "jobs", reason: error.to_string() });
            }
        }
        let held = market.jobs.range(first..JobId(first.0 + u64::from(count))).map(|(job_id, job)| JobStanding {
            job_id: *job_id,
            state: job.state,
            attempt: job.attempt,
            worker_id: job.worker_id,
        });
        Ok(held.collect())
    }
}

fn submitted(job: u64) -> MarketEvent {
    let spec = JobSpec {
        manifest_hash: Felt::from(job),
        model_id: Felt::ZERO,
        requirements: Requirements { gpu_count: 1, ..Requirements::default() },
        priority: 5,
        queue: Queue::Default,
        max_price: Fri(7),
        deadline: 1 << 40,
        execution_timeout_s: 60,
        max_attempts: 2,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    MarketEvent::JobSubmitted {
        job_id: JobId(job),
        client: Address(Felt::TWO),
        spec: Box::new(spec),
        deadline_block: BlockNumber(1 << 40),
        group_id: None,
    }
}

fn cancelled(job: u64) -> MarketEvent {
    MarketEvent::JobCancelled { job_id: JobId(job), client: Address(Felt::TWO), refunded: Fri(7) }
}

/// SplitMix64: spreads a number over all 64 bits (Steele, Lea, Flood, 2014).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
