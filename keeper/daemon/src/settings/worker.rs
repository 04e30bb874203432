//! What a worker's operator says about it, for `keeper worker run`.

use std::{collections::BTreeSet, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use keeper_dispatch::check_profile;
use keeper_types::{Address, AgentProfile, ExecutorKind, Felt, Refusals};
use keeper_worker::{ProfileConfig, model_id};
use serde::{Deserialize, Serialize};

/// The file's section `worker`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WorkerSettings {
    /// Clients whose jobs are refused.
    pub(crate) refuse_clients: Vec<Address>,
    /// Kinds of jobs that are refused.
    pub(crate) refuse_executors: Vec<ExecutorKind>,
    /// A folder whose entries are models.
    pub(crate) models_dir: Option<PathBuf>,
    /// Models that are held wherever they are.
    pub(crate) models: Vec<String>,
}

impl WorkerSettings {
    /// These, where `over` says nothing else.
    pub(crate) fn under(&self, over: &Self) -> Self {
        fn either<T: Clone>(over: &[T], under: &[T]) -> Vec<T> {
            if over.is_empty() { under.to_vec() } else { over.to_vec() }
        }
        Self {
            refuse_clients: either(&over.refuse_clients, &self.refuse_clients),
            refuse_executors: either(&over.refuse_executors, &self.refuse_executors),
            models_dir: over.models_dir.clone().or_else(|| self.models_dir.clone()),
            models: either(&over.models, &self.models),
        }
    }

    /// What the agent makes its profile of, with jobs below `workspaces`.
    ///
    /// # Errors
    /// Names the field that is wrong and what it may be.
    pub(crate) fn profile(&self, workspaces: PathBuf) -> Result<ProfileConfig> {
        let mut models: BTreeSet<Felt> = BTreeSet::new();
        for name in &self.models {
            match model_id(name) {
                Some(model) => models.insert(model),
                None => bail!("worker.models has `{name}`, but a name has 1 to 31 printable characters of ASCII"),
            };
        }
        let clients = self.refuse_clients.iter().copied().collect();
        let refuses = Refusals { clients, executors: self.refuse_executors.iter().copied().collect() };
        // What no keeper would take note of is said here, not by every keeper again.
        let told = AgentProfile { models: models.clone(), refuses: refuses.clone(), ..AgentProfile::default() };
        check_profile(&told).context("worker")?;
        Ok(ProfileConfig { workspaces, models_dir: self.models_dir.clone(), models, refuses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(models: &[&str]) -> WorkerSettings {
        WorkerSettings { models: models.iter().map(|name| (*name).to_owned()).collect(), ..WorkerSettings::default() }
    }

    #[test]
    fn a_flag_takes_the_place_of_what_the_file_says() {
        let file = WorkerSettings { models_dir: Some("file".into()), ..settings(&["a", "b"]) };
        assert_eq!(file.under(&WorkerSettings::default()), file);
        let flags = WorkerSettings { refuse_executors: vec![ExecutorKind::Process], ..settings(&["c"]) };
        let both = file.under(&flags);
        assert_eq!(both, WorkerSettings { models_dir: Some("file".into()), ..flags });
    }

    #[test]
    fn what_no_keeper_would_take_is_named() {
        let refused = |settings: WorkerSettings| format!("{:#}", settings.profile(PathBuf::new()).unwrap_err());
        let expected = "worker.models has `späth`, but a name has 1 to 31 printable characters of ASCII";
        assert_eq!(refused(settings(&["späth"])), expected);
        let refuse_clients = (0..=4_096_u32).map(|number| Address(number.into())).collect();
        let picky = WorkerSettings { refuse_clients, ..WorkerSettings::default() };
        assert_eq!(refused(picky), "worker: profile.refuses.clients lists 4097, but at most 4096 can be");
    }
}
