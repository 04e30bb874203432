//! What most commands need: a checked connection, the contracts, and an account that sends.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use keeper_chain::{AccountSource, Contracts, Credentials, Deployment, KeySource, Rpc, Sender};
use secrecy::SecretString;

use crate::{
    cli::{Global, RunArgs},
    settings::{ExitAccount, Settings},
};

/// The keystore's password.
const PASSWORD_VARIABLE: &str = "STARKNET_KEYSTORE_PASSWORD";
/// A key that is not in a keystore.
const PRIVATE_KEY_VARIABLE: &str = "STARKNET_PRIVATE_KEY";

/// Settings and a connection that was checked against them.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) rpc: Rpc,
    pub(crate) json: bool,
}

impl Context {
    /// Reads the settings and connects.
    ///
    /// # Errors
    /// Fails where a setting is wrong or the node cannot be used.
    pub(crate) async fn connect(global: &Global) -> Result<Self> {
        Self::connect_with(global, &RunArgs::default()).await
    }

    /// As [`Context::connect`], with the options of `keeper run`.
    ///
    /// # Errors
    /// As [`Context::connect`].
    pub(crate) async fn connect_with(global: &Global, run: &RunArgs) -> Result<Self> {
        let settings = Settings::resolve(global, run)?;
        let rpc = Rpc::connect_all(settings.network, &settings.rpc_urls, settings.pool.clone()).await?;
        Ok(Self { settings, rpc, json: global.json })
    }

    /// The deployed contracts.
    ///
    /// # Errors
    /// Fails where no deployment is known on this network.
    pub(crate) fn contracts(&self) -> Result<Contracts> {
        let deployment = Deployment::load(&self.settings.deployment, self.settings.network)?;
        Ok(Contracts::new(&self.rpc, &deployment))
    }

    /// The account and its key.
    ///
    /// # Errors
    /// Says which file or variable is missing or wrong.
    pub(crate) async fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials::load(&self.rpc, &self.account_source()?).await?)
    }

    /// The account as one that sends transactions.
    ///
    /// # Errors
    /// As [`Context::credentials`].
    pub(crate) async fn sender(&self) -> Result<Sender> {
        Ok(Sender::new(&self.rpc, &self.credentials().await?, self.settings.receipt_poll()))
    }

    /// Another account as one that sends transactions.
    ///
    /// # Errors
    /// As [`Context::credentials`].
    pub(crate) async fn sender_of(&self, other: &ExitAccount) -> Result<Sender> {
        let source = source_of(&other.account, other.keystore.as_ref())?;
        let credentials = Credentials::load(&self.rpc, &source).await?;
        Ok(Sender::new(&self.rpc, &credentials, self.settings.poll()))
    }

    fn account_source(&self) -> Result<AccountSource> {
        let Some(account) = &self.settings.account else {
            bail!(
                "no account is named\nhint: pass --account and --keystore (starkli's files), or on a local chain \
                 --account devnet-1"
            );
        };
        source_of(account, self.settings.keystore.as_ref())
    }
}

/// Where an account and its key are.
fn source_of(account: &str, keystore: Option<&PathBuf>) -> Result<AccountSource> {
    if let Some(index) = account.strip_prefix("devnet-")
        && !std::path::Path::new(account).exists()
    {
        return match index.parse() {
            Ok(index) => Ok(AccountSource::Devnet(index)),
            Err(_) => bail!("{account} names no account: a local chain's are devnet-1, devnet-2, and so on"),
        };
    }
    if !std::path::Path::new(account).is_file() {
        bail!(
            "there is no account file {account}\nhint: --account names starkli's account file, or devnet-N on a local chain"
        );
    }
    let key = match keystore {
        Some(path) => {
            // Before anybody is asked for the password of what is not there. It is not opened: a pipe is read once.
            let there = std::fs::metadata(path).with_context(|| format!("the keystore {}", path.display()))?;
            if there.is_dir() {
                bail!(
                    "the keystore {} is a folder\nhint: --keystore names a file, as starkli writes it",
                    path.display()
                );
            }
            KeySource::Keystore { path: path.clone(), password: password(path)? }
        }
        None => match std::env::var(PRIVATE_KEY_VARIABLE) {
            Ok(key) => {
                tracing::warn!("the key comes from {PRIVATE_KEY_VARIABLE}; a keystore is safer");
                KeySource::Plain(SecretString::from(key))
            }
            Err(_) => bail!("account {account} has no key\nhint: pass --keystore, or set {PRIVATE_KEY_VARIABLE}"),
        },
    };
    Ok(AccountSource::File { account: account.into(), key })
}

/// The password from the environment, or from whoever sits at the terminal.
fn password(keystore: &std::path::Path) -> Result<SecretString> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(SecretString::from(password));
    }
    if !std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        bail!("{} needs a password\nhint: set {PASSWORD_VARIABLE}", keystore.display());
    }
    let password =
        rpassword::prompt_password(format!("Password of {}: ", keystore.display())).context("reading the password")?;
    Ok(SecretString::from(password))
}
