//! Which worker's agent is reached through which session.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keeper_types::{AgentProfile, AgentView, WorkerId};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{AgentSession, OfferError, ServerMessage, SessionId, Sessions};

/// Messages that may wait for one agent.
const OUTBOX: usize = 64;

/// The sessions there are. At most one per worker: a newer one replaces the older.
#[derive(Clone)]
pub(super) struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    max_sessions: usize,
    // Guards the entries and the order of session numbers; held for a look-up at most, never across an await.
    state: Mutex<State>,
    // Changed one entry at a time, since profiles may be large.
    sessions: watch::Sender<Sessions>,
}

#[derive(Default)]
struct State {
    entries: BTreeMap<WorkerId, Entry>,
    last: u64,
}

struct Entry {
    session: SessionId,
    outbox: mpsc::Sender<ServerMessage>,
    replaced: CancellationToken,
}

/// A session's place in the registry, vacated on drop.
pub(super) struct Registration {
    pub(super) worker_id: WorkerId,
    pub(super) session: SessionId,
    pub(super) outbox: mpsc::Receiver<ServerMessage>,
    pub(super) replaced: CancellationToken,
    registry: Registry,
}

impl Registry {
    pub(super) fn new(max_sessions: usize) -> Self {
        let (sessions, _) = watch::channel(Sessions::new());
        Self { inner: Arc::new(Inner { max_sessions, state: Mutex::default(), sessions }) }
    }

    /// Enters a new session of `worker_id`, which replaces an older one. `None` where there is no room.
    pub(super) fn register(&self, worker_id: WorkerId, profile: AgentProfile) -> Option<Registration> {
        let (sender, outbox) = mpsc::channel(OUTBOX);
        let replaced = CancellationToken::new();
        let mut state = self.state();
        if state.entries.len() >= self.inner.max_sessions && !state.entries.contains_key(&worker_id) {
            return None;
        }
        state.last += 1;
        let session = SessionId(state.last);
        let entry = Entry { session, outbox: sender, replaced: replaced.clone() };
        if let Some(older) = state.entries.insert(worker_id, entry) {
            older.replaced.cancel();
        }
        let agent = AgentView { profile, ..AgentView::default() };
        self.inner.sessions.send_modify(|sessions| {
            sessions.insert(worker_id, AgentSession { id: session, agent });
        });
        Some(Registration { worker_id, session, outbox, replaced, registry: self.clone() })
    }

    pub(super) fn sessions(&self) -> watch::Receiver<Sessions> {
        self.inner.sessions.subscribe()
    }

    /// Says whose agents have not begun what they were offered in these sessions; all others have.
    pub(super) fn stalled(&self, stalled: &BTreeSet<(WorkerId, SessionId)>) {
        self.inner.sessions.send_if_modified(|sessions| {
            let mut is_news = false;
            for (worker_id, session) in sessions.iter_mut() {
                let is_stalled = stalled.contains(&(*worker_id, session.id));
                is_news |= session.agent.is_stalled != is_stalled;
                session.agent.is_stalled = is_stalled;
            }
            is_news
        });
    }

    pub(super) fn send(&self, worker_id: WorkerId, message: ServerMessage) -> Result<SessionId, OfferError> {
        let state = self.state();
        let entry = state.entries.get(&worker_id).ok_or(OfferError::Offline(worker_id))?;
        match entry.outbox.try_send(message) {
            Ok(()) => Ok(entry.session),
            Err(mpsc::error::TrySendError::Full(_)) => Err(OfferError::Congested(worker_id)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(OfferError::Offline(worker_id)),
        }
    }

    fn vacate(&self, worker_id: WorkerId, session: SessionId) {
        let mut state = self.state();
        if state.entries.get(&worker_id).is_some_and(|entry| entry.session == session) {
            state.entries.remove(&worker_id);
            self.inner.sessions.send_modify(|sessions| {
                sessions.remove(&worker_id);
            });
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock leaves it half done.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registration {
    /// Changes what is known of the agent, and tells whoever follows the sessions where `change` says that it did.
    /// Nothing happens once a newer session has taken the place.
    pub(super) fn update(&self, change: impl FnOnce(&mut AgentView) -> bool) {
        self.registry.inner.sessions.send_if_modified(|sessions| {
            let own = sessions.get_mut(&self.worker_id).filter(|session| session.id == self.session);
            own.is_some_and(|session| change(&mut session.agent))
        });
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.vacate(self.worker_id, self.session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_does_not_begin_is_marked_for_its_session_until_it_does() {
        let registry = Registry::new(2);
        let first = registry.register(WorkerId(7), AgentProfile::default()).unwrap();
        let second = registry.register(WorkerId(8), AgentProfile::default()).unwrap();
        let mut sessions = registry.sessions();
        let marked = |sessions: &mut watch::Receiver<Sessions>| {
            let sessions = sessions.borrow_and_update();
            let marked = sessions.iter().filter(|(_, session)| session.agent.is_stalled);
            marked.map(|(worker_id, _)| worker_id.0).collect::<Vec<_>>()
        };
        registry.stalled(&[(WorkerId(7), first.session), (WorkerId(8), first.session)].into());
        assert_eq!(marked(&mut sessions), [7], "worker 8 has another session");
        registry.stalled(&[(WorkerId(7), first.session)].into());
        assert!(!sessions.has_changed().unwrap(), "what stays as it is is no news");
        registry.stalled(&[(WorkerId(8), second.session)].into());
        assert_eq!(marked(&mut sessions), [8]);
        registry.stalled(&BTreeSet::new());
        assert_eq!(marked(&mut sessions), [0; 0]);
    }

    #[test]
    fn a_session_that_was_replaced_changes_nothing_any_more() {
        let registry = Registry::new(1);
        let older = registry.register(WorkerId(7), AgentProfile::default()).unwrap();
        let newer = registry.register(WorkerId(7), AgentProfile::default()).unwrap();
        let mut sessions = registry.sessions();
        let measure = |registration: &Registration, latency_ms: u32| {
            registration.update(|agent| {
                agent.latency_ms = Some(latency_ms);
                true
            });
        };
        measure(&older, 1);
        assert!(!sessions.has_changed().unwrap());
        measure(&newer, 2);
        let seen = sessions.borrow_and_update()[&WorkerId(7)].clone();
        assert_eq!((seen.id, seen.agent.latency_ms), (newer.session, Some(2)));
        drop(older);
        assert!(!sessions.has_changed().unwrap());
        drop(newer);
        assert!(sessions.borrow_and_update().is_empty());
    }
}
