//! `keeper contracts deploy|status`.

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use keeper_chain::{Deployer, Deployment, DeploymentError, DeploymentTerms, Receipt, built_in_class};
use keeper_scheduler::policy_id;
use keeper_types::{Address, Felt, Fri, PolicyId, WorkerId};
use serde_json::json;

use super::{Global, complaints};
use crate::{context::Context, output, rights::Rights};

/// What to do with the contracts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContractsCommand {
    /// Declare, deploy and wire what is missing, and write deployments/NETWORK.json. Safe to repeat
    Deploy(DeployArgs),
    /// Let an account apply rounds, which has no bond on its way out; for the admin
    AddKeeper(KeeperArgs),
    /// Take that right away; for the admin
    RemoveKeeper(KeeperArgs),
    /// Announce the policy of the configuration, by which keepers may apply rounds then; for the admin
    AnnouncePolicy,
    /// Take a policy back, at once and for good; for the admin
    RetirePolicy(PolicyArgs),
    /// Post what the account's bond as a keeper lacks, or more
    Bond(BondArgs),
    /// Stop being a keeper; the bond can be taken back after a while. To return, take it back first (withdraw-bond),
    /// then have the admin add the account again
    Leave,
    /// Take the bond back after leaving, or after being removed
    WithdrawBond,
    /// Admit a worker to the static ones; for the admin
    AdmitWorker(WorkerArgs),
    /// Dismiss a worker from the static ones; for the admin
    DismissWorker(WorkerArgs),
    /// Show where the contracts stand and how they are set up
    Status,
}

/// Which keeper.
#[derive(Debug, Args)]
pub(crate) struct KeeperArgs {
    /// The keeper's account
    #[arg(value_parser = complaints::somebody)]
    address: Address,
}

/// Which policy.
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// The policy's hash
    policy_id: PolicyId,
}

/// How much.
#[derive(Debug, Args)]
pub(crate) struct BondArgs {
    /// What to add to the bond, in STRK [default: what it lacks]
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    amount: Option<Fri>,
}

/// Which worker.
#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    /// The worker's number
    id: WorkerId,
}

/// Terms of a deployment.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// Account that may apply rounds; repeat for several [default: the deploying account, at the first deployment]
    #[arg(long = "keeper", value_name = "ADDRESS", value_parser = complaints::somebody)]
    keepers: Vec<Address>,
    /// What each slot of a worker must stake, in STRK
    #[arg(long, value_name = "STRK", value_parser = complaints::more_than_nothing)]
    min_stake: Option<Fri>,
    /// How long a client may look at a result before anyone may settle it, such as 30m
    #[arg(long, value_name = "DURATION")]
    challenge_window: Option<humantime::Duration>,
    /// How long a leaving worker's stake stays bound, such as 7days
    #[arg(long, value_name = "DURATION")]
    unbonding: Option<humantime::Duration>,
    /// How long a dispute may last, such as 1day
    #[arg(long, value_name = "DURATION")]
    dispute_window: Option<humantime::Duration>,
    /// What a keeper must have at stake, in STRK
    #[arg(long, value_name = "STRK", value_parser = Fri::from_strk)]
    keeper_bond: Option<Fri>,
    /// How long a policy is announced before keepers may go by it, and a keeper's bond stays bound, such as 1day
    #[arg(long, value_name = "DURATION")]
    policy_delay: Option<humantime::Duration>,
    /// How long an upgrade is announced before it may be made, such as 7days
    #[arg(long, value_name = "DURATION")]
    upgrade_delay: Option<humantime::Duration>,
    /// Tells several deployments of one account apart
    #[arg(long, default_value_t = 0)]
    salt: u64,
    /// Write over a deployment file that names other contracts
    #[arg(long)]
    replace: bool,
}

/// Deploys the contracts or shows where they stand.
///
/// # Errors
/// Says what is wrong and what to do.
pub(crate) async fn run(global: &Global, command: ContractsCommand) -> Result<()> {
    let context = Context::connect(global).await?;
    match command {
        ContractsCommand::Deploy(args) => deploy(&context, args).await,
        ContractsCommand::AddKeeper(args) => {
            let receipt = context.contracts()?.add_keeper(&context.sender().await?, args.address).await?;
            done(&context, &receipt, &format!("{} may apply rounds", args.address))
        }
        ContractsCommand::RemoveKeeper(args) => {
            let receipt = context.contracts()?.remove_keeper(&context.sender().await?, args.address).await?;
            done(&context, &receipt, &format!("{} may no longer apply rounds", args.address))
        }
        ContractsCommand::Status => status(&context).await,
        command => manage(&context, command).await,
    }
}

async fn manage(context: &Context, command: ContractsCommand) -> Result<()> {
    let (contracts, sender) = (context.contracts()?, context.sender().await?);
    let (receipt, what) = match command {
        ContractsCommand::AnnouncePolicy => {
            let policy_id = policy_id(&context.settings.policy);
            (contracts.announce_policy(&sender, policy_id).await?, format!("policy {policy_id} is announced"))
        }
        ContractsCommand::RetirePolicy(args) => {
            let receipt = contracts.retire_policy(&sender, args.policy_id).await?;
            (receipt, format!("policy {} is retired", args.policy_id))
        }
        ContractsCommand::Bond(args) => {
            let rights = Rights::read(&contracts, sender.address(), &context.settings.policy).await?;
            let Some(amount) = args.amount.or(rights.missing_bond()) else {
                rights.check()?;
                bail!("the bond of {} lacks nothing\nhint: --amount adds to it all the same", sender.address());
            };
            (contracts.post_bond(&sender, amount).await?, format!("{amount} added to the bond"))
        }
        ContractsCommand::Leave => (contracts.leave(&sender).await?, "the account is no keeper any more".to_owned()),
        ContractsCommand::WithdrawBond => (contracts.withdraw_bond(&sender).await?, "the bond is back".to_owned()),
        ContractsCommand::AdmitWorker(args) => {
            let receipt = contracts.set_static(&sender, args.id, true).await?;
            (receipt, format!("worker {} is a static one", args.id))
        }
        ContractsCommand::DismissWorker(args) => {
            let receipt = contracts.set_static(&sender, args.id, false).await?;
            (receipt, format!("worker {} is no static one any more", args.id))
        }
        ContractsCommand::Deploy(_)
        | ContractsCommand::AddKeeper(_)
        | ContractsCommand::RemoveKeeper(_)
        | ContractsCommand::Status => return Ok(()),
    };
    done(context, &receipt, &what)
}

async fn deploy(context: &Context, args: DeployArgs) -> Result<()> {
    let sender = context.sender().await?;
    let defaults = DeploymentTerms::of(context.settings.network);
    let seconds = |duration: Option<humantime::Duration>, default| duration.map_or(default, |given| given.as_secs());
    let terms = DeploymentTerms {
        min_stake_per_slot: args.min_stake.unwrap_or(defaults.min_stake_per_slot),
        unbonding_s: seconds(args.unbonding, defaults.unbonding_s),
        challenge_window_s: seconds(args.challenge_window, defaults.challenge_window_s),
        dispute_window_s: seconds(args.dispute_window, defaults.dispute_window_s),
        min_keeper_bond: args.keeper_bond.unwrap_or(defaults.min_keeper_bond),
        policy_delay_s: seconds(args.policy_delay, defaults.policy_delay_s),
        upgrade_delay_s: seconds(args.upgrade_delay, defaults.upgrade_delay_s),
        salt: Felt::from(args.salt),
    };
    let path = &context.settings.deployment;
    let deployer = Deployer::new(&sender, terms);
    let known = known_deployment(context, &deployer, args.replace).await?;
    let keepers = match args.keepers {
        keepers if keepers.is_empty() && known.is_none() => vec![sender.address()],
        keepers => keepers,
    };
    let spinner = output::spinner("deploying");
    let mut report = |step: &str| {
        spinner.set_message(step.to_owned());
        spinner.suspend(|| eprintln!("{step}"));
    };
    let mut deployment = deployer.run(&keepers, &[policy_id(&context.settings.policy)], &mut report).await?;
    spinner.finish_and_clear();
    deployment.commit = option_env!("CIRO_COMMIT").map(ToOwned::to_owned);
    // Following begins where these contracts were first deployed, not where they were last looked at.
    if let Some(known) = known {
        deployment.block = deployment.block.min(known.block);
        deployment.commit = known.commit;
    }
    deployment.save(path)?;
    if context.json {
        return output::json(&deployment);
    }
    print_deployment(&deployment);
    println!("written to {}", path.display());
    Ok(())
}

/// The file's deployment, where it names the contracts that are about to be deployed. A file that names others is
/// not written over: it may be the only record of where they are.
async fn known_deployment(context: &Context, deployer: &Deployer<'_>, replace: bool) -> Result<Option<Deployment>> {
    let (path, network) = (&context.settings.deployment, context.settings.network);
    let known = match Deployment::load(path, network) {
        Ok(known) => known,
        Err(DeploymentError::Missing { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let stands = deployer.is_deployed(known.job_mgr.address).await?;
    if known.job_mgr.address == deployer.job_mgr_address()? {
        // A local chain that began anew has forgotten them.
        return Ok(stands.then_some(known));
    }
    if stands && !replace {
        bail!(
            "{} names other contracts on {network}: JobMgr {}, deployed by {}\n\
             hint: pass --deployment with another file to deploy beside them, or --replace to write over it",
            path.display(),
            known.job_mgr.address,
            known.admin
        );
    }
    Ok(None)
}

fn done(context: &Context, receipt: &Receipt, what: &str) -> Result<()> {
    if context.json {
        return output::json(&json!({ "tx_hash": receipt.hash, "fee_fri": receipt.fee }));
    }
    println!("{what}; block {}, transaction {}", receipt.block.number, receipt.hash);
    output::explorer_link(context.settings.network, receipt.hash);
    Ok(())
}

async fn status(context: &Context) -> Result<()> {
    let contracts = context.contracts()?;
    let deployment = contracts.deployment();
    let stats = contracts.allocation_stats().await?;
    let held = contracts.held().await?;
    let paused = contracts.paused().await?;
    let current = deployment.contracts().into_iter().all(|(name, contract)| {
        built_in_class(name).is_some_and(|built_in| built_in.class_hash == contract.class_hash)
    });
    if context.json {
        return output::json(&json!({
            "deployment": deployment,
            "classes_of_this_version": current,
            "stats": stats,
            "held_fri": held,
            "paused": paused,
        }));
    }
    print_deployment(deployment);
    println!("escrow held       {held}");
    println!("rounds            {}", stats.rounds);
    println!("allocated         {}", stats.allocated);
    println!("skipped           {}", stats.skipped);
    if !paused.is_empty() {
        println!("paused            {}", paused.join(", "));
    }
    if !current {
        println!("the classes differ from the ones built into this program");
    }
    Ok(())
}

fn print_deployment(deployment: &Deployment) {
    let mut table = output::table(&["CONTRACT", "ADDRESS", "CLASS"]);
    for (name, contract) in deployment.contracts() {
        table.add_row([name.to_owned(), contract.address.to_string(), format!("{:#066x}", contract.class_hash)]);
    }
    println!("{table}");
    for (_, contract) in deployment.contracts() {
        if let Some(page) = deployment.network.contract_page(contract.address) {
            println!("{page}");
        }
    }
}
