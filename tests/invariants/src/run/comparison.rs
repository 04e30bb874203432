//! Whether the two sides say the same, and where they do not.

use std::fmt;

use anyhow::Result;
use keeper_types::Felt;

use crate::{
    actors::describe,
    market::{Answer, Done},
    model::{Event, Fields, Outcome},
    views::View,
};

pub(super) fn outcomes_agree(expected: &Outcome, done: &Done) -> Result<()> {
    match (&expected.result, &done.result) {
        (Ok(expected), Ok(found)) if expected == found => {}
        (Err(expected), Err(found)) if expected == found => return Ok(()),
        (expected, found) => {
            anyhow::bail!("the model answers {}, the contract {}", words(expected), words(found));
        }
    }
    let names = |event: &str, fields: String| format!("{event}({fields})");
    for (index, expected) in expected.events.iter().enumerate() {
        let Some(found) = done.events.get(index) else {
            anyhow::bail!("the contract does not emit {}", expected.name);
        };
        let is_same = expected.contract == found.contract && expected.name == found.name && expected.list == found.list;
        if !is_same || !fields_agree(expected, &found.fields) {
            let list = |felts: &[Felt]| felts.iter().map(|felt| format!("{felt:#x}")).collect::<Vec<_>>();
            let modelled = expected.fields.iter().map(|(name, felt)| format!("{name} {}", describe(*felt)));
            let modelled = modelled.chain(list(&expected.list));
            let emitted = found.fields.iter().map(|(name, felt)| format!("{name} {}", describe(*felt)));
            let emitted = emitted.chain(list(&found.list));
            anyhow::bail!(
                "event {index}: the model emits {}, the contract {}",
                names(expected.name, modelled.collect::<Vec<_>>().join(", ")),
                names(&found.name, emitted.collect::<Vec<_>>().join(", ")),
            );
        }
    }
    if let Some(more) = done.events.get(expected.events.len()) {
        anyhow::bail!("the contract also emits {}", more.name);
    }
    Ok(())
}

/// The contract's event has the fields that the model says, with these values.
fn fields_agree(expected: &Event, found: &[(String, Felt)]) -> bool {
    expected.fields.len() == found.len()
        && found
            .iter()
            .all(|(name, felt)| expected.fields.iter().any(|(known, expected)| known == name && expected == felt))
}

/// Whether a view shows what the model does. The names are asked for only where the order is not the same.
pub(super) fn answers_agree(
    view: View,
    shown: &Result<Fields, &'static str>,
    answer: &Answer,
    names: impl Fn() -> Vec<String>,
) -> bool {
    match (shown, answer) {
        (Err(expected), Err(found)) => expected == found,
        (Ok(fields), Ok(felts)) if fields.len() == felts.len() => {
            let is_in_order = fields.iter().zip(felts).all(|((_, expected), found)| expected == found);
            is_in_order || {
                let names = names();
                let same =
                    |name: &String, felt: &Felt| fields.iter().any(|(known, value)| known == name && value == felt);
                names.len() == felts.len() && names.iter().zip(felts).all(|(name, felt)| same(name, felt))
            }
        }
        // While a contract's terms are shown elsewhere, its configuration leaves them out.
        (Ok(fields), Ok(felts)) if view.is_a_configuration() && felts.len() < fields.len() => {
            let names = names();
            let same = |name: &String, felt: &Felt| fields.iter().any(|(known, value)| known == name && value == felt);
            names.len() == felts.len() && names.iter().zip(felts).all(|(name, felt)| same(name, felt))
        }
        _ => false,
    }
}

pub(super) fn differing_fields(shown: &Result<Fields, &'static str>, answer: &Answer, names: &[String]) -> String {
    let (Ok(fields), Ok(felts)) = (shown, answer) else {
        let shown = shown.as_ref().map(|fields| fields.iter().map(|(_, felt)| *felt).collect::<Vec<_>>());
        return format!("    model {}, contract {}\n", words(&shown), words(answer));
    };
    let mut text = String::new();
    for (index, found) in felts.iter().enumerate() {
        let name = names.get(index).map_or("", String::as_str);
        let expected = fields.iter().find(|(known, _)| *known == name).map(|(_, felt)| *felt);
        if expected != Some(*found) {
            let expected = expected.map_or("nothing".to_owned(), describe);
            text.push_str(&format!("    {name:<32} model {expected}, contract {}\n", describe(*found)));
        }
    }
    text
}

fn words(result: &Result<impl AsRef<[Felt]>, impl fmt::Display>) -> String {
    match result {
        Ok(felts) => format!("{:?}", felts.as_ref().iter().map(|felt| describe(*felt)).collect::<Vec<_>>()),
        Err(text) => format!("`{text}`"),
    }
}
