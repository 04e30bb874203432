//! `keeper account ...`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::Contracts;
use keeper_types::{Address, Fri};
use serde_json::json;

use super::Global;
use crate::{context::Context, output};

/// What to do with an account's credit.
#[derive(Debug, Subcommand)]
pub(crate) enum AccountCommand {
    /// Show what JobMgr owes to an account: payments and refunds that were not taken out
    Credit(CreditArgs),
    /// Pay an account what it is owed; anyone may, and the money goes to the account
    Withdraw(CreditArgs),
}

/// Whose credit.
#[derive(Debug, Args)]
pub(crate) struct CreditArgs {
    /// The account's address [default: the account that acts]
    #[arg(long, value_name = "ADDRESS")]
    of: Option<Address>,
}

/// Runs an account command.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: AccountCommand) -> Result<()> {
    let context = Context::connect(global).await?;
    let contracts = context.contracts()?;
    match command {
        AccountCommand::Credit(args) => {
            let account = args.account(&context).await?;
            let credit = contracts.credit_of(account).await?;
            if context.json {
                return output::json(&json!({ "account": account, "credit_fri": credit }));
            }
            println!("{account} has a credit of {credit}");
            Ok(())
        }
        AccountCommand::Withdraw(args) => withdraw(&context, &contracts, args.account(&context).await?).await,
    }
}

async fn withdraw(context: &Context, contracts: &Contracts, account: Address) -> Result<()> {
    let credit = contracts.credit_of(account).await?;
    if credit == Fri::ZERO {
        bail!("account {account} has no credit\nhint: refunds and payments are credited when a job ends");
    }
    let receipt = contracts.withdraw_credit(&context.sender().await?, &[account]).await?;
    if context.json {
        return output::json(&json!({ "account": account, "amount_fri": credit, "tx_hash": receipt.hash }));
    }
    println!("paid {credit} to {account}; block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

impl CreditArgs {
    async fn account(&self, context: &Context) -> Result<Address> {
        match self.of {
            Some(account) => Ok(account),
            None if context.settings.account.is_none() => {
                bail!("it is not said whose credit\nhint: pass --of ADDRESS, or --account")
            }
            None => Ok(context.credentials().await?.address),
        }
    }
}
