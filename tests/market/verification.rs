//! What a keeper decided is decided again, by somebody who believes the chain alone.

use std::{fs, path::PathBuf};

use e2e::Workplace;
use serde_json::{Value, json};

use crate::whole_loop::{all_settled, market, submit};

/// What the keeper published about the round with this snapshot.
pub(crate) fn inputs(place: &Workplace, verdict: &Value) -> PathBuf {
    let root = verdict["header"]["snapshot_root"].as_str().unwrap();
    let name = format!("0x{:0>64}.json", root.trim_start_matches("0x"));
    place.path("data").join("artifacts").join("rounds").join(name)
}

#[tokio::test]
async fn anyone_recomputes_a_round_and_sees_what_was_changed() {
    let (_chain, place) = market().await;
    let keeper = place.start_keeper().await;
    let _first = place.start_agent(4, &keeper, 2).await;
    let _second = place.start_agent(5, &keeper, 2).await;
    submit(&place, &[1, 2, 3], &[]).await;
    all_settled(&place, 3).await;

    let verified = place.run(&["verify", "allocation", "2", "--save", "round.json", "--json"]).await;
    assert_eq!(verified.code, Some(0), "{}", verified.stderr);
    let verdict = verified.json();
    assert_eq!(verdict["result"], "match");
    let transaction = verdict["tx_hash"].as_str().unwrap();
    let by_transaction = place.run(&["verify", "allocation", transaction, "--json"]).await;
    assert_eq!(by_transaction.json(), verdict);

    // The snapshot's file gives the same plan, without any chain.
    let replayed = place.run(&["replay", "round.json", "--json"]).await;
    assert!(replayed.success, "{}", replayed.stderr);
    for name in ["policy_id", "snapshot_root", "plan_root"] {
        assert_eq!(replayed.json()[name], verdict["header"][name], "{name}");
    }

    let path = inputs(&place, &verdict);
    let honest = fs::read(&path).unwrap();
    let mut published: Value = serde_json::from_slice(&honest).unwrap();
    // A worker that is said to have been away would have been passed over.
    published["agents"].as_object_mut().unwrap().remove("1");
    fs::write(&path, published.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "2"]).await;
    let round = verdict["round"].as_u64().unwrap();
    assert_eq!(refused.code, Some(3));
    assert!(refused.error().contains(&format!("DIFFERENT: round {round} of keeper 0x")), "{}", refused.error());
    assert!(
        refused.error().contains(&format!("transaction 0x{:0>64}: the snapshot", transaction.trim_start_matches("0x"))),
        "{}",
        refused.error()
    );
    let refused = place.run(&["verify", "allocation", "2", "--json"]).await;
    assert_eq!(refused.code, Some(3));
    let told: Value = serde_json::from_str(&refused.stdout).unwrap();
    assert_eq!((&told["result"], &told["round"]), (&json!("different"), &verdict["round"]));
    assert_eq!(told["tx_hash"], verdict["tx_hash"]);
    assert_eq!(told["difference"]["what"], "snapshot");
    assert_ne!(told["difference"]["recomputed"], told["difference"]["round"]);

    let mut published: Value = serde_json::from_slice(&honest).unwrap();
    published["agents"]["99"] = json!({});
    fs::write(&path, published.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "2"]).await;
    assert!(refused.error().contains(": the inputs. They name"), "{}", refused.error());

    let mut published: Value = serde_json::from_slice(&honest).unwrap();
    published["policy"]["weights"]["fit"] = json!(0);
    published["policy"]["weights"]["price"] = json!(4_500);
    fs::write(&path, published.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "2"]).await;
    assert!(refused.error().contains(": the policy. The published one is"), "{}", refused.error());

    fs::remove_file(&path).unwrap();
    let missing = place.run(&["verify", "allocation", "2"]).await;
    assert_eq!(missing.code, Some(1));
    assert!(missing.error().contains("--inputs"), "{}", missing.error());
    let missing = place.run(&["verify", "allocation", "2", "--json"]).await;
    assert_eq!(missing.code, Some(1));
    let told: Value = serde_json::from_str(&missing.stdout).unwrap();
    assert_eq!((&told["result"], &told["round"]), (&json!("error"), &verdict["round"]));
    assert!(told["hint"].as_str().unwrap().contains("--inputs"), "{told}");

    let elsewhere = place.run(&["verify", "allocation", "2", "--artifacts", "elsewhere"]).await;
    assert!(elsewhere.error().contains("there is no such folder"), "{}", elsewhere.error());
    assert!(!place.path("elsewhere").exists(), "who only reads makes nothing");
    let short = place.run(&["verify", "2"]).await;
    assert_eq!(short.code, Some(2));
    assert!(short.error().contains("`keeper verify allocation 2`"), "{}", short.error());
    assert!(place.run(&["verify", "allocation", "9"]).await.error().contains("job 9 was not allocated yet"));
    assert!(place.run(&["verify", "allocation", "two"]).await.error().contains("neither a job's number"));
}
