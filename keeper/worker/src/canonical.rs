//! The manifests whose results a contract can judge.

use keeper_types::{Executor, Manifest, ManifestError, MatmulJob};

/// The largest matrices whose product the referee can check in one transaction; as `MAX_SIZE` in `referee`.
pub const MAX_JUDGED_SIZE: u32 = 34;

/// A manifest that the referee cannot judge.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// It is no manifest at all.
    #[error(transparent)]
    Malformed(#[from] ManifestError),
    /// It runs something else.
    #[error("the manifest's executor is not matmul, the only one that the referee can judge: use another verification")]
    OtherExecutor,
    /// Its bytes differ from the ones that the referee hashes.
    #[error("the manifest is not in the form that the referee can judge: use exactly `{expected}`")]
    OtherBytes {
        /// The canonical bytes.
        expected: String,
    },
    /// Nobody could defend its result.
    #[error("the manifest's field `executor.size` is {size}, but the referee can judge at most {MAX_JUDGED_SIZE}")]
    TooLarge {
        /// The size.
        size: u32,
    },
}

/// The canonical manifest of a product: what verification by the referee means.
pub fn canonical_manifest(job: MatmulJob) -> String {
    let MatmulJob { size, seed } = job;
    format!(r#"{{"version":1,"executor":{{"kind":"matmul","size":{size},"seed":{seed}}}}}"#)
}

/// The product that a canonical manifest describes.
///
/// # Errors
/// Says in what the manifest differs from one that the referee can judge.
pub fn canonical_matmul(manifest: &[u8]) -> Result<MatmulJob, NotCanonical> {
    let Executor::Matmul(job) = Manifest::parse(manifest)?.executor else { return Err(NotCanonical::OtherExecutor) };
    let expected = canonical_manifest(job);
    if manifest != expected.as_bytes() {
        return Err(NotCanonical::OtherBytes { expected });
    }
    if job.size > MAX_JUDGED_SIZE {
        return Err(NotCanonical::TooLarge { size: job.size });
    }
    Ok(job)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_exact_bytes_are_canonical() {
        let manifest = r#"{"version":1,"executor":{"kind":"matmul","size":24,"seed":7}}"#;
        assert_eq!(canonical_matmul(manifest.as_bytes()), Ok(MatmulJob { size: 24, seed: 7 }));
        let spaced = manifest.replace(',', ", ");
        let error = canonical_matmul(spaced.as_bytes()).unwrap_err();
        assert!(error.to_string().contains(manifest), "{error}");
        let large = manifest.replace("24", "35");
        assert_eq!(canonical_matmul(large.as_bytes()), Err(NotCanonical::TooLarge { size: 35 }));
        let command = r#"{"version":1,"executor":{"kind":"process","command":["true"]}}"#;
        assert_eq!(canonical_matmul(command.as_bytes()), Err(NotCanonical::OtherExecutor));
        assert!(matches!(canonical_matmul(b"{}"), Err(NotCanonical::Malformed(_))));
    }
}
