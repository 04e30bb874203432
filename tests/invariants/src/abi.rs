//! Names for felts: what the ABI in a contract class says of its events and of what its views return.
//!
//! A struct is laid out as the list of its fields' paths (`spec.requirements.gpu_count`), one felt each. Reading
//! by names keeps the comparison with the model independent of where a field stands.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use keeper_types::Felt;
use serde_json::Value;
use starknet_api::abi::abi_utils::selector_from_name;

use crate::{actors::Contract, chain::RawEvent};

/// The layouts of one contract.
#[derive(Clone, Debug, Default)]
pub(crate) struct Abi {
    /// By the event's selector.
    events: HashMap<Felt, EventLayout>,
    /// By the function's name: the paths of what it returns, where that has a fixed size.
    functions: HashMap<String, Vec<String>>,
    /// What the constructor takes.
    constructor: Vec<String>,
}

#[derive(Clone, Debug)]
struct EventLayout {
    name: String,
    keys: Vec<String>,
    data: Vec<String>,
    /// Whether a list of felts follows.
    has_list: bool,
}

/// The one type without a fixed size that events have.
const LIST: &str = "core::array::Span::<core::felt252>";

/// An event with its fields by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedEvent {
    pub(crate) contract: Contract,
    pub(crate) name: String,
    pub(crate) fields: Vec<(String, Felt)>,
    /// Of an event whose last field is a list: its felts.
    pub(crate) list: Vec<Felt>,
}

impl NamedEvent {
    /// A field's value; 0 where the event has no such field.
    pub(crate) fn get(&self, field: &str) -> Felt {
        self.fields.iter().find(|(name, _)| name == field).map_or(Felt::ZERO, |(_, felt)| *felt)
    }
}

impl Abi {
    /// Reads the `abi` of a contract class.
    pub(crate) fn read(entries: &Value) -> Result<Self> {
        let entries = entries.as_array().context("the ABI is not a list")?;
        let types: HashMap<&str, &Value> =
            entries.iter().filter_map(|entry| Some((entry["name"].as_str()?, entry))).collect();
        let mut abi = Self::default();
        for entry in entries {
            match entry["type"].as_str() {
                Some("event") if entry["kind"] == "struct" => {
                    let layout = event_layout(entry, &types)?;
                    abi.events.insert(selector_from_name(&layout.name).0, layout);
                }
                Some("constructor") => {
                    let inputs = entry["inputs"].as_array().into_iter().flatten();
                    abi.constructor = inputs.filter_map(|input| Some(input["name"].as_str()?.to_owned())).collect();
                }
                Some("interface") => {
                    for item in entry["items"].as_array().into_iter().flatten() {
                        abi.add_function(item, &types);
                    }
                }
                _ => {}
            }
        }
        Ok(abi)
    }

    fn add_function(&mut self, item: &Value, types: &HashMap<&str, &Value>) {
        let (Some(name), Some(returned)) = (item["name"].as_str(), item["outputs"][0]["type"].as_str()) else { return };
        let mut paths = Vec::new();
        if lay_out(returned, "", types, &mut paths).is_ok() {
            self.functions.insert(name.to_owned(), paths);
        }
    }

    /// The paths of what a view returns.
    pub(crate) fn returned(&self, function: &str) -> Option<&[String]> {
        self.functions.get(function).map(Vec::as_slice)
    }

    /// The names of the constructor's arguments, in order.
    pub(crate) fn constructor(&self) -> &[String] {
        &self.constructor
    }

    /// Names an event's felts.
    pub(crate) fn event(&self, contract: Contract, raw: &RawEvent) -> Result<NamedEvent> {
        let selector = raw.keys.first().context("an event without a selector")?;
        let layout =
            self.events.get(selector).with_context(|| format!("an event that the ABI lacks: {selector:#x}"))?;
        let keys = &raw.keys[1..];
        let (data, list) = raw.data.split_at(layout.data.len().min(raw.data.len()));
        let list = match list {
            [] if !layout.has_list => Vec::new(),
            [length, felts @ ..] if layout.has_list && *length == Felt::from(felts.len()) => felts.to_vec(),
            _ => bail!("{} does not end as the ABI says", layout.name),
        };
        if (keys.len(), data.len()) != (layout.keys.len(), layout.data.len()) {
            bail!("{} does not have the length that the ABI says", layout.name);
        }
        let names = layout.keys.iter().chain(&layout.data).cloned();
        let fields = names.zip(keys.iter().chain(data).copied()).collect();
        Ok(NamedEvent { contract, name: layout.name.clone(), fields, list })
    }
}

fn event_layout(entry: &Value, types: &HashMap<&str, &Value>) -> Result<EventLayout> {
    let path = entry["name"].as_str().context("an event without a name")?;
    let name = path.rsplit("::").next().unwrap_or(path).to_owned();
    let (mut keys, mut data, mut has_list) = (Vec::new(), Vec::new(), false);
    for member in entry["members"].as_array().into_iter().flatten() {
        let (field, type_name) = member_of(member)?;
        if has_list {
            bail!("{name} has a field after its list");
        }
        if type_name == LIST {
            has_list = true;
            continue;
        }
        let paths = if member["kind"] == "key" { &mut keys } else { &mut data };
        lay_out(type_name, field, types, paths)?;
    }
    Ok(EventLayout { name, keys, data, has_list })
}

fn member_of(member: &Value) -> Result<(&str, &str)> {
    Ok((member["name"].as_str().context("no name")?, member["type"].as_str().context("no type")?))
}

/// Appends the path of each felt of a type.
fn lay_out(type_name: &str, path: &str, types: &HashMap<&str, &Value>, paths: &mut Vec<String>) -> Result<()> {
    let Some(entry) = types.get(type_name) else {
        paths.push(path.to_owned());
        return Ok(());
    };
    let is_plain_enum =
        || entry["variants"].as_array().is_some_and(|all| all.iter().all(|variant| variant["type"] == "()"));
    match entry["type"].as_str() {
        Some("struct") if !type_name.contains("Span") => {
            for member in entry["members"].as_array().into_iter().flatten() {
                let (field, inner) = member_of(member)?;
                let inner_path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
                lay_out(inner, &inner_path, types, paths)?;
            }
            Ok(())
        }
        Some("enum") if is_plain_enum() => {
            paths.push(path.to_owned());
            Ok(())
        }
        _ => bail!("{type_name} has no fixed size"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!([
            { "type": "struct", "name": "x::Inner", "members": [{ "name": "a", "type": "core::integer::u8" }] },
            { "type": "enum", "name": "x::State", "variants": [{ "name": "None", "type": "()" }] },
            { "type": "struct", "name": "x::Outer", "members": [
                { "name": "state", "type": "x::State" }, { "name": "inner", "type": "x::Inner" },
            ] },
            { "type": "interface", "name": "x::I", "items": [
                { "type": "function", "name": "get", "outputs": [{ "type": "x::Outer" }] },
                { "type": "function", "name": "list", "outputs": [{ "type": "core::array::Span::<x::Outer>" }] },
            ] },
            { "type": "struct", "name": "core::array::Span::<x::Outer>", "members": [] },
            { "type": "event", "kind": "struct", "name": "x::Moved", "members": [
                { "name": "inner", "type": "x::Inner", "kind": "data" }, { "name": "id", "type": "u8", "kind": "key" },
            ] },
        ])
    }

    #[test]
    fn structs_are_laid_out_by_their_paths() {
        let abi = Abi::read(&sample()).unwrap();
        assert_eq!(abi.returned("get").unwrap(), ["state", "inner.a"]);
        assert_eq!(abi.returned("list"), None);
    }

    #[test]
    fn an_events_felts_get_their_names() {
        let abi = Abi::read(&sample()).unwrap();
        let keys = vec![selector_from_name("Moved").0, Felt::TWO];
        let raw = RawEvent { from: Felt::ZERO, keys, data: vec![Felt::THREE] };
        let event = abi.event(Contract::JobMgr, &raw).unwrap();
        assert_eq!((event.get("id"), event.get("inner.a")), (Felt::TWO, Felt::THREE));
        let short = RawEvent { data: Vec::new(), ..raw };
        assert!(abi.event(Contract::JobMgr, &short).is_err());
    }
}
