//! Traces of the openb form: nodes and jobs of a cluster whose GPUs are shared.
//!
//! The form is that of Alibaba's cluster-trace-gpu-v2023 as published in hkust-adsl/kubernetes-scheduler-simulator:
//! `openb_node_list_gpu_node.csv`, and a file `openb_pod_list_MIX.csv` for each mix of jobs.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use keeper_scheduler::sharing::{Demand, GPU_MILLI, GpuModel, GpuModels, NodeState};
use serde::{Deserialize, de::DeserializeOwned};

/// The file with the nodes.
const NODES: &str = "openb_node_list_gpu_node.csv";
/// What the name of a file with jobs is made of, around the mix's name.
const JOBS: (&str, &str) = ("openb_pod_list_", ".csv");

/// Why a trace cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The folder cannot be listed.
    #[error("{} cannot be listed: {source}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is missing, cannot be read, or has a line of another form.
    #[error("{}: {source}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: csv::Error,
    },
    /// The folder has no file with jobs.
    #[error("{} has no file {}*{}", .0.display(), JOBS.0, JOBS.1)]
    NoMix(PathBuf),
    /// A node or a job is beyond what the scheduler knows.
    #[error("{name}: {what}")]
    Unsupported {
        /// The node or job.
        name: String,
        /// What is beyond.
        what: &'static str,
    },
}

/// A cluster, and mixes of jobs for it.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Idle nodes, in the file's order.
    pub nodes: Vec<NodeState>,
    /// In the order of their names, `default` first.
    pub mixes: Vec<Mix>,
}

/// Jobs of one file.
#[derive(Clone, Debug)]
pub struct Mix {
    /// What sets the mix apart, such as `gpushare40`.
    pub name: String,
    /// What each job asks for, in the file's order.
    pub demands: Vec<Demand>,
}

#[derive(Debug, Deserialize)]
struct NodeRow {
    sn: String,
    cpu_milli: u32,
    memory_mib: u32,
    gpu: u8,
    model: String,
}

#[derive(Debug, Deserialize)]
struct JobRow {
    name: String,
    cpu_milli: u32,
    memory_mib: u32,
    num_gpu: u8,
    /// Empty or zero for a job without GPUs.
    gpu_milli: Option<u32>,
    /// Models that will do, with bars between; any where the column is missing or empty.
    #[serde(default)]
    gpu_spec: String,
}

/// Models by name, numbered in the order in which they are met.
#[derive(Debug, Default)]
struct Models(BTreeMap<String, GpuModel>);

impl Trace {
    /// Reads the nodes and all mixes of a folder.
    ///
    /// # Errors
    /// Names the file, node or job that cannot be used.
    pub fn read(folder: &Path) -> Result<Self, TraceError> {
        let mut models = Models::default();
        let nodes = rows::<NodeRow>(&folder.join(NODES))?;
        let nodes = nodes.iter().map(|row| row.node(&mut models)).collect::<Result<_, _>>()?;
        let mixes = mix_names(folder)?.into_iter().map(|name| {
            let jobs = rows::<JobRow>(&folder.join(format!("{}{name}{}", JOBS.0, JOBS.1)))?;
            let demands = jobs.iter().map(|row| row.demand(&mut models)).collect::<Result<_, _>>()?;
            Ok(Mix { name, demands })
        });
        Ok(Self { nodes, mixes: mixes.collect::<Result<_, _>>()? })
    }

    /// Thousandths of all the cluster's GPUs.
    pub fn capacity(&self) -> u64 {
        self.nodes.iter().map(|node| u64::from(node.total_free())).sum()
    }
}

fn mix_names(folder: &Path) -> Result<Vec<String>, TraceError> {
    let failed = |source| TraceError::Folder { folder: folder.to_owned(), source };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let file = entry.map_err(failed)?.file_name();
        let name = file.to_str().and_then(|file| file.strip_prefix(JOBS.0)?.strip_suffix(JOBS.1));
        names.extend(name.map(str::to_owned));
    }
    names.sort_by_key(|name| (name != "default", name.clone()));
    if names.is_empty() { Err(TraceError::NoMix(folder.to_owned())) } else { Ok(names) }
}

fn rows<T: DeserializeOwned>(file: &Path) -> Result<Vec<T>, TraceError> {
    let failed = |source| TraceError::File { file: file.to_owned(), source };
    let mut reader = csv::Reader::from_path(file).map_err(failed)?;
    reader.deserialize().collect::<Result<_, _>>().map_err(failed)
}

impl NodeRow {
    fn node(&self, models: &mut Models) -> Result<NodeState, TraceError> {
        let unsupported = |what| TraceError::Unsupported { name: self.sn.clone(), what };
        let model = models.number(&self.model).ok_or_else(|| unsupported("too many GPU models"))?;
        NodeState::idle(model, self.gpu, self.cpu_milli, self.memory_mib).ok_or_else(|| unsupported("too many GPUs"))
    }
}

impl JobRow {
    fn demand(&self, models: &mut Models) -> Result<Demand, TraceError> {
        let unsupported = |what| TraceError::Unsupported { name: self.name.clone(), what };
        let milli = self.gpu_milli.unwrap_or_default().min(u32::from(GPU_MILLI));
        let gpu_milli = u16::try_from(milli).unwrap_or(GPU_MILLI);
        if self.num_gpu > 0 && gpu_milli == 0 {
            return Err(unsupported("wants nothing of its GPUs"));
        }
        let named: Vec<&str> = self.gpu_spec.split('|').filter(|name| !name.is_empty()).collect();
        let accepted = named.iter().map(|name| models.number(name));
        let accepted = accepted.collect::<Option<GpuModels>>().ok_or_else(|| unsupported("too many GPU models"))?;
        Ok(Demand {
            cpu_milli: self.cpu_milli,
            memory_mib: self.memory_mib,
            gpus: self.num_gpu,
            gpu_milli: if self.num_gpu == 0 { 0 } else { gpu_milli },
            models: if named.is_empty() { GpuModels::ANY } else { accepted },
        })
    }
}

impl Models {
    fn number(&mut self, name: &str) -> Option<GpuModel> {
        if let Some(model) = self.0.get(name) {
            return Some(*model);
        }
        let model = GpuModel::new(u8::try_from(self.0.len()).ok()?)?;
        self.0.insert(name.to_owned(), model);
        Some(model)
    }
}

/// The small trace that tests use.
#[cfg(test)]
pub(crate) fn sample() -> Trace {
    Trace::read(&sample_folder()).unwrap()
}

/// The folder with that trace.
#[cfg(test)]
pub(crate) fn sample_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/openb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sample_is_read_as_it_is_written() {
        let trace = sample();
        assert_eq!(trace.nodes.len(), 12);
        assert_eq!(trace.capacity(), 38_000);
        let names: Vec<&str> = trace.mixes.iter().map(|mix| mix.name.as_str()).collect();
        assert_eq!(names, ["default", "gpuspec20", "multigpu20"]);
        let choosy = trace.mixes[1].demands.iter().filter(|demand| demand.models != GpuModels::ANY);
        assert!(choosy.count() >= 3);
        // Jobs without GPUs have an empty field for their thousandths.
        let without = trace.mixes[0].demands.iter().filter(|demand| demand.gpus == 0);
        assert!(without.clone().count() >= 3 && without.clone().all(|demand| demand.gpu_milli == 0));
    }

    #[test]
    fn several_models_may_do() {
        let trace = sample();
        let v100 = trace.mixes[1].demands.iter().find(|demand| {
            let accepting = trace.nodes.iter().filter(|node| demand.models.accepts(node.model()));
            demand.models != GpuModels::ANY && accepting.count() > 1
        });
        assert!(v100.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let missing = Trace::read(Path::new("no/such/folder")).unwrap_err();
        assert!(missing.to_string().contains(NODES), "{missing}");
        let mut models = Models::default();
        let row = JobRow {
            name: "odd-job".to_owned(),
            cpu_milli: 1,
            memory_mib: 1,
            num_gpu: 1,
            gpu_milli: None,
            gpu_spec: String::new(),
        };
        assert!(row.demand(&mut models).unwrap_err().to_string().contains("odd-job"));
        let row = NodeRow { sn: "odd-node".to_owned(), cpu_milli: 1, memory_mib: 1, gpu: 17, model: "T4".to_owned() };
        assert!(row.node(&mut models).unwrap_err().to_string().contains("odd-node"));
    }
}
