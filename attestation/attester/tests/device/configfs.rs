//! A double of `/sys/kernel/config/tsm/report`.
//!
//! It does what the kernel's code does, step by step: `drivers/virt/coco/guest/report.c` for the attributes and the generation,
//! `fs/configfs/file.c` for files (a text attribute is shown at the first read of a descriptor and stored at every write; a binary
//! attribute is collected and stored when the descriptor is closed, the outcome of which nobody learns; a descriptor that was
//! written is not read), and `sev_report_new` and `tdx_report_new` for what each provider asks of its input.

use anchorhold_attester::device::{Access, Files};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// TSM_REPORT_INBLOB_MAX and TSM_REPORT_OUTBLOB_MAX.
const MAX_INBLOB: usize = 64;
const MAX_OUTBLOB: usize = 32 * 1024;
const MAX_PRIVLEVEL: u32 = 3;

/// What the module below the interface does with a request: its level and the report data give a report and the rest.
pub(crate) type Provider = Box<dyn FnMut(u32, [u8; 64]) -> Result<(Vec<u8>, Vec<u8>), Errno> + Send>;
/// Something that another process does at this moment: what is being done to which file.
pub(crate) type Other = Box<dyn FnMut(&mut State, &Step) + Send>;

/// One operation of the reader, as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Made(PathBuf),
    Opened(PathBuf),
    Closed(PathBuf),
}

#[derive(Default)]
pub(crate) struct Item {
    pub(crate) inblob: Vec<u8>,
    pub(crate) privlevel: u32,
    pub(crate) write_generation: u64,
    pub(crate) read_generation: u64,
    outblob: Option<(Vec<u8>, Vec<u8>)>,
}

impl Item {
    /// `try_advance_write_generation`.
    fn advance(&mut self) -> Result<(), Errno> {
        if self.write_generation == self.read_generation.wrapping_sub(1) {
            return Err(Errno::BUSY);
        }
        self.write_generation = self.write_generation.wrapping_add(1);
        Ok(())
    }

    /// What another process does that opened the entry's `inblob`.
    pub(crate) fn write_inblob(&mut self, bytes: &[u8]) {
        // The result of the release of a file is ignored.
        let _ = self.advance().map(|()| self.inblob = bytes.to_vec());
    }
}

pub(crate) struct State {
    pub(crate) root: PathBuf,
    pub(crate) name: Option<&'static str>,
    pub(crate) privlevel_floor: Option<u32>,
    pub(crate) provider: Provider,
    pub(crate) items: BTreeMap<PathBuf, Item>,
    /// The most bytes that one read or write moves.
    pub(crate) chunk: usize,
    /// Reads that a signal interrupts before they begin.
    pub(crate) signals: u32,
    pub(crate) other: Option<Other>,
    /// Every entry that was ever made.
    pub(crate) made: Vec<PathBuf>,
}

#[derive(Clone)]
pub(crate) struct Configfs(pub(crate) Arc<Mutex<State>>);

impl Configfs {
    pub(crate) fn new(name: &'static str, provider: Provider) -> Self {
        let privlevel_floor = (name == "sev_guest").then_some(0);
        Self(Arc::new(Mutex::new(State {
            root: "/reports".into(),
            name: Some(name),
            privlevel_floor,
            provider,
            items: BTreeMap::new(),
            chunk: usize::MAX,
            signals: 0,
            other: None,
            made: Vec::new(),
        })))
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn tell(&self, step: &Step) {
        let mut state = self.state();
        if let Some(mut other) = state.other.take() {
            other(&mut state, step);
            state.other.get_or_insert(other);
        }
    }
}

fn error(errno: Errno) -> io::Error {
    io::Error::from(errno)
}

impl Files for Configfs {
    type File = Attribute;

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        {
            let mut state = self.state();
            if path.parent() != Some(&state.root) {
                return Err(error(Errno::NOENT));
            }
            if state.name.is_none() {
                return Err(error(Errno::NXIO));
            }
            if state.items.contains_key(path) {
                return Err(error(Errno::EXIST));
            }
            state.items.insert(path.to_owned(), Item::default());
            state.made.push(path.to_owned());
        }
        self.tell(&Step::Made(path.to_owned()));
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.state().items.remove(path).map(drop).ok_or_else(|| error(Errno::NOENT))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Attribute> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = path.parent().unwrap().to_owned();
        {
            let state = self.state();
            if !state.items.contains_key(&folder) {
                return Err(error(Errno::NOENT));
            }
            let has_levels = state.privlevel_floor.is_some();
            let allowed = match name.as_str() {
                "generation" | "provider" | "outblob" => Access::Read,
                "inblob" => Access::Write,
                "auxblob" | "privlevel_floor" if has_levels => Access::Read,
                "privlevel" if has_levels => Access::Write,
                _ => return Err(error(Errno::NOENT)),
            };
            if access != allowed {
                return Err(error(Errno::ACCESS));
            }
        }
        self.tell(&Step::Opened(path.to_owned()));
        Ok(Attribute {
            files: self.clone(),
            folder,
            name,
            shown: None,
            at: 0,
            collected: Vec::new(),
            written: false,
        })
    }
}

/// One open attribute.
pub(crate) struct Attribute {
    files: Configfs,
    folder: PathBuf,
    name: String,
    shown: Option<Vec<u8>>,
    at: usize,
    collected: Vec<u8>,
    written: bool,
}

impl Attribute {
    fn show(&self, state: &mut State) -> Result<Vec<u8>, Errno> {
        let name = state.name.ok_or(Errno::NXIO);
        let floor = state.privlevel_floor;
        let item = state.items.get_mut(&self.folder).ok_or(Errno::NOENT)?;
        match self.name.as_str() {
            "generation" => Ok(format!("{}\n", item.write_generation).into_bytes()),
            "provider" => Ok(format!("{}\n", name?).into_bytes()),
            "privlevel_floor" => Ok(format!("{}\n", floor.unwrap()).into_bytes()),
            blob => {
                name?;
                if item.inblob.is_empty() {
                    return Err(Errno::INVAL);
                }
                if item.outblob.is_none() || item.read_generation != item.write_generation {
                    let inblob = item.inblob.as_slice().try_into().map_err(|_| Errno::INVAL)?;
                    item.outblob = None;
                    item.outblob = Some((state.provider)(item.privlevel, inblob)?);
                    item.read_generation = item.write_generation;
                }
                let (out, aux) = item.outblob.as_ref().unwrap();
                let bytes = if blob == "outblob" { out } else { aux };
                if bytes.len() > MAX_OUTBLOB { Err(Errno::FBIG) } else { Ok(bytes.clone()) }
            }
        }
    }
}

impl Read for Attribute {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let files = self.files.clone();
        let mut state = files.state();
        if self.written {
            return Err(error(Errno::TXTBSY));
        }
        if state.signals > 0 {
            state.signals -= 1;
            return Err(error(Errno::INTR));
        }
        if self.shown.is_none() {
            self.shown = Some(self.show(&mut state).map_err(error)?);
        }
        let rest = &self.shown.as_ref().unwrap()[self.at..];
        let count = rest.len().min(buffer.len()).min(state.chunk);
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Ok(count)
    }
}

impl Write for Attribute {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.files.state();
        let taken = &bytes[..bytes.len().min(state.chunk)];
        if self.name == "inblob" {
            if self.collected.len() + bytes.len() > MAX_INBLOB {
                return Err(error(Errno::FBIG));
            }
            self.written = true;
            self.collected.extend(taken);
            return Ok(taken.len());
        }
        // `privlevel`, the one text attribute that is written here: every write is a whole value.
        let floor = state.privlevel_floor.unwrap();
        let value: u32 = std::str::from_utf8(taken).unwrap().parse().map_err(|_| error(Errno::INVAL))?;
        if value < floor || value > MAX_PRIVLEVEL {
            return Err(error(Errno::INVAL));
        }
        let item = state.items.get_mut(&self.folder).ok_or_else(|| error(Errno::NOENT))?;
        item.advance().map_err(error)?;
        item.privlevel = value;
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Attribute {
    fn drop(&mut self) {
        if self.written {
            let mut state = self.files.state();
            let collected = std::mem::take(&mut self.collected);
            if let Some(item) = state.items.get_mut(&self.folder) {
                item.write_inblob(&collected);
            }
        }
        self.files.tell(&Step::Closed(self.folder.join(&self.name)));
    }
}
