//! `keeper paymaster ...`: balances that pay for others.

use std::{
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::{Contracts, NamedCall, Receipt, SponsoredCalls};
use keeper_types::{Address, Felt, Fri};
use serde_json::json;

use super::{Global, complaints};
use crate::{context::Context, output};

/// How long signed calls may be handed in, in seconds.
const VALIDITY_S: u64 = 3_600;
/// How far the chain's clock may lie behind this one, in seconds.
const CLOCK_SLACK_S: u64 = 300;

/// What to do with the Paymaster.
#[derive(Debug, Subcommand)]
pub(crate) enum PaymasterCommand {
    /// Show an account's balance
    Show(OfArgs),
    /// Add to a balance
    Deposit(DepositArgs),
    /// Take from the account's own balance
    Withdraw(AmountArgs),
    /// Let a gateway submit jobs out of the account's balance, or no longer
    Gateway(GatewayArgs),
    /// Pay for what relayers execute for another account, or no longer
    Sponsor(SponsorArgs),
    /// Let a relayer charge its fees to the account, or no longer
    Relayer(RelayerArgs),
    /// Have calls executed that another account has signed, for a fee
    Relay(RelayArgs),
}

/// Whose balance.
#[derive(Debug, Args)]
pub(crate) struct OfArgs {
    /// The account [default: --account]
    #[arg(long, value_name = "ADDRESS")]
    of: Option<Address>,
}

/// How much, and to whom.
#[derive(Debug, Args)]
pub(crate) struct DepositArgs {
    /// In STRK
    #[arg(value_name = "STRK", value_parser = Fri::from_strk)]
    amount: Fri,
    /// Whose balance [default: --account]
    #[arg(long, value_name = "ADDRESS", value_parser = complaints::somebody)]
    to: Option<Address>,
}

/// How much.
#[derive(Debug, Args)]
pub(crate) struct AmountArgs {
    /// In STRK
    #[arg(value_name = "STRK", value_parser = Fri::from_strk)]
    amount: Fri,
}

/// Which gateway, and up to what.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("terms").required(true))]
pub(crate) struct GatewayArgs {
    /// The gateway's account
    #[arg(value_parser = complaints::somebody)]
    gateway: Address,
    /// What it may escrow from now on, in STRK
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk, group = "terms")]
    cap: Option<Fri>,
    /// Take what is left of its cap away
    #[arg(long, group = "terms")]
    revoke: bool,
}

/// Which account, and up to what.
#[derive(Debug, Args)]
pub(crate) struct SponsorArgs {
    /// The account to pay for
    #[arg(value_parser = complaints::somebody)]
    sponsored: Address,
    /// What may be spent in a day, in STRK
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk, requires = "max_fee", required_unless_present = "stop")]
    budget: Option<Fri>,
    /// What may be spent at a time, in STRK
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk, requires = "budget")]
    max_fee: Option<Fri>,
    /// Pay no longer
    #[arg(long, conflicts_with_all = ["budget", "max_fee"])]
    stop: bool,
}

/// Which relayer.
#[derive(Debug, Args)]
pub(crate) struct RelayerArgs {
    /// The relayer's account
    #[arg(value_parser = complaints::somebody)]
    relayer: Address,
    /// It may no longer
    #[arg(long)]
    revoke: bool,
}

/// What to relay, and who pays what for it.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// What `worker register --sign` or `job submit --sign` has written
    file: PathBuf,
    /// Whose balance pays
    #[arg(long, value_name = "ADDRESS", value_parser = complaints::somebody)]
    sponsor: Address,
    /// What is charged, in STRK; it goes to --account
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    fee: Fri,
}

/// Runs a paymaster command.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: PaymasterCommand) -> Result<()> {
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    if let PaymasterCommand::Show(args) = &command {
        return show(&context, &contracts, args.of).await;
    }
    let sender = context.sender().await?;
    let (receipt, what) = match command {
        PaymasterCommand::Show(_) => return Ok(()),
        PaymasterCommand::Deposit(DepositArgs { amount, to }) => {
            let account = to.unwrap_or(sender.address());
            (contracts.deposit(&sender, account, amount).await?, format!("{amount} added to the balance of {account}"))
        }
        PaymasterCommand::Withdraw(AmountArgs { amount }) => {
            (contracts.withdraw_deposit(&sender, amount).await?, format!("{amount} taken from the balance"))
        }
        PaymasterCommand::Gateway(GatewayArgs { gateway, cap, .. }) => {
            let what = match cap {
                Some(cap) => format!("gateway {gateway} may escrow {cap}"),
                None => format!("gateway {gateway} may escrow nothing"),
            };
            (contracts.set_gateway(&sender, gateway, cap).await?, what)
        }
        PaymasterCommand::Sponsor(SponsorArgs { sponsored, budget, max_fee, .. }) => {
            let terms = budget.zip(max_fee);
            let what = match terms {
                Some((budget, max_fee)) => {
                    format!("account {sponsored} is sponsored: {max_fee} at a time, {budget} a day")
                }
                None => format!("account {sponsored} is no longer sponsored"),
            };
            (contracts.set_sponsorship(&sender, sponsored, terms).await?, what)
        }
        PaymasterCommand::Relayer(RelayerArgs { relayer, revoke }) => {
            let may = if revoke { "may no longer" } else { "may" };
            let receipt = contracts.set_relayer(&sender, relayer, !revoke).await?;
            (receipt, format!("relayer {relayer} {may} charge its fees to {}", sender.address()))
        }
        PaymasterCommand::Relay(args) => {
            let signed = read(&args.file)?;
            let receipt = contracts.relay(&sender, args.sponsor, args.fee, &signed).await?;
            (
                receipt,
                format!("{} calls of account {} executed, {} charged", signed.calls.len(), signed.account, args.fee),
            )
        }
    };
    done(&context, &receipt, &what)
}

async fn show(context: &Context, contracts: &Contracts, of: Option<Address>) -> Result<()> {
    let account = match of {
        Some(account) => account,
        None => context.credentials().await?.address,
    };
    let balance = contracts.deposit_of(account).await?;
    if context.json {
        return output::json(&json!({ "account": account, "balance_fri": balance }));
    }
    println!("{account} has {balance} with the Paymaster");
    Ok(())
}

fn done(context: &Context, receipt: &Receipt, what: &str) -> Result<()> {
    if context.json {
        return output::json(&json!({ "tx_hash": receipt.hash, "fee_fri": receipt.fee }));
    }
    println!("{what}; block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

/// Signs calls as the account, for an hour, and writes them to a file that somebody else relays.
///
/// # Errors
/// Says what is wrong and what to do.
pub(super) async fn write_signed(
    context: &Context,
    contracts: &Contracts,
    calls: Vec<NamedCall>,
    file: &Path,
) -> Result<()> {
    let Some(paymaster) = contracts.deployment().paymaster else {
        bail!("this deployment has no Paymaster, so nobody can relay signed calls\nhint: leave out --sign");
    };
    let credentials = context.credentials().await?;
    let chain_id = context.settings.network.chain_id();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let times = (now.saturating_sub(CLOCK_SLACK_S), now + VALIDITY_S);
    // Only has to be new: the account takes each nonce once.
    let nonce = Felt::from(rand::random::<u128>());
    let signed = SponsoredCalls::sign(&credentials, chain_id, paymaster.address, nonce, times, calls)?;
    let text = serde_json::to_string_pretty(&signed)?;
    std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
    if context.json {
        return output::json(&json!({ "file": file, "account": signed.account, "execute_before": times.1 }));
    }
    println!(
        "signed as {}, to be relayed within an hour: `keeper paymaster relay {} --sponsor ADDRESS --fee STRK`",
        signed.account,
        file.display()
    );
    Ok(())
}

fn read(file: &Path) -> Result<SponsoredCalls> {
    let text =
        std::fs::read_to_string(file).map_err(|error| complaints::unreadable("FILE", file.as_os_str(), &error))?;
    serde_json::from_str(&text).with_context(|| {
        format!(
            "{} holds no signed calls\nhint: `keeper worker register --sign FILE` writes such a file",
            file.display()
        )
    })
}
