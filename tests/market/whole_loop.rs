//! The whole loop, with the real binaries: submitted, allocated, run, settled.

use e2e::{Localnet, LocalnetOptions, Workplace, eventually};
use serde_json::{Value, json};

/// A manifest of the built-in matrix product.
pub(crate) fn matmul(seed: u64) -> String {
    json!({ "version": 1, "executor": { "kind": "matmul", "size": 24, "seed": seed } }).to_string()
}

/// A chain with a block every second, the contracts on it, and a folder to work in.
pub(crate) async fn market() -> (Localnet, Workplace) {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    (chain, place)
}

/// Submits jobs as account 3 and returns their numbers.
pub(crate) async fn submit(place: &Workplace, seeds: &[u64], more: &[&str]) -> Vec<u64> {
    let mut arguments = vec!["job".to_owned(), "submit".to_owned(), "--max-price".to_owned(), "1".to_owned()];
    for seed in seeds {
        let manifest = place.write(&format!("job-{seed}.json"), &matmul(*seed));
        arguments.extend(["--manifest".to_owned(), manifest.display().to_string()]);
    }
    arguments.extend(more.iter().map(ToString::to_string));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let submitted = place.json(3, &arguments).await;
    submitted["jobs"].as_array().unwrap().iter().map(|job| job["job_id"].as_u64().unwrap()).collect()
}

/// Every job's state, by `keeper job list`.
pub(crate) async fn jobs(place: &Workplace) -> Vec<Value> {
    place.json(3, &["job", "list"]).await["jobs"].as_array().unwrap().clone()
}

/// Waits until `count` jobs are settled.
pub(crate) async fn all_settled(place: &Workplace, count: usize) {
    eventually("every job settles", async || {
        let settled = jobs(place).await.iter().filter(|job| job["state"] == "settled").count();
        (settled == count).then_some(())
    })
    .await;
}

/// The market's figures; the money must add up, and no attempt be allocated twice.
pub(crate) async fn sound_status(place: &Workplace) -> Value {
    let status = place.json(3, &["status"]).await;
    let money = |name: &str| status["money"][name].as_str().unwrap().parse::<u128>().unwrap();
    assert_eq!(
        money("escrow_in_fri"),
        money("paid_fri") + money("refunded_fri") + money("held_fri"),
        "the money adds up: {status}"
    );
    let allocations = status["allocations_list"].as_array().unwrap();
    let mut attempts: Vec<_> = allocations.iter().map(|made| (&made["job_id"], &made["attempt"])).collect();
    attempts.sort_by_key(|(job, attempt)| (job.as_u64(), attempt.as_u64()));
    let made = attempts.len();
    attempts.dedup();
    assert_eq!(attempts.len(), made, "no attempt is allocated twice: {status}");
    status
}

#[tokio::test]
async fn jobs_are_allocated_in_batches_run_and_paid_for() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let first = place.start_agent(4, &keeper, 2).await;
    let second = place.start_agent(5, &keeper, 2).await;
    let ids = submit(&place, &[1, 2, 3, 4], &[]).await;
    assert_eq!(ids, [1, 2, 3, 4]);
    all_settled(&place, 4).await;

    let status = sound_status(&place).await;
    assert_eq!(status["jobs"]["settled"], 4);
    assert_eq!(status["allocations"], 4);
    assert_eq!(status["money"]["held_fri"], "0");
    for target in ["assignments", "overflow"] {
        assert_eq!(status["service"][target]["met"], true, "{status}");
    }
    let rounds = status["rounds"].as_u64().unwrap();
    assert!(rounds < 4, "four jobs of one block take fewer than four rounds, not {rounds}");
    let mut used: Vec<_> = jobs(&place).await.iter().map(|job| job["worker_id"].as_u64().unwrap()).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, [first.worker_id, second.worker_id], "both workers were used");

    // The result on chain is the content hash of an output that anyone can check.
    let shown = place.json(3, &["job", "show", "1"]).await;
    let result: keeper_types::Felt = serde_json::from_value(shown["result_hash"].clone()).unwrap();
    let result = keeper_types::ContentHash::from_felt(result).unwrap().to_string();
    let output = std::fs::read(place.path(&format!("data/artifacts/sha256/{}/{result}", &result[..2]))).unwrap();
    assert_eq!(output.len(), 24 * 24 * 4);
    assert!(keeper_worker::matmul::check(keeper_types::MatmulJob { size: 24, seed: 1 }, &output));
    assert!(!keeper_worker::matmul::check(keeper_types::MatmulJob { size: 24, seed: 2 }, &output));

    assert_eq!(shown["decision"]["explanation"]["outcome"]["code"], "placed");
    assert_eq!((&shown["fate"]["state"], &shown["fate"]["round"]), (&json!("applied"), &json!(1)), "{shown}");
    let text = place.run(&["job", "show", "1"]).await.stdout;
    assert!(text.contains("round             1, applied ") && text.contains("(placed)"), "{text}");

    for kind in ["job", "worker"] {
        let none = place.run(&[kind, "show", "0"]).await;
        assert!(none.error().contains(&format!("{kind} 0 does not exist")), "{}", none.error());
    }

    let explained = place.json(3, &["job", "explain", "1"]).await;
    assert_eq!(explained["decision"]["explanation"]["outcome"]["code"], "placed");
    assert!(explained["decision"]["explanation"]["winner"]["total"].as_u64().unwrap() > 0);
    assert_eq!(explained["fate"]["state"], "applied");
    assert!(keeper.stop().await, "SIGTERM ends the keeper in order");
}

#[tokio::test]
async fn a_public_networks_files_and_flags_work_the_same() {
    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    let place = Workplace::new(&chain);
    let files = |number: usize| {
        let account = chain.account(number);
        let descriptor = json!({
            "version": 1,
            "variant": { "type": "open_zeppelin", "version": 1, "public_key": account.public_key, "legacy": false },
            "deployment": { "status": "deployed", "class_hash": account.class_hash, "address": account.address },
        });
        let name = place.write(&format!("account-{number}.json"), &descriptor.to_string());
        (name.display().to_string(), account.private_key.clone())
    };
    // A local chain carries Sepolia's chain id, so what follows is what would happen there.
    let sepolia = async |number: usize, arguments: &[&str]| {
        let (account, key) = files(number);
        let mut command = place.command(arguments);
        command.args(["--network", "sepolia", "--account", &account, "--poll-ms", "200", "--json"]);
        command.env("STARKNET_PRIVATE_KEY", key);
        place.finish(command).await
    };
    let missing = sepolia(2, &["run"]).await;
    let error = missing.error();
    assert!(error.contains("deployments/sepolia.json does not exist"), "{error}");
    assert!(error.contains("keeper contracts deploy --network sepolia"), "{error}");

    let keeper = chain.account(2).address.to_string();
    let deployed = sepolia(1, &["contracts", "deploy", "--keeper", &keeper, "--challenge-window", "1s"]).await.json();
    let again = sepolia(1, &["contracts", "deploy", "--keeper", &keeper, "--challenge-window", "1s"]).await.json();
    assert_eq!(deployed, again, "deploying again changes nothing");
    assert!(place.path("deployments/sepolia.json").exists());

    let registered = sepolia(4, &["worker", "register", "--slots", "1", "--region", "test", "--rate", "1"]).await;
    assert_eq!(registered.json()["worker_id"], 1);
    let manifest = place.write("job.json", &matmul(9)).display().to_string();
    let submitted = sepolia(3, &["job", "submit", "--manifest", &manifest, "--max-price", "1"]).await;
    assert_eq!(submitted.json()["job_id"], 1);
    let shown = place.command(&["job", "show", "1", "--network", "sepolia"]);
    assert!(place.finish(shown).await.stdout.contains("state             queued"));

    let (account, key) = files(2);
    let options = ["--network", "sepolia", "--account", &account, "--poll-ms", "200"];
    let mut run = place.command(&["run", "--post-bond", "--listen", "127.0.0.1:0", "--json"]);
    run.args(options).env("STARKNET_PRIVATE_KEY", key);
    let keeper = place.start_keeper_command(run).await;
    let (account, key) = files(4);
    let url = format!("ws://{}", keeper.listen);
    let mut agent = place.command(&["worker", "run", "--keeper", &url, "--json"]);
    agent.args(["--network", "sepolia", "--account", &account, "--poll-ms", "200"]).env("STARKNET_PRIVATE_KEY", key);
    let _agent = place.start_agent_command(agent).await;
    eventually("the job settles", async || {
        let shown = sepolia(3, &["job", "show", "1"]).await.json();
        (shown["state"] == "settled").then_some(())
    })
    .await;
}
