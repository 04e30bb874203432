//! What people and programs read: tables and text for the former, JSON for the latter.

mod refusals;

use std::{io::IsTerminal as _, path::Path};

use anyhow::Result;
use comfy_table::{ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use keeper_chain::{CredentialsError, DeploymentError, EndpointHealth, Network, RpcError, SendError, Standing};
use keeper_store::StoreError;
use keeper_types::{Address, TxHash};
use serde::Serialize;

/// Prints a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a value as JSON on one line, for streams.
pub(crate) fn json_line(value: &impl Serialize) -> Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// An empty table with these headings.
pub(crate) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    table
}

/// An address that people can tell apart at a glance.
pub(crate) fn short(address: Address) -> String {
    let text = format!("{:#x}", address.0);
    if text.len() <= 14 { text } else { format!("{}…{}", &text[..8], &text[text.len() - 4..]) }
}

/// Says where a transaction can be looked at, on networks with an explorer.
pub(crate) fn explorer_link(network: Network, hash: TxHash) {
    if let Some(page) = network.transaction_page(hash) {
        println!("{page}");
    }
}

/// A spinner on a terminal; nothing where standard error is not one.
pub(crate) fn spinner(message: impl Into<String>) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner().with_message(message.into());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// Prints what went wrong, what led to it, and what to do about it.
pub(crate) fn print_error(error: &anyhow::Error) {
    let (message, hint) = described(error);
    eprintln!("error: {message}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

/// What went wrong and what led to it, and what to do about it.
pub(crate) fn described(error: &anyhow::Error) -> (String, Option<String>) {
    let mut message = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        // Libraries often repeat their source in their own message.
        if message.contains(&cause) {
            continue;
        }
        if !message.is_empty() {
            message.push_str(": ");
        }
        message.push_str(&cause);
    }
    match message.split_once("\nhint: ") {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (message, hint_for(error)),
    }
}

/// The next step after errors that have a usual cause.
fn hint_for(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<RpcError>() {
            return rpc_hint(error);
        }
        if let Some(error) = cause.downcast_ref::<SendError>() {
            return match error {
                SendError::Rpc(error) => rpc_hint(error),
                SendError::Unfunded { .. } => Some("`keeper doctor` shows the account's balance".to_owned()),
                SendError::NotIncluded { .. } => Some("look again later: `keeper job list`".to_owned()),
                SendError::WouldRevert { reason } | SendError::Reverted { reason, .. } => {
                    refusals::hint(reason).map(ToOwned::to_owned)
                }
                _ => None,
            };
        }
        if let Some(DeploymentError::Missing { network, path }) = cause.downcast_ref() {
            return Some(missing_deployment(*network, path));
        }
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return error.remedy();
        }
        match cause.downcast_ref() {
            Some(CredentialsError::LegacyAccount { .. }) => {
                Some("docs/configuration.md says which accounts can be used".to_owned())
            }
            _ => None,
        }
    })
}

/// Everybody but the one who deploys gets the file from somebody.
fn missing_deployment(network: Network, path: &Path) -> String {
    let file = path.display();
    format!(
        "get the deployment file from whoever deployed the contracts and keep it as {file}, or name it with \
         --deployment; only for a market of your own, `keeper contracts deploy --network {network}` makes both"
    )
}

/// How an endpoint is, in one line.
pub(crate) fn endpoint(endpoint: &EndpointHealth) -> String {
    let how = match endpoint.standing {
        Standing::Healthy => "healthy",
        Standing::Lagging => "behind the others",
        Standing::Resting => "left alone for a while",
        Standing::Unchecked => "does not answer",
        Standing::Disagreeing => "has other blocks than the others",
        Standing::Wrong => "of another network, or of another specification",
    };
    let head = endpoint.head.map_or_else(String::new, |head| format!(", block {head}"));
    let lag = if endpoint.lag > 0 { format!(", {} behind", endpoint.lag) } else { String::new() };
    let fault = endpoint.last_fault.as_ref().map_or_else(String::new, |fault| format!("; last: {fault}"));
    let asked = format!("{} requests, {} failed, p95 {} ms", endpoint.requests, endpoint.failures, endpoint.p95_ms);
    format!("{}: {how}{head}{lag}; {asked}{fault}", endpoint.url)
}

fn rpc_hint(error: &RpcError) -> Option<String> {
    match error {
        RpcError::Unreachable { .. } => {
            Some("is the node running, and is --rpc-url right? README.md says how a local one is started".to_owned())
        }
        RpcError::Contradiction { .. } => Some(
            "one of the nodes lags or lies: `keeper doctor` says which; with three nodes the other two settle it"
                .to_owned(),
        ),
        RpcError::WrongChain { .. } => Some("pass the --network that the node belongs to".to_owned()),
        RpcError::Refused { reason, .. } if reason.contains("Contract not found") => Some(
            "the deployment file names contracts that are not on this chain; a local chain that began anew needs \
             `keeper contracts deploy` again"
                .to_owned(),
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
