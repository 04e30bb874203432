//! What the agent says about its worker: the GPUs that the machine has, the disk that is free, the models that are
//! there, and what the operator does not want.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use keeper_dispatch::{MAX_GPU_MODEL_BYTES, MAX_MODELS};
use keeper_types::{AgentProfile, Felt, Refusals};
use nix::sys::statvfs::statvfs;
use tracing::{debug, warn};

use crate::Inventory;

const GIB: u64 = 1 << 30;
/// Characters of the longest name of a model: what a felt holds.
const MAX_MODEL_NAME: usize = 31;

/// Says what a worker is, as of now.
pub trait ProfileSource: Send + Sync {
    /// Looks again. May wait for a disk.
    fn profile(&self) -> AgentProfile;
}

/// What the operator says about the worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfileConfig {
    /// The folder that jobs run below: its free space counts.
    pub workspaces: PathBuf,
    /// A folder whose entries are models, by the names that jobs use.
    pub models_dir: Option<PathBuf>,
    /// Models that the worker holds wherever they are.
    pub models: BTreeSet<Felt>,
    /// What it does not take.
    pub refuses: Refusals,
}

/// The profile of the machine that this process runs on.
#[derive(Clone, Debug)]
pub struct MachineProfile {
    config: ProfileConfig,
    gpu_model: String,
    pcie_generation: u8,
}

impl MachineProfile {
    /// Of a machine with this inventory. GPUs do not change while an agent runs, so they are looked at once.
    pub fn new(config: ProfileConfig, inventory: &Inventory) -> Self {
        Self { config, gpu_model: gpu_model(inventory), pcie_generation: pcie_generation(inventory) }
    }
}

impl ProfileSource for MachineProfile {
    fn profile(&self) -> AgentProfile {
        let mut models = self.config.models.clone();
        if let Some(folder) = &self.config.models_dir {
            models.extend(models_in(folder));
        }
        if models.len() > MAX_MODELS {
            warn!(found = models.len(), told = MAX_MODELS, "there are more models than a keeper takes note of");
            models = models.into_iter().take(MAX_MODELS).collect();
        }
        AgentProfile {
            gpu_model: self.gpu_model.clone(),
            disk_gib: free_gib(&self.config.workspaces),
            pcie_generation: self.pcie_generation,
            models,
            refuses: self.config.refuses.clone(),
        }
    }
}

/// The number that jobs name a model by: its name as a short string. `None` where it is no name of 1 to 31 printable
/// characters of ASCII.
pub fn model_id(name: &str) -> Option<Felt> {
    let is_name = (1..=MAX_MODEL_NAME).contains(&name.len()) && name.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    is_name.then(|| Felt::from_bytes_be_slice(name.as_bytes()))
}

/// What the driver calls the GPUs. Where they differ there is no one name: a job must run on whichever it is given.
fn gpu_model(inventory: &Inventory) -> String {
    let names: BTreeSet<&str> = inventory.gpus.iter().map(|gpu| gpu.name.trim()).collect();
    match names.first() {
        Some(name) if names.len() == 1 => {
            let name: String = name.chars().filter(|character| !character.is_control()).collect();
            name[..name.floor_char_boundary(MAX_GPU_MODEL_BYTES)].to_owned()
        }
        Some(_) => {
            warn!(?names, "the GPUs are of several models, so no job that asks for one will come");
            String::new()
        }
        None => String::new(),
    }
}

/// The least of the GPUs', and 0 where that of one is not known.
fn pcie_generation(inventory: &Inventory) -> u8 {
    let least = inventory.gpus.iter().map(|gpu| gpu.pcie_generation.unwrap_or_default()).min();
    least.and_then(|generation| u8::try_from(generation).ok()).unwrap_or_default()
}

/// What may still be written to the disk that a folder is on, by this user.
fn free_gib(folder: &Path) -> u32 {
    match statvfs(folder) {
        Ok(found) => {
            let bytes = found.blocks_available().saturating_mul(found.fragment_size());
            u32::try_from(bytes / GIB).unwrap_or(u32::MAX)
        }
        Err(error) => {
            warn!(folder = %folder.display(), %error, "cannot tell how much disk is free; none is said to be");
            0
        }
    }
}

/// The models in a folder. A name that begins with a dot is none, so that one which is still being fetched may be
/// there under such a name.
fn models_in(folder: &Path) -> Vec<Felt> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            warn!(folder = %folder.display(), %error, "cannot look at the models; none in this folder is said to be held");
            return Vec::new();
        }
    };
    let mut models = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        match name.to_str().filter(|name| !name.starts_with('.')).map(model_id) {
            Some(Some(model)) => models.push(model),
            Some(None) => debug!(?name, "not the name of a model: jobs name theirs by at most 31 characters of ASCII"),
            None => {}
        }
    }
    models
}

#[cfg(test)]
mod tests {
    use keeper_dispatch::check_profile;

    use super::*;
    use crate::{Gpu, MachineProbe, Probe as _};

    fn gpu(name: &str, pcie_generation: Option<u32>) -> Gpu {
        Gpu { name: name.to_owned(), pcie_generation, ..Gpu::default() }
    }

    fn of(gpus: Vec<Gpu>) -> AgentProfile {
        let config = ProfileConfig { workspaces: std::env::temp_dir(), ..ProfileConfig::default() };
        MachineProfile::new(config, &Inventory { gpus, ..Inventory::default() }).profile()
    }

    #[test]
    fn gpus_of_one_model_have_its_name_and_the_least_connection() {
        let profile = of(vec![gpu("NVIDIA L4", Some(4)), gpu("NVIDIA L4", Some(3))]);
        assert_eq!((profile.gpu_model.as_str(), profile.pcie_generation), ("NVIDIA L4", 3));
        assert_eq!(of(vec![gpu("NVIDIA L4", Some(4)), gpu("NVIDIA L4", None)]).pcie_generation, 0);
        let mixed = of(vec![gpu("NVIDIA L4", Some(4)), gpu("NVIDIA A100", Some(4))]);
        assert_eq!((mixed.gpu_model.as_str(), mixed.pcie_generation), ("", 4));
        assert_eq!((of(vec![]).gpu_model.as_str(), of(vec![]).pcie_generation), ("", 0));
    }

    #[test]
    fn a_long_name_is_cut_where_a_keeper_still_takes_it() {
        let profile = of(vec![gpu(&format!("{}é and more\u{7}", "x".repeat(63)), None)]);
        assert_eq!(profile.gpu_model, "x".repeat(63));
        assert_eq!(check_profile(&profile), Ok(()));
    }

    #[test]
    fn models_are_those_of_the_folder_and_those_of_the_list() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["llama-3-8b", "a-name-that-no-job-can-write-down-since-it-is-long", "späth"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("whisper.bin"), b"").unwrap();
        fs::write(folder.path().join(".fetching"), b"").unwrap();
        let id = |name| model_id(name).unwrap();
        let config = ProfileConfig {
            workspaces: folder.path().to_owned(),
            models_dir: Some(folder.path().to_owned()),
            models: [id("elsewhere")].into(),
            ..ProfileConfig::default()
        };
        let source = MachineProfile::new(config, &Inventory::default());
        assert_eq!(source.profile().models, [id("llama-3-8b"), id("whisper.bin"), id("elsewhere")].into());
        fs::rename(folder.path().join(".fetching"), folder.path().join("fetched")).unwrap();
        assert!(source.profile().models.contains(&id("fetched")));
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_claimed() {
        let missing = PathBuf::from("/there/is/no/such/folder");
        let config =
            ProfileConfig { workspaces: missing.clone(), models_dir: Some(missing), ..ProfileConfig::default() };
        assert_eq!(MachineProfile::new(config, &Inventory::default()).profile(), AgentProfile::default());
    }

    #[test]
    fn this_machine_has_a_profile_that_keepers_take() {
        let inventory = MachineProbe.inventory();
        let config = ProfileConfig { workspaces: std::env::temp_dir(), ..ProfileConfig::default() };
        let profile = MachineProfile::new(config, &inventory).profile();
        assert_eq!(check_profile(&profile), Ok(()));
        let is_of_one_model = inventory.gpus.windows(2).all(|pair| pair[0].name == pair[1].name);
        assert_eq!(profile.gpu_model.is_empty(), inventory.gpus.is_empty() || !is_of_one_model);
    }

    #[test]
    fn a_model_is_named_by_a_short_string() {
        assert_eq!(model_id("gpt"), Some(Felt::from(0x67_70_74)));
        assert!(model_id(&"x".repeat(31)).is_some());
        for name in ["", "späth", "a\nb", &"x".repeat(32)] {
            assert_eq!(model_id(name), None, "{name}");
        }
    }
}
