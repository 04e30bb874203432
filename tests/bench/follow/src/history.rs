//! A history of a busy market: every block submits jobs, allocates them, answers, settles.

use keeper_types::{
    Address, AllocationItem, Attempt, BlockHeader, BlockNumber, EventPosition, Felt, Fri, JobId, JobSpec, MarketEvent,
    PolicyId, Queue, Rate, Requirements, Strategy, TxHash, Verification, WorkerId,
};

/// The first block.
pub(crate) const FIRST: u64 = 1_000;
/// Jobs that a block submits, allocates, answers and settles.
const JOBS_PER_BLOCK: u64 = 12;
const WORKERS: u64 = 24;
/// Events of one transaction.
pub(crate) const EVENTS_PER_TRANSACTION: usize = 5;

/// What a history is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) blocks: u64,
    pub(crate) reorgs: u64,
    pub(crate) max_depth: u64,
}

/// A block and what our contracts say in it.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) header: BlockHeader,
    pub(crate) events: Vec<(EventPosition, MarketEvent)>,
}

/// A stretch that is seen first and then replaced: the newest blocks of the chain as it was up to its last.
#[derive(Clone, Debug)]
pub(crate) struct Fork {
    pub(crate) blocks: Vec<Block>,
}

/// The history as it is in the end, and what was seen before.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) blocks: Vec<Block>,
    pub(crate) forks: Vec<Fork>,
}

impl History {
    /// The history of a shape; always the same one.
    pub(crate) fn new(shape: Shape) -> Self {
        let mut chain = Chain { fork: 0, below: Felt::ONE };
        let mut history = Self { blocks: Vec::new(), forks: Vec::new() };
        for number in 0..shape.blocks {
            for reorg in 1..=shape.reorgs {
                let end = shape.blocks * reorg / (shape.reorgs + 1);
                // Depths from 1 to the deepest, in even steps.
                let depth = (shape.max_depth * reorg / shape.reorgs).clamp(1, end.max(1));
                if number == end - depth {
                    let mut fork = Chain { fork: reorg, below: chain.below };
                    history.forks.push(Fork { blocks: (number..end).map(|number| fork.next(number)).collect() });
                }
            }
            history.blocks.push(chain.next(number));
        }
        history
    }

    /// Events of the blocks that stand in the end.
    pub(crate) fn events(&self) -> usize {
        self.blocks.iter().map(|block| block.events.len()).sum()
    }

    /// Events of the blocks that were replaced.
    pub(crate) fn replaced_events(&self) -> usize {
        self.forks.iter().flat_map(|fork| &fork.blocks).map(|block| block.events.len()).sum()
    }
}

/// One fork while it grows.
struct Chain {
    fork: u64,
    below: Felt,
}

impl Chain {
    fn next(&mut self, number: u64) -> Block {
        let height = FIRST + number;
        let hash = Felt::from(u128::from(self.fork + 1) << 96 | u128::from(height) << 32 | 0xb10c);
        let header = BlockHeader {
            number: BlockNumber(height),
            hash,
            parent_hash: std::mem::replace(&mut self.below, hash),
            timestamp: 1_700_000_000 + 2 * number,
        };
        let events = said(number, self.fork, &header);
        let position = |index: usize| EventPosition {
            block: header.number,
            timestamp: header.timestamp,
            index: u32::try_from(index).unwrap_or(u32::MAX),
            tx_hash: TxHash(hash + Felt::from(1 + index / EVENTS_PER_TRANSACTION)),
        };
        Block {
            header,
            events: events.into_iter().enumerate().map(|(index, event)| (position(index), event)).collect(),
        }
    }
}

/// What is said in a block: jobs come, those of the block before are allocated, those before that answered, those before
/// that settled.
fn said(number: u64, fork: u64, header: &BlockHeader) -> Vec<MarketEvent> {
    let first_job = |number: u64| number * JOBS_PER_BLOCK + 1;
    let jobs = |number: Option<u64>| {
        number
            .into_iter()
            .flat_map(move |number| (first_job(number)..).take(usize::try_from(JOBS_PER_BLOCK).unwrap_or_default()))
    };
    let worker_of = |job: u64| WorkerId(u32::try_from(job % WORKERS + 1).unwrap_or(1));
    let mut events = Vec::new();
    if number == 0 {
        events.extend((1..=WORKERS).map(registered));
    }
    events.extend(jobs(Some(number)).map(|job| submitted(job, fork, header)));
    let items: Vec<_> = jobs(number.checked_sub(1)).map(|job| item(job, worker_of(job))).collect();
    if !items.is_empty() {
        events.push(round(number, fork, &items, header));
        events.push(MarketEvent::JobsAllocated { items });
    }
    events.extend(jobs(number.checked_sub(2)).map(|job| MarketEvent::ResultSubmitted {
        job_id: JobId(job),
        worker_id: worker_of(job),
        attempt: Attempt(1),
        result_hash: Felt::from(u128::from(job) << 64 | u128::from(fork)),
        challenge_ends_at: header.timestamp + 600,
        challenge_ends_block: BlockNumber(header.number.0 + 60),
    }));
    for job in jobs(number.checked_sub(3)) {
        let client = client_of(job);
        let (job_id, worker_id) = (JobId(job), worker_of(job));
        events.push(MarketEvent::ReputationChanged { worker_id, old_reputation: 5_000, new_reputation: 5_010 });
        events.push(MarketEvent::JobSettled { job_id, worker_id, client, paid: Fri(600), refunded: Fri(400) });
    }
    events
}

fn client_of(job: u64) -> Address {
    Address(Felt::from((0xc11e47_u64 << 32) | (job % 97)))
}

fn item(job: u64, worker_id: WorkerId) -> AllocationItem {
    AllocationItem {
        job_id: JobId(job),
        worker_id,
        attempt: Attempt(1),
        strategy: Strategy::Standard,
        score: 7_000,
        rate: Rate(1_000),
    }
}

fn round(number: u64, fork: u64, items: &[AllocationItem], header: &BlockHeader) -> MarketEvent {
    MarketEvent::RoundApplied {
        keeper: Address(Felt::from(0x4ee9e4_u64)),
        round: number,
        snapshot_block: BlockNumber(header.number.0 - 1),
        snapshot_root: Felt::from(u128::from(number) << 80 | u128::from(fork)),
        policy_id: PolicyId(Felt::from(0x90_u64)),
        plan_root: Felt::from(u128::from(number) << 72),
        allocated: u32::try_from(items.len()).unwrap_or_default(),
        skipped: 0,
    }
}

fn submitted(job: u64, fork: u64, header: &BlockHeader) -> MarketEvent {
    let spec = JobSpec {
        manifest_hash: Felt::from(u128::from(job) << 64 | u128::from(fork) << 32 | 0xfeed),
        model_id: Felt::ZERO,
        requirements: Requirements { gpu_count: 1, vram_gib: 24, ..Requirements::default() },
        priority: 5,
        queue: Queue::Default,
        max_price: Fri(1_000_000_000_000_000_000),
        deadline: header.timestamp + 3_600,
        execution_timeout_s: 300,
        max_attempts: 3,
        max_latency_ms: 0,
        verification: Verification::None,
        replicas: 1,
        quorum: 1,
    };
    MarketEvent::JobSubmitted {
        job_id: JobId(job),
        client: client_of(job),
        spec: Box::new(spec),
        deadline_block: BlockNumber(header.number.0 + 360),
        group_id: None,
    }
}

fn registered(worker: u64) -> MarketEvent {
    MarketEvent::WorkerRegistered {
        worker_id: WorkerId(u32::try_from(worker).unwrap_or_default()),
        owner: Address(Felt::from((0x0e4_u64 << 32) | worker)),
        capabilities: keeper_types::Capabilities { gpu_count: 8, vram_gib: 80, ..e2e::capabilities() },
        slots: 8,
        rate: Rate(1_000),
        stake: Fri(80_000_000_000_000_000_000),
    }
}
