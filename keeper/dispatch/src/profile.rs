//! How much an agent may say about its worker, and how it is shown.

use std::fmt;

use keeper_types::{AgentProfile, ExecutorKind};

/// Models that a profile may list.
pub const MAX_MODELS: usize = 4_096;
/// Clients that a profile may refuse.
pub const MAX_REFUSED_CLIENTS: usize = 4_096;
/// The longest name of a GPU model, in bytes.
pub const MAX_GPU_MODEL_BYTES: usize = 64;

/// A profile says more than a keeper holds.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("profile.{field} {reason}")]
pub struct ProfileError {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// Checks that a keeper can hold a profile, and show it.
///
/// # Errors
/// Names the first field that is too large, and how large it may be.
pub fn check_profile(profile: &AgentProfile) -> Result<(), ProfileError> {
    let error = |field, reason: String| Err(ProfileError { field, reason });
    let name = &profile.gpu_model;
    if name.len() > MAX_GPU_MODEL_BYTES {
        return error("gpu_model", format!("has {} bytes, but at most {MAX_GPU_MODEL_BYTES} can be", name.len()));
    }
    // People see it in logs and on terminals.
    if name.chars().any(char::is_control) {
        return error("gpu_model", "holds a control character".to_owned());
    }
    let lists = [
        ("models", profile.models.len(), MAX_MODELS),
        ("refuses.clients", profile.refuses.clients.len(), MAX_REFUSED_CLIENTS),
    ];
    match lists.into_iter().find(|(_, count, most)| count > most) {
        Some((field, count, most)) => error(field, format!("lists {count}, but at most {most} can be")),
        None => Ok(()),
    }
}

/// A profile in a line, for people.
#[derive(Clone, Copy, Debug)]
pub struct ProfileLine<'a>(pub &'a AgentProfile);

impl fmt::Display for ProfileLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AgentProfile { gpu_model, disk_gib, pcie_generation, models, refuses } = self.0;
        f.write_str(if gpu_model.is_empty() { "no GPU model" } else { gpu_model })?;
        if *pcie_generation > 0 {
            write!(f, ", PCI Express {pcie_generation}")?;
        }
        write!(f, ", {disk_gib} GiB of disk")?;
        match models.len() {
            0 => {}
            1 => f.write_str(", 1 model")?,
            count => write!(f, ", {count} models")?,
        }
        match refuses.clients.len() {
            0 => {}
            1 => f.write_str(", refuses 1 client")?,
            count => write!(f, ", refuses {count} clients")?,
        }
        refuses.executors.iter().try_for_each(|kind| match kind {
            ExecutorKind::Process => f.write_str(", refuses process"),
            ExecutorKind::Matmul => f.write_str(", refuses matmul"),
        })
    }
}

#[cfg(test)]
mod tests {
    use keeper_types::{Address, Felt, Refusals};

    use super::*;

    #[test]
    fn what_is_too_large_is_named() {
        let refused = |profile: AgentProfile| check_profile(&profile).unwrap_err().to_string();
        let felts = |count: u32| (0..count).map(Felt::from);
        let named = |gpu_model: String| AgentProfile { gpu_model, ..AgentProfile::default() };
        assert_eq!(refused(named("x".repeat(65))), "profile.gpu_model has 65 bytes, but at most 64 can be");
        assert_eq!(refused(named("\u{1b}[2J".to_owned())), "profile.gpu_model holds a control character");
        let models = AgentProfile { models: felts(4_097).collect(), ..AgentProfile::default() };
        assert_eq!(refused(models), "profile.models lists 4097, but at most 4096 can be");
        let clients = Refusals { clients: felts(4_097).map(Address).collect(), ..Refusals::default() };
        let picky = AgentProfile { refuses: clients, ..AgentProfile::default() };
        assert_eq!(refused(picky), "profile.refuses.clients lists 4097, but at most 4096 can be");
        let most = AgentProfile { models: felts(4_096).collect(), ..named("x".repeat(64)) };
        assert_eq!(check_profile(&most), Ok(()));
    }

    #[test]
    fn a_profile_is_shown_in_a_line() {
        let nothing = AgentProfile::default();
        assert_eq!(ProfileLine(&nothing).to_string(), "no GPU model, 0 GiB of disk");
        let refuses = Refusals { clients: [Address(Felt::ONE)].into(), executors: [ExecutorKind::Process].into() };
        let picky = AgentProfile {
            gpu_model: "NVIDIA L4".to_owned(),
            disk_gib: 200,
            pcie_generation: 4,
            models: [Felt::ONE, Felt::TWO].into(),
            refuses,
        };
        let expected = "NVIDIA L4, PCI Express 4, 200 GiB of disk, 2 models, refuses 1 client, refuses process";
        assert_eq!(ProfileLine(&picky).to_string(), expected);
    }
}
