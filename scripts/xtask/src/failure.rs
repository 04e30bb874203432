//! Errors that end with what to do next.

use std::{error::Error, fmt};

/// Printed where no step knew better.
const GENERAL_HINT: &str = "the lines above say what was being done; `cargo xtask help` lists the verbs";

/// What went wrong, and what the reader can do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    message: String,
    hint: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message)
    }
}

impl Error for Failure {}

/// An error with a hint.
pub(crate) fn failure(message: impl Into<String>, hint: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Failure { message: message.into(), hint: hint.into() })
}

/// Adds what was being done, and a hint, to a failed result.
pub(crate) trait OrHint<T> {
    fn or_hint(self, message: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T>;
}

impl<T, E> OrHint<T> for Result<T, E>
where
    Self: anyhow::Context<T, E>,
{
    fn or_hint(self, message: impl Into<String>, hint: impl Into<String>) -> anyhow::Result<T> {
        anyhow::Context::with_context(self, || Failure { message: message.into(), hint: hint.into() })
    }
}

/// Prints an error with its causes; the last line is the hint.
pub(crate) fn report(error: &anyhow::Error) {
    eprintln!("{}", text(error));
}

fn text(error: &anyhow::Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let hint = error.downcast_ref::<Failure>().map_or(GENERAL_HINT, |failure| &failure.hint);
    format!("error: {}\nhint: {hint}", causes.join(": "))
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_last_line_is_the_hint_of_the_outermost_failure() {
        let error = Err::<(), _>(io::Error::other("no such port"))
            .or_hint("starting the chain", "choose another --port")
            .context("demo")
            .unwrap_err();
        assert_eq!(text(&error), "error: demo: starting the chain: no such port\nhint: choose another --port");
    }

    #[test]
    fn an_error_without_a_hint_gets_the_general_one() {
        let text = text(&anyhow::anyhow!("odd"));
        assert_eq!(text, format!("error: odd\nhint: {GENERAL_HINT}"));
    }
}
