//! A disk with a volatile cache: what was not synced is in the cache, and goes when the power does.
//!
//! The rules are POSIX's, not those of a kind file system: a file's bytes and its size last once the file is synced, a
//! name lasts once its folder is, and neither brings the other. What was not synced may last too, in part: a cut draws
//! which.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    sync::mpsc::Sender,
};

use rand::{Rng as _, rngs::StdRng};

/// A file's or folder's number.
pub(crate) type Ino = u64;
/// The topmost folder.
pub(crate) const ROOT: Ino = 1;
/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;

/// What survives a cut of that which was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Survivors {
    /// Nothing.
    None,
    /// Of each file the first writes, the last of them torn.
    Prefix,
    /// Any sectors of any writes: torn and reordered.
    Sectors,
    /// Everything, as where only the process ends.
    All,
}

impl Survivors {
    /// Each with the same chance.
    pub(crate) fn draw(rng: &mut StdRng) -> Self {
        [Self::None, Self::Prefix, Self::Sectors, Self::All][rng.random_range(0..4)]
    }
}

/// What the disk cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// No such file or folder.
    Missing,
    /// The name is taken.
    Exists,
    /// A file where a folder was meant, or the other way round.
    WrongKind,
    /// The power is off.
    Off,
}

/// A change of a file that is in the cache.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Resize(usize),
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*offset..end].copy_from_slice(bytes);
            }
            Self::Resize(size) => content.resize(*size, 0),
        }
    }

    /// The change in pieces that a disk does not tear.
    fn sectors(&self) -> Vec<Self> {
        let Self::Write { offset, bytes } = self else { return vec![self.clone()] };
        let mut pieces = Vec::new();
        let mut from = 0;
        while from < bytes.len() {
            let to = (from + SECTOR - (offset + from) % SECTOR).min(bytes.len());
            pieces.push(Self::Write { offset: offset + from, bytes: bytes[from..to].to_vec() });
            from = to;
        }
        pieces
    }
}

#[derive(Debug, Default)]
struct File {
    live: Vec<u8>,
    synced: Vec<u8>,
    cached: Vec<Change>,
}

#[derive(Debug, Default)]
struct Folder {
    live: BTreeMap<OsString, Ino>,
    synced: BTreeMap<OsString, Ino>,
    /// Names that came (with what) and went.
    cached: Vec<(OsString, Option<Ino>)>,
}

impl Folder {
    fn change(&mut self, name: &OsStr, ino: Option<Ino>) {
        apply_entry(&mut self.live, name, ino);
        self.cached.push((name.to_owned(), ino));
    }
}

fn apply_entry(entries: &mut BTreeMap<OsString, Ino>, name: &OsStr, ino: Option<Ino>) {
    match ino {
        Some(ino) => entries.insert(name.to_owned(), ino),
        None => entries.remove(name),
    };
}

#[derive(Debug)]
enum Node {
    File(File),
    Folder(Folder),
}

/// What `stat` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) ino: Ino,
    pub(crate) size: usize,
    pub(crate) is_folder: bool,
}

/// The power's end: after how many changes, and who is told.
#[derive(Debug)]
struct Cut {
    changes_left: u64,
    tell: Sender<()>,
}

/// The disk.
#[derive(Debug)]
pub(crate) struct Disk {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    cut: Option<Cut>,
    is_off: bool,
}

impl Disk {
    /// An empty disk.
    pub(crate) fn new() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Folder(Folder::default()))]);
        Self { nodes, next: ROOT + 1, cut: None, is_off: false }
    }

    /// Cuts the power in the middle of the change that many changes from now, and tells then.
    pub(crate) fn cut_after(&mut self, changes: u64, tell: Sender<()>) {
        self.cut = Some(Cut { changes_left: changes, tell });
    }

    /// Whether the power is off.
    pub(crate) fn is_off(&self) -> bool {
        self.is_off
    }

    /// Turns the power off, if it is not, and on again. Gives how many writes to files went with the cache, wholly or
    /// in part.
    pub(crate) fn restart(&mut self, survivors: Survivors, rng: &mut StdRng) -> u64 {
        let mut lost = 0;
        for node in self.nodes.values_mut() {
            match node {
                Node::File(file) => lost += file.restart(survivors, rng),
                Node::Folder(folder) => {
                    let kept = match survivors {
                        Survivors::None => 0,
                        Survivors::All => folder.cached.len(),
                        // Folders are journalled: what lasts is what came first.
                        Survivors::Prefix | Survivors::Sectors => rng.random_range(0..=folder.cached.len()),
                    };
                    for (name, ino) in folder.cached.drain(..).take(kept) {
                        apply_entry(&mut folder.synced, &name, ino);
                    }
                    folder.live.clone_from(&folder.synced);
                }
            }
        }
        self.cut = None;
        self.is_off = false;
        lost
    }

    /// Counts a change, and says if the power went in the middle of it.
    fn change(&mut self) -> Result<(), Refusal> {
        if self.is_off {
            return Err(Refusal::Off);
        }
        let Some(cut) = &mut self.cut else { return Ok(()) };
        cut.changes_left = cut.changes_left.saturating_sub(1);
        if cut.changes_left > 0 {
            return Ok(());
        }
        self.is_off = true;
        // Who no longer listens knows already.
        let _ = cut.tell.send(());
        Err(Refusal::Off)
    }

    pub(crate) fn stat(&self, ino: Ino) -> Result<Stat, Refusal> {
        match self.nodes.get(&ino).ok_or(Refusal::Missing)? {
            Node::File(file) => Ok(Stat { ino, size: file.live.len(), is_folder: false }),
            Node::Folder(_) => Ok(Stat { ino, size: 0, is_folder: true }),
        }
    }

    pub(crate) fn lookup(&self, folder: Ino, name: &OsStr) -> Result<Stat, Refusal> {
        match self.nodes.get(&folder) {
            Some(Node::Folder(folder)) => self.stat(*folder.live.get(name).ok_or(Refusal::Missing)?),
            _ => Err(Refusal::WrongKind),
        }
    }

    pub(crate) fn list(&self, folder: Ino) -> Result<Vec<(OsString, Stat)>, Refusal> {
        let Some(Node::Folder(folder)) = self.nodes.get(&folder) else { return Err(Refusal::WrongKind) };
        folder.live.iter().map(|(name, ino)| Ok((name.clone(), self.stat(*ino)?))).collect()
    }

    pub(crate) fn create(&mut self, folder: Ino, name: &OsStr, is_folder: bool) -> Result<Stat, Refusal> {
        if self.lookup(folder, name).is_ok() {
            return Err(Refusal::Exists);
        }
        let node = if is_folder { Node::Folder(Folder::default()) } else { Node::File(File::default()) };
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, node);
        self.folder(folder)?.change(name, Some(ino));
        self.change()?;
        self.stat(ino)
    }

    pub(crate) fn unlink(&mut self, folder: Ino, name: &OsStr) -> Result<(), Refusal> {
        self.lookup(folder, name)?;
        // The file stays: it may be open, and the name may come back.
        self.folder(folder)?.change(name, None);
        self.change()
    }

    pub(crate) fn read(&self, ino: Ino, offset: usize, size: usize) -> Result<&[u8], Refusal> {
        let Some(Node::File(file)) = self.nodes.get(&ino) else { return Err(Refusal::WrongKind) };
        let from = offset.min(file.live.len());
        Ok(&file.live[from..(from + size).min(file.live.len())])
    }

    pub(crate) fn write(&mut self, ino: Ino, offset: usize, bytes: &[u8]) -> Result<(), Refusal> {
        self.change_file(ino, Change::Write { offset, bytes: bytes.to_vec() })
    }

    pub(crate) fn resize(&mut self, ino: Ino, size: usize) -> Result<(), Refusal> {
        self.change_file(ino, Change::Resize(size))
    }

    fn change_file(&mut self, ino: Ino, change: Change) -> Result<(), Refusal> {
        if self.is_off {
            return Err(Refusal::Off);
        }
        let Some(Node::File(file)) = self.nodes.get_mut(&ino) else { return Err(Refusal::WrongKind) };
        change.apply(&mut file.live);
        file.cached.push(change);
        self.change()
    }

    /// Makes a file's content, or a folder's names, last.
    pub(crate) fn sync(&mut self, ino: Ino) -> Result<(), Refusal> {
        self.change()?;
        match self.nodes.get_mut(&ino).ok_or(Refusal::Missing)? {
            Node::File(file) => file.cached.drain(..).for_each(|change| change.apply(&mut file.synced)),
            Node::Folder(folder) => {
                for (name, ino) in folder.cached.drain(..) {
                    apply_entry(&mut folder.synced, &name, ino);
                }
            }
        }
        Ok(())
    }

    fn folder(&mut self, ino: Ino) -> Result<&mut Folder, Refusal> {
        if self.is_off {
            return Err(Refusal::Off);
        }
        match self.nodes.get_mut(&ino) {
            Some(Node::Folder(folder)) => Ok(folder),
            _ => Err(Refusal::WrongKind),
        }
    }
}

impl File {
    fn restart(&mut self, survivors: Survivors, rng: &mut StdRng) -> u64 {
        let (mut lost, cached) = (0, std::mem::take(&mut self.cached));
        let whole = match survivors {
            Survivors::Prefix => rng.random_range(0..=cached.len()),
            Survivors::None | Survivors::Sectors => 0,
            Survivors::All => cached.len(),
        };
        for (place, change) in cached.into_iter().enumerate() {
            let is_torn = survivors == Survivors::Sectors || (survivors == Survivors::Prefix && place == whole);
            if place < whole {
                change.apply(&mut self.synced);
                continue;
            }
            let mut is_whole = is_torn;
            for piece in change.sectors().into_iter().filter(|_| is_torn) {
                if rng.random() {
                    piece.apply(&mut self.synced);
                } else {
                    is_whole = false;
                }
            }
            lost += u64::from(!is_whole);
        }
        self.live.clone_from(&self.synced);
        lost
    }
}

#[cfg(test)]
mod tests;
