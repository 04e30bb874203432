use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::sqlite::SqlitePoolOptions;

use super::*;

/// Adds a number to a table, and answers with how many transactions there were when it did; a negative one fails.
struct Add(i64, Arc<AtomicU64>);

#[async_trait]
impl Call for Add {
    type Answer = i64;

    fn places(&self) -> Places {
        crate::places::ENQUEUE
    }

    async fn execute(&self, connection: &mut SqliteConnection) -> Result<i64, StoreError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        sqlx::query("INSERT INTO numbers VALUES (?)").bind(self.0).execute(&mut *connection).await?;
        let sum = sqlx::query_scalar("SELECT sum(number) FROM numbers").fetch_one(connection).await?;
        Ok(sum)
    }
}

async fn pool() -> SqlitePool {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
    sqlx::query("CREATE TABLE numbers (number INTEGER NOT NULL CHECK (number >= 0))").execute(&pool).await.unwrap();
    pool
}

async fn sum(pool: &SqlitePool) -> i64 {
    sqlx::query_scalar("SELECT coalesce(sum(number), 0) FROM numbers").fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn calls_that_come_together_are_all_done_and_answered_apart() {
    let (pool, group, calls) = (pool().await, Group::default(), Arc::default());
    let adding = (1..=100).map(|number| group.commit(&pool, Add(number, Arc::clone(&calls))));
    let mut answers: Vec<i64> =
        futures::future::join_all(adding).await.into_iter().map(|answer| answer.unwrap()).collect();
    assert_eq!(sum(&pool).await, 5_050);
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers.len(), 100, "each saw what those before it did");
    assert_eq!(calls.load(Ordering::SeqCst), 100, "none was done twice");
}

#[tokio::test]
async fn a_call_that_fails_takes_no_other_with_it() {
    let (pool, group, calls) = (pool().await, Group::default(), Arc::default());
    let adding = [1, -5, 2, 3].map(|number| group.commit(&pool, Add(number, Arc::clone(&calls))));
    let answers = futures::future::join_all(adding).await;
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true, true]);
    assert_eq!(sum(&pool).await, 6);
    assert!(calls.load(Ordering::SeqCst) > 4, "they were tried together first");
}

#[tokio::test]
async fn a_caller_that_is_dropped_holds_up_nobody() {
    let (pool, group) = (pool().await, Group::default());
    let call = |number| Add(number, Arc::default());
    {
        let first = group.commit(&pool, call(1));
        let second = group.commit(&pool, call(2));
        let mut both = std::pin::pin!(futures::future::join(first, second));
        // Polled once, the first has begun for both; then nobody waits for either.
        let _ = futures::poll!(&mut both);
    }
    group.commit(&pool, call(4)).await.unwrap();
    assert!([4, 5, 6, 7].contains(&sum(&pool).await));
    assert_eq!(group.commit(&pool, call(8)).await.unwrap(), sum(&pool).await);
}
