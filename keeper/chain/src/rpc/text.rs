//! What may be shown of nodes' words and of their addresses.

use keeper_types::Felt;
use starknet::core::types::StarknetError;
use url::Url;

/// A node's error with the details that people need, without the Rust of it.
pub(crate) fn describe(error: &StarknetError) -> String {
    match error {
        StarknetError::ContractError(data) => readable_revert(&format!("{:?}", data.revert_error)),
        StarknetError::TransactionExecutionError(data) => readable_revert(&format!("{:?}", data.execution_error)),
        StarknetError::ValidationFailure(reason) => format!("{}: {reason}", error.message()),
        StarknetError::UnexpectedError(reason) => reason.clone(),
        other => other.message().to_owned(),
    }
}

/// Finds the contract's own words in a trace. Cairo panics carry short strings; nodes print them as `('Text')`,
/// as hexadecimal numbers, or both.
pub(crate) fn readable_revert(trace: &str) -> String {
    let quoted = trace.rsplit("('").find_map(|tail| {
        let (text, _) = tail.split_once("')")?;
        is_contracts_words(text).then(|| text.to_owned())
    });
    let spelt = || {
        trace.rsplit("0x").find_map(|tail| {
            let digits = tail.split(|character: char| !character.is_ascii_hexdigit()).next()?;
            let bytes = Felt::from_hex(&format!("0x{digits}")).ok()?.to_bytes_be();
            let text: String = bytes.into_iter().skip_while(|byte| *byte == 0).map(char::from).collect();
            is_contracts_words(&text).then_some(text)
        })
    };
    quoted.or_else(spelt).unwrap_or_else(|| short(trace))
}

/// Our contracts' errors read `JobMgr: not queued`, and fit a felt.
fn is_contracts_words(text: &str) -> bool {
    text.contains(": ") && text.len() <= 31 && text.chars().all(|character| (' '..='~').contains(&character))
}

pub(crate) fn short(text: &str) -> String {
    const LONGEST: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() <= LONGEST {
        return line;
    }
    let end = (0..=LONGEST).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
    format!("{}...", &line[..end])
}

/// An endpoint as it may be shown: those of hosted nodes carry their key in the path or the query.
pub fn shown_url(url: &Url) -> String {
    let mut shown = url.clone();
    let has_key = url.path().split('/').any(|part| part.len() >= 20);
    if has_key {
        shown.set_path("/...");
    }
    if url.query().is_some() {
        shown.set_query(Some("..."));
    }
    // A URL that holds a password has a host, so neither call can fail.
    let _ = shown.set_password(None);
    shown.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_in_endpoints_are_not_shown() {
        let shown = |text: &str| shown_url(&Url::parse(text).unwrap());
        assert_eq!(shown("http://127.0.0.1:5050/rpc"), "http://127.0.0.1:5050/rpc");
        assert_eq!(shown("https://node.example/v2/abcdefghijklmnopqrstuv"), "https://node.example/...");
        assert_eq!(shown("https://node.example/rpc?key=secret"), "https://node.example/rpc?...");
        assert_eq!(shown("https://me:secret@node.example/rpc"), "https://me@node.example/rpc");
    }

    #[test]
    fn the_contracts_words_are_found_in_a_trace() {
        let trace = "Error in the called contract (0x1): 0x4a6f (('JobMgr: not queued'), 'ENTRYPOINT_FAILED')";
        assert_eq!(readable_revert(trace), "JobMgr: not queued");
        let felt = "Execution failed. Failure reason: [0x4a6f624d67723a206e6f7420717565756564, 0x454e5452]";
        assert_eq!(readable_revert(felt), "JobMgr: not queued");
        assert_eq!(readable_revert("boom"), "boom");
    }
}
