//! `docs/requirements.md` names tests that there are, and its totals are those of its rows.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{failure::failure, repo::Repo};

const DOCUMENT: &str = "docs/requirements.md";
const HINT: &str = "name the tests that there are, and copy the totals that are given here into the table of totals";
/// What may stand in a test's place.
const OTHER_PROOFS: [&str; 3] = ["measured by `cargo ", "checked by `cargo ", "the file itself"];

/// Checks the table against the tests and against itself.
pub(super) fn check(repo: &Repo) -> Result<()> {
    let text = fs::read_to_string(repo.path(DOCUMENT)).with_context(|| format!("reading {DOCUMENT}"))?;
    let faults = faults(&text, |file| fs::read_to_string(repo.path(file)).ok());
    if faults.is_empty() {
        println!("requirements: every test that is named is there, and the totals are right");
        return Ok(());
    }
    Err(failure(format!("{DOCUMENT} is wrong:\n  {}", faults.join("\n  ")), HINT))
}

/// What is wrong with the document, where `source` is a file's text.
fn faults(text: &str, source: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let (mut faults, mut stated, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    let mut table = "";
    for (index, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix("## ") {
            counted.push((section, [0; 3]));
        }
        if !line.starts_with('|') || !table.starts_with('|') {
            table = line;
        } else if table.starts_with("| document |") && !line.starts_with("|--") {
            stated.push(line.to_owned());
        } else if table.starts_with("| item |") && !line.starts_with("|--") {
            let evidence = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default().trim();
            let (status, tests) = (status(evidence), tests(evidence));
            if status == 0 && tests.is_empty() && !OTHER_PROOFS.iter().any(|start| evidence.starts_with(start)) {
                faults.push(format!("line {}: nothing proves it", index + 1));
            }
            let lacks = |(file, test): &(&str, &str)| !source(file).is_some_and(|source| has_test(&source, test));
            let lacking = tests.into_iter().filter(lacks);
            faults.extend(lacking.map(|(file, test)| format!("line {}: {file} has no test {test}", index + 1)));
            if let Some((_, counts)) = counted.last_mut() {
                counts[status] += 1;
            }
        }
    }
    counted.retain(|(_, counts)| *counts != [0; 3]);
    let all = counted.iter().fold([0; 3], |sum, (_, counts)| [0, 1, 2].map(|status| sum[status] + counts[status]));
    let expected = counted.into_iter().chain([("all", all)]).map(|(name, [proved, partly, not_yet])| {
        format!("| {name} | {proved} | {partly} | {not_yet} | {} |", proved + partly + not_yet)
    });
    let expected: Vec<String> = expected.collect();
    if stated != expected {
        faults.push(format!("the totals are\n    {}", expected.join("\n    ")));
    }
    faults
}

/// 0 for proved, 1 for partly, 2 for not yet.
fn status(evidence: &str) -> usize {
    if evidence.starts_with("**partly**") { 1 } else { usize::from(evidence == "not yet") * 2 }
}

/// The tests that are named after their file: "`a.rs`: `one`, `two`".
fn tests(evidence: &str) -> Vec<(&str, &str)> {
    let (mut tests, mut file) = (Vec::new(), None);
    // Odd pieces lie between backquotes.
    for pair in evidence.split('`').collect::<Vec<_>>().chunks_exact(2) {
        match (file, pair[0], pair[1]) {
            (_, _, name) if name.ends_with(".rs") => file = Some(name),
            (Some(file), ": " | ", ", test) => tests.push((file, test)),
            _ => file = None,
        }
    }
    tests
}

/// Whether the source has a function of this name that an attribute above it makes a test.
fn has_test(source: &str, name: &str) -> bool {
    let (lines, start) = (source.lines().map(str::trim).collect::<Vec<_>>(), format!("fn {name}("));
    let at = lines.iter().position(|line| line.trim_start_matches("async ").starts_with(&start));
    let above = lines[..at.unwrap_or_default()].iter().rev();
    let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
    above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "## Count\n| document | proved | partly | not yet | items |\n|---|\n| Queues | 2 | 1 | 1 | 4 |
| all | 2 | 1 | 1 | 4 |\n\n## Queues\n\n| item | where | the test |\n|---|---|---|
| A | `plan` | `a.rs`: `one`, `two`; `b.rs`: `three` |\n| B | | measured by `cargo xtask bench b` |
| C | `plan` | **partly**: `keeper run` does not. `b.rs`: `three` |\n| D | | not yet |\n";

    #[test]
    fn requirements_name_tests_that_exist_and_totals_that_are_right() {
        let source =
            "    #[test]\n    fn one() {}\n#[tokio::test]\n// Slow.\nasync fn two() {}\n\nfn helper() {}\n#[test]
            fn three(x in 0..1) {}";
        let found = |text: &str| faults(text, |file| (file != "c.rs").then(|| source.to_owned()));
        assert_eq!(found(TEXT), Vec::<String>::new());
        for (right, wrong, fault) in [
            ("`two`", "`four`", "line 11: a.rs has no test four"),
            ("`two`", "`helper`", "line 11: a.rs has no test helper"),
            ("`a.rs`", "`c.rs`", "line 11: c.rs has no test one"),
            ("measured by", "see", "line 12: nothing proves it"),
            ("2 | 1 | 1 | 4 |\n", "3 | 0 | 1 | 4 |\n", "the totals are\n    | Queues | 2 | 1 | 1 | 4 |\n    | all |"),
            ("| D |", "| E | | not yet |\n| D |", "the totals are\n    | Queues | 2 | 1 | 2 | 5 |"),
        ] {
            let faults = found(&TEXT.replacen(right, wrong, 1));
            assert!(faults[0].starts_with(fault), "{faults:?}");
        }
    }
}
