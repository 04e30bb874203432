//! What this machine has.
//!
//! [`Probe`] looks, [`ProbeReport`] turns what it saw into the [`Capabilities`] that the worker registers with.
//! The contract's fields are narrower than what a machine may have; what does not fit is cut down to the largest
//! value that does, and said.

mod machine;

use std::fmt;

use keeper_types::{Capabilities, Features, Region};

pub use machine::MachineProbe;

const GIB: u64 = 1 << 30;
/// The lowest compute capability with tensor cores, 7.0.
const TENSOR_CORES_SINCE: u32 = 70;

/// Looks at a machine.
pub trait Probe {
    /// What is there. What cannot be found out is left out, and noted.
    fn inventory(&self) -> Inventory;
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// GPUs, in the order of their indices.
    pub gpus: Vec<Gpu>,
    /// The version of CUDA that the driver supports, major * 10 + minor.
    pub cuda_version: Option<u32>,
    /// The NVIDIA driver's version, such as `550.54.15`.
    pub driver_version: Option<String>,
    /// CPU cores that this process may use.
    pub cpu_cores: u64,
    /// Memory that this process may use, in bytes.
    pub memory_bytes: u64,
    /// What could not be found out, and why.
    pub notes: Vec<String>,
}

/// One GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gpu {
    /// The model.
    pub name: String,
    /// Its memory, in bytes.
    pub memory_bytes: u64,
    /// Its compute capability, major * 10 + minor.
    pub compute_capability: u32,
    /// Whether it has an active NVLink.
    pub has_nvlink: bool,
    /// Whether its memory corrects errors.
    pub has_ecc: bool,
    /// Whether it is split into instances.
    pub has_mig: bool,
    /// The newest generation of PCI Express that the GPU and its slot have in common.
    pub pcie_generation: Option<u32>,
}

/// A machine, and what to register it as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeReport {
    /// What was found.
    pub inventory: Inventory,
    /// What to register.
    pub capabilities: Capabilities,
    /// Where the two differ, and what could not be found out.
    pub warnings: Vec<String>,
}

impl ProbeReport {
    /// Looks at the machine behind `probe`, which stands in `region`.
    pub fn of(probe: &dyn Probe, region: Region) -> Self {
        let inventory = probe.inventory();
        let mut warnings = inventory.notes.clone();
        let capabilities = capabilities(&inventory, region, &mut warnings);
        Self { inventory, capabilities, warnings }
    }
}

/// Mixed GPUs count as the least of them: a job must run on whichever it is given.
fn capabilities(inventory: &Inventory, region: Region, warnings: &mut Vec<String>) -> Capabilities {
    let gpus = &inventory.gpus;
    let least = |value: fn(&Gpu) -> u64| gpus.iter().map(value).min().unwrap_or_default();
    let driver = inventory.driver_version.as_deref().and_then(|version| version.split('.').next()?.parse().ok());
    let mut fit = |field: &str, value: u64, max: u16| {
        let fitting = u16::try_from(value).unwrap_or(u16::MAX).min(max);
        if u64::from(fitting) < value {
            warnings.push(format!("{field} is {value}, but registered as {max}, the most that the contract holds"));
        }
        fitting
    };
    // The contract's fields of one byte.
    let byte = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
    Capabilities {
        gpu_count: byte(fit("gpu_count", gpus.len() as u64, 63)),
        vram_gib: fit("vram_gib", least(|gpu| nominal_gib(gpu.memory_bytes)), 1_023),
        compute_capability: byte(fit("compute_capability", least(|gpu| gpu.compute_capability.into()), 127)),
        cuda_version: byte(fit("cuda_version", inventory.cuda_version.unwrap_or_default().into(), 255)),
        driver_version: fit("driver_version", driver.unwrap_or_default(), 1_023),
        cpu_cores: fit("cpu_cores", inventory.cpu_cores, 511),
        memory_gib: fit("memory_gib", inventory.memory_bytes / GIB, 4_095),
        features: features(gpus),
        region: Some(region),
    }
}

/// GPUs keep a little of their memory to themselves, so that an 80 GiB one shows 79.6: rounding gives the size that
/// it is sold, and asked for, by.
fn nominal_gib(bytes: u64) -> u64 {
    (bytes + GIB / 2) / GIB
}

/// What every GPU has.
fn features(gpus: &[Gpu]) -> Features {
    if gpus.is_empty() {
        return Features::default();
    }
    [
        (Features::NVLINK, gpus.iter().all(|gpu| gpu.has_nvlink)),
        (Features::TENSOR_CORES, gpus.iter().all(|gpu| gpu.compute_capability >= TENSOR_CORES_SINCE)),
        (Features::ECC, gpus.iter().all(|gpu| gpu.has_ecc)),
        (Features::MIG, gpus.iter().all(|gpu| gpu.has_mig)),
    ]
    .into_iter()
    .filter(|(_, is_there)| *is_there)
    .fold(Features::default(), |all, (feature, _)| all.union(feature))
}

impl fmt::Display for ProbeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inventory { gpus, cuda_version, driver_version, cpu_cores, memory_bytes, .. } = &self.inventory;
        let version = |number: u32| format!("{}.{}", number / 10, number % 10);
        for (index, gpu) in gpus.iter().enumerate() {
            let (gib, capability) = (nominal_gib(gpu.memory_bytes), version(gpu.compute_capability));
            writeln!(f, "GPU {index}     {}, {gib} GiB, compute capability {capability}", gpu.name)?;
        }
        if gpus.is_empty() {
            writeln!(f, "GPUs      none")?;
        }
        if let Some(driver) = driver_version {
            let cuda = cuda_version.map_or_else(|| "unknown".to_owned(), version);
            writeln!(f, "driver    {driver}, CUDA {cuda}")?;
        }
        writeln!(f, "CPU cores {cpu_cores}")?;
        writeln!(f, "memory    {} GiB", memory_bytes / GIB)?;
        writeln!(f, "features  {}", self.capabilities.features)?;
        self.capabilities.region.map_or(Ok(()), |region| writeln!(f, "region    {region}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Inventory);

    impl Probe for Fixed {
        fn inventory(&self) -> Inventory {
            self.0.clone()
        }
    }

    fn report(inventory: Inventory) -> ProbeReport {
        ProbeReport::of(&Fixed(inventory), "eu-w1".parse().unwrap())
    }

    fn h100() -> Gpu {
        Gpu {
            name: "NVIDIA H100 80GB HBM3".to_owned(),
            memory_bytes: 81_559 << 20,
            compute_capability: 90,
            has_nvlink: true,
            has_ecc: true,
            has_mig: false,
            pcie_generation: Some(5),
        }
    }

    #[test]
    fn mixed_gpus_count_as_the_least() {
        let t4 =
            Gpu { name: "Tesla T4".to_owned(), memory_bytes: 15_360 << 20, compute_capability: 75, ..Gpu::default() };
        let both = Inventory {
            gpus: vec![h100(), t4],
            cuda_version: Some(124),
            driver_version: Some("550.54.15".to_owned()),
            cpu_cores: 16,
            memory_bytes: 128 * GIB - 1,
            notes: Vec::new(),
        };
        let ProbeReport { capabilities, warnings, .. } = report(both);
        assert_eq!(
            capabilities,
            Capabilities {
                gpu_count: 2,
                vram_gib: 15,
                compute_capability: 75,
                cuda_version: 124,
                driver_version: 550,
                cpu_cores: 16,
                memory_gib: 127,
                features: Features::TENSOR_CORES,
                region: Some("eu-w1".parse().unwrap()),
            }
        );
        assert_eq!(warnings, Vec::<String>::new());
    }

    #[test]
    fn a_gpu_has_the_memory_that_it_is_sold_by() {
        let capabilities = report(Inventory { gpus: vec![h100()], ..Inventory::default() }).capabilities;
        assert_eq!(capabilities.vram_gib, 80);
        assert_eq!(capabilities.features.to_string(), "nvlink,tensor-cores,ecc");
    }

    #[test]
    fn what_the_contract_cannot_hold_is_cut_down_and_said() {
        let huge =
            Inventory { cpu_cores: 768, memory_bytes: 6_144 * GIB, gpus: vec![h100(); 64], ..Inventory::default() };
        let ProbeReport { capabilities, warnings, .. } = report(huge);
        assert_eq!((capabilities.gpu_count, capabilities.cpu_cores, capabilities.memory_gib), (63, 511, 4_095));
        assert_eq!(
            warnings,
            [
                "gpu_count is 64, but registered as 63, the most that the contract holds",
                "cpu_cores is 768, but registered as 511, the most that the contract holds",
                "memory_gib is 6144, but registered as 4095, the most that the contract holds",
            ]
        );
    }

    #[test]
    fn a_machine_without_gpus_is_a_worker_too() {
        let notes = vec!["no NVIDIA driver was found".to_owned()];
        let report = report(Inventory { cpu_cores: 2, memory_bytes: 4 * GIB, notes, ..Inventory::default() });
        assert_eq!(report.capabilities.features, Features::default());
        assert_eq!(
            report.to_string(),
            "GPUs      none\nCPU cores 2\nmemory    4 GiB\nfeatures  none\nregion    eu-w1\n\
             warning: no NVIDIA driver was found\n"
        );
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let inventory = MachineProbe.inventory();
        assert!(inventory.cpu_cores >= 1 && inventory.memory_bytes > 0);
        // Without a GPU it is said why there is none.
        assert!(!inventory.gpus.is_empty() || inventory.driver_version.is_some() || !inventory.notes.is_empty());
    }
}
