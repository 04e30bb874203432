//! `keeper job judge`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use keeper_chain::Contracts;
use keeper_types::{Felt, JobId, JobState};

use super::{done, known_job};
use crate::{cli::complaints, context::Context};

/// Bytes of evidence in one felt.
const BYTES_PER_FELT: usize = 28;

/// The evidence.
#[derive(Debug, Args)]
pub(crate) struct JudgeArgs {
    /// The job's number
    id: JobId,
    /// The job's manifest
    #[arg(long, value_name = "FILE")]
    manifest: PathBuf,
    /// The output that its worker published
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

fn read(named_by: &str, file: &Path) -> Result<Vec<u8>> {
    std::fs::read(file).map_err(|error| complaints::unreadable(named_by, file.as_os_str(), &error))
}

/// Posts the evidence to the referee, which rules at once.
///
/// # Errors
/// Says what is no evidence, or what the referee refuses.
pub(super) async fn run(context: &Context, contracts: &Contracts, args: &JudgeArgs) -> Result<()> {
    let job = known_job(contracts, args.id).await?;
    if job.state != JobState::Disputed {
        bail!("job {} is {}: only a disputed result is judged", args.id, job.state);
    }
    let manifest = read("--manifest", &args.manifest)?;
    let product = keeper_worker::canonical_matmul(&manifest).with_context(|| args.manifest.display().to_string())?;
    let output = read("--output", &args.output)?;
    let expected = keeper_worker::matmul::output_bytes(product);
    if output.len() as u64 != expected {
        bail!(
            "{} has {} bytes, but a product of size {} has {expected}",
            args.output.display(),
            output.len(),
            product.size
        );
    }
    let sender = context.sender().await?;
    let evidence = (product.size, product.seed);
    let receipt = contracts.judge(&sender, args.id, evidence, &packed(&output)).await?;
    done(context, &receipt, args.id, "judged")
}

/// As the referee reads it: each felt is the big-endian number that the next 28 bytes are, the last one filled up
/// with zeros at its end.
fn packed(output: &[u8]) -> Vec<Felt> {
    let pack = |chunk: &[u8]| {
        let mut bytes = [0; BYTES_PER_FELT];
        bytes[..chunk.len()].copy_from_slice(chunk);
        Felt::from_bytes_be_slice(&bytes)
    };
    output.chunks(BYTES_PER_FELT).map(pack).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seven_entries_are_a_felt_and_the_last_is_filled_up() {
        let felts = packed(&(1..=32).collect::<Vec<u8>>());
        assert_eq!(felts.len(), 2);
        assert_eq!(felts[0], Felt::from_bytes_be_slice(&(1..=28).collect::<Vec<u8>>()));
        assert_eq!(felts[1], Felt::from(0x1d1e_1f20) * Felt::TWO.pow(192_u32));
    }
}
