//! The nodes: where they are, and how they are asked.

use std::time::Duration;

use anyhow::{Result, anyhow, bail};
use keeper_chain::{Network, PoolSettings, shown_url};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

/// The section's settings of how nodes are asked. Each may be left out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Asking {
    /// How long one request may take, in milliseconds.
    timeout_ms: Option<u64>,
    /// How many nodes must give the same answer, where there are as many.
    agreement: Option<usize>,
    /// Blocks by which a node may be behind the others.
    max_lag: Option<u64>,
    /// Requests a second that a node gets at most.
    rate: Option<u32>,
}

impl Asking {
    /// The pool's settings, with its defaults for what is left out.
    pub(super) fn pool(&self) -> PoolSettings {
        let mut pool = PoolSettings::default();
        if let Some(timeout) = self.timeout_ms.map(Duration::from_millis) {
            pool.timeout = timeout;
        }
        if let Some(agreement) = self.agreement {
            pool.agreement = agreement;
        }
        if let Some(max_lag) = self.max_lag {
            pool.max_lag = max_lag;
        }
        pool.rate = self.rate;
        pool
    }

    /// The settings in force, in the form of the file.
    pub(super) fn of(pool: &PoolSettings) -> Self {
        Self {
            timeout_ms: u64::try_from(pool.timeout.as_millis()).ok(),
            agreement: Some(pool.agreement),
            max_lag: Some(pool.max_lag),
            rate: pool.rate,
        }
    }
}

/// Checks where the nodes are.
///
/// # Errors
/// Names the URL that is wrong, without a key that it may hold.
pub(super) fn check(network: Network, urls: &[Url]) -> Result<()> {
    for (place, url) in urls.iter().enumerate() {
        let shown = shown_url(url);
        if !matches!(url.scheme(), "http" | "https") {
            bail!("chain.rpc_url is {shown}, but must begin with http:// or https://");
        }
        check_place(network, url)?;
        if urls[..place].contains(url) {
            bail!("chain.rpc_url names {shown} twice, but a node cannot be compared with itself");
        }
    }
    Ok(())
}

/// Checks where the node is that tells of new blocks.
///
/// # Errors
/// Says what is wrong with the URL, without a key that it may hold.
pub(super) fn check_heads(network: Network, url: Option<&Url>) -> Result<()> {
    let Some(url) = url else { return Ok(()) };
    if !matches!(url.scheme(), "ws" | "wss") {
        bail!("chain.ws_url is {}, but must begin with ws:// or wss://", shown_url(url));
    }
    check_place(network, url)
}

/// A local chain is on this machine.
fn check_place(network: Network, url: &Url) -> Result<()> {
    let local = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    if network == Network::Devnet && !local {
        bail!(
            "chain.network is devnet, but {} is not on this machine\n\
             hint: for a public network pass --network sepolia or mainnet",
            shown_url(url)
        );
    }
    Ok(())
}

/// Checks how they are asked.
///
/// # Errors
/// Names the setting and what it may be.
pub(super) fn check_pool(pool: &PoolSettings) -> Result<()> {
    pool.validate().map_err(|error| anyhow!("chain.rpc.{error}"))
}

/// One URL, or a list of them.
pub(super) fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Urls {
        One(String),
        Several(Vec<String>),
    }
    let texts = match Urls::deserialize(deserializer)
        .map_err(|_| de::Error::custom("rpc_url must be a URL or a list of URLs"))?
    {
        Urls::One(text) => vec![text],
        Urls::Several(texts) => texts,
    };
    let parsed = texts.iter().enumerate().map(|(place, text)| {
        // Without the text, which may hold a key.
        text.parse().map_err(|error| de::Error::custom(format!("rpc_url number {} is no URL: {error}", place + 1)))
    });
    parsed.collect()
}

/// A URL that may be left out.
pub(super) fn maybe_one<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Url>, D::Error> {
    let text = String::deserialize(deserializer).map_err(|_| de::Error::custom("ws_url must be a URL"))?;
    // Without the text, which may hold a key.
    text.parse().map(Some).map_err(|error| de::Error::custom(format!("ws_url is no URL: {error}")))
}

/// Shows a URL without a key.
pub(super) fn maybe_without_key<S: Serializer>(url: &Option<Url>, serializer: S) -> Result<S::Ok, S::Error> {
    match url {
        Some(url) => serializer.serialize_some(&shown_url(url)),
        None => serializer.serialize_none(),
    }
}

/// Shows URLs without keys: one as a text, several as a list.
pub(super) fn without_keys<S: Serializer>(urls: &[Url], serializer: S) -> Result<S::Ok, S::Error> {
    match urls {
        [url] => serializer.serialize_str(&shown_url(url)),
        urls => serializer.collect_seq(urls.iter().map(shown_url)),
    }
}
