//! The authors' own results.

use std::{collections::BTreeMap, path::Path};

use super::Run;

/// The file with their results, as in the simulator's repository under `experiments/analysis/expected_results`, where
/// it is called `analysis_allo_discrete.csv`: a line for each mix, policy and seed, and a column for each percentage of
/// arrived demand with the percentage of GPUs allocated then.
const FILE: &str = "expected_allocation_percent.csv";

/// Their runs, by mix and policy as the figures name them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published(BTreeMap<(String, String), Vec<Run>>);

/// The results cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PublishedError {
    /// The file is not in the form expected.
    #[error("{FILE}: {0}")]
    Csv(#[from] csv::Error),
    /// A column is missing.
    #[error("{FILE} has no column {0}")]
    Column(&'static str),
    /// A figure is not a number.
    #[error("{FILE}: `{0}` is not a percentage")]
    Figure(String),
}

impl Published {
    /// Reads the file in a folder; nothing where there is none.
    ///
    /// # Errors
    /// Where there is one, but in another form.
    pub fn read(folder: &Path) -> Result<Self, PublishedError> {
        let file = folder.join(FILE);
        if !file.exists() {
            return Ok(Self::default());
        }
        let mut reader = csv::Reader::from_path(file)?;
        let header = reader.headers()?.clone();
        let column = |name| header.iter().position(|column| column == name).ok_or(PublishedError::Column(name));
        let (mix, policy) = (column("workload")?, column("sc_policy")?);
        let (at_100, at_130) = (column("100")?, column("130")?);
        let mut runs: BTreeMap<_, Vec<Run>> = BTreeMap::new();
        for row in reader.records() {
            let row = row?;
            let percent = |column: usize| {
                let text = row.get(column).unwrap_or_default();
                text.parse().map_err(|_| PublishedError::Figure(text.to_owned()))
            };
            let run = Run { alloc_100: percent(at_100)?, alloc_130: percent(at_130)? };
            // openb_pod_list_default, 06-FGD
            let mix = row.get(mix).unwrap_or_default().rsplit('_').next().unwrap_or_default();
            let policy = row.get(policy).unwrap_or_default().rsplit('-').next().unwrap_or_default();
            runs.entry((mix.to_owned(), policy.to_owned())).or_default().push(run);
        }
        Ok(Self(runs))
    }

    /// Their runs of a mix under a policy; none where they had no such.
    pub fn runs(&self, mix: &str, policy: &str) -> &[Run] {
        self.0.get(&(mix.to_owned(), policy.to_owned())).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::openb::sample_folder;

    #[test]
    fn runs_are_found_by_the_names_that_figures_use() {
        let published = Published::read(&sample_folder()).unwrap();
        let runs = published.runs("default", "FGD");
        assert_eq!(runs.len(), 2);
        assert_eq!(runs[0], Run { alloc_100: 95.14, alloc_130: 95.29 });
        assert!(published.runs("default", "WasteDescent").is_empty());
    }

    #[test]
    fn a_folder_without_results_has_none() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        assert_eq!(Published::read(&folder).unwrap(), Published::default());
    }
}
