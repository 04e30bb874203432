//! Jobs that cannot be placed, or whose time runs out.

use e2e::{Localnet, LocalnetOptions, Proxy, Workplace, eventually, signal};
use serde_json::json;

use crate::whole_loop::{all_settled, jobs, market, matmul, sound_status, submit};

#[tokio::test]
async fn a_job_that_no_worker_can_serve_stays_queued_with_a_reason() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let _first = place.start_agent(4, &keeper, 1).await;
    let _second = place.start_agent(5, &keeper, 1).await;
    submit(&place, &[1], &["--gpus", "8", "--vram-gib", "80", "--region", "mars", "--compute-capability", "9.0"]).await;
    let explained = eventually("the keeper says why", async || {
        let explained = place.json(3, &["job", "explain", "1"]).await;
        let evaluated = explained["decision"]["explanation"]["workers_evaluated"].as_u64();
        (evaluated == Some(2)).then_some(explained)
    })
    .await;
    let explanation = &explained["decision"]["explanation"];
    assert_eq!(explanation["outcome"]["code"], "no_feasible_worker");
    for requirement in ["gpu_count", "vram", "compute_capability", "region"] {
        assert_eq!(explanation["rejections"][requirement], 2, "{explanation}");
    }
    let text = place.run(&["job", "explain", "1"]).await.stdout;
    assert!(text.contains("job 1 is queued"), "{text}");
    assert!(text.contains("no worker meets every requirement"), "{text}");
    assert!(text.contains("2 evaluated"), "{text}");
    assert_eq!(jobs(&place).await[0]["state"], "queued");
}

#[tokio::test]
async fn a_job_that_pays_less_than_anybody_asks_is_submitted_with_a_warning() {
    let (_chain, place) = market().await;
    for (account, rate) in [(4, "3"), (5, "2")] {
        place.json(account, &["worker", "register", "--region", "test", "--rate", rate]).await;
    }
    let manifest = place.write("job.json", &matmul(1)).display().to_string();
    let submitted = async |price: &str| {
        let submit = ["job", "submit", "--manifest", &manifest, "--max-price", price, "--account", "devnet-3"];
        let submitted = place.run(&submit).await;
        assert!(submitted.success && submitted.stdout.starts_with("job "), "{}", submitted.stderr);
        submitted.stderr
    };
    let told = submitted("0.001").await;
    assert!(told.contains("warning: --max-price 0.001 STRK pays 0."), "{told}");
    assert!(
        told.contains("the least that any of 2 workers that fit asks is 2.") && told.contains("(worker 2)"),
        "{told}"
    );
    let told = submitted("1").await;
    assert!(!told.contains("warning:"), "{told}");
    assert_eq!(jobs(&place).await.len(), 2);
}

#[tokio::test]
async fn a_job_without_its_manifest_or_with_a_malformed_one_says_so() {
    let (chain, place) = market().await;
    let _keeper = place.start_keeper().await;
    let market_contracts = place.contracts(&chain).await;
    let client = chain.sender(3).await;
    let follower = keeper_chain::Follower::new(market_contracts.rpc(), market_contracts.deployment());
    let now = follower.head().await.unwrap().timestamp;
    let missing = e2e::job_spec(now);
    let malformed_bytes = b"{\"version\":1}";
    let malformed = keeper_types::ContentHash::of(malformed_bytes);
    let folder = place.path("data/artifacts/sha256").join(&malformed.to_string()[..2]);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(malformed.to_string()), malformed_bytes).unwrap();
    let malformed = keeper_types::JobSpec { manifest_hash: malformed.to_felt(), ..missing.clone() };
    market_contracts.submit_jobs(&client, &[missing, malformed]).await.unwrap();
    for (job, code) in [("1", "manifest_missing"), ("2", "manifest_malformed")] {
        eventually("the keeper says why", async || {
            let explained = place.json(3, &["job", "explain", job]).await;
            (explained["decision"]["explanation"]["outcome"]["code"] == code).then_some(())
        })
        .await;
    }
    let text = place.run(&["job", "explain", "2"]).await.stdout;
    assert!(text.contains("missing field `executor`"), "{text}");
}

#[tokio::test]
async fn a_job_past_its_deadline_is_expired_by_a_third_party_and_refunded() {
    // No keeper runs: a stranger's call is enough.
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    submit(&place, &[1], &["--deadline", "60s"]).await;
    let early = place.run(&["job", "expire", "1", "--account", "devnet-9"]).await;
    assert!(early.error().contains("JobMgr: deadline not passed"), "{}", early.error());
    chain.pass_time(70).await;
    let expired = place.json(9, &["job", "expire", "1"]).await;
    assert_eq!(expired["job_id"], 1);
    let status = sound_status(&place).await;
    assert_eq!(status["jobs"]["expired"], 1);
    assert_eq!(status["money"]["refunded_fri"], "1000000000000000000");
    assert_eq!(status["money"]["held_fri"], "0");
}

#[tokio::test]
async fn a_keeper_expires_what_is_due_and_a_worker_that_vanished_loses_the_job() {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    let keeper = place.start_keeper().await;
    let mut agent = place.start_agent(4, &keeper, 1).await;
    // The worker dies with its job: the command would run for the whole test.
    let manifest = r#"{"version":1,"executor":{"kind":"process","command":["sleep","600"]},"limits":{"time_s":600}}"#;
    place.write("sleep.json", manifest);
    agent.child.kill().await.unwrap();
    let registered = place
        .json(4, &["worker", "register", "--slots", "1", "--region", "test", "--rate", "1", "--allow-processes"])
        .await;
    assert_eq!(registered["updated"], true);
    let mut command = place.command(&["worker", "run", "--allow-processes", "--account", "devnet-4", "--json"]);
    command.args(["--keeper", &format!("ws://{}", keeper.listen)]);
    let mut agent = place.start_agent_command(command).await;
    place.json(3, &["job", "submit", "--manifest", "sleep.json", "--max-price", "1", "--max-attempts", "1"]).await;
    eventually("the job is allocated", async || (jobs(&place).await[0]["state"] == "allocated").then_some(())).await;
    agent.kill().await.unwrap();
    let status = sound_status(&place).await;
    assert_eq!((&status["jobs"]["failed"], &status["service"]["failed_attempts"]), (&json!(0), &json!(0)), "{status}");
    chain.pass_time(700).await;
    eventually("the job fails", async || (jobs(&place).await[0]["state"] == "failed").then_some(())).await;
    // One that waits for a worker has not failed.
    submit(&place, &[1], &[]).await;
    let status = sound_status(&place).await;
    assert_eq!(status["money"]["refunded_fri"], "1000000000000000000");
    let of_list = jobs(&place).await.iter().filter(|job| job["state"] == "failed").count();
    assert_eq!((&status["jobs"]["failed"], of_list), (&json!(1), 1), "{status}");
    assert_eq!((&status["jobs"]["submitted"], &status["jobs"]["queued"]), (&json!(2), &json!(1)), "{status}");
    let service = &status["service"];
    assert_eq!((&service["failed_attempts"], &service["success_rate_bps"]), (&json!(1), &json!(0)), "{service}");
    let text = place.run(&["status"]).await.stdout;
    assert!(text.contains("jobs         2 submitted: 1 failed, 1 queued\n"), "{text}");
    let worker = place.json(4, &["worker", "show", "1"]).await;
    assert_eq!(worker["reputation"], 400, "a fifth of its reputation is gone");
    assert_eq!(worker["used_slots"], 0);
}

#[tokio::test]
async fn an_agent_that_says_nothing_for_as_long_as_is_set_is_given_no_job() {
    let (_chain, place) = market().await;
    place.write("keeper.toml", "[keeper]\nagent_silence_s = 4\n");
    let keeper = place.start_keeper_with(&["--config", "keeper.toml"]).await;
    let agent = place.start_agent(4, &keeper, 1).await;
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;

    // It stays connected and does not answer.
    let pid = agent.child.id().expect("the agent runs");
    signal(pid, "-STOP");
    eventually("the keeper notices", async || place.log("keeper.log").contains("no word for 4 s").then_some(())).await;
    submit(&place, &[2], &[]).await;
    eventually("the keeper says why", async || {
        let explained = place.json(3, &["job", "explain", "2"]).await;
        (explained["decision"]["explanation"]["outcome"]["code"] == "workers_offline").then_some(())
    })
    .await;
    assert_eq!(jobs(&place).await[1]["state"], "queued");
    signal(pid, "-CONT");
    all_settled(&place, 2).await;
}

#[tokio::test]
async fn a_worker_that_does_not_begin_what_it_was_given_gets_nothing_else_until_it_does() {
    let (chain, place) = market().await;
    place.write("keeper.toml", "[keeper]\nassignment_timeout_s = 4\n");
    let keeper = place.start_keeper_with(&["--config", "keeper.toml"]).await;
    place.json(4, &["worker", "register", "--slots", "3", "--region", "test", "--rate", "1"]).await;
    // The agent is connected and answers, but its node is gone, without which it begins nothing.
    let node = Proxy::before(chain.rpc_url()).await;
    let url = format!("ws://{}", keeper.listen);
    let run = ["worker", "run", "--keeper", &url, "--account", "devnet-4", "--json"];
    let _agent = place.start_agent_command(place.command_at(None, &node.rpc_url(), "data", &run)).await;
    submit(&place, &[1], &[]).await;
    all_settled(&place, 1).await;
    node.set_open(false);
    submit(&place, &[2], &[]).await;
    eventually("the keeper notices", async || place.log("keeper.log").contains("has not begun the job").then_some(()))
        .await;
    submit(&place, &[3], &[]).await;
    let explanation = eventually("the keeper says why", async || {
        let explained = place.json(3, &["job", "explain", "3"]).await;
        let explanation = &explained["decision"]["explanation"];
        (explanation["outcome"]["code"] == "no_capacity").then(|| explanation.clone())
    })
    .await;
    assert_eq!(explanation["rejections"], json!({ "stalled": 1 }), "{explanation}");
    let states: Vec<_> = jobs(&place).await.iter().map(|job| job["state"].clone()).collect();
    assert_eq!(states, ["settled", "allocated", "queued"]);
    node.set_open(true);
    all_settled(&place, 3).await;
    let verified = place.run(&["verify", "allocation", "3", "--json"]).await;
    assert_eq!(verified.json()["result"], "match");
}
