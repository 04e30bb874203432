//! `keeper admin ...`: what the contracts' admin and guardian do.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::{Contracts, Governance};
use keeper_types::{Address, Felt};
use serde_json::json;

use super::Global;
use crate::{context::Context, output};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum AdminCommand {
    /// Stop new jobs, workers, rounds and deposits. Nobody is kept from getting out; the guardian may, too
    Pause(WhichArgs),
    /// Let them in again
    Unpause(WhichArgs),
    /// Offer the admin's role to another account, which has it once it accepts
    Transfer(ToArgs),
    /// Take the role that was offered to the account
    Accept(WhichArgs),
    /// Name who may pause besides the admin
    Guardian(ToArgs),
    /// Begin the notice of an upgrade to another class
    AnnounceUpgrade(UpgradeArgs),
    /// Take the announcement back
    CancelUpgrade(OneArgs),
    /// Replace the class, once the notice has passed
    Upgrade(OneArgs),
}

/// Which contracts.
#[derive(Debug, Args)]
pub(crate) struct WhichArgs {
    /// JobMgr, CdcPool, TaskAllocator or Paymaster; repeat for several [default: all four]
    #[arg(long = "contract", value_name = "NAME")]
    contracts: Vec<String>,
}

/// To whom, and which contracts.
#[derive(Debug, Args)]
pub(crate) struct ToArgs {
    /// The account; 0x0 for nobody
    to: Address,
    #[command(flatten)]
    which: WhichArgs,
}

/// Which contract.
#[derive(Debug, Args)]
pub(crate) struct OneArgs {
    /// JobMgr, CdcPool, TaskAllocator or Paymaster
    #[arg(value_name = "NAME")]
    contract: String,
}

/// Which contract, and to what.
#[derive(Debug, Args)]
pub(crate) struct UpgradeArgs {
    #[command(flatten)]
    contract: OneArgs,
    /// The declared class
    class_hash: Felt,
}

/// Runs an admin command.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: AdminCommand) -> Result<()> {
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    let (names, action, what) = match command {
        AdminCommand::Pause(which) => (which.contracts, Governance::Pause, "paused".to_owned()),
        AdminCommand::Unpause(which) => (which.contracts, Governance::Unpause, "not paused any more".to_owned()),
        AdminCommand::Transfer(ToArgs { to, which }) => {
            let what = if to.0 == Felt::ZERO { "offered to nobody".to_owned() } else { format!("offered to {to}") };
            (which.contracts, Governance::TransferAdmin(to), what)
        }
        AdminCommand::Accept(which) => {
            (which.contracts, Governance::AcceptAdmin, "administered by the account".to_owned())
        }
        AdminCommand::Guardian(ToArgs { to, which }) => {
            (which.contracts, Governance::SetGuardian(to), format!("guarded by {to}"))
        }
        AdminCommand::AnnounceUpgrade(UpgradeArgs { contract, class_hash }) => {
            let what = format!("to become class {class_hash:#066x} after the notice");
            (vec![contract.contract], Governance::AnnounceUpgrade(class_hash), what)
        }
        AdminCommand::CancelUpgrade(OneArgs { contract }) => {
            (vec![contract], Governance::CancelUpgrade, "not to be upgraded".to_owned())
        }
        AdminCommand::Upgrade(OneArgs { contract }) => (vec![contract], Governance::Upgrade, "upgraded".to_owned()),
    };
    let chosen = choose(&contracts, &names)?;
    let addresses: Vec<_> = chosen.iter().map(|(_, address)| *address).collect();
    let receipt = contracts.govern(&context.sender().await?, &addresses, action).await?;
    let names: Vec<_> = chosen.iter().map(|(name, _)| *name).collect();
    if context.json {
        return output::json(&json!({ "contracts": names, "tx_hash": receipt.hash, "fee_fri": receipt.fee }));
    }
    println!("{}: {what}; block {}, transaction {}", names.join(", "), receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

/// The contracts of these names; all where none is named.
fn choose(contracts: &Contracts, names: &[String]) -> Result<Vec<(&'static str, Address)>> {
    let governed = contracts.governed();
    for name in names {
        if !governed.iter().any(|(known, _)| known == name) {
            let known: Vec<_> = governed.iter().map(|(known, _)| *known).collect();
            bail!("`{name}` is none of the contracts that have an admin: {}", known.join(", "));
        }
    }
    let is_chosen = |known: &str| names.is_empty() || names.iter().any(|name| name == known);
    Ok(governed.into_iter().filter(|(known, _)| is_chosen(known)).collect())
}
