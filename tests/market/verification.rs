//! What a keeper decided is decided again, by somebody who believes the chain alone.

use std::{fs, path::PathBuf};

use e2e::Workplace;
use serde_json::{Value, json};

use crate::whole_loop::{all_settled, market, submit};

/// What the keeper published about the round with this snapshot.
fn inputs(place: &Workplace, verdict: &Value) -> PathBuf {
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
    assert!(verified.success, "{}", verified.error());
    let verdict = verified.json();
    assert_eq!(verdict["verdict"], "match");
    let transaction = verdict["tx_hash"].as_str().unwrap();
    let by_transaction = place.run(&["verify", "allocation", transaction, "--json"]).await;
    assert_eq!(by_transaction.json(), verdict);

    // The snapshot's file gives the same plan, without any chain.
    let replayed = place.run(&["replay", "round.json", "--json"]).await;
    assert!(replayed.success, "{}", replayed.error());
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
    assert!(refused.error().contains("DIFFERENT: the snapshot"), "{}", refused.error());

    let mut published: Value = serde_json::from_slice(&honest).unwrap();
    published["agents"]["99"] = json!({});
    fs::write(&path, published.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "2"]).await;
    assert!(refused.error().contains("DIFFERENT: the inputs"), "{}", refused.error());

    let mut published: Value = serde_json::from_slice(&honest).unwrap();
    published["policy"]["weights"]["fit"] = json!(0);
    published["policy"]["weights"]["price"] = json!(4_500);
    fs::write(&path, published.to_string()).unwrap();
    let refused = place.run(&["verify", "allocation", "2"]).await;
    assert!(refused.error().contains("DIFFERENT: the policy"), "{}", refused.error());

    fs::remove_file(&path).unwrap();
    let missing = place.run(&["verify", "allocation", "2"]).await;
    assert!(missing.error().contains("--inputs"), "{}", missing.error());
    assert!(place.run(&["verify", "allocation", "9"]).await.error().contains("job 9 was not allocated yet"));
    assert!(place.run(&["verify", "allocation", "two"]).await.error().contains("neither a job's number"));
}
