//! The subset of tar that bundles use: regular files with flat names, one possible header for each name
//! and size, two blocks of zeros, and nothing after them. Links, paths, owners, times and extensions have
//! no spelling here.

use std::io::{self, Read, Write};

const BLOCK: usize = 512;
/// The largest member, in bytes: what 11 octal digits can say.
pub const MAX_MEMBER_BYTES: u64 = (1 << 33) - 1;

/// The ustar header (POSIX.1-1988) of a regular file with mode 0644, owner 0 and time 0.
fn header(name: &str, size: u64) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(field) = block.get_mut(at..at + bytes.len()) {
            field.copy_from_slice(bytes);
        }
    };
    put(0, name.as_bytes());
    put(100, b"0000644\0");
    put(108, b"0000000\0");
    put(116, b"0000000\0");
    put(124, format!("{size:011o}\0").as_bytes());
    put(136, b"00000000000\0");
    put(148, b"        ");
    put(156, b"0");
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    if let Some(field) = block.get_mut(148..156) {
        field.copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    block
}

fn padding(size: u64) -> usize {
    let over = usize::try_from(size % BLOCK as u64).unwrap_or(0);
    (BLOCK - over) % BLOCK
}

/// Writes an archive.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
}

impl<W: Write> Writer<W> {
    /// An archive that begins in `out`.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// Begins a member; the caller writes exactly `size` bytes and then [`end`](Self::end)s it.
    ///
    /// # Errors
    /// Those of the medium; a member over [`MAX_MEMBER_BYTES`].
    pub fn begin(&mut self, name: &str, size: u64) -> io::Result<&mut W> {
        if size > MAX_MEMBER_BYTES {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "member is over 8 GiB"));
        }
        self.out.write_all(&header(name, size))?;
        Ok(&mut self.out)
    }

    /// Where the content of the member that was begun goes.
    pub const fn content(&mut self) -> &mut W {
        &mut self.out
    }

    /// Ends a member of `size` bytes.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn end(&mut self, size: u64) -> io::Result<()> {
        self.out.write_all([0; BLOCK].get(..padding(size)).unwrap_or_default())
    }

    /// Writes a whole member.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn member(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let size = bytes.len() as u64;
        self.begin(name, size)?.write_all(bytes)?;
        self.end(size)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of the medium.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }
}

/// Why the next bytes are not the member that must come next.
#[derive(Debug)]
pub enum TarError {
    /// The source failed.
    Io(io::Error),
    /// The bytes end early, or are not the only header this member can have.
    Shape,
    /// The member is over its limit.
    TooLong,
}

impl From<io::Error> for TarError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Shape } else { Self::Io(error) }
    }
}

/// Reads an archive whose members are known beforehand, one after the other.
#[derive(Debug)]
pub struct Reader<R: Read> {
    source: R,
}

impl<R: Read> Reader<R> {
    /// An archive that begins in `source`.
    pub const fn new(source: R) -> Self {
        Self { source }
    }

    fn block(&mut self) -> Result<[u8; BLOCK], TarError> {
        let mut block = [0; BLOCK];
        self.source.read_exact(&mut block)?;
        Ok(block)
    }

    /// Reads the header of member `name`, which must come next, and gives its size, `limit` at most.
    ///
    /// # Errors
    /// [`TarError`].
    pub fn begin(&mut self, name: &str, limit: u64) -> Result<u64, TarError> {
        let block = self.block()?;
        let digits = block.get(124..135).ok_or(TarError::Shape)?;
        let mut size = 0_u64;
        for digit in digits {
            let value = digit.checked_sub(b'0').filter(|value| *value < 8).ok_or(TarError::Shape)?;
            size = size << 3 | u64::from(value);
        }
        if block != header(name, size) {
            return Err(TarError::Shape);
        }
        if size > limit { Err(TarError::TooLong) } else { Ok(size) }
    }

    /// The member's content; the caller reads all of it and then [`end`](Self::end)s it.
    pub const fn content(&mut self) -> &mut R {
        &mut self.source
    }

    /// Ends a member of `size` bytes whose content was read.
    ///
    /// # Errors
    /// [`TarError::Shape`] when its padding is not zeros.
    pub fn end(&mut self, size: u64) -> Result<(), TarError> {
        let mut rest = [0; BLOCK];
        let rest = rest.get_mut(..padding(size)).ok_or(TarError::Shape)?;
        self.source.read_exact(rest)?;
        if rest.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(TarError::Shape) }
    }

    /// Reads a whole small member.
    ///
    /// # Errors
    /// [`TarError`].
    pub fn member(&mut self, name: &str, limit: u64) -> Result<Vec<u8>, TarError> {
        let size = self.begin(name, limit)?;
        let mut bytes = Vec::new();
        (&mut self.source).take(size).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != size {
            return Err(TarError::Shape);
        }
        self.end(size)?;
        Ok(bytes)
    }

    /// Holds the archive to end here.
    ///
    /// # Errors
    /// [`TarError::Shape`] when anything follows.
    pub fn finish(mut self) -> Result<(), TarError> {
        let zeros = self.block()? == [0; BLOCK] && self.block()? == [0; BLOCK];
        let mut more = [0];
        if !zeros || self.source.read(&mut more)? != 0 {
            return Err(TarError::Shape);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive() -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out);
        writer.member("a.txt", b"hello").unwrap();
        writer.member("b", &[7; 512]).unwrap();
        writer.finish().unwrap();
        out
    }

    fn read(bytes: &[u8]) -> Result<(), TarError> {
        let mut reader = Reader::new(bytes);
        assert_eq!(reader.member("a.txt", 100)?, b"hello");
        assert_eq!(reader.member("b", 512)?, [7; 512]);
        reader.finish()
    }

    #[test]
    fn case_36_an_archive_has_one_spelling() {
        let good = archive();
        assert!(read(&good).is_ok());
        for at in (0..good.len()).filter(|at| !(512..517).contains(at) && !(1536..2048).contains(at)) {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(matches!(read(&bad), Err(TarError::Shape | TarError::TooLong)), "byte {at}");
        }
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err(), "cut at {length}");
        }
        assert!(read(&[good.as_slice(), b"\0"].concat()).is_err());
    }

    #[test]
    fn case_36_refuses_links_and_paths_and_honours_the_limit() {
        let good = archive();
        for kind in *b"12345678xgLK\0" {
            let mut bad = good.clone();
            bad[156] = kind;
            assert!(matches!(read(&bad), Err(TarError::Shape)));
        }
        let mut reader = Reader::new(good.as_slice());
        assert!(matches!(reader.begin("../a.txt", 100), Err(TarError::Shape)));
        let mut reader = Reader::new(good.as_slice());
        assert!(matches!(reader.begin("a.txt", 4), Err(TarError::TooLong)));
    }

    #[test]
    fn the_system_tar_reads_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        std::fs::write(&path, archive()).unwrap();
        let listed = std::process::Command::new("tar").arg("-tf").arg(&path).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&listed.stdout), "a.txt\nb\n");
        assert!(listed.status.success() && listed.stderr.is_empty());
    }
}
