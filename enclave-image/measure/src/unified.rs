//! Unified kernel images: kernel, initrd and command line in one PE file behind systemd's stub.
//!
//! Specification: the UAPI group's "Unified Kernel Image", and systemd's `src/boot/stub.c` and `cpio.c` (257), which say what
//! the stub measures and which files it adds to the initrd.

use crate::pe::{Image, Section};
use crate::{Error, MAX_COMMAND_LINE_BYTES};

/// The sections that the stub measures, in its order (systemd's `src/fundamental/uki.h`).
const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".uname", ".sbat"];
/// Sections with which the boot, or what is measured, would depend on more than the image: alternatives that a boot menu or
/// the hypervisor's tables choose between, and files that the stub adds to the initrd.
const REFUSED: [(&str, &str); 8] = [
    (".ucode", "section .ucode in the unified kernel image"),
    (".dtb", "section .dtb in the unified kernel image"),
    (".pcrsig", "section .pcrsig in the unified kernel image"),
    (".pcrpkey", "section .pcrpkey in the unified kernel image"),
    (".profile", "section .profile in the unified kernel image"),
    (".dtbauto", "section .dtbauto in the unified kernel image"),
    (".hwids", "section .hwids in the unified kernel image"),
    (".efifw", "section .efifw in the unified kernel image"),
];

/// A unified kernel image whose sections were read.
///
/// Establishes that it has one kernel, one command line that neither stub nor kernel changes, and at most one of all else;
/// and no section that would make the boot depend on a choice outside the image.
#[derive(Debug, Clone)]
pub struct UnifiedKernel<'a> {
    pub(crate) image: Image<'a>,
    /// In the order of [`MEASURED`].
    sections: [Option<&'a [u8]>; MEASURED.len()],
}

impl<'a> UnifiedKernel<'a> {
    /// Reads an image.
    ///
    /// # Errors
    /// [`Error`] when it is no PE image, lacks kernel or command line, or has what cannot be predicted.
    pub fn parse(file: &'a [u8]) -> Result<Self, Error> {
        let image = Image::parse(file)?;
        let mut sections = [None; MEASURED.len()];
        for section in image.sections() {
            if let Some((_, what)) = REFUSED.iter().find(|(name, _)| is_named(section, name)) {
                return Err(Error::Unpredictable { what });
            }
            for (name, place) in MEASURED.iter().zip(&mut sections) {
                if is_named(section, name) && place.replace(in_memory(section)?).is_some() {
                    return Err(Error::Repeated { what: name });
                }
            }
        }
        let kernel = Self { image, sections };
        kernel.require(".linux")?;
        require_unchanged(kernel.require(".cmdline")?)?;
        Ok(kernel)
    }

    /// The names of the sections that the stub measures and that the image has, with their content, in the stub's order.
    pub(crate) fn measured(&self) -> impl Iterator<Item = (&'static str, &'a [u8])> {
        MEASURED.into_iter().zip(self.sections).filter_map(|(name, content)| Some((name, content?)))
    }

    fn section(&self, wanted: &str) -> Option<&'a [u8]> {
        self.measured().find(|(name, _)| *name == wanted).map(|(_, content)| content)
    }

    fn require(&self, name: &'static str) -> Result<&'a [u8], Error> {
        self.section(name).ok_or(Error::Missing { what: name })
    }

    /// The kernel.
    #[must_use]
    pub fn kernel(&self) -> &'a [u8] {
        self.section(".linux").unwrap_or_default()
    }

    /// The initial file system; empty where there is none.
    #[must_use]
    pub fn initrd(&self) -> &'a [u8] {
        self.section(".initrd").unwrap_or_default()
    }

    /// The command line: printable ASCII.
    #[must_use]
    pub fn command_line(&self) -> &'a str {
        std::str::from_utf8(self.section(".cmdline").unwrap_or_default()).unwrap_or_default()
    }

    /// What the kernel gets as initial file system: the image's, then an archive with its `os-release` if it has one.
    pub(crate) fn whole_initrd(&self) -> Vec<u8> {
        let mut whole = self.initrd().to_vec();
        if let Some(os_release) = self.section(".osrel") {
            pad(&mut whole);
            whole.extend(archive(b".extra/os-release", os_release));
        }
        whole
    }
}

fn is_named(section: &Section<'_>, name: &str) -> bool {
    let mut padded = [0; 8];
    padded.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
    section.name == padded
}

/// What the stub sees of a section.
fn in_memory<'a>(section: &Section<'a>) -> Result<&'a [u8], Error> {
    let what = "section of the unified kernel image";
    section.content.get(..section.memory_bytes).ok_or(Error::Truncated { what })
}

/// Establishes that the stub hands the command line on as it is: it cuts spaces at both ends and turns control characters
/// into spaces, and text beyond ASCII has more than one form.
fn require_unchanged(command_line: &[u8]) -> Result<(), Error> {
    if command_line.len() > MAX_COMMAND_LINE_BYTES {
        return Err(Error::TooLong {
            what: "bytes of command line",
            limit: MAX_COMMAND_LINE_BYTES,
            observed: command_line.len(),
        });
    }
    let other = command_line.iter().find(|byte| !(0x20..0x7f).contains(*byte));
    let space = [command_line.first(), command_line.last()].into_iter().flatten().find(|byte| **byte == b' ');
    match other.or(space) {
        None => Ok(()),
        Some(byte) => Err(Error::Field {
            field: "byte of the command line",
            wanted: "printable ASCII, without spaces at the ends",
            observed: (*byte).into(),
        }),
    }
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The archive that the stub makes of one file: its folder, the file, the end (the kernel's "initramfs buffer format").
fn archive(path: &[u8], content: &[u8]) -> Vec<u8> {
    let folder = path.split(|byte| *byte == b'/').next().unwrap_or_default();
    let mut archive = Vec::new();
    entry(&mut archive, 1, 0o40_555, folder, &[]);
    entry(&mut archive, 2, 0o100_444, path, content);
    archive.extend(b"070701000000000000000000000000000000000000000100000000000000000000000000000000");
    archive.extend(b"00000000000000000000000B00000000TRAILER!!!\0\0\0\0");
    archive
}

fn entry(archive: &mut Vec<u8>, inode: u32, mode: u32, path: &[u8], content: &[u8]) {
    let numbers = [inode as usize, mode as usize, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
    archive.extend(b"070701");
    for number in numbers {
        archive.extend(format!("{number:08x}").bytes());
    }
    archive.extend(path);
    archive.push(0);
    pad(archive);
    archive.extend(content);
    pad(archive);
}
