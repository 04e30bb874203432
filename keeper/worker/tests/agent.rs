//! The agent's run loop, against a keeper at the other end of an in-memory session.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod support;

use std::{sync::Arc, time::Duration};

use keeper_dispatch::{Outcome, RefusalCode, ReportKind, SessionEnd};
use keeper_types::{Attempt, ContentHash, Felt, JobId, JobState, TxHash, WorkerId};
use keeper_worker::{Executors, FailureCode, HelperCommand, ProcessConfig, ProcessExecutor};
use support::{FIRST, FakeChain, Fate, JOB, MATMUL, OUTPUT, Site, WORKER};
use tokio::time::Instant;

const OTHER_JOB: JobId = JobId(2);

fn published() -> Outcome {
    Outcome::Published { result_hash: ContentHash::of(OUTPUT), tx_hash: Some(TxHash(Felt::from(0x7a))) }
}

fn failed(reason: &str) -> Outcome {
    Outcome::Failed { reason: reason.to_owned() }
}

#[tokio::test(start_paused = true)]
async fn an_allocated_job_is_run_published_and_submitted() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    assert_eq!(site.report(JOB).await, ReportKind::Started);
    site.gate.open();
    assert_eq!(site.report(JOB).await, ReportKind::Finished(published()));
    assert_eq!(site.chain.submitted(), [(JOB, FIRST, ContentHash::of(OUTPUT))]);
    assert_eq!(site.artifacts.get(ContentHash::of(OUTPUT), 100).await.unwrap(), OUTPUT);
}

#[tokio::test(start_paused = true)]
async fn the_shorter_of_both_time_limits_holds() {
    let mut site = Site::new();
    for (job_id, execution_timeout_s, expected_s) in [(JOB, 600, 60), (OTHER_JOB, 5, 5)] {
        site.chain.allocate(job_id, MATMUL);
        site.chain.change(job_id, |job| job.execution_timeout_s = execution_timeout_s);
        site.offer(job_id, MATMUL).await;
        site.gate.open();
        site.outcome(job_id).await;
        let run = site.gate.started.borrow().last().unwrap().clone();
        assert_eq!((run.job_id, run.time_limit), (job_id, Duration::from_secs(expected_s)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_chain_does_not_confirm_is_refused() {
    type Change = fn(&FakeChain);
    let cases: [(Change, RefusalCode, &str); 7] = [
        (|_| {}, RefusalCode::JobUnknown, "the chain knows no such job"),
        (
            |chain| {
                chain.allocate(JOB, MATMUL);
                chain.change(JOB, |job| job.state = JobState::Queued);
            },
            RefusalCode::NotAllocated,
            "the job is queued",
        ),
        (
            |chain| {
                chain.allocate(JOB, MATMUL);
                chain.change(JOB, |job| job.worker_id = WorkerId(8));
            },
            RefusalCode::WrongWorker,
            "the job is allocated to worker 8",
        ),
        (
            |chain| {
                chain.allocate(JOB, MATMUL);
                chain.change(JOB, |job| job.attempt = Attempt(2));
            },
            RefusalCode::WrongAttempt,
            "attempt 2 is allocated",
        ),
        (|chain| chain.allocate(JOB, b"another"), RefusalCode::ManifestMismatch, "the manifest hashes to "),
        (
            |chain| {
                chain.allocate(JOB, MATMUL);
                chain.change(JOB, |job| job.attempt_deadline = 1);
            },
            RefusalCode::DeadlinePassed,
            "the attempt's deadline was 1",
        ),
        (|chain| chain.set_down(true), RefusalCode::ChainUnavailable, "no RPC endpoint answers"),
    ];
    let mut site = Site::new();
    for (change, code, reason) in cases {
        change(&site.chain);
        site.offer(JOB, MATMUL).await;
        let refusal = site.refusal(JOB).await;
        assert!(refusal.0 == code && refusal.1.starts_with(reason), "{refusal:?}");
    }
    assert!(site.gate.started.borrow().is_empty());
    // A refused offer may be made again once it stands.
    site.chain.set_down(false);
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, published());
}

#[tokio::test(start_paused = true)]
async fn slots_and_gpus_bound_what_runs() {
    let mut site = Site::with(
        |config| {
            config.slots = 2;
            config.gpus = 2;
        },
        None,
    );
    for job_id in [JOB, OTHER_JOB, JobId(3)] {
        site.chain.allocate(job_id, MATMUL);
        site.chain.change(job_id, |job| job.gpu_count = 2);
    }
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    assert_eq!(site.report(JOB).await, ReportKind::Started);
    assert_eq!(site.gate.started.borrow()[0].gpus, [0, 1]);

    site.offer(OTHER_JOB, MATMUL).await;
    assert_eq!(site.refusal(OTHER_JOB).await, (RefusalCode::Busy, "2 GPUs are not free".to_owned()));
    site.chain.change(OTHER_JOB, |job| job.gpu_count = 0);
    site.offer(OTHER_JOB, MATMUL).await;
    assert_eq!(site.report(OTHER_JOB).await, ReportKind::Accepted);
    assert_eq!(site.report(OTHER_JOB).await, ReportKind::Started);

    site.offer(JobId(3), MATMUL).await;
    assert_eq!(site.refusal(JobId(3)).await, (RefusalCode::Busy, "every slot is in use".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_keeper_that_offers_again_what_runs_is_told_that_it_runs() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    assert_eq!(site.report(JOB).await, ReportKind::Started);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Started);
    assert_eq!(site.gate.started.borrow().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_offered_twice_runs_once() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.offer(JOB, MATMUL).await;
    site.gate.until_started(1).await;
    site.offer(JOB, MATMUL).await;
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, published());
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Finished(published()));
    assert_eq!(site.gate.started.borrow().len(), 1);
    assert_eq!(site.chain.submitted().len(), 1);
}

/// A block was taken back with the result, or the local chain is another: to say that it is published would leave the job to
/// its deadline.
#[tokio::test(start_paused = true)]
async fn an_attempt_whose_result_is_not_on_the_chain_any_more_is_run_again() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.outcome(JOB).await, published());
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, published());
    assert_eq!(site.gate.started.borrow().len(), 2);
    assert_eq!(site.chain.submitted().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_none_fails_the_attempt() {
    let mut site = Site::new();
    site.chain.allocate(JOB, b"{}");
    site.offer(JOB, b"{}").await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    let Outcome::Failed { reason } = site.outcome(JOB).await else { panic!() };
    assert!(reason.starts_with("MANIFEST_MALFORMED: the manifest is malformed: missing field"), "{reason}");
    assert_eq!(site.chain.failed(), [(JOB, FIRST, FailureCode::ManifestMalformed)]);
}

fn executors() -> Executors {
    let helper = HelperCommand { program: env!("CARGO_BIN_EXE_keeper-exec-job").into(), args: Vec::new() };
    Executors::safe().with_processes(ProcessExecutor::new(helper, ProcessConfig::default()))
}

#[tokio::test]
async fn a_failed_run_fails_the_attempt_with_its_reason() {
    let mut site = Site::with(|_| {}, Some(Arc::new(executors())));
    let cases = [
        (r#""kind":"matmul","size":8,"seed":7},"limits":{"output_bytes":255}"#, FailureCode::OutputTooLarge),
        (r#""kind":"matmul","size":2048,"seed":7},"limits":{"memory_mib":16}"#, FailureCode::OutOfMemory),
        (r#""kind":"process","command":["yes"]},"limits":{"output_bytes":10}"#, FailureCode::OutputTooLarge),
        (r#""kind":"process","command":["sleep","1000"]},"limits":{"time_s":1}"#, FailureCode::Timeout),
        (r#""kind":"process","command":["false"]}"#, FailureCode::ExitCode),
        (r#""kind":"process","command":["sh","-c","kill -9 $$"]}"#, FailureCode::Signal),
    ];
    for (job, (rest, code)) in (1..).zip(cases) {
        let manifest = format!(r#"{{"version":1,"executor":{{{rest}}}"#);
        // The limits of the large product must not be met by its output first.
        let manifest = manifest.replace(r#""memory_mib":16"#, r#""memory_mib":16,"output_bytes":1000000000"#);
        site.chain.allocate(JobId(job), manifest.as_bytes());
        site.offer(JobId(job), manifest.as_bytes()).await;
        let Outcome::Failed { reason } = site.outcome(JobId(job)).await else { panic!() };
        assert!(reason.starts_with(&format!("{code}: ")), "{reason}");
        assert_eq!(site.chain.failed().last(), Some(&(JobId(job), FIRST, code)));
    }
    assert!(site.chain.submitted().is_empty());
}

#[tokio::test]
async fn commands_are_run_only_where_the_operator_allows_them() {
    let mut site = Site::with(|_| {}, Some(Arc::new(Executors::safe())));
    let manifest = br#"{"version":1,"executor":{"kind":"process","command":["true"]}}"#;
    site.chain.allocate(JOB, manifest);
    site.offer(JOB, manifest).await;
    let expected = failed("EXECUTOR_NOT_OFFERED: this worker does not run `process` jobs");
    assert_eq!(site.outcome(JOB).await, expected);
}

#[tokio::test(start_paused = true)]
async fn a_lost_transaction_is_sent_again() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.chain.doom([Fate::Lost, Fate::Lost, Fate::Lost, Fate::Lost]);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.outcome(JOB).await, published());
    assert_eq!(site.chain.submitted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_got_through_unheard_is_not_submitted_again() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.chain.doom([Fate::AcceptedUnheard]);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    let expected = Outcome::Published { result_hash: ContentHash::of(OUTPUT), tx_hash: None };
    assert_eq!(site.outcome(JOB).await, expected);
    assert_eq!(site.chain.submitted().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_contract_that_keeps_refusing_is_believed() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.chain.doom([Fate::Refused, Fate::Refused, Fate::Refused]);
    site.gate.open();
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.outcome(JOB).await, failed("cannot submit the result: JobMgr: refused"));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_expired_meanwhile_is_not_submitted() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.gate.until_started(1).await;
    site.chain.change(JOB, |job| (job.state, job.attempt) = (JobState::Queued, Attempt(2)));
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, failed("the attempt is no longer this worker's"));
    assert!(site.chain.submitted().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_counts_only_where_the_chain_confirms_it() {
    let mut site = Site::with(|config| config.slots = 2, None);
    for job_id in [JOB, OTHER_JOB] {
        site.chain.allocate(job_id, MATMUL);
        site.offer(job_id, MATMUL).await;
        assert_eq!(site.report(job_id).await, ReportKind::Accepted);
        assert_eq!(site.report(job_id).await, ReportKind::Started);
    }
    site.chain.change(OTHER_JOB, |job| job.state = JobState::Queued);
    site.server.withdraw(WORKER, JOB, FIRST).unwrap();
    site.server.withdraw(WORKER, OTHER_JOB, FIRST).unwrap();
    assert_eq!(site.outcome(OTHER_JOB).await, failed("the attempt is no longer this worker's"));
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, published());
    assert!(site.chain.failed().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_lets_running_jobs_finish_and_takes_no_more() {
    let mut site = Site::with(|config| config.slots = 2, None);
    site.chain.allocate(JOB, MATMUL);
    site.chain.allocate(OTHER_JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    assert_eq!(site.report(JOB).await, ReportKind::Accepted);
    assert_eq!(site.report(JOB).await, ReportKind::Started);
    site.cancel.cancel();
    // The first offer may still get in; the agent says which it was.
    tokio::task::yield_now().await;
    site.offer(OTHER_JOB, MATMUL).await;
    let (code, reason) = site.refusal(OTHER_JOB).await;
    assert_eq!((code, reason.as_str()), (RefusalCode::ShuttingDown, "the agent is going down"));
    site.gate.open();
    assert_eq!(site.outcome(JOB).await, published());
    site.agent.await.unwrap().unwrap();
    assert_eq!(site.ends.recv().await, Some(SessionEnd::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_gives_up_what_does_not_finish() {
    let mut site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.gate.until_started(1).await;
    let told = Instant::now();
    site.cancel.cancel();
    assert_eq!(site.outcome(JOB).await, failed("WORKER_SHUTDOWN: cancelled"));
    assert_eq!(told.elapsed().as_secs(), 30);
    site.agent.await.unwrap().unwrap();
    assert_eq!(site.chain.failed(), [(JOB, FIRST, FailureCode::WorkerShutdown)]);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_does_not_wait_for_a_chain_that_is_away() {
    let site = Site::new();
    site.chain.allocate(JOB, MATMUL);
    site.offer(JOB, MATMUL).await;
    site.gate.until_started(1).await;
    site.chain.set_down(true);
    let told = Instant::now();
    site.cancel.cancel();
    site.agent.await.unwrap().unwrap();
    assert!(told.elapsed() <= Duration::from_secs(61), "{:?}", told.elapsed());
}
