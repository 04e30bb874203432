//! Formats Cairo sources as `scarb fmt` does.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use cairo_lang_formatter::{CairoFormatter, FormatOutcome, FormatterConfig};

/// Formats every Cairo file below `crate_dir/src` in place; with `check_only`, changes none and prints how
/// they would change.
///
/// # Errors
/// If a file does not parse or cannot be read or written; with `check_only`, also if one is not formatted.
pub(crate) fn format(crate_dir: &Path, check_only: bool) -> Result<()> {
    let formatter = CairoFormatter::new(FormatterConfig::default().sort_module_level_items(true));
    let mut changed = 0;
    for file in cairo_files(&crate_dir.join("src"))? {
        let outcome = formatter.format_to_string(&file.as_path());
        let outcome = outcome.with_context(|| format!("formatting {}", file.display()))?;
        let FormatOutcome::DiffFound(diff) = outcome else { continue };
        changed += 1;
        println!("{}", file.display());
        if check_only {
            println!("{diff}");
        } else {
            fs::write(&file, &diff.formatted).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    if check_only && changed > 0 {
        bail!("{changed} files are not formatted");
    }
    Ok(())
}

/// All Cairo files below `folder`, sorted.
fn cairo_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(cairo_files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "cairo") {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}
