//! Workers' agents, which die too.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use anyhow::{Context as _, Result};
use keeper_types::WorkerId;
use rand::{Rng as _, rngs::StdRng};
use tokio::process::{Child, Command};

use super::stage::{FIRST_WORKER, Stage};

/// Jobs that an agent runs at a time.
const SLOTS: &str = "16";

/// The agents, and how often each was killed.
pub(crate) struct Agents {
    stage: Arc<Stage>,
    keeper: String,
    agents: Vec<Agent>,
}

struct Agent {
    account: usize,
    worker_id: WorkerId,
    child: Child,
    kills: u64,
}

impl Agents {
    /// Registers workers and starts their agents, which connect to these addresses.
    pub(crate) async fn hire(stage: &Arc<Stage>, count: u8, listen: &[&str]) -> Result<Self> {
        let keepers: Vec<String> = listen.iter().map(|address| format!("ws://{address}")).collect();
        let mut hired = Self { stage: Arc::clone(stage), keeper: keepers.join(","), agents: Vec::new() };
        for account in FIRST_WORKER..FIRST_WORKER + usize::from(count) {
            let arguments =
                ["worker", "register", "--slots", SLOTS, "--region", "test", "--rate", "1", "--allow-processes"];
            let registered = stage.place.finish(stage.command(account, &arguments)).await.json();
            let worker_id = registered["worker_id"].as_u64().context("a worker without a number")?;
            let worker_id = WorkerId(u32::try_from(worker_id)?);
            let child = hired.start(account)?;
            hired.agents.push(Agent { account, worker_id, child, kills: 0 });
        }
        Ok(hired)
    }

    /// Kills one of them, and starts it again at once.
    pub(crate) async fn kill_one(&mut self, rng: &mut StdRng) -> Result<()> {
        let drawn = rng.random_range(0..self.agents.len());
        self.agents[drawn].child.kill().await.context("killing an agent")?;
        let child = self.start(self.agents[drawn].account)?;
        let agent = &mut self.agents[drawn];
        (agent.child, agent.kills) = (child, agent.kills + 1);
        Ok(())
    }

    /// How often each worker's agent was killed.
    pub(crate) fn kills(&self) -> BTreeMap<WorkerId, u64> {
        self.agents.iter().map(|agent| (agent.worker_id, agent.kills)).collect()
    }

    fn start(&self, account: usize) -> Result<Child> {
        let workspaces = format!("jobs-{account}");
        let arguments = ["worker", "run", "--keeper", &self.keeper, "--allow-processes", "--workspaces", &workspaces];
        let mut command: Command = self.stage.command(account, &arguments);
        let log = self.stage.place.path(&format!("worker-{account}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(log).context("opening an agent's log")?;
        command.stdout(Stdio::null()).stderr(log).spawn().context("starting an agent")
    }
}
