//! The built-in matrix product as an executor.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use keeper_types::{Executor as Kind, MatmulJob};
use tokio::{task::spawn_blocking, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{Executor, JobRun, Output, RunError};
use crate::matmul;

const MIB: u64 = 1 << 20;

/// Multiplies matrices; see [`crate::matmul`].
#[derive(Clone, Copy, Debug, Default)]
pub struct MatmulExecutor;

/// Stops the computation when it is no longer waited for.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl Executor for MatmulExecutor {
    async fn run(&self, job: &JobRun, _workspace: &Path, cancel: CancellationToken) -> Result<Output, RunError> {
        let Kind::Matmul(product) = job.kind else {
            return Err(RunError::NotOffered { kind: job.kind.kind() });
        };
        check_limits(product, job)?;
        let stop = Arc::new(AtomicBool::new(false));
        let guard = StopOnDrop(Arc::clone(&stop));
        let mut computing = spawn_blocking(move || matmul::product(product, &stop));
        let interrupted = tokio::select! {
            done = &mut computing => {
                return match done {
                    Ok(Some(output)) => Ok(Output(Bytes::from(output))),
                    Ok(None) => Err(RunError::Cancelled),
                    Err(error) => Err(RunError::fault("compute the product", error)),
                };
            }
            () = cancel.cancelled() => RunError::Cancelled,
            () = sleep(job.time_limit) => RunError::TimedOut(job.time_limit),
        };
        drop(guard);
        // It looks at the flag every few rows; its slot must not be given away before it has.
        let _ = computing.await;
        Err(interrupted)
    }
}

fn check_limits(product: MatmulJob, job: &JobRun) -> Result<(), RunError> {
    let limit = job.limits.output_bytes;
    if matmul::output_bytes(product) > limit {
        return Err(RunError::OutputTooLarge { limit });
    }
    let needed_mib = matmul::memory_bytes(product).div_ceil(MIB);
    let limit_mib = job.limits.memory_mib;
    if needed_mib > u64::from(limit_mib) {
        return Err(RunError::OutOfMemory { needed_mib, limit_mib });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use keeper_types::{Attempt, JobId, Limits};

    use super::*;

    fn job(size: u32, limits: Limits) -> JobRun {
        let time_limit = Duration::from_secs(60);
        let kind = Kind::Matmul(MatmulJob { size, seed: 7 });
        JobRun { job_id: JobId(1), attempt: Attempt(1), kind, limits, time_limit, gpus: Vec::new() }
    }

    async fn run(job: &JobRun, cancel: CancellationToken) -> Result<Output, RunError> {
        MatmulExecutor.run(job, Path::new("/"), cancel).await
    }

    #[tokio::test]
    async fn the_output_is_the_product() {
        let Output(output) = run(&job(33, Limits::default()), CancellationToken::new()).await.unwrap();
        assert!(matmul::check(MatmulJob { size: 33, seed: 7 }, &output));
    }

    #[tokio::test]
    async fn limits_are_known_before_anything_is_computed() {
        let output_bytes = 4 * 64 * 64;
        let limits = Limits { output_bytes, ..Limits::default() };
        assert!(run(&job(64, limits), CancellationToken::new()).await.is_ok());
        let limits = Limits { output_bytes: output_bytes - 1, ..Limits::default() };
        let error = run(&job(64, limits), CancellationToken::new()).await.unwrap_err();
        assert!(matches!(error, RunError::OutputTooLarge { limit: 16_383 }), "{error}");

        let limits = Limits { memory_mib: 16, output_bytes: 1 << 30, ..Limits::default() };
        let error = run(&job(4_096, limits), CancellationToken::new()).await.unwrap_err();
        assert_eq!(error.to_string(), "the job needs 192 MiB of memory, but limits.memory_mib is 16");
    }

    #[tokio::test]
    async fn it_stops_when_it_is_told_to() {
        let limits = Limits { output_bytes: 1 << 30, ..Limits::default() };
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert!(matches!(run(&job(4_096, limits), cancel).await, Err(RunError::Cancelled)));

        let mut job = job(4_096, limits);
        job.time_limit = Duration::from_millis(1);
        assert!(matches!(run(&job, CancellationToken::new()).await, Err(RunError::TimedOut(_))));
    }
}
