//! The files with tables of ACPI that QEMU makes for a machine, as firmware measures them.
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

/// The files, by their names in fw_cfg, and by those that [`Tables::write`] gives them.
const FILES: [(&str, &str); 3] =
    [("etc/table-loader", "table-loader"), ("etc/acpi/rsdp", "rsdp"), (TABLES, "tables")];
const TABLES: &str = "etc/acpi/tables";
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

/// The three files, each whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    files: [Vec<u8>; 3],
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
    /// A table that `etc/table-loader` names is not there, or has another length.
    Table {
        /// Where it begins in `etc/acpi/tables`.
        at: u32,
    },
    /// There is no table of this signature.
    Missing(&'static str),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pointer => f.write_str("etc/acpi/rsdp does not begin with RSD PTR"),
            Self::Loader { observed } => {
                write!(f, "etc/table-loader has {observed} bytes, wanted commands of {COMMAND_BYTES}")
            }
            Self::Table { at } => write!(f, "no table begins at byte {at} of etc/acpi/tables"),
            Self::Missing(signature) => write!(
                f,
                "etc/acpi/tables has no {signature}: QEMU made it before any firmware set up a q35 machine"
            ),
        }
    }
}

impl std::error::Error for Error {}

/// `BiosLinkerLoaderEntry` (QEMU's `hw/acpi/bios-linker-loader.c`), numbers little-endian.
const COMMAND_BYTES: usize = 128;
/// To compute the checksum of a table: the file's name, then where the sum goes, where the table begins, and its length.
const ADD_CHECKSUM: u32 = 3;
const NAME: std::ops::Range<usize> = 4..60;
const BEGINS_AT: usize = 64;
const LENGTH_AT: usize = 68;

impl Tables {
    /// Establishes that these are files of a q35 machine whose firmware had set it up: without that, QEMU leaves out MCFG. Where firmware
    /// put devices is not looked at.
    ///
    /// # Errors
    /// What [`Error`] lists.
    pub fn new(files: [Vec<u8>; 3]) -> Result<Self, Error> {
        let [loader, pointer, tables] = &files;
        if !pointer.starts_with(b"RSD PTR ") {
            return Err(Error::Pointer);
        }
        if loader.is_empty() || !loader.len().is_multiple_of(COMMAND_BYTES) {
            return Err(Error::Loader { observed: loader.len() });
        }
        let mut list = Vec::new();
        for command in loader.chunks_exact(COMMAND_BYTES) {
            if number(command, 0) != Some(ADD_CHECKSUM) || !names(command, TABLES) {
                continue;
            }
            let at = number(command, BEGINS_AT).unwrap_or_default();
            let bytes = number(command, LENGTH_AT).unwrap_or_default();
            let range = usize::try_from(at).ok().zip(usize::try_from(bytes).ok());
            let table = range.and_then(|(at, bytes)| tables.get(at..at.checked_add(bytes)?));
            let signature = table.and_then(|table| table.first_chunk().copied());
            let signature = signature.filter(|letters| letters.iter().all(u8::is_ascii_alphanumeric));
            // Of a table, what follows its signature is its length.
            let is_whole = table.and_then(|table| number(table, 4)) == Some(bytes);
            let signature = signature.filter(|_| is_whole).ok_or(Error::Table { at })?;
            list.push(Table { signature, bytes });
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
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        FILES.iter().map(|(name, _)| *name).zip(self.files.iter().map(Vec::as_slice))
    }

    /// Writes the files into a folder, where `anchorhold image measure tdx --acpi` takes them.
    pub fn write(&self, folder: &Path) -> anyhow::Result<()> {
        for ((_, name), file) in FILES.iter().zip(&self.files) {
            let path = folder.join(name);
            std::fs::write(&path, file).with_context(|| path.display().to_string())?;
        }
        Ok(())
    }
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn names(command: &[u8], name: &str) -> bool {
    command
        .get(NAME)
        .and_then(|field| field.strip_prefix(name.as_bytes()))
        .is_some_and(|rest| rest.first() == Some(&0))
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
    let names = FILES.map(|(name, _)| name);
    let files = ports.files(names)?;
    ensure!(files == ports.files(names)?, "the files changed while they were read");
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
    fn good() -> [Vec<u8>; 3] {
        let mut tables =
            [table(b"FACS", 64), table(b"DSDT", 100), table(b"APIC", 50), table(b"MCFG", 60)].concat();
        tables.resize(4096, 0);
        let loader = [
            command(1, TABLES, 0, 0),
            command(ADD_CHECKSUM, TABLES, 64, 100),
            command(ADD_CHECKSUM, TABLES, 164, 50),
            command(ADD_CHECKSUM, TABLES, 214, 60),
            command(ADD_CHECKSUM, "etc/acpi/rsdp", 0, 20),
            vec![0; COMMAND_BYTES],
        ];
        [loader.concat(), b"RSD PTR \0BOCHS ".to_vec(), tables]
    }

    #[test]
    fn tables_are_listed_and_files_stand_in_the_order_in_which_they_are_measured() {
        let files = good();
        let tables = Tables::new(files.clone()).unwrap();
        let list: Vec<_> = tables.list().iter().map(|table| (&table.signature, table.bytes)).collect();
        assert_eq!(list, [(b"DSDT", 100), (b"APIC", 50), (b"MCFG", 60)]);
        let names: Vec<_> = tables.files().map(|(name, _)| name).collect();
        assert_eq!(names, ["etc/table-loader", "etc/acpi/rsdp", TABLES]);
        assert!(tables.files().map(|(_, file)| file).eq(files.iter().map(Vec::as_slice)));
    }

    #[test]
    fn refuses_tables_that_were_made_before_firmware_had_set_up_the_machine() {
        let [mut loader, pointer, tables] = good();
        // The command that names MCFG.
        loader.drain(3 * COMMAND_BYTES..4 * COMMAND_BYTES);
        assert_eq!(Tables::new([loader, pointer, tables]), Err(Error::Missing("MCFG")));
    }

    #[test]
    fn refuses_a_table_that_is_not_where_the_loader_has_it_or_ends_elsewhere() {
        for (at, bytes) in [(65, 100), (64, 99), (4090, 100), (u32::MAX, 100), (64, u32::MAX), (4095, 1)] {
            let [mut loader, pointer, tables] = good();
            loader.splice(COMMAND_BYTES..2 * COMMAND_BYTES, command(ADD_CHECKSUM, TABLES, at, bytes));
            assert_eq!(Tables::new([loader, pointer, tables]), Err(Error::Table { at }), "{at} {bytes}");
        }
    }

    #[test]
    fn refuses_files_of_another_form() {
        let [loader, pointer, tables] = good();
        let cut = loader.split_last().unwrap().1.to_vec();
        let observed = cut.len();
        assert_eq!(Tables::new([cut, pointer.clone(), tables.clone()]), Err(Error::Loader { observed }));
        assert_eq!(Tables::new([Vec::new(), pointer, tables.clone()]), Err(Error::Loader { observed: 0 }));
        assert_eq!(Tables::new([loader, b"RSD".to_vec(), tables]), Err(Error::Pointer));
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
