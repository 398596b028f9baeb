//! The files of an image, and the machine that boots it.

use crate::exit::Failure;
use crate::files;
use anchorhold_measure::boot::{Boot, Event, events};
use anchorhold_measure::snp::{self, Hypervisor, VcpuType};
use anchorhold_measure::tdx::PageOrder;
use anchorhold_measure::{DirectBoot, MAX_COMMAND_LINE_BYTES, MAX_FIRMWARE_BYTES, UnifiedKernel};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The largest kernel or unified kernel image that is read, in bytes.
const MAX_KERNEL_BYTES: usize = 1 << 30;
/// The largest initrd that is read, in bytes.
const MAX_INITRD_BYTES: usize = 4 << 30;

/// What firmware boots.
#[derive(clap::Args)]
pub(super) struct BootArgs {
    /// The unified kernel image
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kernel", "initrd", "command_line", "command_line_file"])]
    uki: Option<PathBuf>,
    /// The unified kernel image lies on a disk; without it, the hypervisor hands it over
    #[arg(long, requires = "uki")]
    on_disk: bool,
    #[command(flatten)]
    direct: DirectArgs,
}

/// What a hypervisor boots directly.
#[derive(clap::Args)]
pub(super) struct DirectArgs {
    /// The kernel that the hypervisor boots directly
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// Its initial file system
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Its command line
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    command_line: Option<String>,
    /// A file with its command line, less one line break at the end
    #[arg(long, value_name = "FILE", requires = "kernel", conflicts_with = "command_line")]
    command_line_file: Option<PathBuf>,
}

/// The files that were named, read.
#[derive(Default)]
pub(super) struct BootFiles {
    pub(super) uki: Option<Vec<u8>>,
    on_disk: bool,
    pub(super) direct: Option<DirectFiles>,
}

/// A kernel with what it gets.
pub(super) struct DirectFiles {
    pub(super) kernel: Vec<u8>,
    pub(super) initrd: Vec<u8>,
    pub(super) command_line: String,
}

impl BootArgs {
    pub(super) fn read(&self) -> Result<BootFiles, Failure> {
        let uki = self.uki.as_ref().map(|path| files::read(path, MAX_KERNEL_BYTES)).transpose()?;
        Ok(BootFiles { uki, on_disk: self.on_disk, direct: self.direct.read()? })
    }
}

impl DirectArgs {
    pub(super) fn read(&self) -> Result<Option<DirectFiles>, Failure> {
        let Some(kernel) = &self.kernel else { return Ok(None) };
        let kernel = files::read(kernel, MAX_KERNEL_BYTES)?;
        let initrd = self.initrd.as_ref().map(|path| files::read(path, MAX_INITRD_BYTES));
        let command_line = match (&self.command_line, &self.command_line_file) {
            (Some(text), _) => text.clone(),
            (None, Some(path)) => {
                let text = files::read_text(path, MAX_COMMAND_LINE_BYTES + 1)?;
                text.strip_suffix('\n').unwrap_or(&text).to_owned()
            }
            (None, None) => String::new(),
        };
        Ok(Some(DirectFiles { kernel, initrd: initrd.transpose()?.unwrap_or_default(), command_line }))
    }
}

impl DirectFiles {
    pub(super) fn as_boot(&self) -> DirectBoot<'_> {
        DirectBoot { kernel: &self.kernel, initrd: &self.initrd, command_line: &self.command_line }
    }
}

impl BootFiles {
    /// What is measured when these are booted; `None` when nothing was named.
    pub(super) fn events(&self) -> Result<Option<Vec<Event>>, Failure> {
        let measured = match (&self.uki, &self.direct) {
            (Some(uki), _) => {
                let uki = UnifiedKernel::parse(uki).map_err(wrong)?;
                let boot = if self.on_disk { Boot::UnifiedOnDisk(&uki) } else { Boot::Unified(&uki) };
                events(&boot)
            }
            (None, Some(direct)) => events(&Boot::Direct(direct.as_boot())),
            (None, None) => return Ok(None),
        };
        measured.map(Some).map_err(wrong)
    }
}

/// The processors of an SNP guest, one launch for each number and model.
#[derive(clap::Args)]
pub(super) struct ProcessorArgs {
    /// Numbers of virtual processors
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    pub(super) vcpus: Vec<u32>,
    /// Models of virtual processors as QEMU names them
    #[arg(long, value_name = "MODEL,...", value_delimiter = ',', default_value = "EPYC-v4")]
    pub(super) vcpu_type: Vec<Model>,
    /// SEV_FEATURES of the guest
    #[arg(long, value_name = "BITS", default_value = "0x1", value_parser = bits)]
    pub(super) sev_features: u64,
    /// Who starts it: qemu or ec2
    #[arg(long, value_name = "NAME", default_value = "qemu", value_parser = hypervisor)]
    pub(super) hypervisor: Hypervisor,
}

/// A model of virtual processor with its name.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub(super) name: String,
    vcpu_type: VcpuType,
}

impl FromStr for Model {
    type Err = snp::UnknownVcpuType;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Ok(Self { name: name.to_owned(), vcpu_type: name.parse()? })
    }
}

fn bits(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").ok_or("wanted a number such as 0x1")?;
    u64::from_str_radix(digits, 16).map_err(|e| e.to_string())
}

fn hypervisor(text: &str) -> Result<Hypervisor, &'static str> {
    match text {
        "qemu" => Ok(Hypervisor::Qemu),
        "ec2" => Ok(Hypervisor::Ec2),
        _ => Err("wanted qemu or ec2"),
    }
}

/// The word for a hypervisor, as it is taken.
pub(super) const fn hypervisor_word(hypervisor: Hypervisor) -> &'static str {
    match hypervisor {
        Hypervisor::Qemu => "qemu",
        Hypervisor::Ec2 => "ec2",
    }
}

/// A launch digest with the processors it is for.
pub(super) struct Launched {
    pub(super) digest: anchorhold_rats::Measurement,
    pub(super) vcpus: u32,
    pub(super) model: String,
}

/// The launch digest for each model and number.
pub(super) fn launches(
    firmware: &[u8],
    direct: Option<DirectBoot<'_>>,
    args: &ProcessorArgs,
) -> Result<Vec<Launched>, Failure> {
    let mut out = Vec::new();
    for model in &args.vcpu_type {
        for vcpus in &args.vcpus {
            let launch = snp::Launch {
                firmware,
                direct_boot: direct,
                vcpus: *vcpus,
                vcpu_type: model.vcpu_type,
                features: args.sev_features,
                hypervisor: args.hypervisor,
            };
            let digest = snp::launch_digest(&launch).map_err(wrong)?;
            out.push(Launched { digest, vcpus: *vcpus, model: model.name.clone() });
        }
    }
    Ok(out)
}

/// In which order a hypervisor adds pages to a TD, with the word for it.
pub(super) const PAGE_ORDERS: [(PageOrder, &str); 2] = [
    (PageOrder::PageByPage, "page by page: Linux 6.16 and QEMU 10.1 and newer"),
    (PageOrder::SectionBySection, "section by section: QEMU 8 with Intel's patches"),
];

pub(super) fn read_firmware(path: &Path) -> Result<Vec<u8>, Failure> {
    files::read(path, MAX_FIRMWARE_BYTES)
}

/// What cannot be measured.
pub(super) fn wrong(error: anchorhold_measure::Error) -> Failure {
    Failure::other(format!("cannot measure: {error}"))
}

/// A name and the file that it stands for: `kernel=vmlinuz`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

impl FromStr for Named {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => {
                Ok(Self { name: name.to_owned(), path: path.into() })
            }
            _ => Err("wanted NAME=PATH"),
        }
    }
}
