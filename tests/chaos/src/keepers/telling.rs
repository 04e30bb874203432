//! What keepers and commands tell of who leads and of what was decided, held against the database and the chain.

use std::time::Instant;

use anyhow::{Result, ensure};
use keeper_types::{JobId, MarketEvent};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{LOOK_EVERY, Member, PATIENCE, watching::Watching};
use crate::kill::{stage::Stage, tally};

/// Of the last rounds, how many are recomputed.
const RECOMPUTED: usize = 3;

/// Waits until the shards are shared out evenly among keepers of `able` accounts, and `/ready` of each keeper and
/// `keeper status` say who leads as the database has it.
pub(super) async fn until_it_is_told_who_leads(
    stage: &Stage,
    members: &[Member],
    watching: &Watching,
    database: &str,
    able: usize,
) -> Result<()> {
    let began = Instant::now();
    loop {
        let led = watching.led.borrow().clone();
        let leaders: Vec<Option<&str>> = led.leaders().collect();
        let status = stage.place.command(&["status", "--database", database, "--json"]);
        let status = stage.place.finish(status).await;
        // The local chain keeps the state of its newest block only, and may have made another meanwhile.
        let said = status.stderr;
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        let mut is_told = led.is_even(able) && is_told_by_status(&status, &leaders);
        for member in members {
            is_told &= is_told_by(&member.readiness().await?, member.name(), &leaders, &led.led_by(member.name()));
        }
        if is_told {
            return Ok(());
        }
        let (leader, shards) = (&status["leader"], &status["shards"]);
        ensure!(began.elapsed() < PATIENCE, "it is not told that {leaders:?} lead: {leader} {shards} {said}");
        sleep(LOOK_EVERY).await;
    }
}

fn is_told_by_status(status: &Value, leaders: &[Option<&str>]) -> bool {
    match leaders {
        [leader] => leader.is_some() && status["leader"]["keeper"].as_str() == *leader,
        _ => (0..).zip(leaders).all(|(shard, leader): (usize, _)| {
            status["shards"][shard]["shard"] == json!(shard) && status["shards"][shard]["keeper"].as_str() == *leader
        }),
    }
}

fn is_told_by(told: &Value, name: &str, leaders: &[Option<&str>], led: &[usize]) -> bool {
    let role = if led.is_empty() { "stands_by" } else { "leads" };
    let is_role = told["role"].as_str() == Some(role);
    match leaders {
        [leader] => is_role && (*leader == Some(name) || told["leader"].as_str() == *leader),
        _ => {
            let leads = if led.is_empty() { Value::Null } else { json!(led) };
            let shards = (0..).zip(leaders);
            let mut told_of =
                shards.map(|(shard, leader): (usize, _)| told["shards"][shard]["keeper"].as_str() == *leader);
            is_role && told["leads"] == leads && told_of.all(|is_told| is_told)
        }
    }
}

/// Recomputes the rounds of the jobs that were allocated last, as anybody may; returns how many.
///
/// # Errors
/// Fails where one is not what its policy decides about the shards that it is about.
pub(super) async fn recompute_rounds(stage: &Stage, shards: u8) -> Result<usize> {
    let events = tally::events(stage).await?;
    let allocated = events.iter().rev().filter(|(_, event)| matches!(event, MarketEvent::JobsAllocated { .. }));
    let jobs: Vec<JobId> = allocated.filter_map(|(_, event)| event.job_ids().first().copied()).collect();
    for job_id in jobs.iter().take(RECOMPUTED) {
        let verified =
            stage.place.run(&["verify", "allocation", &job_id.to_string(), "--json", "--save", "round.json"]).await;
        let said: Value = serde_json::from_str(&verified.stdout).unwrap_or_default();
        ensure!(said["result"] == "match", "job {job_id}: {said} {}", verified.stderr);
        let count = said["shards"]["count"].as_u64();
        ensure!(count == (shards > 1).then_some(shards.into()), "job {job_id}: {said} names other shards");
        let replayed = stage.place.run(&["replay", "round.json", "--json"]).await;
        ensure!(replayed.success, "the round of job {job_id} cannot be replayed: {}", replayed.stderr);
        refuse_other_shards(stage, *job_id, &said, shards).await?;
    }
    Ok(jobs.len().min(RECOMPUTED))
}

/// Has the round of a job claim the shards that it is not about: neither command may find that right.
async fn refuse_other_shards(stage: &Stage, job_id: JobId, said: &Value, shards: u8) -> Result<()> {
    let own = said["shards"]["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let others: Vec<u8> = (0..shards).filter(|shard| !own.contains(&json!(shard))).collect();
    if own.is_empty() || others.is_empty() {
        return Ok(());
    }
    let read = |name: &str| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(stage.place.path(name))?)?) };
    let mut forged = read("round.json")?;
    forged["snapshot"]["portion"]["shards"]["members"] = json!(others);
    stage.place.write("forged.json", &forged.to_string());
    let replayed = stage.place.run(&["replay", "forged.json"]).await;
    let is_refused = !replayed.success && replayed.stderr.contains("has what a round about");
    ensure!(is_refused, "a round of {own:?} is replayed as one of {others:?}: {}", replayed.stderr);

    let root = said["header"]["snapshot_root"].as_str().unwrap_or_default();
    let root = format!("0x{:0>64}", root.trim_start_matches("0x"));
    let mut inputs = read(&format!("data/artifacts/rounds/{root}.json"))?;
    inputs["portion"]["shards"]["members"] = json!(others);
    stage.place.write("forged-inputs.json", &inputs.to_string());
    let arguments = ["verify", "allocation", &job_id.to_string(), "--json", "--inputs", "forged-inputs.json"];
    let verified = stage.place.run(&arguments).await;
    let said: Value = serde_json::from_str(&verified.stdout).unwrap_or_default();
    ensure!(said["difference"]["what"] == "shard", "a round of {own:?} verifies as one of {others:?}: {said}");
    Ok(())
}
