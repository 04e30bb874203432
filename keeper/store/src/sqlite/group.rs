//! Group commit: calls that come at the same time share one transaction, and one wait for the disk.
//!
//! Whoever finds nobody at it takes all that waits, its own call with it, and does it in one transaction. Whoever
//! comes meanwhile waits for the next. Nobody is answered before the transaction is on the disk. Where it fails, each
//! call of it is tried alone, so that none fails for another's sake.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use keeper_failpoints::reach;
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex as Turn, oneshot};

use crate::{StoreError, places::Places};

/// A call that can share its transaction with others. What it finds wrong it says in its answer; an error undoes the
/// whole transaction.
#[async_trait]
pub(super) trait Call: Send + Sync + 'static {
    /// What it answers.
    type Answer: Send + 'static;

    /// The places before and after its commit.
    fn places(&self) -> Places;

    /// Does it.
    async fn execute(&self, connection: &mut SqliteConnection) -> Result<Self::Answer, StoreError>;
}

struct Waiting<C: Call> {
    call: C,
    reply: oneshot::Sender<Result<C::Answer, StoreError>>,
}

/// Calls that wait for the next transaction.
pub(super) struct Group<C: Call> {
    /// Held only to add or to take calls.
    waiting: Arc<Mutex<Vec<Waiting<C>>>>,
    /// Held while a transaction is under way.
    turn: Arc<Turn<()>>,
}

impl<C: Call> Default for Group<C> {
    fn default() -> Self {
        Self { waiting: Arc::default(), turn: Arc::default() }
    }
}

impl<C: Call> fmt::Debug for Group<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").finish_non_exhaustive()
    }
}

impl<C: Call> Group<C> {
    /// Does the call in the next transaction, and answers when that is on the disk.
    pub(super) async fn commit(&self, pool: &SqlitePool, call: C) -> Result<C::Answer, StoreError> {
        let (reply, mut answer) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Waiting { call, reply });
        tokio::select! {
            biased;
            answer = &mut answer => return answer.unwrap_or_else(|_| Err(lost())),
            turn = Arc::clone(&self.turn).lock_owned() => {
                let group = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
                if !group.is_empty() {
                    let pool = pool.clone();
                    // A task of its own: others' calls go on where this caller is dropped.
                    tokio::spawn(async move {
                        run(&pool, group).await;
                        drop(turn);
                    });
                }
            }
        }
        answer.await.unwrap_or_else(|_| Err(lost()))
    }
}

/// A panic in the transaction's task, which takes the answers with it.
fn lost() -> StoreError {
    StoreError::CommitUnknown(sqlx::Error::WorkerCrashed)
}

async fn run<C: Call>(pool: &SqlitePool, group: Vec<Waiting<C>>) {
    match together(pool, group.iter().map(|waiting| &waiting.call)).await {
        Ok(answers) => {
            for (waiting, answer) in group.into_iter().zip(answers) {
                // Nobody listens where the caller was dropped.
                let _ = waiting.reply.send(Ok(answer));
            }
        }
        Err(error) if group.len() == 1 => {
            if let Some(waiting) = group.into_iter().next() {
                let _ = waiting.reply.send(Err(error));
            }
        }
        Err(_) => {
            for waiting in group {
                let alone = together(pool, std::iter::once(&waiting.call)).await;
                let answer = alone.and_then(|answers| answers.into_iter().next().ok_or_else(lost));
                let _ = waiting.reply.send(answer);
            }
        }
    }
}

async fn together<'a, C: Call>(
    pool: &SqlitePool,
    calls: impl Iterator<Item = &'a C> + Send,
) -> Result<Vec<C::Answer>, StoreError> {
    let mut transaction: Transaction<'static, Sqlite> = pool.begin_with("BEGIN IMMEDIATE").await?;
    let (mut answers, mut places) = (Vec::new(), Vec::new());
    for call in calls {
        answers.push(call.execute(&mut transaction).await?);
        places.push(call.places());
    }
    places.iter().for_each(|(before, _)| reach(*before));
    transaction.commit().await?;
    places.iter().for_each(|(_, after)| reach(*after));
    Ok(answers)
}

#[cfg(test)]
mod tests;
