//! What people get wrong, and what they are told.

use e2e::{Localnet, LocalnetOptions, Workplace, eventually};
use serde_json::json;

use crate::whole_loop::{jobs, market, matmul};

#[tokio::test]
async fn the_wrong_chain_is_refused_with_what_to_change() {
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    let outcome = place.run(&["job", "list", "--network", "mainnet"]).await;
    let error = outcome.error();
    assert!(error.contains("is on chain SN_SEPOLIA, but --network mainnet is SN_MAIN"), "{error}");
    assert!(error.contains("change --network or --rpc-url"), "{error}");
    assert!(error.contains("hint: "), "{error}");
}

#[tokio::test]
async fn a_node_that_does_not_answer_is_named() {
    // Nothing listens on port 9 of this machine.
    let place = Workplace::at("http://127.0.0.1:9/rpc");
    let outcome = place.run(&["run", "--account", "devnet-1"]).await;
    let error = outcome.error();
    assert!(error.contains("the node at http://127.0.0.1:9/rpc cannot be reached"), "{error}");
    assert!(error.contains("hint: is the node running, and is --rpc-url right?"), "{error}");
}

#[tokio::test]
async fn a_missing_deployment_is_asked_for_before_it_is_made() {
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    let outcome = place.run(&["run", "--account", "devnet-1"]).await;
    let error = outcome.error();
    assert!(error.contains("deployments/devnet.json does not exist"), "{error}");
    assert!(error.contains("hint: get the deployment file from whoever deployed the contracts"), "{error}");
    assert!(error.contains("keeper contracts deploy --network devnet"), "{error}");
    assert!(error.contains("--deployment"), "{error}");
    let checked = place.run(&["doctor"]).await;
    assert!(checked.stdout.contains("hint: get the deployment file from whoever deployed"), "{}", checked.stdout);
}

/// A deployment file is at hand, but the chain began anew: there is nothing to be allocated by.
#[tokio::test]
async fn a_chain_without_the_contracts_is_said_to_be_one() {
    let (_chain, place) = market().await;
    let deployment = std::fs::read_to_string(place.path("deployments/devnet.json")).unwrap();
    let empty = Localnet::start(LocalnetOptions::default());
    let elsewhere = Workplace::new(&empty);
    let file = elsewhere.write("devnet.json", &deployment).display().to_string();
    let outcome = elsewhere.run(&["verify", "allocation", "1", "--deployment", &file]).await;
    let error = outcome.error();
    assert!(error.contains("the chain has no event of these contracts"), "{error}");
    assert!(error.contains("hint: `keeper contracts deploy` deploys them"), "{error}");
    elsewhere.run(&["doctor", "--deployment", &file]).await;
    assert!(!elsewhere.path("data/artifacts").exists(), "a check makes nothing");
}

#[tokio::test]
async fn accounts_that_cannot_act_are_refused() {
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    let none = place.run(&["contracts", "deploy"]).await;
    assert!(none.error().contains("no account is named"), "{}", none.error());

    // An account file that exists, for an account that does not, with a key of its own.
    let key = "0x71d7bb07b9a64f6f78ac4c816aff4da9";
    let public_key = "0x39d9e6ce352ad4530a0ef5d5a18fd3303c3606a7fa6ac5b620020ad681cc33b";
    let descriptor = |legacy: bool| {
        json!({
            "version": 1,
            "variant": { "type": "open_zeppelin", "version": 1, "public_key": public_key, "legacy": legacy },
            "deployment": { "status": "deployed", "class_hash": "0x1", "address": "0xabc" },
        })
        .to_string()
    };
    place.write("legacy.json", &descriptor(true));
    let mut command = place.command(&["contracts", "deploy", "--account", "legacy.json"]);
    command.env("STARKNET_PRIVATE_KEY", key);
    let legacy = place.finish(command).await;
    assert!(legacy.error().contains("legacy.json describes a legacy (Cairo 0) account"), "{}", legacy.error());

    // The account is looked at before its keystore is opened, and nobody is asked for the password of what is not there.
    place.write("keystore.json", "{}");
    let with_keystore = ["contracts", "deploy", "--account", "legacy.json", "--keystore"];
    let mut command = place.command(&[&with_keystore[..], &["keystore.json"]].concat());
    command.env("STARKNET_KEYSTORE_PASSWORD", "secret");
    let keystore = place.finish(command).await;
    assert!(keystore.error().contains("legacy.json describes a legacy (Cairo 0) account"), "{}", keystore.error());
    let missing = place.run(&[&with_keystore[..], &["no.json"]].concat()).await;
    assert!(missing.error().contains("the keystore no.json: No such file"), "{}", missing.error());

    place.write("account.json", &descriptor(false));
    let mut command = place.command(&["contracts", "deploy", "--account", "account.json"]);
    command.env("STARKNET_PRIVATE_KEY", key);
    let absent = place.finish(command).await;
    assert!(absent.error().contains("does not exist on devnet"), "{}", absent.error());
    assert!(!absent.error().contains("71d7bb07"), "a key is never shown");
}

#[tokio::test]
async fn an_account_without_funds_is_told_to_get_some() {
    let (chain, place) = market().await;
    // All but a little of account 7's STRK goes elsewhere.
    let sender = chain.sender(7).await;
    chain.drain(&sender).await;
    let manifest = place.write("job.json", &matmul(1)).display().to_string();
    let submit = ["job", "submit", "--manifest", &manifest, "--max-price", "1", "--account", "devnet-7"];
    let submitted = place.run(&submit).await;
    assert!(submitted.error().contains("is to go into escrow"), "{}", submitted.error());
    assert!(submitted.error().contains("hint: fund the account with STRK"), "{}", submitted.error());
    let deployed = place.run(&["contracts", "deploy", "--deployment", "other.json", "--account", "devnet-7"]).await;
    assert!(deployed.error().contains("cannot pay for the transaction"), "{}", deployed.error());
    assert!(deployed.error().contains("fund it with STRK"), "{}", deployed.error());
}

#[tokio::test]
async fn unknown_jobs_and_workers_are_said_to_be_unknown() {
    let (_chain, place) = market().await;
    for command in ["show", "explain", "cancel", "accept", "expire", "settle", "watch"] {
        let outcome = place.run(&["job", command, "77", "--account", "devnet-3"]).await;
        let error = outcome.error();
        assert!(error.contains("job 77 does not exist on devnet"), "{command}: {error}");
        assert!(error.contains("hint: `keeper job list` shows the jobs that do"), "{command}: {error}");
    }
    let outcome = place.run(&["worker", "show", "77"]).await;
    assert!(outcome.error().contains("worker 77 does not exist"), "{}", outcome.error());
    let outcome = place.run(&["worker", "run", "--account", "devnet-8"]).await;
    assert!(outcome.error().contains("has no worker\nhint: register it with `keeper worker register`"));
    let outcome = place.run(&["run", "--account", "devnet-8"]).await;
    assert!(outcome.error().contains("may not apply rounds on devnet"), "{}", outcome.error());
}

#[tokio::test]
async fn a_malformed_manifest_is_refused_before_anything_is_asked_of_the_chain() {
    let place = Workplace::at("http://127.0.0.1:9/rpc");
    let submit = async |manifest: &str| {
        let manifest = place.write("job.json", manifest).display().to_string();
        let arguments = ["job", "submit", "--manifest", &manifest, "--max-price", "1", "--account", "devnet-3"];
        place.run(&arguments).await.error().to_owned()
    };
    let error = submit(r#"{"version":1,"executor":{"kind":"matmul","size":9999,"seed":1}}"#).await;
    assert!(error.contains("job.json: the manifest's field `executor.size` is 9999, but must be 1 to 4096"), "{error}");
    let error = submit(r#"{"version":1,"executor":{"kind":"matmul","size":8,"seed":1},"limit":{}}"#).await;
    assert!(error.contains("unknown field `limit`"), "{error}");
    let error = submit(r#"{"version":1,"executor":{"kind":"matmul","size":4096,"seed":1}}"#).await;
    assert!(
        error.contains("`limits.output_bytes` is 16777216, but a product of size 4096 has 67108864 bytes"),
        "{error}"
    );
    let error = submit("not json").await;
    assert!(error.contains("the manifest is malformed: expected ident at line 1"), "{error}");
}

#[tokio::test]
async fn a_workers_output_over_its_limit_fails_the_attempt_and_the_job_is_refunded() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    place
        .json(4, &["worker", "register", "--slots", "1", "--region", "test", "--rate", "1", "--allow-processes"])
        .await;
    let mut command = place.command(&["worker", "run", "--allow-processes", "--account", "devnet-4", "--json"]);
    command.args(["--keeper", &format!("ws://{}", keeper.listen)]);
    let _agent = place.start_agent_command(command).await;
    let manifest = json!({
        "version": 1,
        "executor": { "kind": "process", "command": ["sh", "-c", "head -c 2000 /dev/zero"] },
        "limits": { "output_bytes": 1_000 },
    });
    place.write("big.json", &manifest.to_string());
    place.json(3, &["job", "submit", "--manifest", "big.json", "--max-price", "1", "--max-attempts", "1"]).await;
    eventually("the job fails", async || (jobs(&place).await[0]["state"] == "failed").then_some(())).await;
    let log = place.log("worker.log");
    assert!(log.contains("OUTPUT_TOO_LARGE"), "{log}");
    let watched = place.run(&["job", "watch", "1"]).await;
    assert_eq!(
        watched.stdout,
        "job 1 attempt 1 by worker 1 failed: OUTPUT_TOO_LARGE\njob 1 failed, attempt 1 by worker 1\n"
    );
    let worker = place.json(4, &["worker", "show", "1"]).await;
    assert_eq!(worker["reputation"], 475, "a twentieth of its reputation is gone");
    crate::whole_loop::sound_status(&place).await;
}

#[tokio::test]
async fn a_deployment_file_that_names_other_contracts_is_not_written_over() {
    let chain = Localnet::start(LocalnetOptions::default());
    let place = Workplace::new(&chain);
    place.deploy(&chain).await;
    let before = std::fs::read_to_string(place.path("deployments/devnet.json")).unwrap();
    let other = place.run(&["contracts", "deploy", "--account", "devnet-5"]).await;
    assert!(other.error().contains("deployments/devnet.json names other contracts on devnet"), "{}", other.error());
    assert!(other.error().contains("--replace to write over it"), "{}", other.error());
    assert_eq!(std::fs::read_to_string(place.path("deployments/devnet.json")).unwrap(), before);

    let replaced = place.json(5, &["contracts", "deploy", "--replace"]).await;
    assert_eq!(replaced["admin"], format!("{:#x}", chain.account(5).address.0));
    assert_eq!(replaced["network"], "devnet");
    // The new contracts are whole: the deploying account may apply rounds.
    assert!(place.json(5, &["doctor"]).await["ok"].as_bool().unwrap());
}

#[tokio::test]
async fn a_configuration_is_checked_and_shown_without_secrets() {
    let place = Workplace::at("http://127.0.0.1:9/rpc");
    place.write("keeper.toml", "[keeper]\nmax_batch = 501\n");
    let wrong = place.run(&["config", "check", "--config", "keeper.toml"]).await;
    assert!(wrong.error().contains("keeper.max_batch is 501, but must be 1 to 500"), "{}", wrong.error());
    place.write("keeper.toml", "[keeper]\nmax_batch = 50\n");
    let right = place.run(&["config", "check", "--config", "keeper.toml"]).await;
    assert!(right.success, "{}", right.stderr);
    let mut command = place.command(&["config", "show", "--config", "keeper.toml"]);
    command.env("STARKNET_PRIVATE_KEY", "0x123456789abcdef").env("STARKNET_KEYSTORE_PASSWORD", "hunter2");
    let shown = place.finish(command).await;
    assert!(shown.stdout.contains("max_batch = 50"), "{}", shown.stdout);
    assert!(!shown.stdout.contains("123456789abcdef") && !shown.stdout.contains("hunter2"), "{}", shown.stdout);
}

#[tokio::test]
async fn the_admin_lets_keepers_in_and_out() {
    let (chain, place) = market().await;
    let address = chain.account(8).address.to_string();
    let refused = place.run(&["run", "--account", "devnet-8"]).await;
    assert!(refused.error().contains(&format!("keeper contracts add-keeper {address}")), "{}", refused.error());
    let stranger = place.run(&["contracts", "add-keeper", &address, "--account", "devnet-8"]).await;
    assert!(stranger.error().contains("Access: caller not admin"), "{}", stranger.error());
    assert!(stranger.error().contains("hint: pass --account with the admin's account"), "{}", stranger.error());
    place.json(1, &["contracts", "add-keeper", &address]).await;
    let checked = place.run(&["doctor", "--account", "devnet-8"]).await;
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains("FAILED  rounds"), "{}", checked.stdout);
    assert!(
        checked
            .stdout
            .contains("its bond lacks 10 STRK, as expected until it is first posted; hint: `keeper contracts bond`"),
        "{}",
        checked.stdout
    );
    let unbonded = place.run(&["run", "--account", "devnet-8"]).await;
    assert!(unbonded.error().contains("its bond lacks 10 STRK"), "{}", unbonded.error());
    assert!(unbonded.error().contains("keeper contracts bond"), "{}", unbonded.error());
    place.json(8, &["contracts", "bond"]).await;
    let checked = place.run(&["doctor", "--account", "devnet-8"]).await;
    assert!(checked.success && checked.stdout.contains(", keeper"), "{}", checked.stdout);
    assert!(checked.stdout.contains("may apply rounds, with a bond of 10 STRK"), "{}", checked.stdout);
    // Deploying again makes nobody a keeper.
    place.json(1, &["contracts", "deploy", "--challenge-window", "1s"]).await;
    let admin = place.run(&["doctor", "--account", "devnet-1"]).await;
    assert!(!admin.stdout.contains(", keeper"), "{}", admin.stdout);
    place.json(1, &["contracts", "remove-keeper", &address]).await;
    assert!(!place.run(&["run", "--account", "devnet-8"]).await.success);
    let removed = place.run(&["doctor", "--account", "devnet-8"]).await;
    assert_eq!(removed.code, Some(1));
    assert!(removed.stdout.contains("may not apply rounds on devnet any more"), "{}", removed.stdout);
    assert!(removed.stdout.contains("`keeper contracts withdraw-bond`"), "{}", removed.stdout);
}

#[tokio::test]
async fn a_pause_is_reported_by_whatever_it_stops() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let _agent = place.start_agent(4, &keeper, 1).await;
    place.json(1, &["admin", "pause", "--contract", "TaskAllocator"]).await;
    let checked = place.run(&["doctor"]).await;
    assert_eq!(checked.code, Some(1));
    assert!(checked.stdout.contains("FAILED  pauses         paused: TaskAllocator (no rounds)"), "{}", checked.stdout);
    assert!(checked.stdout.contains("`keeper admin unpause --contract TaskAllocator`"), "{}", checked.stdout);

    // The round is refused, and the job is not said to be placed.
    crate::whole_loop::submit(&place, &[1], &[]).await;
    let refused = eventually("the keeper has decided", async || {
        let text = place.run(&["job", "explain", "1"]).await.stdout;
        text.contains("round ").then_some(text)
    })
    .await;
    assert!(refused.contains("decision  worker 1 was chosen (placed)"), "{refused}");
    assert!(refused.contains("refused before it was sent: TaskAllocator is paused"), "{refused}");
    place.json(1, &["admin", "pause", "--contract", "JobMgr"]).await;
    let manifest = place.write("job.json", &matmul(2)).display().to_string();
    let submit = ["job", "submit", "--manifest", &manifest, "--max-price", "1", "--account", "devnet-3"];
    let submitted = place.run(&submit).await;
    assert!(submitted.error().contains("Pausable: paused\nhint: "), "{}", submitted.error());
    assert!(submitted.error().contains("`keeper admin unpause`"), "{}", submitted.error());

    for contract in ["JobMgr", "TaskAllocator"] {
        place.json(1, &["admin", "unpause", "--contract", contract]).await;
    }
    assert!(place.run(&["doctor"]).await.success);
    crate::whole_loop::all_settled(&place, 1).await;
    let explained = place.json(3, &["job", "explain", "1"]).await;
    assert_eq!(explained["fate"]["state"], "applied", "{explained}");
    let text = place.run(&["job", "explain", "1"]).await.stdout;
    assert!(text.contains("decision  placed on worker 1 (placed)"), "{text}");
    assert!(text.contains(", applied in block "), "{text}");
}

#[tokio::test]
async fn a_keeper_that_left_stops_at_once_and_says_why() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    // Nothing is submitted, so there is no round that could fail.
    place.json(2, &["contracts", "leave"]).await;
    assert_eq!(keeper.ended().await, Some(12), "it fails");
    let log = place.log("keeper.log");
    assert!(log.contains("may not apply rounds on devnet any more"), "{log}");
    assert!(log.contains("`keeper contracts withdraw-bond`"), "{log}");
}

#[tokio::test]
async fn a_chain_that_began_anew_is_not_mistaken_for_the_one_before() {
    let (old, mut place) = market().await;
    let keeper = place.start_keeper().await;
    let _agent = place.start_agent(4, &keeper, 1).await;
    crate::whole_loop::submit(&place, &[1], &[]).await;
    crate::whole_loop::all_settled(&place, 1).await;
    assert!(keeper.stop().await);
    drop(old);

    let chain = Localnet::start(LocalnetOptions { block_time: Some(1), ..LocalnetOptions::default() });
    place.use_chain(&chain);
    let gone = place.run(&["status"]).await;
    assert!(gone.error().contains("Contract not found"), "{}", gone.error());
    assert!(gone.error().contains("`keeper contracts deploy` again"), "{}", gone.error());
    place.deploy(&chain).await;
    crate::whole_loop::submit(&place, &[9], &[]).await;
    for command in [&["status"][..], &["job", "explain", "1"]] {
        let stale = place.run(command).await;
        assert!(stale.error().contains("keeper.sqlite` was recorded from another chain"), "{}", stale.error());
        assert!(stale.error().contains("`keeper run` sets it aside"), "{}", stale.error());
    }
    let keeper = place.start_keeper().await;
    eventually("the keeper has read the new chain", async || {
        place.run(&["status"]).await.stdout.contains("1 submitted: 1 queued").then_some(())
    })
    .await;
    assert!(keeper.stop().await);
}

#[tokio::test]
async fn a_switch_by_variable_is_true_or_false_and_nothing_else() {
    let place = Workplace::at("http://127.0.0.1:9/rpc");
    let switches =
        [("KEEPER_LOG_JSON", "--log-json"), ("KEEPER_NO_EXITS", "--no-exits"), ("KEEPER_POST_BOND", "--post-bond")];
    for (variable, switch) in switches {
        let with = async |value: &str| {
            let mut command = place.command(&["run", "--account", "devnet-1"]);
            command.env(variable, value);
            place.finish(command).await
        };
        for value in ["1", "yes", "on", "TRUE"] {
            let refused = with(value).await;
            assert_eq!(refused.code, Some(2), "{variable}={value}: {}", refused.stderr);
            assert!(refused.stderr.contains(switch), "{}", refused.stderr);
            assert!(refused.stderr.contains("possible values: true, false"), "{}", refused.stderr);
        }
        for value in ["true", "false"] {
            // It gets as far as the node, which is not there.
            assert_eq!(with(value).await.code, Some(1));
        }
    }
}

#[tokio::test]
async fn explanations_are_where_the_keeper_runs() {
    let (_chain, place) = market().await;
    crate::whole_loop::submit(&place, &[1], &[]).await;
    let explained = place.run(&["job", "explain", "1"]).await;
    assert!(explained.error().contains("no keeper has run with this data directory"), "{}", explained.error());
    assert!(
        explained.error().contains("hint: explanations are kept only where the keeper runs"),
        "{}",
        explained.error()
    );
    assert!(explained.error().contains("here it is data"), "{}", explained.error());
}

#[tokio::test]
async fn a_deployment_file_that_was_lost_is_written_again_as_it_was() {
    let (_chain, place) = market().await;
    let file = place.path("deployments/devnet.json");
    let before: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    crate::whole_loop::submit(&place, &[1], &[]).await;
    std::fs::remove_file(&file).unwrap();
    let again = place.json(1, &["contracts", "deploy", "--challenge-window", "1s"]).await;
    assert_eq!(again["job_mgr"], before["job_mgr"]);
    assert!(again["block"].as_u64() <= before["block"].as_u64().map(|block| block + 10), "{again} {before}");
    assert_eq!(place.json(3, &["status"]).await["jobs"]["submitted"], 1, "nothing of the market's past is lost");
}
