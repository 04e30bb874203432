//! How the keeper is, for those who watch it: what `/live` and `/ready` answer.
//!
//! Services say when something went well; a check holds for as long as that is recent enough. So a service that hangs
//! shows, as does one that fails.

mod assigning;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use keeper_chain::{EndpointHealth, Heads, HeadsHealth, Rpc, Standing, lane::LaneStatus};
use keeper_follow::LatchState;
use keeper_types::{Address, BlockNumber};
use serde::Serialize;
use tokio::time::Instant;

use self::assigning::{Assigning, Assignments};
use super::leading::Role;

/// The supervisor's loop turns every second.
const LONGEST_TURN: Duration = Duration::from_secs(15);
/// How long ago the keeper may have read the newest block.
const LONGEST_SILENCE: Duration = Duration::from_secs(15);
/// Blocks by which the keeper may be behind the newest.
const MOST_BEHIND: u64 = 5;
/// The database is written to every [`STORE_INTERVAL`](super::storing::INTERVAL).
const LONGEST_UNWRITTEN: Duration = Duration::from_secs(15);
/// The account's rights are read every minute.
const LONGEST_UNASKED: Duration = Duration::from_secs(300);
/// A round may wait five minutes for its receipt.
const LONGEST_ROUND: Duration = Duration::from_secs(360);
/// How long a transaction may be missing: it is sent again after 15 s, so this is one that does not get through.
const LONGEST_GAP_MS: u64 = 120_000;

/// The service without which there is nothing to be ready for.
pub(crate) const ALLOCATING: &str = "allocating jobs";

/// What services have said of themselves.
#[derive(Debug)]
pub(crate) struct Health {
    facts: Mutex<Facts>,
    /// Whose endpoints are told of; asking it is looking something up.
    rpc: OnceLock<Rpc>,
    /// Whose notices of new blocks are told of.
    heads: OnceLock<Heads>,
    /// How long ago the newest block may have been read.
    silence: OnceLock<Duration>,
    /// What the keeper is called in leases, where it has any.
    name: OnceLock<String>,
}

#[derive(Debug)]
struct Facts {
    turned: Instant,
    is_stopping: bool,
    services: BTreeMap<&'static str, bool>,
    followed: Option<Followed>,
    latch: LatchState,
    /// Jobs that the contracts held otherwise than was believed, when they were last compared.
    differences: u64,
    stored: Option<Instant>,
    admitted: Option<Instant>,
    allocated: Option<Instant>,
    lanes: BTreeMap<Address, LaneStatus>,
    assigning: Assigning,
    role: Option<Role>,
}

#[derive(Clone, Copy, Debug)]
struct Followed {
    at: Instant,
    block: BlockNumber,
    head: BlockNumber,
}

/// Whether the keeper's loop turns.
#[derive(Debug, Serialize)]
pub(crate) struct Liveness {
    /// Whether it does.
    pub(crate) live: bool,
    age_ms: u64,
}

/// Whether the keeper can do its work.
#[derive(Debug, Serialize)]
pub(crate) struct Readiness {
    /// Whether every check holds.
    pub(crate) ready: bool,
    /// What the keeper is called in leases, so that it can be told from the one that leads; none where it has its database
    /// for itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    keeper: Option<String>,
    /// What it does among several; none where it has its database for itself.
    #[serde(flatten)]
    pub(crate) role: Option<Role>,
    /// How long it took to assign jobs. A keeper that is slow is ready all the same.
    pub(crate) assignments: Assignments,
    pub(crate) checks: BTreeMap<&'static str, Check>,
}

/// One thing that the keeper needs.
#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) ok: bool,
    /// Since it was last seen to hold; none where it never was.
    age_ms: Option<u64>,
    detail: String,
}

impl Health {
    /// The health of a keeper that has just started.
    pub(crate) fn new() -> Self {
        let facts = Facts {
            turned: Instant::now(),
            is_stopping: false,
            services: BTreeMap::new(),
            followed: None,
            latch: LatchState::Unconfirmed,
            differences: 0,
            stored: None,
            admitted: None,
            allocated: None,
            lanes: BTreeMap::new(),
            assigning: Assigning::default(),
            role: None,
        };
        Self {
            facts: Mutex::new(facts),
            rpc: OnceLock::new(),
            heads: OnceLock::new(),
            silence: OnceLock::new(),
            name: OnceLock::new(),
        }
    }

    /// Tells of this connection's endpoints too, where it has several. How a single one is, `chain` tells.
    pub(crate) fn watch_endpoints(&self, rpc: Rpc) {
        self.rpc.get_or_init(|| rpc);
    }

    /// Tells of these notices too.
    pub(crate) fn watch_heads(&self, heads: Heads) {
        self.heads.get_or_init(|| heads);
    }

    /// The chain is looked at this often by its turn: a keeper that is told to ask seldom is not ill between two turns.
    pub(crate) fn polls_every(&self, poll: Duration) {
        self.silence.get_or_init(|| LONGEST_SILENCE.max(poll * 2));
    }

    /// The keeper is called so among those of its database.
    pub(crate) fn is_named(&self, name: &str) {
        self.name.get_or_init(|| name.to_owned());
    }

    /// The supervisor's loop turned.
    pub(super) fn turned(&self) {
        self.facts().turned = Instant::now();
    }

    /// The keeper was told to stop.
    pub(super) fn stopping(&self) {
        self.facts().is_stopping = true;
    }

    /// A service runs, or does not.
    pub(super) fn service(&self, name: &'static str, is_running: bool) {
        self.facts().services.insert(name, is_running);
    }

    /// The chain was read up to `block`, when its newest was `head`.
    pub(super) fn followed(&self, block: BlockNumber, head: BlockNumber) {
        self.facts().followed = Some(Followed { at: Instant::now(), block, head });
    }

    /// Whether anything may be sent, and why not.
    pub(super) fn latched(&self, state: LatchState) {
        self.facts().latch = state;
    }

    /// So many jobs are held otherwise by the contracts than is believed.
    pub(super) fn reconciled(&self, differences: u64) {
        self.facts().differences = differences;
    }

    /// The database could be written to.
    pub(super) fn stored(&self) {
        self.facts().stored = Some(Instant::now());
    }

    /// The chain says that the account may apply rounds.
    pub(crate) fn admitted(&self) {
        self.facts().admitted = Some(Instant::now());
    }

    /// The allocating service looked at what there is to allocate.
    pub(super) fn allocated(&self) {
        self.facts().allocated = Some(Instant::now());
    }

    /// So many jobs of a round were assigned, for which the keeper itself took so long.
    pub(super) fn assigned(&self, own: Duration, items: usize) {
        self.facts().assigning.add(own, items);
    }

    /// How an account's lane is.
    pub(super) fn sending(&self, account: Address, status: &LaneStatus) {
        self.facts().lanes.insert(account, status.clone());
    }

    /// What it does among several keepers.
    pub(super) fn plays(&self, role: Role) {
        let before = self.facts().role.replace(role.clone());
        if before.as_ref() == Some(&role) {
            return;
        }
        match (role, before) {
            (Role::Leads { term }, _) => tracing::info!(term, "this keeper leads"),
            (Role::StandsBy { leader }, _) => tracing::info!(leader, "standing by"),
            // Others take turns without this one's doing.
            (Role::LeadsShards { leads, .. }, Some(Role::LeadsShards { leads: same, .. })) if leads == same => {}
            (Role::WaitsForShards { .. }, Some(Role::WaitsForShards { .. })) => {}
            (Role::LeadsShards { leads, .. }, _) => tracing::info!(shards = ?leads, "this keeper leads"),
            (Role::WaitsForShards { .. }, _) => tracing::info!("standing by"),
        }
    }

    /// Whether the newest block was read so lately.
    pub(super) fn follows_within(&self, limit: Duration) -> bool {
        let followed = self.facts().followed;
        followed.is_some_and(|Followed { at, block, head }| {
            at.elapsed() <= limit && head.0.saturating_sub(block.0) <= MOST_BEHIND
        })
    }

    /// What `/live` answers.
    pub(crate) fn liveness(&self) -> Liveness {
        let age = self.facts().turned.elapsed();
        Liveness { live: age <= LONGEST_TURN, age_ms: milliseconds(age) }
    }

    /// What `/ready` answers.
    pub(crate) fn readiness(&self) -> Readiness {
        let facts = self.facts();
        let within = |at: Option<Instant>, limit, what: &str| {
            let age = at.map(|at| at.elapsed());
            let detail = if age.is_some() { what.to_owned() } else { "not yet".to_owned() };
            Check { ok: age.is_some_and(|age| age <= limit), age_ms: age.map(milliseconds), detail }
        };
        let silence = self.silence.get().copied().unwrap_or(LONGEST_SILENCE);
        let mut chain = within(facts.followed.map(|followed| followed.at), silence, "");
        if let Some(Followed { block, head, .. }) = facts.followed {
            chain.ok &= head.0.saturating_sub(block.0) <= MOST_BEHIND;
            chain.detail = format!("read up to block {block} of {head}");
        }
        let mut allocating = within(facts.allocated, LONGEST_ROUND, "the service runs");
        if let Some(leads) = facts.role.as_ref().and_then(who_leads_instead) {
            allocating = Check { ok: true, age_ms: None, detail: format!("standing by: {leads}") };
        }
        if facts.services.get(ALLOCATING) != Some(&true) {
            allocating.ok = false;
            "the service does not run".clone_into(&mut allocating.detail);
        }
        let turned = within(Some(facts.turned), LONGEST_TURN, if facts.is_stopping { "stopping" } else { "it turns" });
        let supervisor = Check { ok: turned.ok && !facts.is_stopping, ..turned };
        let mut checks = BTreeMap::from([
            ("chain", chain),
            ("finality", finality(facts.latch)),
            ("reconciliation", reconciliation(facts.differences)),
            ("store", within(facts.stored, LONGEST_UNWRITTEN, "the database can be written to")),
            ("rights", within(facts.admitted, LONGEST_UNASKED, "the account may apply rounds")),
            ("allocating", allocating),
            ("sending", sending(&facts.lanes)),
            ("supervisor", supervisor),
        ]);
        let several = self.rpc.get().map(Rpc::endpoints).filter(|endpoints| endpoints.len() > 1);
        if let Some(several) = several {
            checks.insert("endpoints", endpoints(&several));
        }
        if let Some(heads) = self.heads.get() {
            checks.insert("heads", heads_check(&heads.health()));
        }
        let (ready, keeper) = (checks.values().all(|check| check.ok), self.name.get().cloned());
        Readiness { ready, keeper, role: facts.role.clone(), assignments: facts.assigning.summary(), checks }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        // A change that is cut short leaves a count too low at most.
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who does the work of a keeper that stands by.
fn who_leads_instead(role: &Role) -> Option<String> {
    match role {
        Role::Leads { .. } | Role::LeadsShards { .. } => None,
        Role::StandsBy { leader: None } => Some("nobody leads".to_owned()),
        Role::StandsBy { leader: Some(leader) } => Some(format!("{leader} leads")),
        Role::WaitsForShards { shards } => {
            let unled = shards.iter().filter(|led| led.keeper.is_none()).count();
            Some(match unled {
                0 => format!("others lead all {} shards", shards.len()),
                unled => format!("nobody leads {unled} of {} shards", shards.len()),
            })
        }
    }
}

fn finality(latch: LatchState) -> Check {
    let detail = match latch {
        LatchState::Unconfirmed => "not yet".to_owned(),
        LatchState::Open => "what was accepted on L1 is part of the chain".to_owned(),
        LatchState::Violated(violation) => format!(
            "finality_violation: block {} was accepted on L1 as {:#x}, but is {:#x}; nothing is sent",
            violation.recorded.number, violation.recorded.hash, violation.told.hash
        ),
    };
    Check { ok: latch == LatchState::Open, age_ms: None, detail }
}

fn reconciliation(differences: u64) -> Check {
    let detail = match differences {
        0 => "the contracts hold what is believed".to_owned(),
        count => format!("the contracts hold {count} jobs otherwise than is believed"),
    };
    Check { ok: differences == 0, age_ms: None, detail }
}

/// Whether the nodes can be asked. One is enough; how many there are is told.
fn endpoints(endpoints: &[EndpointHealth]) -> Check {
    let healthy = endpoints.iter().filter(|endpoint| endpoint.standing == Standing::Healthy).count();
    let detail = format!("{healthy} of {} healthy", endpoints.len());
    Check { ok: healthy > 0, age_ms: None, detail }
}

/// Whether every account gets its transactions through.
fn sending(lanes: &BTreeMap<Address, LaneStatus>) -> Check {
    let fault = lanes.iter().find_map(|(account, lane)| {
        let gap = lane.gap_age_ms.filter(|age| *age > LONGEST_GAP_MS);
        let gap = gap.map(|age| format!("a transaction has been missing for {} s", age / 1_000));
        let reason = lane.paused.map(|paused| paused.to_string()).or(gap)?;
        Some(format!("account {account}: {reason}"))
    });
    let in_flight: usize = lanes.values().map(|lane| lane.in_flight).sum();
    let detail = fault.clone().unwrap_or_else(|| format!("{in_flight} transactions are on their way"));
    Check { ok: fault.is_none(), age_ms: None, detail }
}

/// Whether new blocks are announced. A keeper is ready without: then it looks by its turn.
fn heads_check(heads: &HeadsHealth) -> Check {
    let HeadsHealth { url, is_subscribed, notices, age, connections, failure } = heads;
    let state = match (is_subscribed, failure) {
        (true, _) => "subscribed".to_owned(),
        (false, Some(failure)) => format!("not subscribed, the chain is asked by its turn: {failure}"),
        (false, None) => "not yet subscribed".to_owned(),
    };
    let detail = format!("{url}: {state}; notices {notices}, connections {connections}");
    Check { ok: true, age_ms: age.map(milliseconds), detail }
}

fn milliseconds(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    /// The checks that do not hold.
    fn failing(health: &Health) -> Vec<&'static str> {
        let readiness = health.readiness();
        assert_eq!(readiness.ready, readiness.checks.values().all(|check| check.ok));
        readiness.checks.into_iter().filter(|(_, check)| !check.ok).map(|(name, _)| name).collect()
    }

    fn healthy() -> Health {
        let health = Health::new();
        health.service(ALLOCATING, true);
        health.followed(BlockNumber(9), BlockNumber(9));
        health.latched(LatchState::Open);
        health.stored();
        health.admitted();
        health.allocated();
        health
    }

    #[test]
    fn an_account_that_does_not_get_through_is_named() {
        let (health, account) = (healthy(), Address(keeper_types::Felt::TWO));
        let status = LaneStatus { gap_age_ms: Some(30_000), ..LaneStatus::default() };
        health.sending(account, &status);
        assert_eq!(failing(&health), [""; 0], "it is being sent again");
        health.sending(account, &LaneStatus { gap_age_ms: Some(130_000), ..LaneStatus::default() });
        assert_eq!(failing(&health), ["sending"]);
        let most = keeper_types::Fri(1_000_000_000_000_000_000);
        let paused = Some(keeper_chain::lane::Paused::FeeCeiling { spent: most, most });
        health.sending(account, &LaneStatus { paused, ..LaneStatus::default() });
        let detail = health.readiness().checks.remove("sending").unwrap().detail;
        assert!(detail.contains("1 STRK of 1 STRK an hour") && detail.contains("max_fee_per_hour"), "{detail}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_is_ready_once_everything_was_seen_to_work() {
        assert_eq!(failing(&Health::new()), ["allocating", "chain", "finality", "rights", "store"]);
        assert!(failing(&healthy()).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_not_seen_to_work_for_long_does_not_hold() {
        let health = healthy();
        advance(LONGEST_SILENCE).await;
        assert!(failing(&health).is_empty());
        advance(Duration::from_millis(1)).await;
        assert_eq!(failing(&health), ["chain", "store", "supervisor"]);
        assert!(!health.liveness().live);
        health.turned();
        health.stored();
        health.followed(BlockNumber(10), BlockNumber(15));
        assert!(failing(&health).is_empty(), "a few blocks are no delay");
        assert!(health.liveness().live);
        health.followed(BlockNumber(10), BlockNumber(16));
        assert_eq!(failing(&health), ["chain"]);
        advance(LONGEST_ROUND).await;
        assert!(failing(&health).contains(&"allocating") && failing(&health).contains(&"rights"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_asks_seldom_is_not_silent_and_one_without_notices_is_ready() {
        let health = healthy();
        health.polls_every(Duration::from_secs(60));
        health.watch_heads(Heads::new(&"wss://node.example/v2/abcdefghijklmnopqrstuv".parse().unwrap()));
        advance(Duration::from_secs(120)).await;
        health.turned();
        health.stored();
        assert!(failing(&health).is_empty());
        let heads = &health.readiness().checks["heads"];
        assert_eq!(heads.detail, "wss://node.example/...: not yet subscribed; notices 0, connections 0");
        advance(Duration::from_millis(1)).await;
        assert_eq!(failing(&health), ["chain"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_that_may_not_send_or_believes_otherwise_is_not_ready() {
        let health = healthy();
        let block = |hash: u64| keeper_types::BlockRef { number: BlockNumber(7), hash: keeper_types::Felt::from(hash) };
        let violation = keeper_follow::Violation { recorded: block(1), told: block(2) };
        health.latched(LatchState::Violated(violation));
        assert_eq!(failing(&health), ["finality"]);
        let detail = health.readiness().checks["finality"].detail.clone();
        assert!(detail.starts_with("finality_violation: block 7 was accepted on L1 as 0x1, but is 0x2"), "{detail}");
        health.latched(LatchState::Open);
        health.reconciled(3);
        assert_eq!(failing(&health), ["reconciliation"]);
        health.reconciled(0);
        assert!(failing(&health).is_empty());
    }

    #[test]
    fn a_keeper_that_stands_by_is_ready_and_says_who_leads() {
        let health = healthy();
        health.facts().allocated = None;
        assert_eq!(failing(&health), ["allocating"]);
        health.plays(Role::StandsBy { leader: Some("another".to_owned()) });
        assert_eq!(failing(&health), [""; 0]);
        let told = serde_json::to_value(health.readiness()).unwrap();
        assert_eq!((&told["role"], &told["leader"]), (&"stands_by".into(), &"another".into()), "{told}");
        assert!(told.get("keeper").is_none(), "alone it has no name");
        health.is_named("host-1f");
        assert_eq!(serde_json::to_value(health.readiness()).unwrap()["keeper"], "host-1f");
        assert_eq!(told["checks"]["allocating"]["detail"], "standing by: another leads");
        health.plays(Role::Leads { term: 4 });
        assert_eq!(failing(&health), ["allocating"], "it has to decide now");
        let told = serde_json::to_value(health.readiness()).unwrap();
        assert_eq!((&told["role"], &told["term"]), (&"leads".into(), &4.into()), "{told}");
    }

    #[test]
    fn who_leads_which_shard_is_told() {
        let health = healthy();
        health.facts().allocated = None;
        let led = |shard, keeper: Option<&str>| super::super::leading::ShardLed {
            shard,
            keeper: keeper.map(ToOwned::to_owned),
            term: keeper.map(|_| 7),
        };
        health.plays(Role::WaitsForShards { shards: vec![led(0, Some("a")), led(1, None)] });
        assert_eq!(failing(&health), [""; 0]);
        let told = serde_json::to_value(health.readiness()).unwrap();
        assert_eq!(told["role"], "stands_by");
        assert_eq!(told["shards"][0], serde_json::json!({ "shard": 0, "keeper": "a", "term": 7 }));
        assert_eq!(told["shards"][1], serde_json::json!({ "shard": 1, "keeper": null, "term": null }));
        assert_eq!(told["checks"]["allocating"]["detail"], "standing by: nobody leads 1 of 2 shards");
        health.plays(Role::LeadsShards { leads: vec![1], shards: vec![led(0, Some("a")), led(1, Some("b"))] });
        assert_eq!(failing(&health), ["allocating"], "it has to decide now");
        let told = serde_json::to_value(health.readiness()).unwrap();
        assert_eq!((&told["role"], &told["leads"]), (&"leads".into(), &serde_json::json!([1])), "{told}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_keeper_without_its_allocating_service_or_that_stops_is_not_ready() {
        let health = healthy();
        health.service(ALLOCATING, false);
        assert_eq!(failing(&health), ["allocating"]);
        health.service(ALLOCATING, true);
        health.stopping();
        assert_eq!(failing(&health), ["supervisor"]);
        assert!(health.liveness().live, "it lives until it has stopped");
    }
}
