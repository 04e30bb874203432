use proptest::prelude::*;

use super::*;

const JOB: JobId = JobId(7);

fn fail(log: &mut FailureLog, worker: u32, class: FailureClass) -> AfterFailure {
    log.record((JOB, WorkerId(worker)), class, &RetryPolicy::default(), (1_000, 1))
}

#[test]
fn a_worker_that_failed_a_job_is_excluded_and_one_that_the_network_failed_is_not() {
    let mut log = FailureLog::new();
    fail(&mut log, 1, FailureClass::Infrastructure);
    fail(&mut log, 2, FailureClass::WorkerFault);
    assert!(log.admits(JOB, WorkerId(1)) && !log.admits(JOB, WorkerId(2)));
    log.forget(JOB);
    assert!(log.admits(JOB, WorkerId(2)));
}

#[test]
fn a_job_that_fails_on_three_workers_is_poison_and_one_that_fails_thrice_on_one_is_not() {
    let mut log = FailureLog::new();
    for _ in 0..3 {
        assert!(matches!(fail(&mut log, 1, FailureClass::ExecutionTimeout), AfterFailure::Retry { .. }));
    }
    assert!(matches!(fail(&mut log, 2, FailureClass::Abandoned), AfterFailure::Retry { .. }));
    let poison = AfterFailure::Dead(DeadLetterReason::Poison { workers: 3 });
    assert_eq!(fail(&mut log, 3, FailureClass::WorkerFault), poison);
}

#[test]
fn a_clients_fault_is_final_and_attempts_run_out() {
    let dead = AfterFailure::Dead(DeadLetterReason::Failed { class: FailureClass::ClientFault });
    assert_eq!(fail(&mut FailureLog::new(), 1, FailureClass::ClientFault), dead);
    let mut log = FailureLog::new();
    for _ in 0..4 {
        assert!(matches!(fail(&mut log, 1, FailureClass::Infrastructure), AfterFailure::Retry { .. }));
    }
    let spent = AfterFailure::Dead(DeadLetterReason::AttemptsSpent { last: FailureClass::Infrastructure });
    assert_eq!(fail(&mut log, 1, FailureClass::Infrastructure), spent);
}

#[test]
fn preemption_costs_no_attempt() {
    let mut log = FailureLog::new();
    for _ in 0..100 {
        let again = AfterFailure::Retry { not_before_s: 1_000 };
        assert_eq!(fail(&mut log, 1, FailureClass::Preempted), again);
    }
    assert_eq!(log.get(JOB).unwrap().attempts, 0);
}

#[test]
fn assignments_time_out_before_they_begin_when_they_are_silent_and_past_their_limit() {
    let policy = RetryPolicy::default();
    let sent = Assignment { worker_id: WorkerId(1), assigned_s: 100, begun_s: None, heard_s: 100, limit_s: 1_000 };
    assert_eq!(policy.overdue(&sent, 130), None);
    assert_eq!(policy.overdue(&sent, 131), Some(FailureClass::AssignmentTimeout));
    let begun = Assignment { begun_s: Some(120), heard_s: 200, ..sent };
    assert_eq!(policy.overdue(&begun, 260), None);
    assert_eq!(policy.overdue(&begun, 261), Some(FailureClass::Abandoned));
    let heard = Assignment { heard_s: 1_120, ..begun };
    assert_eq!(policy.overdue(&heard, 1_120), None);
    assert_eq!(policy.overdue(&heard, 1_121), Some(FailureClass::ExecutionTimeout));
}

proptest! {
    #[test]
    fn delays_double_within_their_halves_and_stay_below_the_cap(job: u64, failures in 1_u8..40, seed: u64) {
        let policy = RetryPolicy::default();
        let full = (10_u64 << (failures - 1).min(31)).min(3_600);
        let delay = u64::from(policy.delay_s(JobId(job), failures, seed));
        prop_assert!(delay >= full / 2 && delay <= full, "{delay} of {full}");
        prop_assert_eq!(delay, u64::from(policy.delay_s(JobId(job), failures, seed)));
    }

    #[test]
    fn every_sequence_of_failures_ends(classes in prop::collection::vec((0_usize..6, 0_u32..9), 5)) {
        let mut log = FailureLog::new();
        // Preemption, the last class, is the only one that may repeat for ever.
        let ended = classes.into_iter().any(|(class, worker)| matches!(fail(&mut log, worker, FailureClass::ALL[class]), AfterFailure::Dead(_)));
        prop_assert!(ended, "five attempts are all there are");
    }
}
