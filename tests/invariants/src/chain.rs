//! The contracts in process: a state of our own under blockifier, which executes entry points directly.
//!
//! No account, no fee, no block: a call has the caller, the time and the block number that it is given. A call
//! that reverts leaves no trace. The reads of a view are noted, so that it needs to be asked again only after a call
//! has written something that it read.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
};

use blockifier::{
    blockifier_versioned_constants::VersionedConstants,
    bouncer::BouncerConfig,
    context::{BlockContext, ChainInfo, TransactionContext},
    execution::{
        call_info::CallInfo,
        common_hints::ExecutionMode,
        contract_class::RunnableCompiledClass,
        entry_point::{CallEntryPoint, EntryPointExecutionContext, SierraGasRevertTracker},
    },
    state::{
        errors::StateError,
        state_api::{State, StateReader, StateResult},
    },
    transaction::objects::{DeprecatedTransactionInfo, TransactionInfo},
};
use keeper_types::Felt;
use starknet_api::{
    abi::{
        abi_utils::{get_storage_var_address, selector_from_name},
        constants::CONSTRUCTOR_ENTRY_POINT_NAME,
    },
    block::{BlockInfo, BlockNumber, BlockTimestamp},
    contract_class::EntryPointType,
    core::{ChainId, ClassHash, CompiledClassHash, ContractAddress, EntryPointSelector, Nonce},
    execution_resources::GasAmount,
    state::StorageKey,
    transaction::fields::Calldata,
    versioned_constants_logic::VersionedConstantsTrait as _,
};

use crate::{
    actors::Contract,
    calls::Moment,
    market::{Classes, Cut},
    model::TokenKind,
};

/// The chain's id, which commitments are bound to.
pub(crate) const CHAIN_ID: &str = "CIRO";

/// More than any call of ours can use.
const GAS: u64 = 10_000_000_000;

/// One storage slot of a contract.
pub(crate) type Slot = (ContractAddress, StorageKey);

/// What a call came to.
#[derive(Clone, Debug)]
pub(crate) struct Executed {
    /// The felts returned, or those of the panic.
    pub(crate) result: Result<Vec<Felt>, Vec<Felt>>,
    /// In the order of their emission; none of a reverted call.
    pub(crate) events: Vec<RawEvent>,
    /// Slots whose value changed.
    pub(crate) written: Vec<Slot>,
}

#[derive(Clone, Debug)]
pub(crate) struct RawEvent {
    pub(crate) from: Felt,
    pub(crate) keys: Vec<Felt>,
    pub(crate) data: Vec<Felt>,
}

/// The state of a chain that holds the contracts, the token and the account.
#[derive(Clone)]
pub(crate) struct Chain {
    classes: Classes,
    token: TokenKind,
    /// Those that were needed so far.
    compiled: RefCell<HashMap<ClassHash, RunnableCompiledClass>>,
    /// Whether a contract may be called anything by another.
    is_any_call_expected: bool,
    constants: Arc<VersionedConstants>,
    /// What the latest call was told of its block, and when that was.
    told: Option<(Moment, Arc<TransactionContext>)>,
    selectors: RefCell<HashMap<&'static str, EntryPointSelector>>,
    storage: HashMap<Slot, Felt>,
    /// What the slots written since the call began held before.
    before: Vec<(Slot, Felt)>,
    /// The slots read since the call began, where that is of interest.
    reads: RefCell<Option<HashSet<Slot>>>,
}

impl Chain {
    /// A chain whose contracts have these classes and no storage yet.
    pub(crate) fn new(classes: Classes, token: TokenKind) -> Self {
        Self {
            classes,
            token,
            compiled: RefCell::default(),
            is_any_call_expected: false,
            constants: Arc::new(VersionedConstants::latest_constants().clone()),
            told: None,
            selectors: RefCell::default(),
            storage: HashMap::new(),
            before: Vec::new(),
            reads: RefCell::default(),
        }
    }

    /// Says whether contracts may be called what they never call each other.
    pub(crate) fn expect_any_call(&mut self, is_expected: bool) {
        self.is_any_call_expected = is_expected;
    }

    /// Writes an entry of a contract's storage mapping of amounts.
    pub(crate) fn set_amount(&mut self, contract: Contract, variable: &str, keys: &[Felt], amount: u128) {
        self.storage.insert(slot_of(contract, variable, keys), Felt::from(amount));
    }

    /// What a slot holds.
    pub(crate) fn value(&self, slot: &Slot) -> Felt {
        self.storage.get(slot).copied().unwrap_or_default()
    }

    /// Calls an entry point as `caller`; `constructor` is one. What it wrote stays, unless it failed.
    pub(crate) fn call(
        &mut self,
        caller: Felt,
        contract: Contract,
        function: &'static str,
        calldata: Vec<Felt>,
        now: Moment,
    ) -> Executed {
        let is_constructor = function == CONSTRUCTOR_ENTRY_POINT_NAME;
        let call = CallEntryPoint {
            class_hash: Some(self.class_with(contract, function)),
            entry_point_type: if is_constructor { EntryPointType::Constructor } else { EntryPointType::External },
            entry_point_selector: self.selector(function),
            calldata: Calldata(Arc::new(calldata)),
            storage_address: address(contract.address()),
            caller_address: address(caller),
            initial_gas: GAS,
            ..CallEntryPoint::default()
        };
        self.execute(call, now)
    }

    fn execute(&mut self, call: CallEntryPoint, now: Moment) -> Executed {
        let mut context = self.context(now);
        self.before.clear();
        let mut gas = GAS;
        let executed = match call.execute(self, &mut context, &mut gas) {
            Ok(info) if !info.execution.failed => Executed {
                result: Ok(info.execution.retdata.0.clone()),
                events: events(&info),
                written: self.changed(),
            },
            Ok(info) => Executed { result: Err(info.execution.retdata.0), events: Vec::new(), written: Vec::new() },
            // Nothing that a contract does on purpose ends here; the text tells what did.
            Err(error) => {
                let text = error.to_string();
                let felts = text.as_bytes().chunks(31).map(Felt::from_bytes_be_slice).collect();
                Executed { result: Err(felts), events: Vec::new(), written: Vec::new() }
            }
        };
        if executed.result.is_err() {
            for (slot, value) in std::mem::take(&mut self.before).into_iter().rev() {
                self.storage.insert(slot, value);
            }
        }
        executed
    }

    /// Calls a view. Returns what it answered and the slots that it read.
    pub(crate) fn ask(
        &mut self,
        contract: Contract,
        function: &'static str,
        calldata: Vec<Felt>,
        now: Moment,
    ) -> (Result<Vec<Felt>, Vec<Felt>>, Vec<Slot>) {
        *self.reads.borrow_mut() = Some(HashSet::new());
        let executed = self.call(Felt::ZERO, contract, function, calldata, now);
        let reads = self.reads.take().unwrap_or_default();
        (executed.result, reads.into_iter().collect())
    }

    /// Has a class compiled. One that cannot be is missed by the call that needs it.
    fn need(&self, class_hash: ClassHash, contract: Contract, cut: Cut) {
        if let Entry::Vacant(vacant) = self.compiled.borrow_mut().entry(class_hash)
            && let Ok(class) = self.classes.compiled(contract, self.token, cut)
        {
            vacant.insert(class);
        }
    }

    /// The class of a contract with one entry point.
    fn class_with(&self, contract: Contract, function: &'static str) -> ClassHash {
        let class_hash = class_of(contract, self.selector(function).0);
        self.need(class_hash, contract, Cut::Only(function));
        class_hash
    }

    fn selector(&self, function: &'static str) -> EntryPointSelector {
        *self.selectors.borrow_mut().entry(function).or_insert_with(|| selector_from_name(function))
    }

    fn context(&mut self, now: Moment) -> EntryPointExecutionContext {
        let tx_context = match &self.told {
            Some((moment, tx_context)) if *moment == now => Arc::clone(tx_context),
            _ => {
                let tx_context = Arc::new(self.transaction_context(now));
                self.told = Some((now, Arc::clone(&tx_context)));
                tx_context
            }
        };
        let tracker = SierraGasRevertTracker::new(GasAmount(GAS));
        EntryPointExecutionContext::new(tx_context, ExecutionMode::Execute, false, tracker)
    }

    fn transaction_context(&self, now: Moment) -> TransactionContext {
        let block_info = BlockInfo {
            block_number: BlockNumber(now.block),
            block_timestamp: BlockTimestamp(now.timestamp),
            ..BlockInfo::default()
        };
        let chain_info = ChainInfo { chain_id: ChainId::Other(CHAIN_ID.to_owned()), ..ChainInfo::default() };
        let constants = VersionedConstants::clone(&self.constants);
        let block_context = BlockContext::new(block_info, chain_info, constants, BouncerConfig::max());
        TransactionContext {
            block_context: Arc::new(block_context),
            tx_info: TransactionInfo::Deprecated(DeprecatedTransactionInfo::default()),
        }
    }

    fn changed(&self) -> Vec<Slot> {
        let mut first: HashMap<Slot, Felt> = HashMap::new();
        for (slot, value) in &self.before {
            first.entry(*slot).or_insert(*value);
        }
        first.into_iter().filter(|(slot, value)| self.storage.get(slot) != Some(value)).map(|(slot, _)| slot).collect()
    }
}

/// The events of a call and of all it called, in the order of their emission.
fn events(info: &CallInfo) -> Vec<RawEvent> {
    fn gather(info: &CallInfo, found: &mut Vec<(usize, RawEvent)>) {
        for ordered in &info.execution.events {
            let keys = ordered.event.keys.iter().map(|key| key.0).collect();
            let from = *info.call.storage_address.0.key();
            found.push((ordered.order, RawEvent { from, keys, data: ordered.event.data.0.clone() }));
        }
        for inner in &info.inner_calls {
            gather(inner, found);
        }
    }
    let mut found = Vec::new();
    gather(info, &mut found);
    found.sort_by_key(|(order, _)| *order);
    found.into_iter().map(|(_, event)| event).collect()
}

/// Where an entry of a contract's storage mapping starts.
pub(crate) fn slot_of(contract: Contract, variable: &str, keys: &[Felt]) -> Slot {
    (address(contract.address()), get_storage_var_address(variable, keys))
}

fn address(felt: Felt) -> ContractAddress {
    ContractAddress::try_from(felt).expect("an address of ours is below the bound")
}

/// Classes are named by their contract and the cut that they are, 0 for the whole: nothing here depends on their true
/// hash.
fn class_of(contract: Contract, cut: Felt) -> ClassHash {
    ClassHash(contract.address() + cut)
}

/// The name of the cut with what contracts call of each other.
fn called() -> Felt {
    Felt::from(u64::MAX)
}

impl StateReader for Chain {
    fn get_storage_at(&self, contract: ContractAddress, key: StorageKey) -> StateResult<Felt> {
        if let Some(reads) = self.reads.borrow_mut().as_mut() {
            reads.insert((contract, key));
        }
        Ok(self.storage.get(&(contract, key)).copied().unwrap_or_default())
    }

    fn get_nonce_at(&self, _contract: ContractAddress) -> StateResult<Nonce> {
        Ok(Nonce::default())
    }

    fn get_class_hash_at(&self, contract: ContractAddress) -> StateResult<ClassHash> {
        let Some(contract) = Contract::of_address(*contract.0.key()) else { return Ok(ClassHash::default()) };
        let is_whole = self.is_any_call_expected;
        let class_hash = class_of(contract, if is_whole { Felt::ZERO } else { called() });
        self.need(class_hash, contract, if is_whole { Cut::Whole } else { Cut::Called });
        Ok(class_hash)
    }

    fn get_compiled_class(&self, class_hash: ClassHash) -> StateResult<RunnableCompiledClass> {
        // An upgrade names the contract's own class, whole.
        if let Some(contract) = Contract::of_address(class_hash.0) {
            self.need(class_hash, contract, Cut::Whole);
        }
        self.compiled.borrow().get(&class_hash).cloned().ok_or(StateError::UndeclaredClassHash(class_hash))
    }

    fn get_compiled_class_hash(&self, _class_hash: ClassHash) -> StateResult<CompiledClassHash> {
        Ok(CompiledClassHash::default())
    }
}

impl State for Chain {
    fn set_storage_at(&mut self, contract: ContractAddress, key: StorageKey, value: Felt) -> StateResult<()> {
        let old = self.storage.insert((contract, key), value).unwrap_or_default();
        self.before.push(((contract, key), old));
        Ok(())
    }

    fn increment_nonce(&mut self, _contract: ContractAddress) -> StateResult<()> {
        Ok(())
    }

    // Our contracts neither deploy nor declare.

    fn set_class_hash_at(&mut self, _contract: ContractAddress, _class_hash: ClassHash) -> StateResult<()> {
        Ok(())
    }

    fn set_contract_class(&mut self, _class_hash: ClassHash, _class: RunnableCompiledClass) -> StateResult<()> {
        Ok(())
    }

    fn set_compiled_class_hash(&mut self, _class_hash: ClassHash, _hash: CompiledClassHash) -> StateResult<()> {
        Ok(())
    }
}
