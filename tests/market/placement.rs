//! Where jobs go that ask for more than the contracts check, and workers that do not take everything.

use e2e::{Workplace, eventually};
use serde_json::{Value, json};

use crate::{
    verification::inputs,
    whole_loop::{all_settled, market, submit},
};

async fn submit_with(place: &Workplace, name: &str, placement: Value) -> String {
    let executor = json!({ "kind": "matmul", "size": 24, "seed": 7 });
    let manifest = json!({ "version": 1, "executor": executor, "placement": placement }).to_string();
    let manifest = place.write(name, &manifest).display().to_string();
    let submitted = place.json(3, &["job", "submit", "--max-price", "1", "--manifest", &manifest]).await;
    submitted["jobs"].as_array().map_or(&submitted, |jobs| &jobs[0])["job_id"].to_string()
}

/// What the keeper found about a job, once it has looked at it with both workers connected.
async fn found(place: &Workplace, job: &str, is_found: impl Fn(&Value) -> bool) -> Value {
    eventually("the keeper says why", async || {
        let explained = place.json(3, &["job", "explain", job]).await;
        let explanation = &explained["decision"]["explanation"];
        is_found(explanation).then(|| explanation.clone())
    })
    .await
}

#[tokio::test]
async fn refusals_placements_and_preferences_decide_and_can_be_recomputed() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    place.json(4, &["worker", "register", "--slots", "4", "--region", "test", "--rate", "1"]).await;
    let url = format!("ws://{}", keeper.listen);
    let picky = ["worker", "run", "--keeper", &url, "--account", "devnet-4", "--json", "--refuse-executor", "matmul"];
    let _picky = place.start_agent_command(place.command(&picky)).await;
    let _willing = place.start_agent(5, &keeper, 4).await;

    // The first worker would win every tie, but does not take such jobs.
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    let shown = place.json(3, &["job", "show", "1"]).await;
    assert_eq!((&shown["worker_id"], &shown["attempt"]), (&json!(2), &json!(1)), "{shown}");
    let explanation = found(&place, "1", |found| found["outcome"]["code"] == "placed").await;
    assert_eq!(explanation["rejections"]["refuses_executor"], 1, "{explanation}");

    // Nobody has the reputation that is preferred, so that the job does without.
    let wishful = submit_with(&place, "wishful.json", json!({ "prefers": { "min_reputation": 1000 } })).await;
    all_settled(&place, 2).await;
    let explanation = found(&place, &wishful, |found| found["outcome"]["code"] == "placed").await;
    assert_eq!((&explanation["strategy"], &explanation["dropped"]), (&json!("fallback"), &json!(["reputation"])));
    let status = place.json(3, &["status"]).await;
    let job_id: u64 = wishful.parse().unwrap();
    let recorded = status["allocations_list"].as_array().unwrap().iter().find(|made| made["job_id"] == job_id);
    assert_eq!(recorded.unwrap()["strategy"], "fallback", "the chain has it too");
    for job in ["1", &wishful] {
        let verified = place.run(&["verify", "allocation", job, "--json"]).await;
        assert!(verified.success, "{}", verified.error());
        assert_eq!(verified.json()["result"], "match");
    }

    let service = &status["service"];
    assert_eq!(
        (&service["success_rate_bps"], &service["default"]["submitted"]),
        (&json!(10_000), &json!(2)),
        "{service}"
    );
    assert_eq!(service["regions"][0], json!({ "region": "test", "allocations": 2, "share_bps": 10_000 }));

    // What a job would meet that is not submitted.
    let manifest = place.path("wishful.json").display().to_string();
    let checked = place.json(3, &["job", "check", &manifest]).await;
    assert_eq!((&checked["verdict"], &checked["worker_id"]), (&json!("now"), &json!(2)), "{checked}");
    assert_eq!(checked["agents_known"], true, "the last round's inputs tell");
    assert_eq!(checked["policy_from"], "latest_round", "{checked}");
    assert!(checked["client"].is_string() && checked["policy_id"].is_string(), "{checked}");
    let text = place.run(&["job", "check", &manifest]).await.stdout;
    assert!(text.contains("client    one that has no other jobs") && text.contains("no --account is named"), "{text}");
    assert!(text.contains("policy    the latest round's"), "{text}");
    let asking: u128 = checked["price_fri"].as_str().unwrap().parse().unwrap();
    let dearer = place.json(3, &["job", "check", &manifest, "--timeout", "2h"]).await;
    assert!(dearer["price_fri"].as_str().unwrap().parse::<u128>().unwrap() > asking);
    let text = place.run(&["job", "check", &manifest, "--gpus", "8"]).await.stdout;
    assert!(text.starts_with("NO ") && text.contains("too few GPUs"), "{text}");
    let named = place.json(3, &["job", "check", "--manifest", &manifest]).await;
    assert_eq!((&named["verdict"], &named["worker_id"]), (&checked["verdict"], &checked["worker_id"]), "{named}");
    // One worker takes such jobs, and a worker gets one replica at most.
    let replicas = ["job", "check", &manifest, "--replicas", "3"];
    let replicated = place.json(3, &replicas).await;
    assert_eq!((&replicated["verdict"], &replicated["replicas_now"]), (&json!("partly"), &json!(1)), "{replicated}");
    assert_eq!(replicated["each"][2]["explanation"]["job_id"], Value::Null, "it has no number yet: {replicated}");
    let verdicts: Vec<_> = replicated["each"].as_array().unwrap().iter().map(|each| &each["verdict"]).collect();
    assert_eq!(verdicts, ["now", "no", "no"], "{replicated}");
    assert_eq!(replicated["explanation"]["rejections"]["excluded"], 1, "{replicated}");
    let text = place.run(&replicas).await.stdout;
    assert!(text.starts_with("PARTLY    1 of 3 replicas would be placed"), "{text}");
    assert!(text.contains("a worker gets one replica of a job at most"), "{text}");
    let missing = place.run(&["job", "check", "nothing.json"]).await;
    assert!(missing.error().contains("FILE names nothing.json, which cannot be read"), "{}", missing.error());

    // What nobody has.
    let asked = json!({ "disk_gib": 4_000_000_000_u32, "gpu_models": ["H100"], "trust": "admitted" });
    let wanting = submit_with(&place, "wanting.json", asked).await;
    let explanation = found(&place, &wanting, |found| found["workers_evaluated"] == 2).await;
    assert_eq!(explanation["outcome"]["code"], "no_feasible_worker");
    for reason in ["disk", "gpu_model", "trust"] {
        assert_eq!(explanation["rejections"][reason], 2, "{explanation}");
    }
    let text = place.run(&["job", "explain", &wanting]).await.stdout;
    assert!(text.contains("not admitted by the admin"), "{text}");
}

#[tokio::test]
async fn a_job_goes_to_the_worker_nearest_to_its_client_and_anyone_recomputes_it() {
    let (_chain, place) = market().await;
    let far = "[[policy.geography.latencies]]\nfrom = \"eu-w1\"\nto = \"ap-s1\"\nlatency_ms = 160\n";
    let near = "[[policy.geography.latencies]]\nfrom = \"us-e1\"\nto = \"eu-w1\"\nlatency_ms = 90\n";
    place.write("keeper.toml", &format!("{far}{near}"));
    let config = ["--config", "keeper.toml"];
    place.json(1, &["contracts", "announce-policy", config[0], config[1]]).await;
    let keeper = place.start_keeper_with(&config).await;
    let mut agents = Vec::new();
    for (account, region) in [(4, "ap-s1"), (5, "us-e1")] {
        place.json(account, &["worker", "register", "--slots", "1", "--region", region, "--rate", "1"]).await;
        agents.push(place.start_registered_agent(account, &keeper.listen).await);
    }
    // By score, the first worker has a job of nobody in particular.
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    let european = submit_with(&place, "european.json", json!({ "prefers": { "near": "eu-w1" } })).await;
    all_settled(&place, 2).await;
    let explanation = found(&place, &european, |found| found["outcome"]["code"] == "placed").await;
    assert_eq!(explanation["outcome"]["worker_id"], 2, "{explanation}");
    assert_eq!(explanation["nearness"], json!({ "to": "eu-w1", "latency_ms": 90, "among": 1 }), "{explanation}");
    assert_eq!(place.json(3, &["job", "show", "1"]).await["worker_id"], 1);
    let text = place.run(&["job", "explain", &european]).await.stdout;
    assert!(
        text.contains("near      90 ms from eu-w1, the least of those with room; no other worker is as near\n"),
        "{text}"
    );

    let verdict = place.run(&["verify", "allocation", &european, "--json"]).await.json();
    assert_eq!(verdict["result"], "match");
    // Who claims other latencies is found out, and so is who claims that the job named another region.
    let path = inputs(&place, &verdict);
    let honest: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let mut other_policy = honest.clone();
    other_policy["policy"]["geography"]["latencies"][1]["latency_ms"] = json!(170);
    let mut other_job = honest;
    other_job["manifests"][&european]["placement"]["prefers"]["near"] = json!("ap-s1");
    for (claim, what) in [(other_policy, "policy"), (other_job, "snapshot")] {
        std::fs::write(&path, claim.to_string()).unwrap();
        let refused = place.run(&["verify", "allocation", &european, "--json"]).await;
        assert_eq!(refused.code, Some(3), "{}", refused.stderr);
        let told: Value = serde_json::from_str(&refused.stdout).unwrap();
        assert_eq!((&told["result"], &told["difference"]["what"]), (&json!("different"), &json!(what)), "{told}");
    }
}
