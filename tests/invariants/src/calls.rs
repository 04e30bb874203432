//! What can be called, with every argument free: also values that a client in good faith would never send.

mod encode;
mod items;
mod records;

use std::fmt;

use keeper_types::{Attempt, Felt, JobId};

use crate::actors::{Actor, Contract, describe};
pub(crate) use items::{GROUP_SIZE, ITEM_BITS, Item, STRATEGY_BIT, group_of, heartbeats, skip};
pub(crate) use records::{AllocationParams, Capabilities, JobSpec, Metrics, Offer, Requirements, RoundHeader};

/// A timestamp (Unix time in seconds) and a block number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) timestamp: u64,
    pub(crate) block: u64,
}

/// Calls that an account has signed, brought by a relayer (SNIP-9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Relay {
    pub(crate) sponsor: Felt,
    pub(crate) fee: u128,
    pub(crate) account: Felt,
    /// Who may bring them.
    pub(crate) bearer: Felt,
    pub(crate) nonce: u64,
    pub(crate) execute_after: u64,
    pub(crate) execute_before: u64,
    pub(crate) calls: Vec<Call>,
    pub(crate) signature: Vec<Felt>,
}

/// What the test token does at its next transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// Answers `false`.
    Refuse,
    /// Makes this call first.
    CallBack(Box<Call>),
}

/// An entry point with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    SubmitJob(Box<JobSpec>),
    SubmitJobFor {
        client: Felt,
        spec: Box<JobSpec>,
    },
    CancelJob(JobId),
    AcceptResult(JobId),
    DisputeResult(JobId),
    SubmitResult {
        job_id: JobId,
        attempt: Attempt,
        result_hash: Felt,
    },
    CommitResult {
        job_id: JobId,
        attempt: Attempt,
        commitment: Felt,
    },
    RevealResult {
        job_id: JobId,
        attempt: Attempt,
        result_hash: Felt,
        salt: Felt,
    },
    FailAttempt {
        job_id: JobId,
        attempt: Attempt,
        reason: Felt,
    },
    ClaimJob(JobId),
    ExpireJob(JobId),
    ExpireAttempt(JobId),
    Settle(JobId),
    SettleDispute(JobId),
    RuleDispute {
        job_id: JobId,
        is_right: bool,
    },
    Withdraw(Felt),
    AllocateBatch(Vec<Felt>),
    SetTaskAllocator(Felt),
    SetPaymaster(Felt),
    SetReferee(Felt),
    GetJobs {
        first: u64,
        count: u8,
    },
    CommitmentOf {
        job_id: u64,
        attempt: u8,
        owner: Felt,
        result_hash: Felt,
        salt: Felt,
    },

    RegisterWorker {
        offer: Box<Offer>,
        stake: u128,
    },
    UpdateWorker(Box<Offer>),
    DrainWorker,
    ResumeWorker,
    ExitWorker,
    WithdrawStake,
    AddStake(u128),
    AdmitWorker(u32),
    DismissWorker(u32),
    Heartbeat,
    HeartbeatBatch(Vec<Felt>),
    DecayReputation(u32),
    /// What only the job manager may call.
    OfJobMgr {
        function: &'static str,
        arguments: Vec<Felt>,
    },
    SetJobMgr(Felt),
    SetAllocatorOfPool(Felt),
    GetWorkers {
        first: u32,
        count: u8,
    },
    IsAlive(u32),

    ApplyBatch {
        header: RoundHeader,
        items: Vec<Felt>,
    },
    AnnouncePolicy(Felt),
    RetirePolicy(Felt),
    AddKeeper(Felt),
    RemoveKeeper(Felt),
    PostBond(u128),
    Leave,
    WithdrawBond,
    UpdateWorkerMetrics {
        worker_id: Felt,
        metrics: Metrics,
    },
    AllocateJob(Box<AllocationParams>),
    GetWorkerLoad(Felt),
    GetWorkerMetrics(Felt),
    MetricsReportedAt(Felt),

    Deposit {
        account: Felt,
        amount: u128,
    },
    WithdrawBalance(u128),
    AuthoriseGateway {
        gateway: Felt,
        cap: u128,
    },
    RevokeGateway(Felt),
    DrawEscrow {
        client: Felt,
        gateway: Felt,
        amount: u128,
    },
    SponsorAccount {
        account: Felt,
        budget: u128,
        max_fee: u128,
    },
    StopSponsoring(Felt),
    AuthoriseRelayer(Felt),
    RevokeRelayer(Felt),
    Relay(Box<Relay>),

    TransferAdmin(Contract, Felt),
    AcceptAdmin(Contract),
    SetGuardian(Contract, Felt),
    Pause(Contract),
    Unpause(Contract),
    AnnounceUpgrade(Contract, Felt),
    CancelUpgrade(Contract),
    Upgrade(Contract),

    Approve {
        spender: Contract,
        amount: u128,
    },
    ArmToken(Trap),
    /// The call that the account makes instead of the next ones that it is brought.
    ArmAccount(Box<Call>),
}

/// A call in a sequence: who makes it, and how much later than the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) after_s: u64,
    pub(crate) after_blocks: u64,
    pub(crate) caller: Actor,
    pub(crate) call: Call,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if (self.after_s, self.after_blocks) != (0, 0) {
            write!(f, "+{} s, +{} blocks; ", self.after_s, self.after_blocks)?;
        }
        write!(f, "{}: {}", self.caller, self.call)
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (contract, function, arguments) = self.parts();
        write!(f, "{}.{function}", contract.name())?;
        let (items, inner) = match self {
            Self::AllocateBatch(items) | Self::ApplyBatch { items, .. } => (items.as_slice(), &[][..]),
            Self::Relay(relay) => (&[][..], relay.calls.as_slice()),
            Self::ArmToken(Trap::CallBack(call)) | Self::ArmAccount(call) => (&[][..], std::slice::from_ref(&**call)),
            _ => (&[][..], &[][..]),
        };
        let shown = match self {
            Self::Relay(_) => 5,
            Self::ArmToken(_) | Self::ArmAccount(_) => 0,
            _ => arguments.len() - items.len(),
        };
        let mut words: Vec<String> = arguments[..shown].iter().map(|felt| describe(*felt)).collect();
        words.extend(items.iter().take(20).map(|item| describe_item(*item)));
        words.extend(inner.iter().map(|call| format!("[{call}]")));
        write!(f, "({})", words.join(", "))
    }
}

fn describe_item(item: Felt) -> String {
    match Item::unpack(item) {
        (Item { job_id, worker_id, attempt, rate_gfri, .. }, true) => {
            format!("job {job_id} attempt {attempt} -> worker {worker_id} at {rate_gfri}")
        }
        _ => format!("malformed {item:#x}"),
    }
}
