//! The compiled contracts, deployed and wired, and what can be seen of them.

use std::{
    collections::{BTreeMap, HashMap},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use anyhow::{Context as _, Result, anyhow, bail};
use blockifier::execution::contract_class::RunnableCompiledClass;
use keeper_types::Felt;
use serde_json::Value;
use starknet_api::abi::abi_utils::selector_from_name;
use starknet_devnet_core::constants::STRK_ERC20_CONTRACT_CLASS;

use crate::{
    abi::{Abi, NamedEvent},
    actors::{Actor, Contract, burn_address, felt_of, short_string},
    calls::{Moment, Step},
    chain::{Chain, Slot, slot_of},
    model::{Terms, TokenKind},
    slim::Class,
    views::View,
};

/// What every account holds at first and allows each contract to take, in fri: a million STRK.
pub(crate) const BALANCE: u128 = 1_000_000_000_000_000_000_000_000;

/// When the first call is made.
pub(crate) const START: Moment = Moment { timestamp: 1_800_000_000, block: 1_000_000 };

/// What contracts call of each other, where nobody was armed to call anything else.
const CALLED: [(Contract, &[&str]); 6] = [
    (Contract::JobMgr, &["allocate_batch", "get_job"]),
    (
        Contract::CdcPool,
        &[
            "reserve_batch",
            "release",
            "record_failure",
            "record_fault",
            "record_settlement",
            "hold",
            "unhold",
            "worker_of",
            "worker_owner",
            "get_worker",
            "get_config",
        ],
    ),
    (Contract::TaskAllocator, &["last_round_block", "is_keeper"]),
    (Contract::Paymaster, &["draw_escrow"]),
    (Contract::Token, &["transfer", "transfer_from"]),
    (Contract::Account, &["execute_from_outside_v2"]),
];

/// The classes of the contracts under test, of the tokens and of the account, compiled for the virtual machine as they
/// are needed.
#[derive(Clone)]
pub(crate) struct Classes {
    sources: Arc<BTreeMap<(Contract, TokenKind), Class>>,
    compiled: Arc<Mutex<HashMap<(Contract, TokenKind, Cut), RunnableCompiledClass>>>,
    abis: Arc<BTreeMap<Contract, Abi>>,
}

/// How much of a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Cut {
    Whole,
    /// What other contracts call.
    Called,
    /// One entry point.
    Only(&'static str),
}

impl Classes {
    /// Reads `<Contract>.contract_class.json` of each contract from a folder. The tokens are the local chain's and
    /// one of our own, which comes from `own`, as the account does.
    pub(crate) fn load(folder: &Path, own: &Path) -> Result<Self> {
        let (mut sources, mut abis) = (BTreeMap::new(), BTreeMap::new());
        for contract in Contract::OURS {
            let class = read(folder, contract.name())?;
            abis.insert(contract, Abi::read(&class["abi"]).with_context(|| format!("the ABI of {}", contract.name()))?);
            sources.insert((contract, TokenKind::Strk), Class::read(class)?);
        }
        let strk = serde_json::from_str(STRK_ERC20_CONTRACT_CLASS).context("reading the token's class")?;
        sources.insert((Contract::Token, TokenKind::Strk), Class::read(strk)?);
        sources.insert((Contract::Token, TokenKind::Test), Class::read(read(own, "TestToken")?)?);
        sources.insert((Contract::Account, TokenKind::Strk), Class::read(read(own, "TestAccount")?)?);
        Ok(Self { sources: Arc::new(sources), compiled: Arc::default(), abis: Arc::new(abis) })
    }

    /// As much of a contract's class as is wanted.
    ///
    /// # Errors
    /// Fails where the class cannot be compiled.
    pub(crate) fn compiled(&self, contract: Contract, token: TokenKind, cut: Cut) -> Result<RunnableCompiledClass> {
        // Only of the token there are two kinds.
        let token = if contract == Contract::Token { token } else { TokenKind::Strk };
        let mut compiled = self.compiled.lock().map_err(|_| anyhow!("another thread has panicked"))?;
        if let Some(class) = compiled.get(&(contract, token, cut)) {
            return Ok(class.clone());
        }
        let source = &self.sources[&(contract, token)];
        let names = match cut {
            Cut::Whole => None,
            Cut::Called => CALLED.iter().find(|(called, _)| *called == contract).map(|(_, names)| names.to_vec()),
            Cut::Only(function) => Some(vec![function]),
        };
        let selectors = |names: Vec<&'static str>| names.into_iter().map(|name| selector_from_name(name).0).collect();
        let class = names.map_or_else(|| source.whole(), |names| source.cut(&selectors(names)));
        let class = class.with_context(|| format!("compiling {}", contract.name()))?;
        compiled.insert((contract, token, cut), class.clone());
        Ok(class)
    }
}

/// Where the classes of `cairo/` are.
pub(crate) fn own_classes() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts")
}

fn read(folder: &Path, name: &str) -> Result<Value> {
    let file = folder.join(format!("{name}.contract_class.json"));
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    serde_json::from_str(&text).with_context(|| format!("reading {}", file.display()))
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
    /// What was asked since somebody wanted to know.
    asked: Vec<View>,
    /// Where the token keeps what.
    balances: Arc<Vec<(Felt, [Slot; 2])>>,
    allowances: Arc<Vec<(Actor, Contract, [Slot; 2])>>,
}

impl Market {
    /// Deploys the contracts; each account holds [`BALANCE`] and has allowed each contract as much.
    pub(crate) fn deploy(classes: &Classes, terms: &Terms) -> Result<Self> {
        let mut holders: Vec<Felt> = Actor::ALL.map(Actor::address).to_vec();
        holders.extend(Contract::HOLDERS.map(Contract::address));
        holders.extend([Contract::Token.address(), burn_address()]);
        let spenders = |actor: Actor| Contract::OURS.map(|spender| (actor, spender));
        let allowances = Actor::ALL.into_iter().flat_map(spenders).map(|(owner, spender)| {
            (owner, spender, amount_slots("ERC20_allowances", &[owner.address(), spender.address()]))
        });
        let mut market = Self {
            chain: Chain::new(classes.clone(), terms.token),
            abis: Arc::clone(&classes.abis),
            answers: HashMap::new(),
            readers: HashMap::new(),
            asked: Vec::new(),
            allowances: Arc::new(allowances.collect()),
            balances: Arc::new(
                holders.into_iter().map(|holder| (holder, amount_slots("ERC20_balances", &[holder]))).collect(),
            ),
        };
        for contract in [Contract::CdcPool, Contract::JobMgr, Contract::TaskAllocator, Contract::Paymaster] {
            market.construct(contract, terms)?;
        }
        for actor in Actor::ALL {
            market.chain.set_amount(Contract::Token, "ERC20_balances", &[actor.address()], BALANCE);
            for spender in Contract::OURS {
                let keys = [actor.address(), spender.address()];
                market.chain.set_amount(Contract::Token, "ERC20_allowances", &keys, BALANCE);
            }
        }
        Ok(market)
    }

    /// Deploys a contract with the arguments that its constructor names.
    fn construct(&mut self, contract: Contract, terms: &Terms) -> Result<()> {
        let argument = |name: &String| -> Result<Felt> {
            Ok(match name.as_str() {
                "admin" => Actor::Admin.address(),
                "token" => Contract::Token.address(),
                "job_mgr" => Contract::JobMgr.address(),
                "cdc_pool" => Contract::CdcPool.address(),
                "min_stake_per_slot" => terms.min_stake_per_slot.into(),
                "unbonding_s" => terms.unbonding_s.into(),
                "challenge_window_s" => terms.challenge_window_s.into(),
                "dispute_window_s" => terms.dispute_window_s.into(),
                "min_keeper_bond" => terms.min_keeper_bond.into(),
                "policy_delay_s" => terms.policy_delay_s.into(),
                "upgrade_delay_s" => terms.upgrade_delay_s.into(),
                _ => bail!("an argument that nobody knows: {name}"),
            })
        };
        let names = self.abis[&contract].constructor().iter();
        let arguments: Vec<Felt> = names.map(argument).collect::<Result<_>>()?;
        let executed = self.chain.call(Actor::Admin.address(), contract, "constructor", arguments, START);
        match executed.result {
            Ok(_) => Ok(()),
            Err(felts) => bail!("deploying {}: {}", contract.name(), refusal(&felts)),
        }
    }

    /// Makes a call at a moment. Only where somebody is armed, contracts are called what they never call each other.
    ///
    /// # Errors
    /// Fails where an event is not what the ABI says; a call that reverts is no error.
    pub(crate) fn execute(&mut self, step: &Step, now: Moment, is_armed: bool) -> Result<Done> {
        self.chain.expect_any_call(is_armed);
        let (contract, function, arguments) = step.call.parts();
        let executed = self.chain.call(step.caller.address(), contract, function, arguments, now);
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

    /// What a view answers. It is asked again only where something that it read has changed, or where the moment
    /// matters.
    pub(crate) fn look(&mut self, view: View, now: Moment) -> &Answer {
        if view.is_of_the_moment() {
            self.answers.remove(&view);
        }
        if !self.answers.contains_key(&view) {
            let (contract, function, arguments) = view.question();
            let (result, reads) = self.chain.ask(contract, function, arguments, now);
            for slot in reads {
                self.readers.entry(slot).or_default().push(view);
            }
            self.answers.insert(view, result.map_err(|felts| refusal(&felts)));
            self.asked.push(view);
        }
        &self.answers[&view]
    }

    /// The views that were asked since the last time that this was.
    pub(crate) fn take_asked(&mut self) -> Vec<View> {
        std::mem::take(&mut self.asked)
    }

    /// Whether the contract has a function.
    pub(crate) fn has(&self, contract: Contract, function: &str) -> bool {
        self.abis.get(&contract).is_some_and(|abi| abi.returned(function).is_some())
    }

    /// What each account and contract holds, where all of it fits.
    pub(crate) fn balances(&self) -> impl Iterator<Item = (Felt, Option<u128>)> + '_ {
        self.balances.iter().map(|(holder, slots)| (*holder, self.amount(slots)))
    }

    /// What each account allows each contract to take.
    pub(crate) fn allowances(&self) -> impl Iterator<Item = (Actor, Contract, Option<u128>)> + '_ {
        self.allowances.iter().map(|(owner, spender, slots)| (*owner, *spender, self.amount(slots)))
    }

    fn amount(&self, [low, high]: &[Slot; 2]) -> Option<u128> {
        let amount = u128::try_from(self.chain.value(low)).ok()?;
        (self.chain.value(high) == Felt::ZERO).then_some(amount)
    }

    /// Asks what is asked of a market without jobs and workers, so that copies of this one start with the answers.
    pub(crate) fn look_around(&mut self, views: Vec<View>) {
        for view in views.into_iter().filter(|view| !view.is_of_the_moment()) {
            self.look(view, START);
        }
    }

    /// The names of the felts that a view answers; none for a single value.
    pub(crate) fn names(&self, view: View) -> Vec<String> {
        let (contract, function, _) = view.question();
        let returned = self.abis.get(&contract).and_then(|abi| abi.returned(function));
        returned.map(<[String]>::to_vec).unwrap_or_default()
    }

    /// Forgets every answer, so that all views are asked again.
    #[cfg(test)]
    pub(crate) fn forget(&mut self) {
        self.answers.clear();
        self.readers.clear();
    }
}

/// The two slots of an amount at the token.
fn amount_slots(variable: &str, keys: &[Felt]) -> [Slot; 2] {
    let low = slot_of(Contract::Token, variable, keys);
    let high = low.1.next_storage_key().expect("a mapping's entries are far from the end");
    [low, (low.0, high)]
}

/// The text of a revert: the first felt of the panic, which is the error of the innermost contract.
fn refusal(felts: &[Felt]) -> String {
    let passed_on = felt_of("ENTRYPOINT_FAILED");
    let own: Vec<Felt> = felts.iter().copied().filter(|felt| *felt != passed_on).collect();
    match own.as_slice() {
        [] => "no reason".to_owned(),
        // The machine's own words, in pieces.
        many if many.len() > 2 => many.iter().filter_map(|felt| short_string(*felt)).collect(),
        [first, ..] => short_string(*first).unwrap_or_else(|| format!("{first:#x}")),
    }
}
