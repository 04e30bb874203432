//! Every relative link in a Markdown file leads to a file that exists.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use crate::{digest::files_below, failure::failure, repo::Repo};

/// Checks the links of every Markdown file in the repository.
pub(super) fn check(repo: &Repo) -> Result<()> {
    let mut broken = Vec::new();
    let files = files_below(repo.root(), ".md")?;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let folder = file.parent().unwrap_or_else(|| repo.root());
        let name = file.strip_prefix(repo.root()).unwrap_or(file).display();
        broken.extend(
            relative_links(&text)
                .into_iter()
                .filter(|(_, link)| !exists(folder, link))
                .map(|(line, link)| format!("{name}:{line} links to {link}")),
        );
    }
    if broken.is_empty() {
        println!("links: {} Markdown files, none broken", files.len());
        return Ok(());
    }
    Err(failure(format!("links that lead nowhere:\n  {}", broken.join("\n  ")), "mend the links or write the files"))
}

fn exists(folder: &Path, link: &str) -> bool {
    let path = link.split('#').next().unwrap_or_default();
    path.is_empty() || folder.join(path).exists()
}

/// The targets of inline links that are neither addresses nor inside code, with their line numbers.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut in_fence = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        // Odd pieces lie between backquotes: code, not prose.
        let prose: String = line.split('`').step_by(2).collect::<Vec<_>>().join("code");
        for piece in prose.split("](").skip(1) {
            let target = piece.split([')', ' ']).next().unwrap_or_default();
            if !target.contains(':') && !target.starts_with('#') {
                links.push((index + 1, target.to_owned()));
            }
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_relative_links_in_prose_are_followed() {
        let text =
            "[a](docs/a.md), [b](https://x.org/b) and [`c`](../c.md#part)\n```\n[d](d.md)\n```\n`[e](e.md)` [f](#f)";
        assert_eq!(relative_links(text), [(1, "docs/a.md".to_owned()), (1, "../c.md#part".to_owned())]);
    }

    #[test]
    fn a_link_leads_somewhere_or_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.md"), "").unwrap();
        assert!(exists(folder.path(), "a.md#part"));
        assert!(!exists(folder.path(), "b.md"));
    }
}
