//! The few operations on files by which this machine's attestation devices are reached.

use super::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::Path;

/// How a file is opened. Attributes of the kernel refuse what they are not made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// For reading.
    Read,
    /// For writing; nothing is created or cut.
    Write,
    /// For a command and its response through one descriptor.
    Exchange,
}

/// The operations, so that tests can stand in for the kernel: [`System`] is the real one.
///
/// An open file is closed when it is dropped. For some attributes of configfs that is the moment at which what was written
/// counts.
pub trait Files {
    /// An open file.
    type File: Read + Write;

    /// Makes one directory.
    ///
    /// # Errors
    /// The system's answer.
    fn make_folder(&self, path: &Path) -> io::Result<()>;

    /// Removes one directory.
    ///
    /// # Errors
    /// The system's answer.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Opens a file that exists.
    ///
    /// # Errors
    /// The system's answer.
    fn open(&self, path: &Path, access: Access) -> io::Result<Self::File>;
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Files for System {
    type File = File;

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_dir(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<File> {
        let reads = access != Access::Write;
        OpenOptions::new().read(reads).write(access != Access::Read).open(path)
    }
}

/// Reads all of a file, however short the reads are; one byte over the limit refuses it.
pub(super) fn read_all<F: Files>(files: &F, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let failed = |error| Error::io("reading", path, error);
    let file = files.open(path, Access::Read).map_err(failed)?;
    let mut bytes = Vec::new();
    let over = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(over).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit { Err(Error::TooLong { path: path.to_owned(), limit }) } else { Ok(bytes) }
}

/// Writes in one call, for files that take every call for a whole value.
pub(super) fn write_once<F: Files>(files: &F, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let failed = |error| Error::io("writing", path, error);
    let mut file = files.open(path, Access::Write).map_err(failed)?;
    let written = file.write(bytes).map_err(failed)?;
    if written == bytes.len() { Ok(()) } else { Err(Error::PartialWrite { path: path.to_owned(), written }) }
}
