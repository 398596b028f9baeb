//! Files that QEMU gives to firmware (fw_cfg), read from outside through its test protocol (qtest).
//!
//! In that protocol a line asks for one access to a port and a line answers. fw_cfg has two ports on x86: one takes the number of an item,
//! the other gives its bytes one by one; item 25 lists the files. Sources: QEMU's `docs/specs/fw_cfg.rst` and `docs/devel/testing/qtest.rst`.
//!
//! What comes is not trusted: lengths have limits, and what has another form is an [`Error`]. How long an answer may take is the stream's
//! timeout.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read, Write};

/// The longest file that is read, in bytes. QEMU warns of tables above half of that.
pub const MAX_FILE_BYTES: u32 = 4 << 20;
/// The most files in a directory. QEMU's machines have places for 32.
pub const MAX_FILES: u32 = 1024;
/// The longest line of an answer, in bytes with its end.
const MAX_LINE_BYTES: u64 = 128;
/// So many questions are asked before answers are read: few enough that neither end waits for the other to read.
const TOGETHER: usize = 256;

/// Takes the number of an item.
const SELECTOR: u16 = 0x510;
/// Gives the bytes of the item, one at a time; zeroes behind its end.
const DATA: u16 = 0x511;
const SIGNATURE_ITEM: u16 = 0;
const SIGNATURE: &[u8] = b"QEMU";
const DIRECTORY_ITEM: u16 = 0x19;
/// `FWCfgFile`: length and item, big-endian, two reserved bytes, and the name up to a zero.
const ENTRY_BYTES: usize = 64;
const NAME_AT: usize = 8;

/// Why a file was not read.
#[derive(Debug)]
pub enum Error {
    /// The stream failed, or nothing came within its timeout.
    Stream(io::Error),
    /// QEMU closed the stream.
    Ended,
    /// An answer is not what the protocol allows.
    Answer {
        /// The question.
        asked: &'static str,
        /// What came, its first bytes.
        observed: String,
    },
    /// The item that says QEMU says something else.
    Signature {
        /// What it says.
        observed: Vec<u8>,
    },
    /// More files, or a longer file, than are read.
    TooLong {
        /// What there is too much of.
        what: &'static str,
        /// The most that is read.
        limit: u32,
        /// What came.
        observed: u32,
    },
    /// There is no such file, or two.
    File {
        /// Its name.
        name: String,
        /// How many there are.
        observed: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) if error.kind() == io::ErrorKind::WouldBlock => {
                f.write_str("QEMU does not answer")
            }
            Self::Stream(error) => write!(f, "the line to QEMU: {error}"),
            Self::Ended => f.write_str("QEMU ended"),
            Self::Answer { asked, observed } => write!(f, "QEMU answers {asked} with {observed:?}"),
            Self::Signature { observed } => {
                write!(f, "fw_cfg begins with {observed:02x?}, wanted the letters QEMU")
            }
            Self::TooLong { what, limit, observed } => write!(f, "{what}: {observed}, the limit is {limit}"),
            Self::File { name, observed } => write!(f, "fw_cfg has {observed} files {name}, wanted one"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Stream(error) => Some(error),
            _ => None,
        }
    }
}

/// One file, as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    name: Vec<u8>,
    bytes: u32,
    item: u16,
}

/// The ports of a machine, over a stream to its QEMU.
#[derive(Debug)]
pub struct Ports<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Ports<S> {
    /// Nothing is asked yet.
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }

    /// These files, each whole.
    ///
    /// QEMU makes some of its files when firmware selects the first of them, and they may have another length then. So each is selected
    /// before lengths are believed. A machine that runs must have stopped using fw_cfg, or it changes what is selected in between.
    ///
    /// # Errors
    /// What [`Error`] lists.
    pub fn files(&mut self, names: &[&str]) -> Result<Vec<Vec<u8>>, Error> {
        let signature = self.item(SIGNATURE_ITEM, SIGNATURE.len())?;
        if signature != SIGNATURE {
            return Err(Error::Signature { observed: signature });
        }
        let directory = self.directory()?;
        for name in names {
            self.select(find(&directory, name)?.item)?;
        }
        let directory = self.directory()?;
        let mut read = |name: &&str| {
            let Entry { bytes, item, .. } = *find(&directory, name)?;
            self.item(item, within("bytes of a file", MAX_FILE_BYTES, bytes)?)
        };
        names.iter().map(&mut read).collect()
    }

    fn directory(&mut self) -> Result<Vec<Entry>, Error> {
        self.select(DIRECTORY_ITEM)?;
        let mut count = [0; 4];
        count.copy_from_slice(&self.bytes(4)?);
        let count = within("files", MAX_FILES, u32::from_be_bytes(count))?;
        Ok(self.bytes(count * ENTRY_BYTES)?.chunks_exact(ENTRY_BYTES).map(entry).collect())
    }

    fn item(&mut self, item: u16, len: usize) -> Result<Vec<u8>, Error> {
        self.select(item)?;
        self.bytes(len)
    }

    fn select(&mut self, item: u16) -> Result<(), Error> {
        const ASKED: &str = "outw";
        self.ask(&format!("{ASKED} {SELECTOR:#x} {item:#x}\n"))?;
        let answer = self.answer(ASKED)?;
        if answer == "OK" { Ok(()) } else { Err(Error::Answer { asked: ASKED, observed: answer }) }
    }

    /// The next bytes of the item.
    fn bytes(&mut self, len: usize) -> Result<Vec<u8>, Error> {
        const ASKED: &str = "inb";
        let question = format!("{ASKED} {DATA:#x}\n");
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let together = TOGETHER.min(len - bytes.len());
            self.ask(&question.repeat(together))?;
            for _ in 0..together {
                let answer = self.answer(ASKED)?;
                let byte = answer.strip_prefix("OK 0x").and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(byte.ok_or(Error::Answer { asked: ASKED, observed: answer })?);
            }
        }
        Ok(bytes)
    }

    fn ask(&mut self, questions: &str) -> Result<(), Error> {
        self.stream.get_mut().write_all(questions.as_bytes()).map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Ended,
            _ => Error::Stream(error),
        })
    }

    /// A line without its end.
    fn answer(&mut self, asked: &'static str) -> Result<String, Error> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(MAX_LINE_BYTES).read_until(b'\n', &mut line);
        match read {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Err(Error::Ended),
            Err(error) => return Err(Error::Stream(error)),
            Ok(0) => return Err(Error::Ended),
            Ok(_) => {}
        }
        let is_whole = line.pop_if(|last| *last == b'\n').is_some();
        let text = String::from_utf8_lossy(&line).into_owned();
        if is_whole { Ok(text) } else { Err(Error::Answer { asked, observed: text }) }
    }
}

fn within(what: &'static str, limit: u32, observed: u32) -> Result<usize, Error> {
    let fits = usize::try_from(observed).ok().filter(|_| observed <= limit);
    fits.ok_or(Error::TooLong { what, limit, observed })
}

/// The entry that these bytes are, of which there are [`ENTRY_BYTES`].
fn entry(bytes: &[u8]) -> Entry {
    let number = |from: usize, len: usize| {
        bytes.iter().skip(from).take(len).fold(0_u32, |number, byte| number << 8 | u32::from(*byte))
    };
    Entry {
        name: bytes.iter().skip(NAME_AT).take_while(|byte| **byte != 0).copied().collect(),
        bytes: number(0, 4),
        item: u16::try_from(number(4, 2)).unwrap_or_default(),
    }
}

fn find<'a>(directory: &'a [Entry], name: &str) -> Result<&'a Entry, Error> {
    let mut entries = directory.iter().filter(|entry| entry.name == name.as_bytes());
    match (entries.next(), entries.count()) {
        (Some(entry), 0) => Ok(entry),
        (found, more) => {
            Err(Error::File { name: name.to_owned(), observed: more + usize::from(found.is_some()) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// A QEMU, as far as its fw_cfg goes: tables have their real length only after one of them was selected.
    struct Double {
        files: Vec<(&'static str, Vec<u8>)>,
        signature: &'static [u8],
        /// In the directory, in the place of the number of files.
        count: Option<u32>,
        /// In the directory, in the place of a file's length.
        len: Option<u32>,
        /// In the place of the answer with this index.
        instead: Option<(usize, &'static [u8])>,
        is_made: bool,
        item: Vec<u8>,
        at: usize,
        asked: Vec<u8>,
        answers: VecDeque<u8>,
        count_of_answers: usize,
    }

    const NAMES: [&str; 2] = ["etc/a", "etc/b"];

    fn double() -> Double {
        Double {
            files: vec![("etc/b", vec![7; 300]), ("other", vec![1]), ("etc/a", vec![1, 2, 3])],
            signature: SIGNATURE,
            count: None,
            len: None,
            instead: None,
            is_made: false,
            item: Vec::new(),
            at: 0,
            asked: Vec::new(),
            answers: VecDeque::new(),
            count_of_answers: 0,
        }
    }

    impl Double {
        fn select(&mut self, item: u16) {
            self.at = 0;
            self.item = match item {
                SIGNATURE_ITEM => self.signature.to_vec(),
                DIRECTORY_ITEM => {
                    let count = self.count.unwrap_or(self.files.len().try_into().unwrap());
                    let mut bytes = count.to_be_bytes().to_vec();
                    for (at, (name, content)) in self.files.iter().enumerate() {
                        let len = if self.is_made { content.len().try_into().unwrap() } else { 0 };
                        bytes.extend(self.len.unwrap_or(len).to_be_bytes());
                        bytes.extend((0x20 + u16::try_from(at).unwrap()).to_be_bytes());
                        bytes.extend([0; 2]);
                        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(56));
                    }
                    bytes
                }
                file => {
                    self.is_made = true;
                    self.files.get(usize::from(file) - 0x20).map_or_else(Vec::new, |(_, bytes)| bytes.clone())
                }
            };
        }

        fn obey(&mut self, line: &str) {
            let words: Vec<&str> = line.split(' ').collect();
            let answer = match words.as_slice() {
                ["outw", "0x510", item] => {
                    self.select(u16::from_str_radix(item.trim_start_matches("0x"), 16).unwrap());
                    "OK\n".to_owned()
                }
                ["inb", "0x511"] => {
                    self.at += 1;
                    format!("OK 0x{:04x}\n", self.item.get(self.at - 1).copied().unwrap_or_default())
                }
                _ => panic!("asked {line}"),
            };
            let answer = match self.instead {
                Some((at, bytes)) if at == self.count_of_answers => bytes,
                _ => answer.as_bytes(),
            };
            self.answers.extend(answer);
            self.count_of_answers += 1;
        }
    }

    impl Write for Double {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            for byte in bytes {
                if *byte == b'\n' {
                    let line = String::from_utf8(std::mem::take(&mut self.asked)).unwrap();
                    self.obey(&line);
                } else {
                    self.asked.push(*byte);
                }
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Read for Double {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.answers.read(into)
        }
    }

    fn refused(double: Double) -> String {
        Ports::new(double).files(&NAMES).unwrap_err().to_string()
    }

    #[test]
    fn files_are_read_whole_in_the_order_asked_for_with_the_length_that_they_get_when_selected() {
        let files = Ports::new(double()).files(&NAMES).unwrap();
        assert_eq!(files, [vec![1, 2, 3], vec![7; 300]]);
    }

    #[test]
    fn refuses_what_is_no_fw_cfg() {
        assert!(refused(Double { signature: b"KVMM", ..double() }).contains("wanted the letters QEMU"));
    }

    #[test]
    fn refuses_a_file_that_is_missing_or_there_twice() {
        let missing = Double { files: vec![("etc/b", vec![1])], ..double() };
        assert_eq!(refused(missing), "fw_cfg has 0 files etc/a, wanted one");
        let twice = Double { files: vec![("etc/a", vec![1]), ("etc/a", vec![2])], ..double() };
        assert_eq!(refused(twice), "fw_cfg has 2 files etc/a, wanted one");
        // The name of another file that begins alike is another name.
        let longer = Double { files: vec![("etc/aa", vec![1])], ..double() };
        assert_eq!(refused(longer), "fw_cfg has 0 files etc/a, wanted one");
    }

    #[test]
    fn refuses_more_than_the_limits_before_any_of_it_is_read() {
        let many = Double { count: Some(MAX_FILES + 1), ..double() };
        assert_eq!(refused(many), "files: 1025, the limit is 1024");
        let long = Double { len: Some(u32::MAX), ..double() };
        assert_eq!(refused(long), "bytes of a file: 4294967295, the limit is 4194304");
    }

    #[test]
    fn refuses_answers_of_another_form() {
        for bytes in [
            &b"FAIL Unknown command 'inb'\n"[..],
            b"OK\n",
            b"OK 0x0100\n",
            b"OK 0x\n",
            b"\n",
            b"IRQ raise 1\n",
        ] {
            // The first byte of the signature.
            let text = refused(Double { instead: Some((1, bytes)), ..double() });
            assert!(text.starts_with("QEMU answers inb with "), "{text}");
        }
        let text = refused(Double { instead: Some((0, b"OK 0x0000\n")), ..double() });
        assert_eq!(text, "QEMU answers outw with \"OK 0x0000\"");
    }

    #[test]
    fn refuses_a_line_without_an_end() {
        let endless: &'static [u8] = &[b'0'; 4096];
        let text = refused(Double { instead: Some((1, endless)), ..double() });
        assert!(text.starts_with("QEMU answers inb with \"000") && text.len() < 200, "{text}");
    }

    #[test]
    fn a_qemu_that_ends_or_is_silent_is_told_apart() {
        use std::os::unix::net::UnixStream;
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(std::time::Duration::from_millis(20))).unwrap();
        let mut ports = Ports::new(ours);
        assert_eq!(ports.files(&NAMES).unwrap_err().to_string(), "QEMU does not answer");
        drop(theirs);
        assert!(matches!(ports.files(&NAMES), Err(Error::Ended)));
    }
}
