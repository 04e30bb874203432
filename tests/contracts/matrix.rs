//! Every function that changes state, called by every role, paused and not: who gets through is what the table
//! says, and the table says it of exactly the functions that the classes have.

use std::collections::BTreeSet;

use keeper_types::Felt;
use serde_json::Value;
use starknet::{accounts::Account as _, core::types::Call};

use crate::{
    abi::{Abi, artifact},
    parties::{SALT, Spec, outcome},
    stage::{REFEREE, Stage, TOKEN, W3, W4, felts},
    world::{ADMIN, CLIENT, KEEPER, NOT_ADMIN, OTHER, STRK, W1},
};

const PAUSED: &str = "Pausable: paused";

/// May pause, and nothing else.
const GUARDIAN: usize = W3;
/// Was offered the admin's role.
const HEIR: usize = W4;
const ROLES: [usize; 8] = [ADMIN, KEEPER, CLIENT, OTHER, W1, GUARDIAN, HEIR, REFEREE];

/// Who passes a function's access check, and what the others are told.
#[derive(Clone, Copy)]
enum Access {
    Anyone,
    Only(&'static [usize], &'static str),
    AllBut(usize, &'static str),
}

use Access::{AllBut, Anyone, Only};

/// A function, who may call it, whether a pause stops it, and with what it is called here: where there is
/// nothing, with the least that its types allow.
struct Row(&'static str, Access, Pause, fn(&Stage) -> Vec<Felt>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pause {
    Stops,
    Passes,
}

use Pause::{Passes, Stops};

/// What [`fixture`] leaves behind.
const QUEUED: u64 = 1;
const ALLOCATED: u64 = 2;
const COMMITTED: u64 = 3;
const REVEALED: u64 = 4;
const DISPUTED: u64 = 5;

fn least(_: &Stage) -> Vec<Felt> {
    Vec::new()
}

fn no_items(_: &Stage) -> Vec<Felt> {
    felts![0]
}

const CLIENTS: Access = Only(&[CLIENT], "JobMgr: caller not client");
const WORKERS: Access = Only(&[W1], "JobMgr: caller not the worker");
const JOB_MGR: [Row; 20] = [
    Row("submit_job", Anyone, Stops, least),
    Row("submit_job_for", Anyone, Stops, least),
    Row("cancel_job", CLIENTS, Passes, |_| felts![QUEUED]),
    Row("accept_result", CLIENTS, Passes, |_| felts![REVEALED]),
    Row("dispute_result", CLIENTS, Passes, |_| felts![REVEALED]),
    Row("submit_result", WORKERS, Passes, |_| felts![ALLOCATED, 1, 7]),
    Row("commit_result", WORKERS, Passes, |_| felts![ALLOCATED, 1, 7]),
    Row("fail_attempt", WORKERS, Passes, |_| felts![ALLOCATED, 1, 7]),
    Row("reveal_result", Only(&[W1], "JobMgr: wrong reveal"), Passes, |_| felts![COMMITTED, 1, outcome("right"), SALT]),
    Row("claim_job", WORKERS, Stops, |_| felts![QUEUED]),
    Row("expire_job", Anyone, Passes, |_| felts![QUEUED]),
    Row("expire_attempt", Anyone, Passes, |_| felts![ALLOCATED]),
    Row("settle", Anyone, Passes, |_| felts![REVEALED]),
    Row("settle_dispute", Anyone, Passes, |_| felts![DISPUTED]),
    Row("withdraw", Anyone, Passes, |stage| vec![stage.address(CLIENT)]),
    Row("allocate_batch", Only(&[], "JobMgr: caller not allocator"), Stops, no_items),
    Row("rule_dispute", Only(&[REFEREE], "JobMgr: caller not referee"), Passes, |_| felts![DISPUTED, true]),
    Row("set_task_allocator", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("set_paymaster", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("set_referee", Only(&[ADMIN], NOT_ADMIN), Passes, least),
];

const OWNERS: Access = Only(&[W1], "CdcPool: caller not a worker");
const JOB_MGR_ONLY: Access = Only(&[], "CdcPool: caller not job manager");
const POOL_ADMIN: Access = Only(&[ADMIN], NOT_ADMIN);
const CDC_POOL: [Row; 21] = [
    Row("register_worker", AllBut(W1, "CdcPool: already registered"), Stops, least),
    Row("update_worker", OWNERS, Stops, least),
    Row("drain_worker", OWNERS, Passes, least),
    Row("resume_worker", OWNERS, Stops, least),
    Row("add_stake", OWNERS, Stops, least),
    Row("heartbeat", OWNERS, Passes, least),
    Row("exit_worker", OWNERS, Passes, least),
    Row("withdraw_stake", OWNERS, Passes, least),
    Row("heartbeat_batch", Only(&[KEEPER], "CdcPool: caller not a keeper"), Passes, no_items),
    Row("decay_reputation", Anyone, Passes, least),
    Row("reserve_batch", JOB_MGR_ONLY, Passes, no_items),
    Row("release", JOB_MGR_ONLY, Passes, least),
    Row("record_failure", JOB_MGR_ONLY, Passes, least),
    Row("record_fault", JOB_MGR_ONLY, Passes, least),
    Row("record_settlement", JOB_MGR_ONLY, Passes, least),
    Row("hold", JOB_MGR_ONLY, Passes, least),
    Row("unhold", JOB_MGR_ONLY, Passes, least),
    Row("set_job_mgr", POOL_ADMIN, Passes, least),
    Row("set_task_allocator", POOL_ADMIN, Passes, least),
    Row("admit_worker", POOL_ADMIN, Passes, least),
    Row("dismiss_worker", POOL_ADMIN, Passes, least),
];

const ADMITTED: Access = Only(&[KEEPER], "TaskAllocator: not admitted");
const ALLOCATOR_ADMIN: Access = Only(&[ADMIN], NOT_ADMIN);
const TASK_ALLOCATOR: [Row; 9] = [
    Row("apply_batch", Only(&[KEEPER], "TaskAllocator: not a keeper"), Stops, least),
    Row("post_bond", ADMITTED, Stops, least),
    Row("leave", ADMITTED, Passes, least),
    Row("withdraw_bond", Only(&[KEEPER], "TaskAllocator: no bond"), Passes, least),
    Row("update_worker_metrics", Only(&[KEEPER, W1], "TaskAllocator: not worker owner"), Passes, |_| {
        felts![1, 0, 0, 0, 0]
    }),
    Row("add_keeper", ALLOCATOR_ADMIN, Passes, least),
    Row("remove_keeper", ALLOCATOR_ADMIN, Passes, least),
    Row("announce_policy", ALLOCATOR_ADMIN, Passes, least),
    Row("retire_policy", ALLOCATOR_ADMIN, Passes, least),
];

const PAYMASTER: [Row; 10] = [
    Row("deposit", Anyone, Stops, least),
    Row("withdraw", Anyone, Passes, least),
    Row("authorise_gateway", Anyone, Stops, least),
    Row("revoke_gateway", Anyone, Passes, least),
    Row("sponsor_account", Anyone, Stops, least),
    Row("stop_sponsoring", Anyone, Passes, least),
    Row("authorise_relayer", Anyone, Stops, least),
    Row("revoke_relayer", Anyone, Passes, least),
    Row("relay", Only(&[OTHER], "Paymaster: caller not relayer"), Stops, |stage| {
        let execution = felts![0, 0, 0, 0, 0];
        [felts![stage.address(CLIENT), 0, 0], execution, felts![0]].concat()
    }),
    Row("draw_escrow", Only(&[], "Paymaster: not the job manager"), Stops, least),
];

const REFEREES: [Row; 1] = [Row("judge", Anyone, Passes, least)];

/// What every contract with an admin has.
const COMPONENTS: [Row; 8] = [
    Row("transfer_admin", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("accept_admin", Only(&[HEIR], "Access: caller not offered"), Passes, least),
    Row("set_guardian", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("pause", Only(&[ADMIN, GUARDIAN], "Access: caller may not pause"), Passes, least),
    Row("unpause", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("announce_upgrade", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("cancel_upgrade", Only(&[ADMIN], NOT_ADMIN), Passes, least),
    Row("upgrade", Only(&[ADMIN], NOT_ADMIN), Passes, least),
];

/// The rows of a class, which says by its ABI whether it has an admin.
fn rows(contract: &str, abi: &Abi) -> Vec<&'static Row> {
    let own: &[Row] = match contract {
        "JobMgr" => &JOB_MGR,
        "CdcPool" => &CDC_POOL,
        "TaskAllocator" => &TASK_ALLOCATOR,
        "Paymaster" => &PAYMASTER,
        "Referee" => &REFEREES,
        other => panic!("nothing is said of {other}"),
    };
    let components: &[Row] = if abi.functions.contains_key("pause") { &COMPONENTS } else { &[] };
    own.iter().chain(components).collect()
}

fn classes() -> Vec<String> {
    let manifest: Value = serde_json::from_str(&artifact("manifest.json")).unwrap();
    manifest["contracts"].as_object().unwrap().keys().cloned().collect()
}

/// A job in each state that somebody answers for, a keeper with a bond, a worker, a guardian and an heir.
async fn fixture() -> Stage {
    let mut stage = Stage::start().await;
    let worker = stage.register_with(W1, 6, 10 * STRK).await;
    let spec = Spec { verification: 2, ..stage.spec().await };
    for _ in QUEUED..=DISPUTED {
        stage.submit(&spec).await;
    }
    for job in ALLOCATED..=DISPUTED {
        stage.allocate(job, worker).await;
    }
    stage.commit(W1, COMMITTED, 1, outcome("right")).await.unwrap();
    for job in [REVEALED, DISPUTED] {
        stage.submit_result(W1, job, 1, outcome("right")).await.unwrap();
    }
    stage.dispute(CLIENT, DISPUTED, 50 * STRK).await.unwrap();
    let (admin, jobs, pool) = (stage.address(ADMIN), stage.at("JobMgr"), stage.at("CdcPool"));
    for name in classes() {
        match name.as_str() {
            "Paymaster" => {
                let class = stage.declare("Paymaster").await;
                stage.place("Paymaster", class, &felts![admin, TOKEN, jobs, pool, 600]).await.unwrap();
                let relayer = [stage.address(OTHER)];
                stage.act(CLIENT, "Paymaster", "authorise_relayer", &relayer).await.unwrap();
            }
            "Referee" => {
                let class = stage.declare("Referee").await;
                stage.place("Referee", class, &[jobs]).await.unwrap();
            }
            _ => {}
        }
        if stage.abi(&name).functions.contains_key("pause") {
            let offer = stage.call(&name, "transfer_admin", &[stage.address(HEIR)]);
            let guard = stage.call(&name, "set_guardian", &[stage.address(GUARDIAN)]);
            stage.send(ADMIN, vec![offer, guard]).await.unwrap();
        }
    }
    stage
}

/// What would come of a call, with nothing sent.
async fn would(stage: &Stage, account: usize, call: Call) -> Result<(), String> {
    match stage.wallet(account).execute_v3(vec![call]).tip(0).estimate_fee().await {
        Ok(_) => Ok(()),
        Err(error) => Err(e2e::contracts_words(&format!("{error:?}")).to_owned()),
    }
}

/// Calls every function of a class as every role, and collects what is not as the table says.
async fn faults(stage: &Stage, contract: &str, is_paused: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let abi = stage.abi(contract);
    for Row(function, access, pause, arguments) in rows(contract, abi) {
        let mut calldata = arguments(stage);
        if calldata.is_empty() {
            let inputs = &abi.functions[*function].inputs;
            calldata = inputs.iter().flat_map(|ty| abi.least(ty)).collect();
        }
        for role in ROLES {
            let said = would(stage, role, stage.call(contract, function, &calldata)).await;
            let said = said.err().unwrap_or_default();
            let (passes, refusal) = match access {
                Anyone => (true, ""),
                Only(roles, refusal) => (roles.contains(&role), *refusal),
                AllBut(outsider, refusal) => (role != *outsider, *refusal),
            };
            let is_right = match (is_paused && *pause == Stops, passes) {
                (true, _) => said == PAUSED,
                (false, false) => said == refusal,
                // `pause` says so itself where there is nothing left to pause.
                (false, true) => (refusal.is_empty() || said != refusal) && (said != PAUSED || *function == "pause"),
            };
            if !is_right {
                let state = if is_paused { "paused" } else { "running" };
                faults.push(format!("{contract}.{function} as account {role}, {state}: `{said}`"));
            }
        }
    }
    faults
}

#[test]
fn the_table_lists_every_function_that_changes_state() {
    for contract in classes() {
        let abi = Abi::of(&contract);
        let external = abi.functions.iter().filter(|(_, function)| !function.is_view);
        let external: BTreeSet<_> = external.map(|(name, _)| name.as_str()).collect();
        let listed: BTreeSet<_> = rows(&contract, &abi).iter().map(|row| row.0).collect();
        assert_eq!(listed, external, "{contract}");
        assert_eq!(rows(&contract, &abi).len(), listed.len(), "{contract}: something is listed twice");
    }
}

#[tokio::test]
async fn every_role_gets_through_where_the_table_says_so() {
    let stage = fixture().await;
    let mut found = Vec::new();
    for contract in classes() {
        found.extend(faults(&stage, &contract, false).await);
    }
    let pausable: Vec<_> =
        classes().into_iter().filter(|name| stage.abi(name).functions.contains_key("pause")).collect();
    for contract in &pausable {
        stage.act(GUARDIAN, contract, "pause", &[]).await.unwrap();
    }
    for contract in &pausable {
        found.extend(faults(&stage, contract, true).await);
    }
    assert!(found.is_empty(), "{} answers are not as the table says:\n{}", found.len(), found.join("\n"));
    stage.conserved().await;
}
