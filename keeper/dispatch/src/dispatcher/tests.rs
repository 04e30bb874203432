use keeper_types::AgentView;

use super::*;
use crate::AgentSession;

const FIRST: SessionId = SessionId(1);
const SECOND: SessionId = SessionId(2);

fn allocation(job: u64, attempt: u8, worker: u32) -> Allocation {
    let manifest = ContentHash::of(b"manifest");
    Allocation { job_id: JobId(job), attempt: Attempt(attempt), worker_id: WorkerId(worker), manifest }
}

fn sessions(sessions: &[(u32, SessionId)]) -> Sessions {
    let session = |id: &SessionId| AgentSession { id: *id, agent: AgentView::default() };
    sessions.iter().map(|(worker, id)| (WorkerId(*worker), session(id))).collect()
}

fn offer(allocation: Allocation, session: SessionId) -> Action {
    Action::Offer { allocation, session }
}

#[test]
fn an_attempt_is_offered_once_per_session() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    let allocated = BTreeSet::from([allocation(1, 1, 7), allocation(2, 1, 8)]);
    assert_eq!(ledger.plan(&allocated, &sessions(&[]), now), []);
    let connected = sessions(&[(7, FIRST)]);
    assert_eq!(ledger.plan(&allocated, &connected, now), [offer(allocation(1, 1, 7), FIRST)]);
    assert_eq!(ledger.plan(&allocated, &connected, now), []);
    // Away and back under a new number: the agent may have lost what it was told.
    assert_eq!(ledger.plan(&allocated, &sessions(&[]), now), []);
    assert_eq!(ledger.plan(&allocated, &sessions(&[(7, SECOND)]), now), [offer(allocation(1, 1, 7), SECOND)]);
}

#[test]
fn what_is_no_longer_allocated_is_withdrawn_once() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    let connected = sessions(&[(7, FIRST), (8, SECOND)]);
    ledger.plan(&BTreeSet::from([allocation(1, 1, 7)]), &connected, now);
    let moved = BTreeSet::from([allocation(1, 2, 8)]);
    let withdraw = Action::Withdraw { worker_id: WorkerId(7), job_id: JobId(1), attempt: Attempt(1) };
    assert_eq!(ledger.plan(&moved, &connected, now), [withdraw, offer(allocation(1, 2, 8), SECOND)]);
    assert_eq!(ledger.plan(&moved, &connected, now), []);
}

#[test]
fn nobody_is_told_of_a_withdrawal_who_was_not_offered_the_job() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    ledger.plan(&BTreeSet::from([allocation(1, 1, 7)]), &sessions(&[(7, FIRST)]), now);
    assert_eq!(ledger.plan(&BTreeSet::new(), &sessions(&[(7, SECOND)]), now), []);
}

#[test]
fn a_refusal_that_passes_is_retried_after_a_growing_while() {
    let mut ledger = Ledger::default();
    let connected = sessions(&[(7, FIRST)]);
    let allocated = BTreeSet::from([allocation(1, 1, 7)]);
    let mut now = Instant::now();
    ledger.plan(&allocated, &connected, now);
    for wait_s in [2, 4, 8, 16, 32, 60, 60] {
        ledger.refused(JobId(1), Attempt(1), FIRST, RefusalCode::NotAllocated, now);
        let due = now + Duration::from_secs(wait_s);
        assert_eq!(ledger.next_due(now), Some(due));
        assert_eq!(ledger.plan(&allocated, &connected, due - Duration::from_millis(1)), []);
        assert_eq!(ledger.plan(&allocated, &connected, due), [offer(allocation(1, 1, 7), FIRST)]);
        now = due;
    }
}

#[test]
fn a_refusal_for_good_holds_for_the_session() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    let allocated = BTreeSet::from([allocation(1, 1, 7)]);
    ledger.plan(&allocated, &sessions(&[(7, FIRST)]), now);
    for (code, session, next) in [
        (RefusalCode::ManifestMismatch, FIRST, SECOND),
        (RefusalCode::Unwanted, SECOND, SessionId(3)),
        (RefusalCode::PlacementUnmet, SessionId(3), SessionId(4)),
    ] {
        ledger.refused(JobId(1), Attempt(1), session, code, now);
        assert_eq!(ledger.next_due(now + ASSIGNMENT_TIMEOUT), None);
        assert_eq!(ledger.plan(&allocated, &sessions(&[(7, session)]), now + Duration::from_secs(3_600)), []);
        assert_eq!(ledger.plan(&allocated, &sessions(&[(7, next)]), now), [offer(allocation(1, 1, 7), next)]);
    }
}

#[test]
fn words_from_an_older_session_change_nothing() {
    let mut ledger = Ledger::default();
    let now = Instant::now();
    let allocated = BTreeSet::from([allocation(1, 1, 7)]);
    ledger.plan(&allocated, &sessions(&[(7, SECOND)]), now);
    ledger.refused(JobId(1), Attempt(1), FIRST, RefusalCode::Busy, now);
    ledger.refused(JobId(9), Attempt(1), SECOND, RefusalCode::Busy, now);
    assert_eq!(ledger.next_due(now), Some(now + ASSIGNMENT_TIMEOUT), "nothing is offered before");
}

#[test]
fn an_attempt_that_does_not_begin_is_offered_again_and_its_worker_is_stalled_until_it_does() {
    let timeout = Duration::from_secs(5);
    let mut ledger = Ledger::new(RetryPolicy::default(), timeout);
    let connected = sessions(&[(7, FIRST), (8, SECOND)]);
    let allocated = BTreeSet::from([allocation(1, 1, 7), allocation(2, 1, 8)]);
    let start = Instant::now();
    ledger.plan(&allocated, &connected, start);
    ledger.begun(JobId(2), Attempt(1), FIRST);
    assert_eq!(ledger.next_due(start), Some(start + timeout));
    assert!(ledger.stalled(start + timeout - Duration::from_millis(1)).is_empty());
    // Words of a session that is not the offer's begin nothing.
    assert_eq!(ledger.stalled(start + timeout).len(), 2);
    ledger.begun(JobId(2), Attempt(1), SECOND);
    let late = start + timeout;
    assert_eq!(ledger.stalled(late), [((WorkerId(7), FIRST), (JobId(1), Attempt(1)))].into());
    assert_eq!(ledger.plan(&allocated, &connected, late), [offer(allocation(1, 1, 7), FIRST)]);
    assert_eq!(ledger.plan(&allocated, &connected, late), []);
    assert_eq!(ledger.next_due(late), Some(late + timeout), "offered again, and no sooner");
    // It refuses for a reason that passes, over and over: its worker has not begun all the same.
    ledger.refused(JobId(1), Attempt(1), FIRST, RefusalCode::Busy, late);
    assert_eq!(ledger.stalled(late).len(), 1);
    ledger.plan(&allocated, &connected, late + timeout);
    ledger.begun(JobId(1), Attempt(1), FIRST);
    assert!(ledger.stalled(late + timeout).is_empty());
    assert_eq!(ledger.next_due(late + timeout), None, "what runs is waited for by nobody");
    assert_eq!(ledger.plan(&allocated, &connected, late + timeout * 99), []);
}

#[test]
fn nothing_falls_due_for_a_worker_that_has_gone_or_a_job_that_has_ended() {
    let mut ledger = Ledger::default();
    let (now, connected) = (Instant::now(), sessions(&[(7, FIRST)]));
    let allocated = BTreeSet::from([allocation(1, 1, 7), allocation(2, 1, 7)]);
    ledger.plan(&allocated, &connected, now);
    ledger.refused(JobId(1), Attempt(1), FIRST, RefusalCode::Busy, now);
    let late = now + ASSIGNMENT_TIMEOUT;
    assert_eq!(ledger.stalled(late).len(), 1);
    ledger.plan(&allocated, &sessions(&[]), late);
    assert_eq!((ledger.next_due(late), ledger.stalled(late).len()), (None, 0));
    // Back again it has as long as at first.
    assert_eq!(ledger.plan(&allocated, &sessions(&[(7, SECOND)]), late).len(), 2);
    assert!(ledger.stalled(late + ASSIGNMENT_TIMEOUT - Duration::from_millis(1)).is_empty());
    ledger.plan(&BTreeSet::new(), &sessions(&[(7, SECOND)]), late);
    assert_eq!((ledger.next_due(late), ledger.stalled(late + ASSIGNMENT_TIMEOUT).len()), (None, 0));
}
