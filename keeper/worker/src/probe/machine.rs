//! The machine that this process runs on, by NVML and the operating system.

use std::thread;

use nvml_wrapper::{Device, Nvml, cuda_driver_version_major, cuda_driver_version_minor, error::NvmlError};
use sysinfo::System;

use super::{Gpu, Inventory, Probe};

/// No GPU has more NVLinks than this.
const MAX_NVLINKS: u32 = 18;
const MIG_ENABLED: u32 = 1;

/// Looks at the machine that this process runs on. Limits of the process's control group count: a container with
/// two cores is a machine with two cores.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineProbe;

impl Probe for MachineProbe {
    fn inventory(&self) -> Inventory {
        let mut system = System::new();
        system.refresh_memory();
        let limit = system.cgroup_limits().map_or(u64::MAX, |limits| limits.total_memory);
        let mut inventory = Inventory {
            cpu_cores: thread::available_parallelism().map_or(1, |cores| cores.get() as u64),
            memory_bytes: system.total_memory().min(limit),
            ..Inventory::default()
        };
        match Nvml::init() {
            Ok(nvml) => look_at_gpus(&nvml, &mut inventory),
            Err(NvmlError::LibloadingError(_)) => inventory.notes.push("no NVIDIA driver was found".to_owned()),
            Err(error) => inventory.notes.push(format!("the NVIDIA driver cannot be used: {error}")),
        }
        inventory
    }
}

fn look_at_gpus(nvml: &Nvml, inventory: &mut Inventory) {
    inventory.driver_version = nvml.sys_driver_version().ok();
    inventory.cuda_version = nvml.sys_cuda_driver_version().ok().and_then(|version| {
        u32::try_from(cuda_driver_version_major(version) * 10 + cuda_driver_version_minor(version)).ok()
    });
    let count = nvml.device_count().unwrap_or_else(|error| {
        inventory.notes.push(format!("the GPUs cannot be counted: {error}"));
        0
    });
    for index in 0..count {
        match nvml.device_by_index(index).and_then(|device| look_at(&device)) {
            Ok(gpu) => {
                if gpu.has_mig {
                    let note = "is split by MIG, and counts as one GPU whatever its instances";
                    inventory.notes.push(format!("GPU {index} {note}"));
                }
                inventory.gpus.push(gpu);
            }
            Err(error) => inventory.notes.push(format!("GPU {index} is left out: {error}")),
        }
    }
}

fn look_at(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let capability = device.cuda_compute_capability()?;
    Ok(Gpu {
        name: device.name()?,
        memory_bytes: device.memory_info()?.total,
        compute_capability: u32::try_from(capability.major * 10 + capability.minor).unwrap_or_default(),
        // Cards without these answer that they do not support the question.
        has_nvlink: (0..MAX_NVLINKS).any(|link| device.link_wrapper_for(link).is_active().unwrap_or(false)),
        has_ecc: device.is_ecc_enabled().is_ok_and(|state| state.currently_enabled),
        has_mig: device.mig_mode().is_ok_and(|mode| mode.current == MIG_ENABLED),
        // Not the one in use, which falls while the GPU is idle.
        pcie_generation: device.max_pcie_link_gen().ok(),
    })
}
