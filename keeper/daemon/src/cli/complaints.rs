//! What is said of a command line that is wrong: which option or variable it is, and what it may be.

use std::{
    ffi::{OsStr, OsString},
    net::AddrParseError,
    num::ParseIntError,
};

use anyhow::anyhow;
use clap::{
    Arg, Command,
    builder::StyledStr,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};
use keeper_types::{Address, Felt, FeltParseError, Fri};

/// What stands in place of a value that may hold a key.
const NOT_SHOWN: &str = "(not shown)";

/// Values may be negative numbers, so that they are refused as values and not as options that nobody knows.
pub(super) fn with_negative_numbers(command: Command) -> Command {
    let allow = |arg: Arg| match arg.get_action().takes_values() {
        true => arg.allow_negative_numbers(true),
        false => arg,
    };
    command.mut_args(allow).mut_subcommands(with_negative_numbers)
}

/// The same error, with what clap leaves out: that a value is a variable's, and what is expected. `given` is the command
/// line.
pub(super) fn completed(mut error: Error, command: &Command, given: &[OsString]) -> Error {
    let is_about_a_value = matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue);
    let shown = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(shown)) if is_about_a_value => shown.clone(),
        _ => return error,
    };
    let Some(arg) = find(command, &shown) else { return error };
    if let Some(tip) = expected(&error, arg, &shown) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![StyledStr::from(tip)]));
    }
    if let Some(variable) = variable(arg, given) {
        error.insert(ContextKind::InvalidArg, ContextValue::String(format!("{variable} (environment), for {shown}")));
        if arg.is_hide_env_values_set() {
            error.insert(ContextKind::InvalidValue, ContextValue::String(NOT_SHOWN.to_owned()));
        }
    }
    error
}

/// The argument that messages show like this.
fn find<'a>(command: &'a Command, shown: &str) -> Option<&'a Arg> {
    let own = command.get_arguments().find(|arg| arg.to_string() == shown);
    own.or_else(|| command.get_subcommands().find_map(|subcommand| find(subcommand, shown)))
}

/// The variable that the argument's value is from: what is on the command line wins over it.
fn variable(arg: &Arg, given: &[OsString]) -> Option<String> {
    let flag = format!("--{}", arg.get_long()?);
    let is_flag = |word: &OsString| {
        let word = word.to_string_lossy();
        word == flag.as_str() || word.strip_prefix(&flag).is_some_and(|rest| rest.starts_with('='))
    };
    let variable = arg.get_env().filter(|_| !given.iter().any(is_flag))?;
    Some(variable.to_string_lossy().into_owned())
}

/// What the value may be, where the error itself says only what it is not.
fn expected(error: &Error, arg: &Arg, shown: &str) -> Option<String> {
    let source = std::error::Error::source(error)?;
    let what = if source.is::<ParseIntError>() {
        "a whole number, such as 7"
    } else if source.is::<AddrParseError>() {
        "an IP address and a port, such as 127.0.0.1:7070"
    } else if source.is::<humantime::DurationError>() {
        "a duration, such as 90s, 10m or 1day"
    } else if source.is::<url::ParseError>() && arg.get_long() == Some("ws-url") {
        "a URL, such as ws://127.0.0.1:5050/ws"
    } else if source.is::<url::ParseError>() {
        "a URL, such as http://127.0.0.1:5050/rpc"
    } else {
        return None;
    };
    let meaning = arg.get_help().map(ToString::to_string).filter(|_| arg.is_positional());
    Some(match meaning {
        Some(meaning) => format!("{shown} is {what}: {}", lower_first(&meaning)),
        None => format!("{shown} takes {what}"),
    })
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| first.to_lowercase().chain(characters).collect())
}

/// Reads the address of somebody: zero is nobody's, and no contract takes it.
///
/// # Errors
/// Says what an address is.
pub(super) fn somebody(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error: FeltParseError| error.to_string())?;
    if address.0 == Felt::ZERO {
        return Err("the zero address is nobody's; expected an account's address".to_owned());
    }
    Ok(address)
}

/// Reads an amount of STRK that is not zero.
///
/// # Errors
/// Says what an amount is.
pub(super) fn more_than_nothing(text: &str) -> Result<Fri, String> {
    match Fri::from_strk(text).map_err(|error| error.to_string())? {
        Fri::ZERO => Err("expected more than 0 STRK".to_owned()),
        amount => Ok(amount),
    }
}

/// Says that a file cannot be read which `named_by` names: an option, or the name of an argument.
pub(crate) fn unreadable(named_by: &str, file: &OsStr, error: &std::io::Error) -> anyhow::Error {
    let file = file.display();
    let hint = match error.kind() {
        std::io::ErrorKind::NotFound => "paths are relative to the folder that the command is started in",
        std::io::ErrorKind::PermissionDenied => "this user needs the right to read it",
        _ => "name a file that can be read",
    };
    anyhow!("{named_by} names {file}, which cannot be read: {error}\nhint: {hint}")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use clap::{builder::BoolValueParser, value_parser};

    use super::*;
    use crate::cli::Cli;

    fn told(arguments: &[&str]) -> String {
        Cli::try_read(arguments).unwrap_err().to_string()
    }

    #[test]
    fn a_negative_number_is_a_value_that_is_refused_by_its_option() {
        let told = told(&["keeper", "job", "submit", "--manifest", "job.json", "--max-price", "-1"]);
        assert!(told.contains("invalid value '-1' for '--max-price <STRK>'"), "{told}");
        assert!(told.contains("expected a decimal number of STRK, such as 1.25"), "{told}");
    }

    #[test]
    fn what_is_expected_is_said() {
        for (arguments, expected) in [
            (&["keeper", "job", "show", "abc"][..], "tip: <ID> is a whole number, such as 7: the job's number"),
            (&["keeper", "job", "show", "-1"], "tip: <ID> is a whole number, such as 7: the job's number"),
            (&["keeper", "job", "list", "--poll-ms", "a"], "tip: --poll-ms <MS> takes a whole number, such as 7"),
            (
                &["keeper", "job", "list", "--rpc-url", "bogus"],
                "tip: --rpc-url <URL> takes a URL, such as http://127.0.0.1:5050/rpc",
            ),
            (&["keeper", "job", "list", "--ws-url=bogus"], "takes a URL, such as ws://127.0.0.1:5050/ws"),
            (&["keeper", "run", "--listen", "foo"], "takes an IP address and a port, such as 127.0.0.1:7070"),
            (&["keeper", "contracts", "deploy", "--unbonding", "long"], "takes a duration, such as 90s, 10m or 1day"),
        ] {
            let told = told(arguments);
            assert!(told.contains(expected), "{arguments:?}: {told}");
        }
    }

    #[test]
    fn nobody_is_given_nothing_before_the_chain_is_asked() {
        let submit = ["keeper", "job", "submit", "--manifest", "a.json", "--max-price", "1", "--for", "0x0"];
        for (arguments, flag) in [
            (&["keeper", "contracts", "deploy", "--keeper", "0x0"][..], "--keeper <ADDRESS>"),
            (&["keeper", "contracts", "deploy", "--keeper", "0x1", "--keeper", "0x000"], "--keeper <ADDRESS>"),
            (&["keeper", "contracts", "add-keeper", "0x0"], "<ADDRESS>"),
            (&["keeper", "paymaster", "deposit", "1", "--to", "0x0"], "--to <ADDRESS>"),
            (&submit, "--for <ADDRESS>"),
        ] {
            let told = told(arguments);
            assert!(told.contains(&format!("for '{flag}': the zero address is nobody's")), "{arguments:?}: {told}");
        }
        let stake = told(&["keeper", "contracts", "deploy", "--min-stake", "0.0"]);
        assert!(stake.contains("for '--min-stake <STRK>': expected more than 0 STRK"), "{stake}");
        let malformed = told(&["keeper", "contracts", "deploy", "--keeper", "abc"]);
        assert!(malformed.contains("expected 0x followed by up to 64 hexadecimal digits"), "{malformed}");
        assert!(Cli::try_read(["keeper", "contracts", "deploy", "--keeper", "0x1", "--min-stake", "1"]).is_ok());
    }

    /// `PATH` stands for a variable that is set.
    fn command() -> Command {
        let of_path = |arg: Arg| arg.env("PATH");
        Command::new("keeper").subcommand(
            Command::new("run")
                .arg(of_path(Arg::new("listen").long("listen").value_parser(value_parser!(SocketAddr))))
                .arg(Arg::new("shards").long("shards").value_parser(value_parser!(u8))),
        )
    }

    fn complaint(mut command: Command, words: &[&str]) -> String {
        let given: Vec<OsString> = words.iter().map(OsString::from).collect();
        command.build();
        let error = command.try_get_matches_from_mut(&given).unwrap_err();
        completed(error, &command, &given).to_string()
    }

    #[test]
    fn a_variable_is_named_where_the_value_is_its() {
        let told = complaint(command(), &["keeper", "run"]);
        assert!(told.contains("for 'PATH (environment), for --listen <listen>': invalid socket address"), "{told}");
        assert!(told.contains("such as 127.0.0.1:7070"), "{told}");
        for words in [&["keeper", "run", "--listen", "foo"][..], &["keeper", "run", "--listen=foo"]] {
            let told = complaint(command(), words);
            assert!(told.contains("invalid value 'foo' for '--listen <listen>': invalid socket address"), "{told}");
        }
        let switch = Arg::new("json").long("log-json").num_args(0).env("PATH").value_parser(BoolValueParser::new());
        let switch = switch.action(clap::ArgAction::SetTrue);
        let told = complaint(Command::new("keeper").arg(switch), &["keeper"]);
        assert!(told.contains("for 'PATH (environment), for --log-json'"), "{told}");
        assert!(told.contains("[possible values: true, false]"), "{told}");
    }

    #[test]
    fn a_variable_that_may_hold_a_key_is_not_shown() {
        let url = Arg::new("url").long("rpc-url").env("PATH").value_parser(value_parser!(url::Url));
        let told = complaint(Command::new("keeper").arg(url.clone()), &["keeper"]);
        assert!(!told.contains(NOT_SHOWN), "{told}");
        let told = complaint(Command::new("keeper").arg(url.hide_env_values(true)), &["keeper"]);
        assert!(told.contains("invalid value '(not shown)' for 'PATH (environment), for --rpc-url <url>'"), "{told}");
        assert!(!std::env::var("PATH").is_ok_and(|path| told.contains(&path)), "{told}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_said_to_be_named_by_what() {
        let error = std::io::Error::from(std::io::ErrorKind::NotFound);
        let told = unreadable("--manifest", OsStr::new("nope.json"), &error).to_string();
        assert!(told.starts_with("--manifest names nope.json, which cannot be read: "), "{told}");
        assert!(told.contains("\nhint: paths are relative to"), "{told}");
    }
}
