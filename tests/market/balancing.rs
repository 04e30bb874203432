//! Workers that are chosen by another rule than the score.

use e2e::{KeeperProcess, Workplace, eventually};
use serde_json::{Value, json};

use crate::{
    verification::inputs,
    whole_loop::{all_settled, jobs, market, submit},
};

const IN_TURN: &str = "[policy]\nbalancing = \"round_robin\"\n";

/// The workers of the jobs, in the order of the jobs' numbers.
async fn workers(place: &Workplace) -> Vec<u64> {
    let mut jobs = jobs(place).await;
    jobs.sort_by_key(|job| job["job_id"].as_u64());
    jobs.iter().map(|job| job["worker_id"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn jobs_go_round_the_workers_and_anyone_recomputes_it() {
    let (_chain, place) = market().await;
    place.write("keeper.toml", IN_TURN);
    let config = ["--config", "keeper.toml"];
    let mut early = place.command(&["run", "--post-bond", "--account", "devnet-2", "--listen", "127.0.0.1:0"]);
    early.args(config);
    let refused = place.finish(early).await;
    assert!(refused.error().contains("keeper contracts announce-policy"), "{}", refused.error());
    place.json(1, &["contracts", "announce-policy", config[0], config[1]]).await;
    let keeper = place.start_keeper_with(&config).await;
    let mut agents = Vec::new();
    for account in [4, 5, 6] {
        agents.push(place.start_agent(account, &keeper, 4).await);
    }

    // Idle and equal, the first worker would get each of these by its score.
    for job in 1..=4 {
        submit(&place, &[job], &[]).await;
        all_settled(&place, usize::try_from(job).unwrap()).await;
    }
    assert_eq!(workers(&place).await, [1, 2, 3, 1]);
    // Over the end of the line in one round, and on from there in the next.
    submit(&place, &[5, 6, 7], &[]).await;
    all_settled(&place, 7).await;
    submit(&place, &[8], &[]).await;
    all_settled(&place, 8).await;
    assert_eq!(workers(&place).await, [1, 2, 3, 1, 2, 3, 1, 2]);

    let explained = eventually("the keeper says why", async || {
        let explained = place.json(3, &["job", "explain", "2"]).await;
        (explained["decision"]["explanation"]["outcome"]["code"] == "placed").then_some(explained)
    })
    .await;
    assert_eq!(explained["rule"], "round_robin");
    assert_eq!(
        explained["decision"]["explanation"]["chosen_by"],
        json!({ "rule": "round_robin", "strategy": "round_robin", "among": 3 })
    );
    let text = place.run(&["job", "explain", "2"]).await.stdout;
    assert!(text.contains("\nrule      round_robin, among 3 workers\n"), "{text}");

    for job in ["1", "2", "6", "8"] {
        let verified = place.run(&["verify", "allocation", job, "--json"]).await;
        assert!(verified.success, "{}", verified.error());
        assert_eq!(verified.json()["result"], "match");
    }
    tampering_is_noticed(&place).await;
}

#[tokio::test]
async fn jobs_go_to_the_smallest_worker_that_is_enough_and_anyone_recomputes_it() {
    let (_chain, place) = market().await;
    place.write("keeper.toml", "[policy]\nbalancing = \"best_fit\"\n");
    let config = ["--config", "keeper.toml"];
    place.json(1, &["contracts", "announce-policy", config[0], config[1]]).await;
    let keeper = place.start_keeper_with(&config).await;
    let mut agents = Vec::new();
    // Alike but for their slots: by score the first would have the first job.
    for (account, slots) in [(4, 4), (5, 1), (6, 2)] {
        agents.push(place.start_agent(account, &keeper, slots).await);
    }
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    submit(&place, &[2, 3], &[]).await;
    all_settled(&place, 3).await;
    assert_eq!(workers(&place).await, [2, 2, 3], "one fills the smallest, the other has the next");
    let text = place.run(&["job", "explain", "1"]).await.stdout;
    assert!(text.contains("\nrule      best_fit, among 3 workers\n"), "{text}");
    for job in ["1", "3"] {
        let verified = place.run(&["verify", "allocation", job, "--json"]).await;
        assert!(verified.success, "{}", verified.error());
        assert_eq!(verified.json()["result"], "match");
    }
}

#[tokio::test]
async fn the_market_in_numbers_tells_urgent_jobs_kinds_and_active_workers() {
    let (_chain, place) = market().await;
    // The fourth job finds the low queue full.
    let one_is_low = "[policy.queues.low]\nweight = 1\nmax_wait_s = 86400\nmax_jobs = 1\noverflow = \"hold\"\n";
    place.write("keeper.toml", one_is_low);
    let config = ["--config", "keeper.toml"];
    place.json(1, &["contracts", "announce-policy", config[0], config[1]]).await;
    let keeper = place.start_keeper_with(&["--config", "keeper.toml", "--health-listen", "127.0.0.1:0"]).await;
    let _first = place.start_agent(4, &keeper, 2).await;
    let _second = place.start_agent(5, &keeper, 2).await;
    let none = place.json(3, &["status", config[0], config[1]]).await;
    assert_eq!((&none["service"]["urgent"]["wait_s"]["count"], &none["service"]["kinds"]), (&json!(0), &json!({})));
    for target in ["assignments", "overflow"] {
        assert_eq!(none["service"][target]["met"], Value::Null, "nothing is neither met nor missed");
    }
    submit(&place, &[1], &["--priority", "9"]).await;
    submit(&place, &[2], &["--queue", "high"]).await;
    submit(&place, &[3, 4], &["--queue", "low"]).await;
    all_settled(&place, 4).await;
    place.json(5, &["worker", "drain"]).await;

    let status = place.json(3, &["status", config[0], config[1]]).await;
    let service = &status["service"];
    targets_are_held(&keeper, service).await;
    assert_eq!(service["kinds"], json!({ "none": 4 }), "{service}");
    for (name, count, target_s) in [("urgent", 2, 5), ("ordinary", 2, 30)] {
        let waits = &service[name];
        assert_eq!((&waits["wait_s"]["count"], &waits["target_s"]), (&json!(count), &json!(target_s)), "{service}");
        // Nobody was given up, so whoever did not start in time started late.
        let late = waits["late"].as_u64().unwrap();
        assert_eq!(waits["in_time_bps"], 10_000 * (count - late) / count, "{service}");
        assert_eq!(late > 0, waits["wait_s"]["max"].as_u64() > Some(target_s), "{service}");
        assert_eq!(waits["met"], late == 0, "{service}");
    }
    assert_eq!(status["workers_by_status"], json!({ "active": 1, "draining": 1 }), "{status}");
    let text = place.run(&["status", config[0], config[1]]).await.stdout;
    assert!(
        text.contains("assignments  4 of 4 that ended succeeded, 100.0 %; more than 99.0 % is aimed at: met\n"),
        "{text}"
    );
    assert!(
        text.contains("overflow     1 of 4 jobs found their queue full, 25.0 %; less than 0.1 % is aimed at: missed\n")
    );
    assert!(text.contains("workers      2: 1 active, 1 draining\n"), "{text}");
    assert!(
        text.contains("urgent       2 jobs started, half within ") && text.contains("verified     4 none\n"),
        "{text}"
    );
}

/// What the keeper says of how it serves, beside what is aimed at.
async fn targets_are_held(keeper: &KeeperProcess, service: &Value) {
    let target = |count: u64, target_bps: u64, met: bool| json!({ "count": count, "of": 4, "share_bps": count * 2_500, "target_bps": target_bps, "met": met });
    assert_eq!(service["assignments"], target(4, 9_900, true), "{service}");
    assert_eq!((&service["overflow"], &service["low"]["overflowed"]), (&target(1, 10, false), &json!(1)), "{service}");
    let (_, ready) = keeper.probe("ready").await;
    let in_time = &ready["assignments"]["in_time"];
    let [count, of] = ["count", "of"].map(|name| in_time[name].as_u64().unwrap());
    assert!(of >= 4 && count <= of, "every job was in a round: {ready}");
    assert_eq!(in_time["met"], count * 100 >= of * 95, "{ready}");
    let longest = ready["assignments"]["max_us"].as_u64().unwrap();
    assert!(longest > 0 && (count < of) == (longest > 50_000), "{ready}");
}

async fn tampering_is_noticed(place: &Workplace) {
    // A recording holds whose turn it was; with another the plan is another.
    let verdict = place.run(&["verify", "allocation", "3", "--save", "round.json", "--json"]).await.json();
    let replayed = place.run(&["replay", "round.json", "--json"]).await.json();
    for name in ["policy_id", "snapshot_root", "plan_root"] {
        assert_eq!(replayed[name], verdict["header"][name], "{name}");
    }
    let mut recording: Value = serde_json::from_slice(&std::fs::read(place.path("round.json")).unwrap()).unwrap();
    assert_eq!(recording["snapshot"]["turn"], 2, "job 2 went to worker 2");
    recording["snapshot"]["turn"] = json!(3);
    place.write("round.json", &recording.to_string());
    let replayed = place.run(&["replay", "round.json", "--json"]).await.json();
    for name in ["snapshot_root", "plan_root"] {
        assert_ne!(replayed[name], verdict["header"][name], "{name}");
    }

    let path = inputs(place, &verdict);
    let honest = std::fs::read(&path).unwrap();
    let published: Value = serde_json::from_slice(&honest).unwrap();
    assert_eq!(published["policy"]["balancing"], "round_robin");
    for claim in [json!("first_available"), json!("score"), json!("adaptive")] {
        let mut claimed = published.clone();
        claimed["policy"]["balancing"] = claim;
        std::fs::write(&path, claimed.to_string()).unwrap();
        let refused = place.run(&["verify", "allocation", "3", "--json"]).await;
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        let told: Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!((&told["result"], &told["difference"]["what"]), (&json!("different"), &json!("policy")), "{told}");
    }
    let mut claimed = published;
    claimed["policy"].as_object_mut().unwrap().remove("balancing");
    std::fs::write(&path, claimed.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "3"]).await;
    assert!(refused.error().contains(": the policy. The published one is"), "{}", refused.error());
    std::fs::write(&path, honest).unwrap();
    assert!(place.run(&["verify", "allocation", "3"]).await.success);
}
