//! Manifests: what a worker is to run.
//!
//! A manifest is a JSON document. Its bytes, exactly as they are, hash to the `manifest_hash` of the job on
//! chain, so a worker can tell that it was given what the client signed for. Unknown fields are refused: a
//! misspelt limit must not silently mean "no limit".

mod malformed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{ContentHash, ExecutorKind, ManifestView, Placement, PlacementError};

/// The largest manifest that is accepted, in bytes.
pub const MAX_MANIFEST_BYTES: usize = 64 * 1024;
/// The largest side of the built-in matrix product.
pub const MAX_MATMUL_SIZE: u32 = 4_096;

const VERSION: u32 = 1;
const MAX_ARGUMENTS: usize = 1_024;

/// What to run, and within which limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The format's version, 1.
    pub version: u32,
    /// What to run.
    pub executor: Executor,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// Where it may run, besides what the job requires on chain.
    #[serde(default)]
    pub placement: Placement,
}

/// The ways in which a worker can run a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Executor {
    /// A command on the worker's host. Not isolated: only for workers that trust their clients.
    Process(ProcessJob),
    /// The built-in product of two int8 matrices made from a seed; exact, so that anyone can check it.
    Matmul(MatmulJob),
}

impl Executor {
    /// The executor's name in manifests and logs.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Process(_) => "process",
            Self::Matmul(_) => "matmul",
        }
    }
}

/// A command whose standard output is the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessJob {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Environment variables; nothing else of the worker's environment but PATH is passed on.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// What the command reads on its standard input.
    #[serde(default)]
    pub stdin: String,
}

/// C = A * B for square matrices of int8, expanded from `seed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatmulJob {
    /// The matrices' side, 1 to 4,096.
    pub size: u32,
    /// What both matrices are expanded from.
    pub seed: u64,
}

/// What a job may use. The execution timeout in the job's own on-chain spec holds as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Wall-clock time, in seconds, 1 to 604,800.
    pub time_s: u32,
    /// Memory, in MiB, 16 to 4,194,304.
    pub memory_mib: u32,
    /// Output, in bytes, 1 to 1 GiB. A job that writes more fails.
    pub output_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time_s: 60, memory_mib: 1_024, output_bytes: 16 * 1024 * 1024 }
    }
}

impl Manifest {
    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// Names the field that is wrong and what it may be.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::TooLarge { bytes: bytes.len() });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(|error| malformed::describe(bytes, &error))?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// What it says about where its job may run.
    pub fn view(&self) -> ManifestView {
        let executor = match self.executor {
            Executor::Process(_) => ExecutorKind::Process,
            Executor::Matmul(_) => ExecutorKind::Matmul,
        };
        ManifestView { executor, placement: self.placement.clone() }
    }

    /// What the job's `manifest_hash` must be for this document.
    pub fn hash(bytes: &[u8]) -> ContentHash {
        ContentHash::of(bytes)
    }

    fn validate(&self) -> Result<(), ManifestError> {
        let field = |field: &str, reason: String| Err(ManifestError::Field { field: field.to_owned(), reason });
        if self.version != VERSION {
            return field("version", format!("is {}, but only {VERSION} is known", self.version));
        }
        match &self.executor {
            Executor::Process(job) => validate_process(job)?,
            Executor::Matmul(job) if job.size == 0 || job.size > MAX_MATMUL_SIZE => {
                return field("executor.size", format!("is {}, but must be 1 to {MAX_MATMUL_SIZE}", job.size));
            }
            Executor::Matmul(_) => {}
        }
        let limits = [
            ("limits.time_s", u64::from(self.limits.time_s), 1, 604_800),
            ("limits.memory_mib", u64::from(self.limits.memory_mib), 16, 4_194_304),
            ("limits.output_bytes", self.limits.output_bytes, 1, 1 << 30),
        ];
        if let Some((name, value, min, max)) =
            limits.into_iter().find(|(_, value, min, max)| value < min || value > max)
        {
            return field(name, format!("is {value}, but must be {min} to {max}"));
        }
        Ok(self.placement.validate()?)
    }
}

fn validate_process(job: &ProcessJob) -> Result<(), ManifestError> {
    let field =
        |field: &str, reason: &str| Err(ManifestError::Field { field: field.to_owned(), reason: reason.to_owned() });
    if job.command.first().is_none_or(String::is_empty) {
        return field("executor.command", "is empty, but must name a program");
    }
    if job.command.len() > MAX_ARGUMENTS {
        return field("executor.command", "has more than 1,024 arguments");
    }
    if job.command.iter().any(|argument| argument.contains('\0')) {
        return field("executor.command", "has a NUL character in an argument");
    }
    let bad = |name: &String| name.is_empty() || name.contains(['=', '\0']);
    if job.env.iter().any(|(name, value)| bad(name) || value.contains('\0')) {
        return field("executor.env", "has an empty name, or a name or value with `=` or NUL in it");
    }
    Ok(())
}

/// Why a document is not a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// It is longer than [`MAX_MANIFEST_BYTES`].
    #[error("the manifest is {bytes} bytes long, but at most {MAX_MANIFEST_BYTES} are accepted")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It is not JSON, or not of the manifest's form.
    #[error("the manifest is malformed: {0}")]
    Json(String),
    /// A field has a value of a wrong type, or is not known.
    #[error("the manifest's field `{field}` is malformed: {reason}")]
    Malformed {
        /// Its path, such as `placement.gpu_models[1]`.
        field: String,
        /// What is wrong with it, and what it may be.
        reason: String,
    },
    /// A field's value is out of its bounds.
    #[error("the manifest's field `{field}` {reason}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It says where the job may run in a way that makes no sense.
    #[error("the manifest's field `{}` {}", format_args!("placement.{}", .0.field), .0.reason)]
    Placement(#[from] PlacementError),
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATMUL: &str = r#"{"version":1,"executor":{"kind":"matmul","size":64,"seed":7}}"#;

    #[test]
    fn a_manifest_is_read_with_default_limits() {
        let manifest = Manifest::parse(MATMUL.as_bytes()).unwrap();
        assert_eq!(manifest.executor, Executor::Matmul(MatmulJob { size: 64, seed: 7 }));
        assert_eq!(manifest.limits, Limits::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, expected) in [
            ("", "the manifest is malformed: EOF"),
            ("{}", "missing field `version`"),
            (r#"{"version":2,"executor":{"kind":"matmul","size":1,"seed":0}}"#, "`version` is 2, but only 1 is known"),
            (
                r#"{"version":1,"executor":{"kind":"matmul","size":0,"seed":0}}"#,
                "`executor.size` is 0, but must be 1 to 4096",
            ),
            (r#"{"version":1,"executor":{"kind":"process","command":[]}}"#, "`executor.command` is empty"),
            (r#"{"version":1,"executor":{"kind":"shell"}}"#, "unknown variant `shell`, expected `process` or `matmul`"),
            (r#"{"version":1,"executor":{"kind":"matmul","size":1,"seed":0},"limit":{}}"#, "unknown field `limit`"),
            (
                r#"{"version":1,"executor":{"kind":"matmul","size":1,"seed":0},"limits":{"time_s":0}}"#,
                "`limits.time_s` is 0, but must be 1 to 604800",
            ),
        ] {
            let error = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_huge_document_is_refused_before_it_is_read() {
        let error = Manifest::parse(&vec![b' '; MAX_MANIFEST_BYTES + 1]).unwrap_err();
        assert_eq!(error.to_string(), "the manifest is 65537 bytes long, but at most 65536 are accepted");
    }
}
