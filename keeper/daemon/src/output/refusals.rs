//! What to do about the contracts' refusals: each error that a person can do something about, and what.
//!
//! The texts are the contracts' own (`contracts/src/*/errors.cairo` and the components'), and part of their ABI.
//! Those that say all there is to say, or that no command of this program can cause, have no hint; the test names
//! them.

/// A contract's error, and the next step of whoever meets it.
pub(super) const HINTS: &[(&str, &str)] = &[
    // Every contract.
    (
        "Pausable: paused",
        "`keeper contracts status` names what is paused; its admin ends it with `keeper admin unpause`",
    ),
    ("Pausable: not paused", "`keeper contracts status` names what is paused; name the others' with --contract"),
    ("Access: caller not admin", "pass --account with the admin's account, which the deployment file names"),
    ("Access: caller may not pause", "pass --account with the admin's account, or the guardian's"),
    ("Access: caller not offered", "the admin offers the role with `keeper admin transfer ADDRESS`"),
    ("Upgradeable: not announced", "announce it first: `keeper admin announce-upgrade`"),
    ("Upgradeable: already announced", "`keeper admin cancel-upgrade` takes the earlier announcement back"),
    ("Upgradeable: notice running", "try again once the notice has passed; nobody can shorten it"),
    // JobMgr: who may do what.
    ("JobMgr: caller not client", "only the account that submitted the job may; `keeper job show` names it"),
    ("JobMgr: caller not the worker", "pass --account with the account of the worker that has the job"),
    // JobMgr: what a client submits.
    ("JobMgr: price too low", "raise --max-price, or lower --timeout or --gpus"),
    ("JobMgr: price too high", "lower --max-price"),
    ("JobMgr: zero max price", "give a --max-price above 0"),
    ("JobMgr: deadline in the past", "give a longer --deadline"),
    ("JobMgr: deadline too far", "give a shorter --deadline"),
    ("JobMgr: timeout too long", "give a shorter --timeout"),
    ("JobMgr: zero timeout", "give a --timeout of at least a second"),
    // JobMgr: a job's life.
    ("JobMgr: no such job", "`keeper job list` shows the jobs that exist"),
    (
        "JobMgr: not queued",
        "`keeper job show` says what the job is; only a queued one is cancelled, claimed or expired so",
    ),
    ("JobMgr: not allocated", "`keeper job show` says what the job is; only an allocated one can"),
    (
        "JobMgr: not revealed",
        "`keeper job show` says what the job is; only one with a result that is neither disputed nor settled can",
    ),
    ("JobMgr: not disputed", "`keeper job show` says what the job is; only a disputed one can"),
    ("JobMgr: deadline not passed", "`keeper job show` says when it passes; time and block must both have passed"),
    ("JobMgr: deadline passed", "the job can only expire: `keeper job expire`"),
    ("JobMgr: challenge window open", "wait until it ends, or have the client take the result: `keeper job accept`"),
    ("JobMgr: challenge window passed", "the result stands: `keeper job settle` pays for it"),
    ("JobMgr: dispute open", "wait until it is ruled or its time is up; `keeper job show` says when that is"),
    ("JobMgr: not disputable", "only a job submitted with --verification rerun or matmul can be disputed"),
    ("JobMgr: no credit", "there is nothing to take out; `keeper account credit` shows what is owed"),
    ("JobMgr: group open", "its replicas are not decided yet; `keeper job show` says how many must agree"),
    ("JobMgr: group started", "a worker has one of its replicas already, so the job runs to its end"),
    ("JobMgr: is a replica", "its group decides about it, by votes; `keeper job show` names the group"),
    ("JobMgr: is a committee", "the dispute that it was called for decides about it"),
    // JobMgr: claims.
    ("JobMgr: keepers active", "a worker claims a job only while no keeper applies rounds; leave it to them"),
    ("JobMgr: worker unavailable", "the account's worker drains or leaves; `keeper worker resume` ends a drain"),
    ("JobMgr: no free slot", "the worker has all its slots in use; `keeper worker show` counts them"),
    ("JobMgr: no free GPU", "the worker has too few of its GPUs free; `keeper worker show` counts them"),
    ("JobMgr: requirement unmet", "compare `keeper job show` with `keeper worker show`: the worker lacks something"),
    ("JobMgr: rate too high", "the worker asks more than the job pays; `keeper worker register` changes its --rate"),
    ("JobMgr: reputation too low", "the job asks for more; `keeper job show` says how much"),
    ("JobMgr: region mismatch", "the job asks for another region; `keeper job show` names it"),
    ("JobMgr: worker excluded", "this worker failed the job before, or had another replica of it"),
    // JobMgr: set-up.
    ("JobMgr: no paymaster", "this deployment has no Paymaster yet: its admin runs `keeper contracts deploy` again"),
    ("JobMgr: no referee", "this deployment has no Referee yet: its admin runs `keeper contracts deploy` again"),
    // CdcPool.
    ("CdcPool: caller not a worker", "register the account's worker with `keeper worker register`"),
    ("CdcPool: already registered", "`keeper worker register` brings what a registered worker offers up to date"),
    ("CdcPool: stake too low", "each slot needs the pool's least stake; `keeper worker add-stake`, or fewer --slots"),
    ("CdcPool: rate too high", "give a lower --rate"),
    ("CdcPool: zero rate", "give a --rate above 0"),
    ("CdcPool: not active", "`keeper worker show` says what the worker is; only an active one drains"),
    ("CdcPool: not draining", "`keeper worker show` says what the worker is; only a draining one resumes"),
    ("CdcPool: not exiting", "leave first: `keeper worker exit`"),
    (
        "CdcPool: worker is leaving",
        "take the stake back with `keeper worker withdraw` once it is free, then register anew",
    ),
    ("CdcPool: jobs running", "wait until its jobs have ended; `keeper worker drain` lets no more in"),
    ("CdcPool: dispute pending", "wait until its results are beyond doubt; `keeper worker show` counts them"),
    ("CdcPool: still bonded", "try again once the unbonding time has passed"),
    ("CdcPool: unknown worker", "`keeper worker list` shows the workers that exist"),
    ("CdcPool: already admitted", "nothing is left to do; `keeper worker show` says that it is static"),
    ("CdcPool: not admitted", "the worker is no static one; `keeper worker show` would say so"),
    ("CdcPool: zero amount", "give an amount above 0"),
    // TaskAllocator.
    (
        "TaskAllocator: not a keeper",
        "the admin admits it with `keeper contracts add-keeper ADDRESS`, and it posts a bond",
    ),
    ("TaskAllocator: not admitted", "the admin admits the account with `keeper contracts add-keeper ADDRESS`"),
    ("TaskAllocator: already keeper", "the account is admitted; its bond may lack something: `keeper contracts bond`"),
    ("TaskAllocator: unknown keeper", "the account is no keeper, so it cannot leave or be removed"),
    (
        "TaskAllocator: still bonded",
        "a bond on its way out leaves once its time has passed: then `keeper contracts withdraw-bond`",
    ),
    ("TaskAllocator: no bond", "there is no bond to take back"),
    ("TaskAllocator: announced before", "nothing is left to do: keepers may go by this policy"),
    ("TaskAllocator: unknown policy", "the admin announces it with `keeper contracts announce-policy`"),
    (
        "TaskAllocator: policy inactive",
        "its notice still runs, or it was retired; announce another with another [policy]",
    ),
    ("TaskAllocator: retired before", "change [policy] in the configuration, and announce that one"),
    ("TaskAllocator: zero amount", "give an --amount above 0"),
    // Paymaster.
    (
        "Paymaster: balance too low",
        "put more in with `keeper paymaster deposit`; `keeper paymaster show` says what is there",
    ),
    ("Paymaster: cap too low", "the client raises what its gateway may escrow: `keeper paymaster gateway`"),
    ("Paymaster: caller not relayer", "the sponsor admits the relayer first: `keeper paymaster relayer ADDRESS`"),
    ("Paymaster: unknown relayer", "nothing is left to do: the account is none of the sponsor's relayers"),
    ("Paymaster: already a relayer", "nothing is left to do: the account is one of the sponsor's relayers"),
    (
        "Paymaster: budget spent",
        "the sponsor raises the budget with `keeper paymaster sponsor`, or wait for the next day's",
    ),
    ("Paymaster: not sponsored", "the sponsor takes the account on first: `keeper paymaster sponsor ADDRESS`"),
    ("Paymaster: zero amount", "give an amount above 0"),
    // Referee.
    ("Referee: not disputed", "the client disputes the result first: `keeper job dispute`"),
    ("Referee: other manifest", "give the --manifest that the job was submitted with, byte for byte"),
    ("Referee: other output", "give the --output whose hash is the result on chain, byte for byte"),
];

/// The next step of whoever meets a contract's error, where there is one.
pub(super) fn hint(error: &str) -> Option<&'static str> {
    HINTS.iter().find(|(text, _)| *text == error).map(|(_, hint)| *hint)
}
