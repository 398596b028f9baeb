//! Files of ours below a folder: no link is followed, names appear whole or not at all.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FallocateFlags, FlockOperation, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Ours alone: what a guest fetches tells what it serves.
pub(crate) const DIR_MODE: Mode = Mode::RWXU;
const FILE_MODE: Mode = Mode::RUSR.union(Mode::WUSR);

/// An open folder.
#[derive(Debug)]
pub(crate) struct Dir(File);

impl Dir {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?.into()))
    }

    /// The folder of this name below this one, made if it is not there.
    pub(crate) fn enter(&self, name: &str) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.0, name, DIR_MODE) {
            Ok(()) => self.sync()?,
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
        self.opened(name, OFlags::RDONLY | OFlags::DIRECTORY).map(Self)
    }

    /// A regular file below this folder, to be read.
    pub(crate) fn open_file(&self, path: &str) -> io::Result<File> {
        // Opening a pipe must not wait for its other end.
        regular(self.opened(path, OFlags::RDONLY | OFlags::NONBLOCK)?)
    }

    /// A regular file of this name, to be read and written; made if it is not there.
    pub(crate) fn create_file(&self, name: &str) -> io::Result<File> {
        regular(self.opened(name, OFlags::RDWR | OFlags::CREATE | OFlags::NONBLOCK)?)
    }

    /// A file of this name that is only locked: it is read-only, because the lock is handed on to processes that may write nothing here.
    pub(crate) fn create_lock(&self, name: &str) -> io::Result<File> {
        regular(self.opened(name, OFlags::RDONLY | OFlags::CREATE | OFlags::NONBLOCK)?)
    }

    fn opened(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let mode = if flags.contains(OFlags::CREATE) { FILE_MODE } else { Mode::empty() };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(rustix::fs::openat2(&self.0, path, flags, mode, resolve)?.into())
    }

    /// The bytes of a file of at most `limit` bytes.
    pub(crate) fn read(&self, path: &str, limit: u64) -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        let mut bytes = Vec::new();
        self.open_file(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
    }

    /// Makes `name` hold `bytes`: after a crash at any point it holds what it held before, or these.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}{TEMPORARY}");
        let mut file = self.create_file(&temporary)?;
        let written = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
        let renamed = written
            .and_then(|()| Ok(rustix::fs::renameat(&self.0, &temporary, &self.0, name)?))
            .and_then(|()| self.sync());
        if renamed.is_err() {
            // Its name says what it is, and the next write takes it over.
            let _ = self.remove(&temporary);
        }
        renamed
    }

    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn remove_dir(&self, name: &str) -> io::Result<()> {
        Ok(rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }

    /// The names in the folder, at most `limit` of them.
    pub(crate) fn names(&self, limit: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if name == "." || name == ".." {
                continue;
            }
            if names.len() == limit {
                return Err(io::Error::other("too many entries"));
            }
            names.push(name);
        }
        Ok(names)
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    pub(crate) const fn file(&self) -> &File {
        &self.0
    }
}

/// What the name of a file ends with while it is written.
pub(crate) const TEMPORARY: &str = ".tmp";

fn regular(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// Takes the room for a file of `len` bytes at once, so that a full disk shows before anything is fetched. A file of another
/// length is emptied first: false then, and where it is new.
pub(crate) fn reserve(file: &File, len: u64) -> io::Result<bool> {
    let had = file.metadata()?.len();
    if had != len && had != 0 {
        file.set_len(0)?;
    }
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Ok(()) => {}
        // A file system that cannot reserve finds out later that it is full.
        Err(Errno::OPNOTSUPP) => file.set_len(len)?,
        Err(errno) => return Err(errno.into()),
    }
    Ok(had == len)
}

/// Reads exactly the range `[offset, offset + len)`.
pub(crate) fn read_at(file: &File, offset: u64, len: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.resize(len, 0);
    file.read_exact_at(buffer, offset)
}

/// Whether the lock could be had at once.
pub(crate) fn try_lock(file: &File, operation: FlockOperation) -> io::Result<bool> {
    match rustix::fs::flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// A file in memory that nobody else has a name for.
pub(crate) fn memory_file() -> io::Result<File> {
    use rustix::fs::MemfdFlags;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create("sealed-package", flags)?.into())
}

/// From here on nobody who is given a file in memory can change it.
pub(crate) fn seal_memory_file(file: &File) -> io::Result<()> {
    use rustix::fs::SealFlags;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_add_seals(file, seals)?)
}
