//! The files with tables of ACPI that QEMU makes for a machine, as edk2's firmware measures them.
//!
//! No file determines them: QEMU makes them for the processors, devices and settings of the machine, and when firmware asks, so that the
//! places where firmware put devices are in them. [`read`] therefore starts that machine with its firmware, waits until firmware is done, and
//! reads what it got. `anchorhold image measure tdx --acpi` computes RTMR0 with them.

use crate::fw_cfg::Ports;
use crate::qemu::{self, Machine};
use anyhow::{Context as _, bail, ensure};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What firmware is to do with the others; their names are in it.
const LOADER: &str = "etc/table-loader";
const POINTER: &str = "etc/acpi/rsdp";
const TABLES: &str = "etc/acpi/tables";
/// What [`Tables::write`] calls them.
const WRITTEN: [(&str, &str); 3] = [(LOADER, "table-loader"), (POINTER, "rsdp"), (TABLES, "tables")];
/// The most files that a loader may name; QEMU's name two, a TPM's log and what single devices bring.
const MAX_FILES: usize = 16;
/// How long firmware may take. QEMU runs edk2's in 2 s on an idle processor.
const WITHIN: Duration = Duration::from_secs(180);
/// How long QEMU may take for one answer.
const ANSWER: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);
/// What edk2 writes on the console about the first option it boots from. It has installed the tables long before.
const DONE: &[u8] = b"BdsDxe: ";
/// As much of the console is looked at.
const MAX_CONSOLE_BYTES: u64 = 1 << 20;
/// As much of what QEMU says on standard error is told.
const MAX_WORDS_BYTES: u64 = 4096;

/// The loader's file and those that it names, each whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    files: Vec<(String, Vec<u8>)>,
    list: Vec<Table>,
}

/// One table in `etc/acpi/tables`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Its four letters.
    pub signature: [u8; 4],
    /// Its length in bytes.
    pub bytes: u32,
}

/// What the files have that QEMU's files for a machine with firmware have not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// `etc/acpi/rsdp` does not begin with its signature.
    Pointer,
    /// `etc/table-loader` is not made of commands of 128 bytes.
    Loader {
        /// Its length.
        observed: usize,
    },
    /// `etc/table-loader` names too many files, the same twice, or one whose name is none.
    Name {
        /// The name.
        observed: String,
    },
    /// A table that `etc/table-loader` names is not there, or has another length.
    Table {
        /// Where it begins in `etc/acpi/tables`.
        at: u32,
    },
    /// There is no file of this name, or no table of this signature.
    Missing(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer => f.write_str("etc/acpi/rsdp does not begin with RSD PTR"),
            Self::Loader { observed } => {
                write!(f, "etc/table-loader has {observed} bytes, wanted commands of {COMMAND_BYTES}")
            }
            Self::Name { observed } => {
                write!(f, "etc/table-loader names {observed:?}, wanted up to {MAX_FILES} files, each once")
            }
            Self::Table { at } => write!(f, "no table begins at byte {at} of etc/acpi/tables"),
            Self::Missing(what) => {
                write!(f, "{what} is not there: QEMU makes it when firmware has set up a q35 machine")
            }
        }
    }
}

impl std::error::Error for Error {}

/// `BiosLinkerLoaderEntry` (QEMU's `hw/acpi/bios-linker-loader.c`), numbers little-endian.
const COMMAND_BYTES: usize = 128;
/// To load a file: its name.
const ALLOCATE: u32 = 1;
/// To compute the checksum of a table: the file's name, then where the sum goes, where the table begins, and its length.
const ADD_CHECKSUM: u32 = 3;
const NAME: std::ops::Range<usize> = 4..60;
const BEGINS_AT: usize = 64;
const LENGTH_AT: usize = 68;

/// The commands of `etc/table-loader` with this number.
fn commands(loader: &[u8], wanted: u32) -> impl Iterator<Item = &[u8]> {
    loader.chunks_exact(COMMAND_BYTES).filter(move |command| number(command, 0) == Some(wanted))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

/// The file that a command is about.
fn name(command: &[u8]) -> &[u8] {
    let field = command.get(NAME).unwrap_or_default();
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// The files that `etc/table-loader` has firmware load, in order. edk2 measures the loader's file and then each of these.
///
/// # Errors
/// [`Error::Loader`] and [`Error::Name`].
pub fn loaded(loader: &[u8]) -> Result<Vec<String>, Error> {
    if loader.is_empty() || !loader.len().is_multiple_of(COMMAND_BYTES) {
        return Err(Error::Loader { observed: loader.len() });
    }
    let mut names: Vec<String> = Vec::new();
    for command in commands(loader, ALLOCATE) {
        let name = String::from_utf8_lossy(name(command)).into_owned();
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name || names.contains(&name) || names.len() == MAX_FILES {
            return Err(Error::Name { observed: name });
        }
        names.push(name);
    }
    Ok(names)
}

impl Tables {
    /// Of the loader's file and those that [`loaded`] names, in that order.
    ///
    /// Establishes that these are files of a q35 machine whose firmware had set it up: without that, QEMU leaves out MCFG. Where firmware
    /// put devices is not looked at.
    ///
    /// # Errors
    /// What [`Error`] lists.
    pub fn new(files: Vec<Vec<u8>>) -> Result<Self, Error> {
        let mut names = loaded(files.first().map_or(&[], Vec::as_slice))?;
        names.insert(0, LOADER.to_owned());
        let files: Vec<(String, Vec<u8>)> = names.into_iter().zip(files).collect();
        if !file(&files, POINTER)?.starts_with(b"RSD PTR ") {
            return Err(Error::Pointer);
        }
        let (loader, tables) = (file(&files, LOADER)?, file(&files, TABLES)?);
        let mut list = Vec::new();
        for command in commands(loader, ADD_CHECKSUM).filter(|command| name(command) == TABLES.as_bytes()) {
            let at = number(command, BEGINS_AT).unwrap_or_default();
            let bytes = number(command, LENGTH_AT).unwrap_or_default();
            list.push(table(tables, at, bytes).ok_or(Error::Table { at })?);
        }
        for wanted in ["DSDT", "APIC", "MCFG"] {
            if !list.iter().any(|table| table.signature == wanted.as_bytes()) {
                return Err(Error::Missing(wanted));
            }
        }
        Ok(Self { files, list })
    }

    /// The tables in `etc/acpi/tables`, in the order of the loader's commands.
    #[must_use]
    pub fn list(&self) -> &[Table] {
        &self.list
    }

    /// The files with their names in fw_cfg, in the order in which edk2 measures them.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.files.iter().map(|(name, file)| (name.as_str(), file.as_slice()))
    }

    /// Writes the files into a folder, where `anchorhold image measure tdx --acpi` takes them. It takes three: those of a machine with
    /// more are not written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for (name, file) in self.files() {
            let written = WRITTEN.iter().find(|(of_qemu, _)| *of_qemu == name);
            let (_, written) =
                written.with_context(|| format!("this machine also has {name}, which firmware measures"))?;
            let path = folder.join(written);
            std::fs::write(&path, file).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn file<'a>(files: &'a [(String, Vec<u8>)], wanted: &'static str) -> Result<&'a [u8], Error> {
    let found = files.iter().find(|(name, _)| name == wanted);
    found.map(|(_, file)| file.as_slice()).ok_or(Error::Missing(wanted))
}

/// The table that lies there, whole: behind its signature stands its length.
fn table(tables: &[u8], at: u32, bytes: u32) -> Option<Table> {
    let (from, len) = (usize::try_from(at).ok()?, usize::try_from(bytes).ok()?);
    let table = tables.get(from..from.checked_add(len)?)?;
    let signature: [u8; 4] = *table.first_chunk()?;
    let is_table = signature.iter().all(u8::is_ascii_alphanumeric) && number(table, 4) == Some(bytes);
    is_table.then_some(Table { signature, bytes })
}

/// Reads them out of this QEMU, which runs the machine's firmware and nothing behind it. `work` is a folder for two files that are removed
/// again. The machine must have edk2's firmware, and run here: for a TDX guest that is
/// [`Tee::TdxDouble`](crate::qemu::Tee::TdxDouble).
///
/// Establishes what firmware reads on this machine of this QEMU. Those of a guest are equal where QEMU, its arguments and the firmware are.
pub fn read(qemu: &Path, machine: &Machine, work: &Path) -> anyhow::Result<Tables> {
    let (console, nothing) = (work.join("firmware.console"), work.join("firmware.kernel"));
    std::fs::write(&console, []).with_context(|| console.display().to_string())?;
    // No firmware starts this, and none finds anything on such a disk: it says so, and waits.
    std::fs::write(&nothing, [0; 4096]).with_context(|| nothing.display().to_string())?;
    let machine = Machine {
        unified: Some(nothing.clone()),
        root: nothing.clone(),
        console: console.clone(),
        forward: None,
        ..machine.clone()
    };
    let tables = watch(qemu, &machine);
    for file in [console, nothing] {
        std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
    }
    tables
}

/// A process that ends with this value.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn watch(qemu: &Path, machine: &Machine) -> anyhow::Result<Tables> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_read_timeout(Some(ANSWER))?;
    ours.set_write_timeout(Some(ANSWER))?;
    rustix::io::fcntl_setfd(theirs.as_fd(), rustix::io::FdFlags::empty())?;
    let mut command = Command::new(qemu);
    command.args(qemu::arguments(machine));
    command.args(["-chardev", &format!("socket,id=qtest,fd={}", theirs.as_raw_fd())]);
    command.args(["-qtest", "chardev:qtest", "-qtest-log", "none"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().with_context(|| qemu.display().to_string())?);
    drop(theirs);
    let tables = wait_for_firmware(&machine.console, &mut running.0).and_then(|()| twice(ours));
    tables.map_err(|error| {
        let _ = running.0.kill();
        let mut words = String::new();
        if let Some(stderr) = running.0.stderr.take() {
            // What it said is beside the point where it cannot be read.
            let _ = stderr.take(MAX_WORDS_BYTES).read_to_string(&mut words);
        }
        error.context(format!("{}: {}", qemu.display(), words.trim()))
    })
}

fn wait_for_firmware(console: &Path, qemu: &mut Child) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        let mut said = Vec::new();
        File::open(console)?.take(MAX_CONSOLE_BYTES).read_to_end(&mut said)?;
        if said.windows(DONE.len()).any(|window| window == DONE) {
            return Ok(());
        }
        if let Some(status) = qemu.try_wait()? {
            bail!("QEMU ended before its firmware was done: {status}");
        }
        ensure!(
            begun.elapsed() < WITHIN,
            "firmware did not come to its boot options within {} s",
            WITHIN.as_secs()
        );
        std::thread::sleep(PAUSE);
    }
}

/// Firmware that still used fw_cfg would have disturbed one of the two readings.
fn twice(stream: UnixStream) -> anyhow::Result<Tables> {
    let mut ports = Ports::new(stream);
    let loader = ports.files(&[LOADER])?.pop().unwrap_or_default();
    let loaded = loaded(&loader)?;
    let names: Vec<&str> = std::iter::once(LOADER).chain(loaded.iter().map(String::as_str)).collect();
    let files = ports.files(&names)?;
    ensure!(
        files.first() == Some(&loader) && files == ports.files(&names)?,
        "the files changed while they were read"
    );
    Ok(Tables::new(files)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(signature: &[u8; 4], bytes: u32) -> Vec<u8> {
        let mut table = signature.to_vec();
        table.extend(bytes.to_le_bytes());
        table.resize(bytes as usize, 0);
        table
    }

    fn command(number: u32, file: &str, at: u32, bytes: u32) -> Vec<u8> {
        let mut command = number.to_le_bytes().to_vec();
        command.extend(file.as_bytes());
        command.resize(BEGINS_AT, 0);
        command.extend(at.to_le_bytes().iter().chain(&bytes.to_le_bytes()));
        command.resize(COMMAND_BYTES, 0);
        command
    }

    /// As QEMU makes them: a table without checksum, three with, zeroes behind.
    fn good() -> Vec<Vec<u8>> {
        let mut tables =
            [table(b"FACS", 64), table(b"DSDT", 100), table(b"APIC", 50), table(b"MCFG", 60)].concat();
        tables.resize(4096, 0);
        let loader = [
            command(ALLOCATE, POINTER, 0, 0),
            command(ALLOCATE, TABLES, 0, 0),
            command(ADD_CHECKSUM, TABLES, 64, 100),
            command(ADD_CHECKSUM, TABLES, 164, 50),
            command(ADD_CHECKSUM, TABLES, 214, 60),
            command(ADD_CHECKSUM, POINTER, 0, 20),
            vec![0; COMMAND_BYTES],
        ];
        vec![loader.concat(), b"RSD PTR \0BOCHS ".to_vec(), tables]
    }

    /// The same with this command in the place of the one with this index.
    fn with(at: usize, command: Vec<u8>) -> Vec<Vec<u8>> {
        let mut files = good();
        files[0].splice(at * COMMAND_BYTES..(at + 1) * COMMAND_BYTES, command);
        files
    }

    #[test]
    fn tables_are_listed_and_files_stand_in_the_order_in_which_they_are_measured() {
        let tables = Tables::new(good()).unwrap();
        let list: Vec<_> = tables.list().iter().map(|table| (&table.signature, table.bytes)).collect();
        assert_eq!(list, [(b"DSDT", 100), (b"APIC", 50), (b"MCFG", 60)]);
        let names: Vec<_> = tables.files().map(|(name, _)| name).collect();
        assert_eq!(names, [LOADER, POINTER, TABLES]);
        assert!(tables.files().map(|(_, file)| file).eq(good().iter().map(Vec::as_slice)));
    }

    #[test]
    fn a_machine_whose_firmware_measures_more_than_three_files_is_read_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = good();
        files[0].splice(COMMAND_BYTES..COMMAND_BYTES, command(ALLOCATE, "etc/tpm/log", 0, 0));
        files.insert(2, vec![0; 64]);
        let tables = Tables::new(files).unwrap();
        let names: Vec<_> = tables.files().map(|(name, _)| name).collect();
        assert_eq!(names, [LOADER, POINTER, "etc/tpm/log", TABLES]);
        assert!(tables.write(folder.path()).unwrap_err().to_string().contains("etc/tpm/log"));
        Tables::new(good()).unwrap().write(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn refuses_tables_that_were_made_before_firmware_had_set_up_the_machine() {
        // The command that names MCFG.
        let files = with(4, vec![0; COMMAND_BYTES]);
        assert_eq!(Tables::new(files), Err(Error::Missing("MCFG")));
    }

    #[test]
    fn refuses_a_table_that_is_not_where_the_loader_has_it_or_ends_elsewhere() {
        for (at, bytes) in [(65, 100), (64, 99), (4090, 100), (u32::MAX, 100), (64, u32::MAX), (4095, 1)] {
            let files = with(2, command(ADD_CHECKSUM, TABLES, at, bytes));
            assert_eq!(Tables::new(files), Err(Error::Table { at }), "{at} {bytes}");
        }
    }

    #[test]
    fn refuses_a_loader_that_names_a_file_twice_or_too_many_or_none() {
        let refused = |name: &str| Err(Error::Name { observed: name.to_owned() });
        assert_eq!(Tables::new(with(1, command(ALLOCATE, POINTER, 0, 0))), refused(POINTER));
        assert_eq!(Tables::new(with(1, command(ALLOCATE, "", 0, 0))), refused(""));
        assert_eq!(Tables::new(with(1, command(ALLOCATE, "a b", 0, 0))), refused("a b"));
        let many: Vec<u8> =
            (0..=MAX_FILES).flat_map(|at| command(ALLOCATE, &format!("f{at}"), 0, 0)).collect();
        assert_eq!(loaded(&many), Err(Error::Name { observed: "f16".to_owned() }));
    }

    #[test]
    fn refuses_files_of_another_form_or_too_few() {
        for len in [0, COMMAND_BYTES - 1, COMMAND_BYTES + 1] {
            let mut files = good();
            files[0].truncate(len);
            assert_eq!(Tables::new(files), Err(Error::Loader { observed: len }));
        }
        let mut files = good();
        files[1] = b"RSD".to_vec();
        assert_eq!(Tables::new(files), Err(Error::Pointer));
        let mut files = good();
        files.pop();
        assert_eq!(Tables::new(files), Err(Error::Missing(TABLES)));
        assert_eq!(Tables::new(Vec::new()), Err(Error::Loader { observed: 0 }));
    }

    #[test]
    fn a_program_that_is_no_qemu_is_an_error_that_says_what_it_said_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Machine {
            tee: crate::qemu::Tee::TdxDouble { firmware: "firmware".into(), physical_bits: 46 },
            accelerator: crate::qemu::Accelerator::Tcg,
            cpus: 1,
            memory_mib: 64,
            kernel: "kernel".into(),
            initrd: "initrd".into(),
            cmdline: String::new(),
            unified: None,
            root: "root".into(),
            forward: None,
            console: "console".into(),
            simulated_digest: None,
            tpm: None,
            gpus: Vec::new(),
            uninvited: Vec::new(),
        };
        let error = format!("{:#}", read(Path::new("/bin/ls"), &machine, folder.path()).unwrap_err());
        assert!(
            error.contains("QEMU ended before its firmware was done") && error.contains("ls:"),
            "{error}"
        );
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
