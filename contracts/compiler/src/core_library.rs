//! Takes the Cairo core library out of the npm package `wasm-cairo` 0.10.2.
//!
//! The compiler crates are on the crate registry, the core library they compile against is not. The package
//! embeds all of it, of a commit just before Cairo 2.9, in the memory of a WebAssembly module:
//!
//! ```text
//! memory    | paths, one after another | file contents, one after another, in the reverse order |
//! function  | pushes (address, length) of every path, and (length, address) of every content    |
//! ```
//!
//! Nothing in the module names the two lists, so they are found by known text and checked against each other,
//! and the SHA-256 of the result is compared with [`CORE_LIBRARY_SHA256`].

use std::{
    fs,
    path::{Component, Path},
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use crate::wasm_module::WasmModule;

/// Digest of the unpacked library as [`digest`] computes it. A changed package is refused.
const CORE_LIBRARY_SHA256: &str = "c688c7f033afac83b936938bc795f74ff82e02f43556d34d07159ce86d2fc1d7";

/// The first two paths, which stand at the start of the list of paths.
const FIRST_PATHS: &[u8] = b"array.cairoboolean.cairo";
/// The last path, behind which the file contents start, with the content that starts there.
const LAST_PATH: &str = "zeroable.cairo";
const FIRST_CONTENT: &str = "// === Zeroable";
/// A function that pushes at least this many addresses of paths is the one that lists the files.
const MIN_LISTED_PATHS: usize = 100;
/// No file of the core library is longer (bytes).
const MAX_FILE_LEN: i64 = 200_000;

/// The compiler crates call one function that the packaged library lacks: it came with the commit after.
const PATCHED_FILE: &str = "internal/bounded_int.cairo";
const MISSING_DECLARATION: &str =
    "\nextern fn bounded_int_is_zero<T>(value: T) -> crate::zeroable::IsZeroResult<T> implicits() nopanic;\n";

/// The library's own project file; the edition is the one its sources are written in.
const PROJECT_FILE: &str = "[crate_roots]\ncore = \"src\"\n\n[config.global]\nedition = \"2024_07\"\n";

/// One source file: path relative to `src/`, and text.
#[derive(Debug)]
struct SourceFile {
    path: String,
    text: String,
}

/// Writes the core library in `wasm` to `out_dir`.
///
/// # Errors
/// If the module is not the expected one in any respect, or a file cannot be written. Nothing is written
/// unless the digest agrees.
pub(crate) fn unpack(wasm: &Path, out_dir: &Path) -> Result<()> {
    let bytes = fs::read(wasm).with_context(|| format!("reading {}", wasm.display()))?;
    let module = WasmModule::parse(&bytes).with_context(|| format!("reading {}", wasm.display()))?;
    let mut files = source_files(&module).context("looking for the core library in the module")?;
    add_missing_declaration(&mut files)?;
    check_digest(&files)?;
    write(&files, out_dir)?;
    println!("{} files in {}", files.len(), out_dir.display());
    Ok(())
}

/// Where the two lists lie in memory.
struct Layout {
    paths_start: usize,
    contents_start: usize,
    memory_end: usize,
}

impl Layout {
    fn find(module: &WasmModule) -> Result<Self> {
        let seam = [LAST_PATH, FIRST_CONTENT].concat();
        Ok(Self {
            paths_start: module.address_of(FIRST_PATHS)?,
            contents_start: module.address_of(seam.as_bytes())? + LAST_PATH.len(),
            memory_end: module.memory.len(),
        })
    }

    fn is_path(&self, value: i64) -> bool {
        usize::try_from(value).is_ok_and(|address| (self.paths_start..self.contents_start).contains(&address))
    }

    fn is_content(&self, value: i64) -> bool {
        usize::try_from(value).is_ok_and(|address| (self.contents_start..self.memory_end).contains(&address))
    }
}

/// A stretch of memory.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Stretch {
    start: usize,
    len: usize,
}

fn source_files(module: &WasmModule) -> Result<Vec<SourceFile>> {
    let layout = Layout::find(module)?;
    let constants = module
        .function_constants
        .iter()
        .find(|constants| constants.iter().filter(|value| layout.is_path(**value)).count() >= MIN_LISTED_PATHS)
        .context("no function lists the files")?;

    let paths = path_stretches(constants, &layout)?;
    let mut contents = content_stretches(constants, &layout)?;
    ensure!(paths.len() == contents.len(), "{} paths but {} contents", paths.len(), contents.len());
    contents.reverse();
    paths.iter().zip(&contents).map(|(path, content)| source_file(module, *path, *content)).collect()
}

/// Paths are pushed as (address, length), in the library's order.
fn path_stretches(constants: &[i64], layout: &Layout) -> Result<Vec<Stretch>> {
    constants.windows(2).filter(|pair| layout.is_path(pair[0])).map(|pair| stretch(pair[0], pair[1])).collect()
}

/// Contents are pushed as (length, address) among other constants. They are contiguous in memory, so from the
/// first one on, each begins where the one before it ends; whatever else looks like one is dropped.
fn content_stretches(constants: &[i64], layout: &Layout) -> Result<Vec<Stretch>> {
    let mut candidates = constants
        .windows(2)
        .filter(|pair| layout.is_content(pair[1]) && (1..MAX_FILE_LEN).contains(&pair[0]))
        .map(|pair| stretch(pair[1], pair[0]))
        .collect::<Result<Vec<_>>>()?;
    candidates.sort_unstable();
    candidates.dedup();
    let mut end = layout.contents_start;
    candidates.retain(|candidate| {
        let follows = candidate.start == end;
        if follows {
            end += candidate.len;
        }
        follows
    });
    Ok(candidates)
}

fn stretch(start: i64, len: i64) -> Result<Stretch> {
    Ok(Stretch {
        start: usize::try_from(start).context("a negative address")?,
        len: usize::try_from(len).context("a negative length")?,
    })
}

fn source_file(module: &WasmModule, path: Stretch, content: Stretch) -> Result<SourceFile> {
    let path = module.text(path.start, path.len)?.to_owned();
    let is_plain = Path::new(&path).components().all(|component| matches!(component, Component::Normal(_)));
    ensure!(is_plain && path.ends_with(".cairo"), "{path:?} is not the path of a source file");
    Ok(SourceFile { path, text: module.text(content.start, content.len)?.to_owned() })
}

fn add_missing_declaration(files: &mut [SourceFile]) -> Result<()> {
    let file = files
        .iter_mut()
        .find(|file| file.path == PATCHED_FILE)
        .with_context(|| format!("the library lacks {PATCHED_FILE}"))?;
    file.text.push_str(MISSING_DECLARATION);
    Ok(())
}

/// SHA-256 over every file in the order of their paths: path, zero byte, length as 8 bytes little endian, text.
fn digest(files: &[SourceFile]) -> String {
    let mut sorted: Vec<&SourceFile> = files.iter().collect();
    sorted.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = Sha256::new();
    for file in sorted {
        hasher.update(file.path.as_bytes());
        hasher.update([0]);
        hasher.update((file.text.len() as u64).to_le_bytes());
        hasher.update(file.text.as_bytes());
    }
    hex::encode(hasher.finalize())
}

fn check_digest(files: &[SourceFile]) -> Result<()> {
    let found = digest(files);
    if found != CORE_LIBRARY_SHA256 {
        bail!("the core library's SHA-256 is {found}, not {CORE_LIBRARY_SHA256}: this is another package version");
    }
    Ok(())
}

fn write(files: &[SourceFile], out_dir: &Path) -> Result<()> {
    for file in files {
        write_file(&out_dir.join("src").join(&file.path), &file.text)?;
    }
    write_file(&out_dir.join("cairo_project.toml"), PROJECT_FILE)
}

fn write_file(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().context("a file without a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> SourceFile {
        SourceFile { path: path.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn digest_ignores_the_order_of_files() {
        let (a, b) = (file("a.cairo", "1"), file("b.cairo", "2"));
        let there = digest(&[file("b.cairo", "2"), file("a.cairo", "1")]);
        assert_eq!(digest(&[a, b]), there);
    }

    #[test]
    fn digest_tells_where_a_text_ends() {
        assert_ne!(digest(&[file("a.cairo", "1b")]), digest(&[file("a.cairo", "1"), file("b", "")]));
    }

    #[test]
    fn a_changed_library_is_refused() {
        let error = check_digest(&[file("lib.cairo", "changed")]).expect_err("another digest");
        assert!(error.to_string().contains("another package version"), "{error}");
    }

    #[test]
    fn contents_are_the_contiguous_run() {
        let layout = Layout { paths_start: 10, contents_start: 100, memory_end: 1000 };
        // (length, address) pairs of 100..130 and 130..150, and one that starts amid the first.
        let found = content_stretches(&[30, 100, 7, 110, 20, 130], &layout).expect("valid stretches");
        assert_eq!(found, [Stretch { start: 100, len: 30 }, Stretch { start: 130, len: 20 }]);
    }

    #[test]
    fn a_path_out_of_the_folder_is_refused() {
        let module = WasmModule { memory: b"../lib.cairo".to_vec(), function_constants: vec![] };
        let whole = Stretch { start: 0, len: module.memory.len() };
        assert!(source_file(&module, whole, whole).is_err());
    }
}
