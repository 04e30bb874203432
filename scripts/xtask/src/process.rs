//! Running other programs, visibly.

use std::{
    ffi::OsString,
    path::Path,
    process::{Command, Output},
};

use anyhow::Result;

use crate::failure::{OrHint as _, failure};

/// The cargo that runs this program, in `folder`.
pub(crate) fn cargo(folder: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(folder);
    command
}

/// Prints the command line, runs it with this program's output, and fails where it fails.
pub(crate) fn run(command: &mut Command, hint: &str) -> Result<()> {
    let line = command_line(command);
    println!("$ {line}");
    let status = command.status().or_hint(format!("starting `{line}`"), hint)?;
    if status.success() { Ok(()) } else { Err(failure(format!("`{line}` failed ({status})"), hint)) }
}

/// Runs a command without printing anything and returns what it wrote to standard output.
pub(crate) fn capture(command: &mut Command, hint: &str) -> Result<String> {
    let line = command_line(command);
    let Output { status, stdout, stderr } = command.output().or_hint(format!("starting `{line}`"), hint)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    Err(failure(format!("`{line}` failed ({status})\n{}", said.trim_end()), hint))
}

/// Whether a command exists and succeeds.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// The command as one would type it, with only the program's name of a path.
fn command_line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy();
    let arguments = command.get_args().map(|argument| {
        let argument = argument.to_string_lossy();
        if argument.contains(' ') { format!("'{argument}'") } else { argument.into_owned() }
    });
    std::iter::once(name.into_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_can_be_typed_again() {
        let mut command = Command::new("/usr/bin/npm");
        command.args(["pack", "a b"]);
        assert_eq!(command_line(&command), "npm pack 'a b'");
    }

    #[test]
    fn a_failing_command_says_what_it_wrote_to_standard_error() {
        let error = capture(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]), "mend it").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("broken") && text.contains("exit status: 3"), "{text}");
    }
}
