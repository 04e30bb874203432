//! The demo with programs that only pretend: what is started, asked and stopped, and in which order.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

/// Says that it is ready, and lives until its input closes.
const CHAIN: &str = r#"#!/bin/sh
echo '{"rpc_url":"http://127.0.0.1:1/rpc","seed":42,"accounts":[ACCOUNT,ACCOUNT,ACCOUNT,ACCOUNT]}'
cat > /dev/null
"#;

const ACCOUNT: &str = r#"{"address":"0x1","class_hash":"0x2","public_key":"0x3","private_key":"0x4"}"#;

/// Answers each command, and writes them down in the folder that it stands in.
const KEEPER: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >> "$here/calls"
case "$*" in
*" job submit "*)
    echo '{"jobs":[{"job_id":1},{"job_id":2}],"tx_hash":"0x1","submitted_at_ms":1000}' ;;
*" job list "*)
    echo '{"jobs":[{"job_id":1,"state":"settled","worker_id":1,"attempt":1,"price_fri":"4"},
                   {"job_id":2,"state":"STATE","worker_id":1,"attempt":1,"price_fri":"4"}]}' ;;
*" status "*)
    echo '{"jobs":{"submitted":2},"rounds":1,"allocations":2,"l2_gas_per_allocation":7,
           "money":{"escrow_in_fri":"20","paid_fri":"8","refunded_fri":"12","held_fri":"0","owed_fri":"0"},
           "allocations_list":[{"job_id":1,"worker_id":1,"attempt":1,"tx_hash":"0x2","allocated_at_ms":1250}]}' ;;
*" worker register "*) echo '{"worker_id":1,"tx_hash":"0x3"}' ;;
*" run "*)
    sleep 600 &
    trap 'echo "stopped $*" >> "$here/calls"; kill $!; exit 0' TERM
    echo '{"ready":true,"listen":"127.0.0.1:2"}'
    wait ;;
esac
"#;

fn program(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    file
}

fn programs(folder: &Path, second_job: &str) -> Programs {
    Programs {
        localnet: program(folder, "localnet", &CHAIN.replace("ACCOUNT", ACCOUNT)),
        keeper: program(folder, "keeper", &KEEPER.replace("STATE", second_job)),
    }
}

fn args(folder: &Path) -> Args {
    Args { once: true, jobs: 2, workers: 1, json: Some(folder.join("figures.json")), port: 0, network: Network::Devnet }
}

#[test]
fn every_job_is_followed_to_its_end_and_everything_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path(), "settled");
    let report = show(programs, folder.path(), &args(folder.path()), &Stop::default()).unwrap();
    report.verdict().unwrap();

    let figures: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("figures.json")).unwrap()).unwrap();
    assert_eq!((&figures["jobs_settled"], &figures["paid_fri"]), (&2.into(), &"8".into()));
    assert_eq!(figures["submit_to_allocated_ms"]["p50"], 250);

    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    let stopped: Vec<&str> = calls.lines().filter(|line| line.starts_with("stopped")).collect();
    assert!(stopped[0].contains(" worker run ") && stopped[1].contains(" run --listen "), "{calls}");
    assert_eq!(stopped.len(), 2);
}

#[test]
fn a_job_that_failed_makes_the_demo_fail() {
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(folder.path(), "failed");
    let report = show(programs, folder.path(), &args(folder.path()), &Stop::default()).unwrap();
    assert_eq!(report.verdict().unwrap_err().to_string(), "1 of 2 jobs settled");
}

#[test]
fn a_request_to_stop_ends_it_with_everything_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let stop = Stop::default();
    stop.request();
    let programs = programs(folder.path(), "queued");
    let error = show(programs, folder.path(), &args(folder.path()), &stop).unwrap_err();
    assert!(error.to_string().contains("stopped before all jobs had settled"), "{error}");
    let calls = fs::read_to_string(folder.path().join("calls")).unwrap();
    assert!(calls.lines().last().unwrap().starts_with("stopped"), "{calls}");
}
