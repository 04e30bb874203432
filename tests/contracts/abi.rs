//! What the classes in `contracts/artifacts` say about themselves: their functions, and how an answer is read.

use std::{collections::BTreeMap, ops::Index, path::PathBuf};

use keeper_types::Felt;
use serde_json::Value;

/// A class's ABI.
#[derive(Default)]
pub(crate) struct Abi {
    pub(crate) functions: BTreeMap<String, Function>,
    /// The last parts of the events' names.
    pub(crate) events: Vec<String>,
    structs: BTreeMap<String, Vec<(String, String)>>,
    enums: BTreeMap<String, Vec<(String, String)>>,
}

#[derive(Default)]
pub(crate) struct Function {
    pub(crate) inputs: Vec<String>,
    pub(crate) output: Option<String>,
    pub(crate) is_view: bool,
}

pub(crate) fn artifact(file: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../contracts/artifacts");
    std::fs::read_to_string(folder.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn text(item: &Value, field: &str) -> String {
    item[field].as_str().unwrap_or_default().to_owned()
}

fn members(item: &Value, field: &str) -> Vec<(String, String)> {
    let members = item[field].as_array().map(Vec::as_slice).unwrap_or_default();
    members.iter().map(|member| (text(member, "name"), text(member, "type"))).collect()
}

impl Abi {
    pub(crate) fn of(contract: &str) -> Self {
        let class: Value = serde_json::from_str(&artifact(&format!("{contract}.contract_class.json"))).unwrap();
        let mut abi = Self::default();
        for item in class["abi"].as_array().expect("the class has an ABI") {
            abi.take(item);
        }
        abi
    }

    fn take(&mut self, item: &Value) {
        let name = text(item, "name");
        match item["type"].as_str().unwrap_or_default() {
            "interface" => item["items"].as_array().unwrap().iter().for_each(|item| self.take(item)),
            "function" => {
                let inputs = members(item, "inputs").into_iter().map(|(_, ty)| ty).collect();
                let output = item["outputs"].as_array().and_then(|outputs| outputs.first()).map(|it| text(it, "type"));
                let is_view = text(item, "state_mutability") == "view";
                self.functions.insert(name, Function { inputs, output, is_view });
            }
            "struct" => drop(self.structs.insert(name, members(item, "members"))),
            "enum" => drop(self.enums.insert(name, members(item, "variants"))),
            "event" if text(item, "kind") == "struct" => {
                self.events.push(name.rsplit("::").next().unwrap_or_default().to_owned());
            }
            _ => {}
        }
    }

    /// Reads a function's answer, to its last felt.
    pub(crate) fn read(&self, function: &str, answer: &[Felt]) -> Shown {
        let output = self.functions[function].output.as_ref().expect("it answers something");
        let mut felts = answer.iter().copied();
        let shown = self.shown(output, &mut felts);
        assert_eq!(felts.next(), None, "{function} answered more than its type");
        shown
    }

    fn shown(&self, ty: &str, felts: &mut impl Iterator<Item = Felt>) -> Shown {
        let mut next = || felts.next().expect("the answer is as long as its type");
        if let Some(element) = element_of(ty) {
            let count = u64::try_from(next()).unwrap();
            return Shown::List((0..count).map(|_| self.shown(element, felts)).collect());
        }
        if let Some(members) = self.structs.get(ty) {
            let fields = members.iter().map(|(name, ty)| (name.clone(), self.shown(ty, felts)));
            return Shown::Fields(fields.collect());
        }
        match self.enums.get(ty) {
            Some(variants) if !ty.ends_with("core::bool") => {
                let (name, ty) = &variants[usize::try_from(u64::try_from(next()).unwrap()).unwrap()];
                let inner = if ty == "()" { Shown::Fields(Vec::new()) } else { self.shown(ty, felts) };
                Shown::Variant(name.clone(), Box::new(inner))
            }
            _ => Shown::Felt(next()),
        }
    }

    /// The least felts that a type can be given as: empty lists, first variants, zeros.
    pub(crate) fn least(&self, ty: &str) -> Vec<Felt> {
        if let Some(members) = self.structs.get(ty).filter(|_| element_of(ty).is_none()) {
            return members.iter().flat_map(|(_, ty)| self.least(ty)).collect();
        }
        let variants = self.enums.get(ty).and_then(|variants| variants.first());
        let inner = variants.filter(|(_, ty)| ty != "()").map(|(_, ty)| self.least(ty));
        [vec![Felt::ZERO], inner.unwrap_or_default()].concat()
    }
}

fn element_of(ty: &str) -> Option<&str> {
    let inner = ["core::array::Span::<", "core::array::Array::<"].into_iter().find_map(|list| ty.strip_prefix(list))?;
    inner.strip_suffix('>')
}

/// Something that a view shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Felt(Felt),
    Fields(Vec<(String, Self)>),
    List(Vec<Self>),
    Variant(String, Box<Self>),
}

impl Shown {
    pub(crate) fn felt(&self) -> Felt {
        match self {
            Self::Felt(felt) => *felt,
            other => panic!("no single value: {other:?}"),
        }
    }

    pub(crate) fn number(&self) -> u128 {
        u128::try_from(self.felt()).expect("a number of 128 bits")
    }

    pub(crate) fn is_true(&self) -> bool {
        self.felt() != Felt::ZERO
    }

    /// The name of an enum's variant.
    pub(crate) fn variant(&self) -> &str {
        match self {
            Self::Variant(name, _) => name,
            other => panic!("no variant: {other:?}"),
        }
    }

    pub(crate) fn list(&self) -> &[Self] {
        match self {
            Self::List(elements) => elements,
            other => panic!("no list: {other:?}"),
        }
    }

    /// Some fields at once, as numbers.
    pub(crate) fn numbers<const N: usize>(&self, fields: [&str; N]) -> [u128; N] {
        fields.map(|field| self[field].number())
    }
}

impl Index<&str> for Shown {
    type Output = Self;

    fn index(&self, field: &str) -> &Self {
        let fields = match self {
            Self::Fields(fields) => fields,
            other => panic!("no fields: {other:?}"),
        };
        match fields.iter().find(|(name, _)| name == field) {
            Some((_, shown)) => shown,
            None => panic!("no field `{field}` in {fields:?}"),
        }
    }
}
