//! Which worker's agent is reached through which session.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use keeper_types::WorkerId;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{OfferError, ServerMessage, SessionId, Sessions};

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
    pub(super) fn register(&self, worker_id: WorkerId) -> Option<Registration> {
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
        self.publish(&state);
        Some(Registration { worker_id, session, outbox, replaced, registry: self.clone() })
    }

    pub(super) fn sessions(&self) -> watch::Receiver<Sessions> {
        self.inner.sessions.subscribe()
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
            self.publish(&state);
        }
    }

    fn publish(&self, state: &State) {
        let sessions = state.entries.iter().map(|(worker_id, entry)| (*worker_id, entry.session)).collect();
        self.inner.sessions.send_replace(sessions);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock leaves it half done.
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.vacate(self.worker_id, self.session);
    }
}
