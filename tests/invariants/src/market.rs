//! The compiled contracts, deployed and wired, and what can be seen of them.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    str::FromStr as _,
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow, bail};
use blockifier::execution::contract_class::{CompiledClassV1, RunnableCompiledClass};
use cairo_lang_starknet_classes::{casm_contract_class::CasmContractClass, contract_class::ContractClass};
use keeper_types::Felt;
use serde_json::Value;
use starknet_api::contract_class::SierraVersion;
use starknet_devnet_core::constants::STRK_ERC20_CONTRACT_CLASS;

use crate::{
    abi::{Abi, NamedEvent},
    actors::{Actor, Contract, short_string},
    calls::{Call, Moment, Step},
    chain::{Chain, Slot},
    model::Terms,
    views::View,
};

/// What every account holds at first and allows each contract to take, in fri: a million STRK.
pub(crate) const BALANCE: u128 = 1_000_000_000_000_000_000_000_000;

/// When the first call is made.
pub(crate) const START: Moment = Moment { timestamp: 1_800_000_000, block: 1_000_000 };

/// The size of the assembly is not judged here: the chain applies its limit when a class is declared.
const NO_BYTECODE_LIMIT: usize = usize::MAX;

/// The classes of the contracts under test and of the token, compiled for the virtual machine.
#[derive(Clone)]
pub(crate) struct Classes {
    runnable: Arc<BTreeMap<Contract, RunnableCompiledClass>>,
    abis: Arc<BTreeMap<Contract, Abi>>,
}

impl Classes {
    /// Reads `<Contract>.contract_class.json` of each contract from a folder; the token is the local chain's.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let (mut runnable, mut abis) = (BTreeMap::new(), BTreeMap::new());
        for contract in Contract::OURS {
            let file = folder.join(format!("{}.contract_class.json", contract.name()));
            let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let class: Value = serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
            abis.insert(contract, Abi::read(&class["abi"]).with_context(|| format!("the ABI of {}", contract.name()))?);
            runnable.insert(contract, compile(class).with_context(|| format!("compiling {}", contract.name()))?);
        }
        let token = serde_json::from_str(STRK_ERC20_CONTRACT_CLASS).context("reading the token's class")?;
        runnable.insert(Contract::Token, compile(token).context("compiling the token")?);
        Ok(Self { runnable: Arc::new(runnable), abis: Arc::new(abis) })
    }
}

fn compile(mut class: Value) -> Result<RunnableCompiledClass> {
    // Published classes carry the ABI as text; it is not needed for this.
    class["abi"] = Value::Array(Vec::new());
    let version = class["contract_class_version"].as_str().context("no class version")?.to_owned();
    let class: ContractClass = serde_json::from_value(class)?;
    let sierra = class.extract_sierra_program(false)?;
    let casm = CasmContractClass::from_contract_class(class, sierra, false, NO_BYTECODE_LIMIT)?;
    let versioned = (casm, SierraVersion::from_str(&version)?);
    let compiled = CompiledClassV1::try_from(versioned).map_err(|error| anyhow!("{error}"))?;
    Ok(RunnableCompiledClass::V1(compiled))
}

/// What a call came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// The felts returned, or the text of the revert.
    pub(crate) result: Result<Vec<Felt>, String>,
    /// Those of our contracts.
    pub(crate) events: Vec<NamedEvent>,
}

/// What a view answered: its felts, or the text of its revert.
pub(crate) type Answer = Result<Vec<Felt>, String>;

/// The contracts on their chain.
#[derive(Clone)]
pub(crate) struct Market {
    chain: Chain,
    abis: Arc<BTreeMap<Contract, Abi>>,
    answers: HashMap<View, Answer>,
    /// Whose answers a slot is part of.
    readers: HashMap<Slot, Vec<View>>,
}

impl Market {
    /// Deploys the contracts; each account holds [`BALANCE`] and has allowed JobMgr and CdcPool as much.
    pub(crate) fn deploy(classes: &Classes, terms: &Terms) -> Result<Self> {
        let runnable = classes.runnable.iter().map(|(contract, class)| (*contract, class.clone()));
        let mut market = Self {
            chain: Chain::new(runnable),
            abis: Arc::clone(&classes.abis),
            answers: HashMap::new(),
            readers: HashMap::new(),
        };
        let (admin, token) = (Actor::Admin.address(), Contract::Token.address());
        let (job_mgr, cdc_pool) = (Contract::JobMgr.address(), Contract::CdcPool.address());
        let pool_terms = [terms.min_stake_per_slot.into(), terms.unbonding_s.into()];
        market.construct(Contract::CdcPool, &[&[admin, token], &pool_terms[..]].concat())?;
        market.construct(Contract::JobMgr, &[admin, token, cdc_pool, terms.challenge_window_s.into()])?;
        market.construct(Contract::TaskAllocator, &[admin, job_mgr, cdc_pool])?;
        for actor in Actor::ALL {
            market.chain.set_amount(Contract::Token, "ERC20_balances", &[actor.address()], BALANCE);
            for spender in [Contract::JobMgr, Contract::CdcPool] {
                let approve = Call::Approve { spender, amount: BALANCE };
                let step = Step { after_s: 0, after_blocks: 0, caller: actor, call: approve };
                let done = market.execute(&step, START)?;
                done.result.map_err(|text| anyhow!("the token refuses an allowance: {text}"))?;
            }
        }
        Ok(market)
    }

    fn construct(&mut self, contract: Contract, arguments: &[Felt]) -> Result<()> {
        let executed = self.chain.call(Actor::Admin.address(), contract, "constructor", arguments.to_vec(), START);
        match executed.result {
            Ok(_) => Ok(()),
            Err(felts) => bail!("deploying {}: {}", contract.name(), refusal(&felts)),
        }
    }

    /// Makes a call at a moment.
    ///
    /// # Errors
    /// Fails where an event is not what the ABI says; a call that reverts is no error.
    pub(crate) fn execute(&mut self, step: &Step, now: Moment) -> Result<Done> {
        let (contract, function) = step.call.target();
        let executed = self.chain.call(step.caller.address(), contract, function, step.call.calldata(), now);
        for slot in &executed.written {
            for view in self.readers.remove(slot).into_iter().flatten() {
                self.answers.remove(&view);
            }
        }
        let mut events = Vec::new();
        for raw in &executed.events {
            let Some(contract) = Contract::of_address(raw.from) else { bail!("an event of {:#x}", raw.from) };
            if let Some(abi) = self.abis.get(&contract) {
                events.push(abi.event(contract, raw)?);
            }
        }
        Ok(Done { result: executed.result.map_err(|felts| refusal(&felts)), events })
    }

    /// What a view answers. It is asked again only where something that it read has changed.
    pub(crate) fn look(&mut self, view: View) -> &Answer {
        if !self.answers.contains_key(&view) {
            let (contract, function, arguments) = view.question();
            let (result, reads) = self.chain.ask(contract, function, arguments);
            for slot in reads {
                self.readers.entry(slot).or_default().push(view);
            }
            self.answers.insert(view, result.map_err(|felts| refusal(&felts)));
        }
        &self.answers[&view]
    }

    /// Asks every view once, so that copies of this market start with the answers.
    pub(crate) fn look_at_everything(&mut self) {
        for view in View::all(0, 0) {
            self.look(view);
        }
    }

    /// The names of the felts that a view answers; none for a single value.
    pub(crate) fn names(&self, view: View) -> Vec<String> {
        let (contract, function, _) = view.question();
        match self.abis.get(&contract) {
            Some(abi) => abi.returned(function).map(<[String]>::to_vec).unwrap_or_default(),
            None => ["low", "high"].map(str::to_owned).to_vec(),
        }
    }

    /// Forgets every answer, so that all views are asked again.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        self.answers.clear();
        self.readers.clear();
    }
}

/// The text of a revert: the first felt of the panic, which is the error of the innermost contract.
fn refusal(felts: &[Felt]) -> String {
    match felts {
        [] => "no reason".to_owned(),
        // The machine's own words, in pieces.
        _ if felts.len() > 4 => felts.iter().filter_map(|felt| short_string(*felt)).collect(),
        [first, ..] => short_string(*first).unwrap_or_else(|| format!("{first:#x}")),
    }
}
