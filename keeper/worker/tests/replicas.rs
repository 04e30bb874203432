//! Replicas, whose results are committed to before they are shown, and results that a contract can judge.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::time::Duration;

use keeper_dispatch::Outcome;
use keeper_types::{ContentHash, Felt, JobState, TxHash, Verification};
use keeper_worker::FailureCode;
use support::{FIRST, FakeChain, Fate, JOB, MATMUL, OUTPUT, Site};

fn replica(chain: &FakeChain) {
    chain.allocate(JOB, MATMUL);
    chain.change(JOB, |job| job.is_replica = true);
}

async fn until_revealed(chain: &FakeChain) {
    while chain.submitted().is_empty() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_replicas_result_is_shown_only_once_reveals_are_open() {
    let mut site = Site::new();
    replica(&site.chain);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.outcome(JOB).await, Outcome::Committed { tx_hash: Some(TxHash(Felt::from(0x7a))) });
    let result = ContentHash::of(OUTPUT);
    assert_eq!(site.chain.committed(), [(JOB, FIRST, result)]);
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert!(site.chain.submitted().is_empty());
    assert!(!site.artifacts.contains(result).await.unwrap(), "others could copy what they can read");

    site.chain.change(JOB, |job| job.reveals_open = true);
    until_revealed(&site.chain).await;
    assert_eq!(site.chain.submitted(), [(JOB, FIRST, result)]);
    assert_eq!(site.artifacts.get(result, 100).await.unwrap(), OUTPUT);
}

#[tokio::test(start_paused = true)]
async fn a_commitment_that_got_through_unheard_is_not_sent_again() {
    let mut site = Site::new();
    replica(&site.chain);
    site.chain.doom([Fate::AcceptedUnheard]);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.outcome(JOB).await, Outcome::Committed { tx_hash: None });
    assert_eq!(site.chain.committed().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_started_again_shows_what_the_one_before_committed_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = Site::with(|config| config.commitments = folder.path().to_owned(), None);
    replica(&first.chain);
    first.gate.open();
    first.offer(JOB, MATMUL).await;
    first.outcome(JOB).await;
    first.agent.abort();

    let second = Site::with(|config| config.commitments = folder.path().to_owned(), None);
    replica(&second.chain);
    second.chain.change(JOB, |job| (job.state, job.reveals_open) = (JobState::Committed, true));
    until_revealed(&second.chain).await;
    assert_eq!(second.chain.submitted(), [(JOB, FIRST, ContentHash::of(OUTPUT))]);
    assert!(second.gate.started.borrow().is_empty(), "nothing is run again");
    // What was shown is forgotten.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let left = std::fs::read_dir(folder.path()).unwrap().flat_map(|entry| std::fs::read_dir(entry.unwrap().path()));
    assert_eq!(left.flatten().count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_nobody_could_defend_is_not_computed() {
    let mut site = Site::new();
    let spaced = br#"{"version": 1, "executor": {"kind": "matmul", "size": 8, "seed": 7}}"#;
    site.chain.allocate(JOB, spaced);
    site.chain.change(JOB, |job| job.verification = Verification::Matmul);
    site.offer(JOB, spaced).await;
    let Outcome::Failed { reason } = site.outcome(JOB).await else { panic!() };
    assert!(reason.starts_with("NOT_JUDGEABLE: the manifest is not in the form"), "{reason}");
    assert_eq!(site.chain.failed(), [(JOB, FIRST, FailureCode::NotJudgeable)]);
    assert!(site.gate.started.borrow().is_empty());
}
