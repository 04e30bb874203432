//! Classes cut down to some of their entry points and what these reach.
//!
//! The machine loads the whole class for every call, and goes through all its hints: of a large class that takes
//! longer than the call. What an entry point does is the same in every cut; only its addresses differ.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use anyhow::{Context as _, Result, anyhow};
use blockifier::execution::contract_class::{CompiledClassV1, RunnableCompiledClass};
use cairo_lang_sierra::{
    ids::{ConcreteLibfuncId, FunctionId},
    program::{GenStatement, GenericArg, LibfuncDeclaration, Program, StatementIdx},
};
use cairo_lang_starknet_classes::{
    casm_contract_class::CasmContractClass,
    contract_class::{ContractClass, ContractEntryPoint, ExtractedSierraProgram},
};
use keeper_types::Felt;
use serde_json::Value;
use starknet_api::contract_class::SierraVersion;

/// The size of the assembly is not judged here: the chain applies its limit when a class is declared.
const NO_BYTECODE_LIMIT: usize = usize::MAX;

/// A class as it was published, and what it has been compiled to.
pub(crate) struct Class {
    class: ContractClass,
    program: ExtractedSierraProgram,
    version: SierraVersion,
}

impl Class {
    pub(crate) fn read(mut class: Value) -> Result<Self> {
        // Published classes carry the ABI as text; it is not needed for this.
        class["abi"] = Value::Array(Vec::new());
        let version = class["contract_class_version"].as_str().context("no class version")?;
        let version = version.parse::<SierraVersion>()?;
        let class: ContractClass = serde_json::from_value(class)?;
        let program = class.extract_sierra_program(false)?;
        Ok(Self { class, program, version })
    }

    /// All of it.
    pub(crate) fn whole(&self) -> Result<RunnableCompiledClass> {
        self.compile(self.class.clone(), self.program.program.clone())
    }

    /// The class with these entry points alone; those that it does not have are left out.
    pub(crate) fn cut(&self, selectors: &BTreeSet<Felt>) -> Result<RunnableCompiledClass> {
        let mut class = self.class.clone();
        let is_kept = |entry: &ContractEntryPoint| selectors.contains(&Felt::from(entry.selector.clone()));
        let points = &mut class.entry_points_by_type;
        for entries in [&mut points.external, &mut points.l1_handler, &mut points.constructor] {
            entries.retain(is_kept);
        }
        let kept: Vec<usize> = [&points.external, &points.l1_handler, &points.constructor]
            .into_iter()
            .flatten()
            .map(|entry| entry.function_idx)
            .collect();
        let (program, moved) = reachable(&self.program.program, kept);
        for entries in [&mut points.external, &mut points.l1_handler, &mut points.constructor] {
            entries.iter_mut().for_each(|entry| entry.function_idx = moved[&entry.function_idx]);
        }
        self.compile(class, program)
    }

    fn compile(&self, class: ContractClass, program: Program) -> Result<RunnableCompiledClass> {
        let sierra = ExtractedSierraProgram {
            program,
            sierra_version: self.program.sierra_version,
            compiler_version: self.program.compiler_version,
        };
        let casm = CasmContractClass::from_contract_class(class, sierra, false, NO_BYTECODE_LIMIT)?;
        let compiled = CompiledClassV1::try_from((casm, self.version.clone())).map_err(|error| anyhow!("{error}"))?;
        Ok(RunnableCompiledClass::V1(compiled))
    }
}

/// The program with these functions and those that they call, and where each function of it stands now.
fn reachable(program: &Program, first: Vec<usize>) -> (Program, BTreeMap<usize, usize>) {
    let declared: HashMap<&ConcreteLibfuncId, &LibfuncDeclaration> =
        program.libfunc_declarations.iter().map(|declaration| (&declaration.id, declaration)).collect();
    let positions: HashMap<&FunctionId, usize> =
        program.funcs.iter().enumerate().map(|(index, function)| (&function.id, index)).collect();
    let mut starts: Vec<usize> = program.funcs.iter().map(|function| function.entry_point.0).collect();
    starts.sort_unstable();
    let end_of = |start: usize| {
        starts.get(starts.partition_point(|other| *other <= start)).copied().unwrap_or(program.statements.len())
    };

    let (mut functions, mut libfuncs) = (BTreeSet::new(), HashSet::new());
    let mut waiting = first;
    while let Some(index) = waiting.pop() {
        if !functions.insert(index) {
            continue;
        }
        let start = program.funcs[index].entry_point.0;
        for statement in &program.statements[start..end_of(start)] {
            let GenStatement::Invocation(invocation) = statement else { continue };
            let mut used = vec![&invocation.libfunc_id];
            while let Some(id) = used.pop() {
                if !libfuncs.insert(id) {
                    continue;
                }
                for argument in &declared[id].long_id.generic_args {
                    match argument {
                        GenericArg::UserFunc(function) => waiting.push(positions[function]),
                        GenericArg::Libfunc(libfunc) => used.push(libfunc),
                        _ => {}
                    }
                }
            }
        }
    }
    let mut cut = Program {
        type_declarations: program.type_declarations.clone(),
        libfunc_declarations: program
            .libfunc_declarations
            .iter()
            .filter(|declaration| libfuncs.contains(&declaration.id))
            .cloned()
            .collect(),
        statements: Vec::new(),
        funcs: Vec::new(),
    };
    let mut moved = BTreeMap::new();
    for index in functions {
        let function = &program.funcs[index];
        let (start, new_start) = (function.entry_point.0, cut.statements.len());
        let statements = program.statements[start..end_of(start)].iter().cloned();
        cut.statements.extend(statements.map(|statement| {
            // A function's statements stand together, and its branches stay within it.
            statement.map(|StatementIdx(target)| StatementIdx(target - start + new_start))
        }));
        moved.insert(index, cut.funcs.len());
        let mut function = function.clone();
        function.entry_point = StatementIdx(new_start);
        cut.funcs.push(function);
    }
    (cut, moved)
}
