//! The disk as a mounted file system (FUSE), so that the real store runs on it unchanged.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty,
    ReplyEntry, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::disk::{Disk, Refusal, Stat};

/// How long the kernel may believe what it was told; nobody else changes the disk.
const VALID: Duration = Duration::from_secs(60);
/// No node is ever given another's number.
const GENERATION: Generation = Generation(0);
const BLOCK: u32 = 4_096;

/// A disk that both the file system and the test hold.
#[derive(Clone, Debug)]
pub(crate) struct SharedDisk(Arc<Mutex<Disk>>);

impl SharedDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Disk::new())))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, Disk> {
        // A panic elsewhere ends the test; until then the disk is as good as it was.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Mounts the disk. A mount begins with an empty cache in the kernel, as a machine does that was just started.
    ///
    /// # Errors
    /// Fails where this system does not let this user mount FUSE.
    pub(crate) fn mount(&self, at: &Path) -> Result<BackgroundSession> {
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("chaos-power".to_owned())];
        fuser::spawn_mount(self.clone(), at, &config).context(
            "not run: this test needs to mount a FUSE file system, and this system does not let it (it takes /dev/fuse, and \
             root or fusermount3)",
        )
    }
}

/// Takes a disk away, and returns once nothing of it is mounted.
///
/// # Errors
/// Fails where it cannot be unmounted.
pub(crate) fn unmount(session: BackgroundSession, at: &Path) -> Result<()> {
    check_unmounted(session.umount_and_join(), at).context("unmounting the disk")
}

/// Checks that this was the end of a mount. A kernel that ends the connection just while the session takes a request (one
/// to forget a file, say) answers `ECONNABORTED` in place of `ENODEV`, and the session calls that a failure (fuser's
/// pull request 708, in no release yet); so what counts then is what is mounted.
fn check_unmounted(session: io::Result<()>, at: &Path) -> Result<()> {
    match session {
        Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
            let above = at.parent().context("a mounted folder lies in another")?;
            anyhow::ensure!(
                at.metadata()?.dev() == above.metadata()?.dev(),
                "the session ended, not the mount: {error}"
            );
            Ok(())
        }
        ended => Ok(ended?),
    }
}

fn errno(refusal: Refusal) -> Errno {
    match refusal {
        Refusal::Missing => Errno::ENOENT,
        Refusal::Exists => Errno::EEXIST,
        Refusal::WrongKind => Errno::EINVAL,
        Refusal::Off => Errno::EIO,
    }
}

fn kind(stat: Stat) -> FileType {
    if stat.is_folder { FileType::Directory } else { FileType::RegularFile }
}

fn attributes(request: &Request, stat: Stat) -> FileAttr {
    let size = stat.size as u64;
    FileAttr {
        ino: INodeNo(stat.ino),
        size,
        blocks: size.div_ceil(512),
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: kind(stat),
        perm: if stat.is_folder { 0o755 } else { 0o644 },
        nlink: 1,
        uid: request.uid(),
        gid: request.gid(),
        rdev: 0,
        blksize: BLOCK,
        flags: 0,
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("files of this test fit memory")
}

fn answer(reply: ReplyEmpty, result: Result<(), Refusal>) {
    match result {
        Ok(()) => reply.ok(),
        Err(refusal) => reply.error(errno(refusal)),
    }
}

fn answer_entry(reply: ReplyEntry, request: &Request, result: Result<Stat, Refusal>) {
    match result {
        Ok(stat) => reply.entry(&VALID, &attributes(request, stat), GENERATION),
        Err(refusal) => reply.error(errno(refusal)),
    }
}

impl Filesystem for SharedDisk {
    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        answer_entry(reply, request, self.get().lookup(parent.0, name));
    }

    fn getattr(&self, request: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.get().stat(ino.0) {
            Ok(stat) => reply.attr(&VALID, &attributes(request, stat)),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut disk = self.get();
        let resized = size.map_or(Ok(()), |size| disk.resize(ino.0, place(size)));
        match resized.and_then(|()| disk.stat(ino.0)) {
            Ok(stat) => reply.attr(&VALID, &attributes(request, stat)),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, _mode: u32, _umask: u32, reply: ReplyEntry) {
        answer_entry(reply, request, self.get().create(parent.0, name, true));
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        match self.get().create(parent.0, name, false) {
            Ok(stat) => {
                reply.created(&VALID, &attributes(request, stat), GENERATION, FileHandle(0), FopenFlags::empty());
            }
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        answer(reply, self.get().unlink(parent.0, name));
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.get().read(ino.0, place(offset), size as usize) {
            Ok(bytes) => reply.data(bytes),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.get().write(ino.0, place(offset), bytes) {
            Ok(()) => reply.written(u32::try_from(bytes.len()).expect("a request is at most a few megabytes")),
            Err(refusal) => reply.error(errno(refusal)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file syncs nothing.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.get().sync(ino.0));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _datasync: bool, reply: ReplyEmpty) {
        answer(reply, self.get().sync(ino.0));
    }

    fn readdir(&self, _: &Request, ino: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = match self.get().list(ino.0) {
            Ok(entries) => entries,
            Err(refusal) => return reply.error(errno(refusal)),
        };
        for (next, (name, stat)) in (1..).zip(entries).skip(place(offset)) {
            if reply.add(INodeNo(stat.ino), next, kind(stat), name) {
                break;
            }
        }
        reply.ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn aborted() -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::ConnectionAborted))
    }

    #[test]
    fn a_session_that_was_cut_off_by_its_unmounting_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        check_unmounted(aborted(), folder.path()).unwrap();
        check_unmounted(Ok(()), folder.path()).unwrap();
        check_unmounted(Err(io::Error::from(io::ErrorKind::ResourceBusy)), folder.path()).unwrap_err();
    }

    #[test]
    fn a_disk_that_is_still_mounted_is_not_taken_for_unmounted() {
        if !Path::new("/dev/fuse").exists() {
            eprintln!("NOT RUN: this test needs FUSE, and this system has no /dev/fuse");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let session = SharedDisk::new().mount(folder.path()).unwrap();
        let error = check_unmounted(aborted(), folder.path()).unwrap_err();
        assert!(error.to_string().contains("not the mount"), "{error:#}");
        unmount(session, folder.path()).unwrap();
    }
}
