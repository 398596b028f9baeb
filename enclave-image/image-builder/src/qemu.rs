//! The command line of QEMU for a guest, as a value: nothing here starts anything or looks at the machine.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// Which hardware protects the guest from its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tee {
    /// None.
    None,
    /// AMD SEV-SNP. Kernel, initrd and command line are hashed into the launch digest (`kernel-hashes`).
    Snp {
        /// Firmware with a place for those hashes, such as Debian's `OVMF.amdsev.fd`.
        firmware: PathBuf,
        /// The processor that is named in the measured state of each virtual CPU.
        cpu: String,
    },
    /// Intel TDX. The firmware measures what it starts.
    Tdx {
        /// Firmware with TDX metadata, such as Debian's `OVMF.inteltdx.fd`.
        firmware: PathBuf,
    },
    /// None, on the machine of a TDX guest, which QEMU itself runs anywhere, so that what firmware meets there can be read.
    ///
    /// What QEMU sets for every TD and for no other guest is set here: no mode of system management, no PIC. Left out is what only KVM has: the
    /// interrupt controllers split between QEMU and KVM, and protection.
    TdxDouble {
        /// The same firmware.
        firmware: PathBuf,
        /// How many bits an address has on the processors of TDX hosts. Firmware places devices by it.
        physical_bits: u8,
    },
}

/// Who runs the guest's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// QEMU itself. Slow, and works everywhere.
    Tcg,
    /// The processor.
    Kvm,
}

/// A guest to be started.
#[derive(Debug, Clone)]
pub struct Machine {
    /// What protects it.
    pub tee: Tee,
    /// Who runs it; a TEE needs the processor, whatever stands here.
    pub accelerator: Accelerator,
    /// Virtual CPUs.
    pub cpus: u16,
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// The kernel.
    pub kernel: PathBuf,
    /// The initrd, with the deployment's settings.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
    /// Kernel, initrd and command line as one program for UEFI, which is started in their place; only with firmware that runs it.
    pub unified: Option<PathBuf>,
    /// The root and its hash tree.
    pub root: PathBuf,
    /// Port of this machine's loopback and port of the guest that it leads to.
    pub forward: Option<(u16, u16)>,
    /// The file that takes what the guest says on its console.
    pub console: PathBuf,
    /// The launch digest that a simulating image is told, hex.
    pub simulated_digest: Option<String>,
    /// An emulated TPM, and firmware that measures into it; only without a TEE, whose firmware is its own.
    pub tpm: Option<Tpm>,
    /// Devices of this machine that the guest gets, each below a port of its own. They must be bound to `vfio-pci`.
    pub gpus: Vec<PciAddress>,
    /// Arguments behind all others: what a host adds that nobody asked for. Tests are that host.
    pub uninvited: Vec<OsString>,
}

/// Where a device is on this machine's PCI buses, as `0000:41:00.0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PciAddress(String);

impl FromStr for PciAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let form = b"0000:00:00.0";
        let fits = text.len() == form.len()
            && text
                .bytes()
                .zip(form)
                .all(|(byte, form)| if *form == b'0' { is_hex(byte) } else { byte == *form });
        if fits { Ok(Self(text.to_owned())) } else { Err("wanted an address as 0000:41:00.0, in lowercase") }
    }
}

/// A TPM that an emulator of this machine gives the guest.
#[derive(Debug, Clone)]
pub struct Tpm {
    /// UEFI firmware, such as Debian's `OVMF.fd`.
    pub firmware: PathBuf,
    /// The socket on which the emulator is controlled.
    pub control: PathBuf,
}

/// Room for the memory of GPUs among the addresses of devices, in MiB, which firmware is to leave: 256 GiB.
const DEVICE_ADDRESSES: &str = "name=opt/ovmf/X-PciMmio64Mb,string=262144";
/// Bits of an SNP guest's policy: SMT may be on, and one bit that is always set. No debugging, no migration.
const SNP_POLICY: &str = "0x30000";
/// Where the encryption bit is on every EPYC that has SNP, and how many bits of a physical address it costs.
const SNP_ADDRESS: &str = "cbitpos=51,reduced-phys-bits=1";

/// The arguments for `qemu-system-x86_64`. The stages of the start come on its standard output.
#[must_use]
pub fn arguments(machine: &Machine) -> Vec<OsString> {
    let mut line = Line(Vec::new());
    line.words(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    tee(&mut line, machine);
    line.option("-smp", machine.cpus.to_string()).option("-m", format!("{}M", machine.memory_mib));
    if let Some(unified) = &machine.unified {
        line.path("-kernel", "", unified);
    } else {
        line.path("-kernel", "", &machine.kernel).path("-initrd", "", &machine.initrd);
        line.option("-append", machine.cmdline.clone());
    }
    line.path("-drive", "if=none,id=root,format=raw,readonly=on,cache=unsafe,file=", &machine.root);
    line.words(&["-device", "virtio-blk-pci,drive=root"]);
    let forward =
        machine.forward.map_or_else(String::new, |(from, to)| format!(",hostfwd=tcp:127.0.0.1:{from}-:{to}"));
    line.option("-netdev", format!("user,id=net,ipv6=off{forward}"));
    // Without a ROM, which only a guest that boots over the network would run.
    line.words(&["-device", "virtio-net-pci,netdev=net,romfile="]);
    line.path("-serial", "file:", &machine.console);
    line.words(&["-chardev", "stdio,id=stages,signal=off", "-serial", "chardev:stages"]);
    if let (Some(tpm), Tee::None) = (&machine.tpm, &machine.tee) {
        line.path("-bios", "", &tpm.firmware);
        line.path("-chardev", "socket,id=tpm,path=", &tpm.control);
        line.words(&["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm"]);
    }
    pass_through(&mut line, &machine.gpus);
    if let Some(digest) = &machine.simulated_digest {
        line.option("-fw_cfg", format!("name=opt/anchorhold/simulated-launch-digest,string={digest}"));
    }
    line.0.extend(machine.uninvited.iter().cloned());
    line.0
}

/// Without the ROM of the device, which is code of the host's choice for firmware to run.
fn pass_through(line: &mut Line, gpus: &[PciAddress]) {
    if gpus.is_empty() {
        return;
    }
    line.words(&["-object", "iommufd,id=iommu", "-fw_cfg", DEVICE_ADDRESSES]);
    for (at, PciAddress(host)) in gpus.iter().enumerate() {
        line.option("-device", format!("pcie-root-port,id=gpu{at},bus=pcie.0,chassis={}", at + 1));
        line.option("-device", format!("vfio-pci,host={host},bus=gpu{at},iommufd=iommu,romfile="));
    }
}

fn tee(line: &mut Line, machine: &Machine) {
    let memory = machine.memory_mib;
    match &machine.tee {
        Tee::None => match machine.accelerator {
            Accelerator::Tcg => line.words(&["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max"]),
            Accelerator::Kvm => line.words(&["-machine", "q35", "-accel", "kvm", "-cpu", "host"]),
        },
        Tee::Snp { firmware, cpu } => {
            line.words(&[
                "-machine",
                "q35,confidential-guest-support=tee,memory-backend=memory",
                "-accel",
                "kvm",
            ]);
            line.option("-cpu", cpu.clone());
            line.option("-object", memory_object(memory));
            line.option(
                "-object",
                format!("sev-snp-guest,id=tee,policy={SNP_POLICY},{SNP_ADDRESS},kernel-hashes=on"),
            );
            line.path("-bios", "", firmware)
        }
        Tee::Tdx { firmware } => {
            line.words(&[
                "-machine",
                "q35,kernel-irqchip=split,confidential-guest-support=tee,memory-backend=memory",
            ]);
            line.words(&["-accel", "kvm", "-cpu", "host"]);
            line.option("-object", memory_object(memory));
            line.words(&["-object", "tdx-guest,id=tee"]);
            line.path("-bios", "", firmware)
        }
        Tee::TdxDouble { firmware, physical_bits } => {
            line.words(&["-machine", "q35,smm=off,pic=off,memory-backend=memory", "-accel", "tcg"]);
            line.option("-cpu", format!("max,phys-bits={physical_bits}"));
            line.option("-object", memory_object(memory));
            line.path("-bios", "", firmware)
        }
    };
}

fn memory_object(mib: u32) -> String {
    format!("memory-backend-memfd,id=memory,size={mib}M,share=true,prealloc=false")
}

struct Line(Vec<OsString>);

impl Line {
    fn words(&mut self, words: &[&str]) -> &mut Self {
        self.0.extend(words.iter().map(OsString::from));
        self
    }

    fn option(&mut self, name: &str, value: String) -> &mut Self {
        self.0.extend([name.into(), value.into()]);
        self
    }

    /// An option whose value ends in a path. QEMU reads a comma as the end of a value, and two as one comma.
    fn path(&mut self, name: &str, before: &str, path: &std::path::Path) -> &mut Self {
        use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
        let is_list = before.ends_with('=');
        let mut value = before.as_bytes().to_vec();
        for &byte in path.as_os_str().as_bytes() {
            value.push(byte);
            if is_list && byte == b',' {
                value.push(byte);
            }
        }
        self.0.extend([name.into(), OsString::from_vec(value)]);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(tee: Tee) -> Machine {
        Machine {
            tee,
            accelerator: Accelerator::Tcg,
            cpus: 2,
            memory_mib: 1024,
            kernel: "k".into(),
            initrd: "i".into(),
            cmdline: "panic=-1 quiet".into(),
            unified: None,
            root: "a,b".into(),
            forward: Some((4000, 8443)),
            console: "console".into(),
            simulated_digest: None,
            tpm: None,
            gpus: Vec::new(),
            uninvited: Vec::new(),
        }
    }

    fn text(machine: &Machine) -> String {
        arguments(machine).iter().map(|word| word.to_str().unwrap().to_owned()).collect::<Vec<_>>().join("|")
    }

    #[test]
    fn without_a_tee_there_is_no_firmware_and_nothing_confidential() {
        let line = text(&machine(Tee::None));
        assert!(
            line.contains("-accel|tcg,thread=multi|-cpu|max") && line.contains("|-append|panic=-1 quiet|"),
            "{line}"
        );
        assert!(
            !line.contains("confidential") && !line.contains("-bios") && !line.contains("fw_cfg"),
            "{line}"
        );
        assert!(line.contains("file=a,,b|") && line.contains("hostfwd=tcp:127.0.0.1:4000-:8443"), "{line}");
    }

    #[test]
    fn a_tpm_comes_with_firmware_that_measures_and_never_beside_a_tee() {
        let tpm = Some(Tpm { firmware: "OVMF.fd".into(), control: "t,p".into() });
        let line = text(&Machine { tpm: tpm.clone(), ..machine(Tee::None) });
        assert!(line.contains("-bios|OVMF.fd|-chardev|socket,id=tpm,path=t,,p|-tpmdev|emulator,"), "{line}");
        let snp = machine(Tee::Snp { firmware: "f".into(), cpu: "EPYC-v4".into() });
        assert!(!text(&Machine { tpm, ..snp }).contains("tpm"));
    }

    #[test]
    fn each_gpu_has_a_port_of_its_own_and_brings_no_rom() {
        assert!(!text(&machine(Tee::None)).contains("vfio"));
        let gpus = ["0000:41:00.0", "0001:c1:00.1"].map(|address| address.parse().unwrap()).to_vec();
        let line = text(&Machine { gpus, ..machine(Tee::None) });
        for words in [
            "-object|iommufd,id=iommu|",
            "|-device|pcie-root-port,id=gpu0,bus=pcie.0,chassis=1|-device|vfio-pci,host=0000:41:00.0,bus=gpu0,iommufd=iommu,romfile=|",
            "|-device|pcie-root-port,id=gpu1,bus=pcie.0,chassis=2|-device|vfio-pci,host=0001:c1:00.1,bus=gpu1,iommufd=iommu,romfile=",
        ] {
            assert!(line.contains(words), "{line}");
        }
    }

    #[test]
    fn a_pci_address_has_one_form() {
        "0000:41:00.0".parse::<PciAddress>().unwrap();
        for bad in [
            "",
            "41:00.0",
            "0000:41:00.0,x=y",
            "0000:4G:00.0",
            "0000:41:00:0",
            "0000:41:00.00",
            "0000:AB:00.0",
        ] {
            assert!(bad.parse::<PciAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_unified_image_is_started_alone() {
        let line = text(&Machine { unified: Some("u.efi".into()), ..machine(Tee::None) });
        assert!(
            line.contains("-kernel|u.efi|") && !line.contains("-initrd") && !line.contains("-append"),
            "{line}"
        );
    }

    #[test]
    fn snp_hashes_the_kernel_forbids_debugging_and_is_never_emulated() {
        let line = text(&machine(Tee::Snp { firmware: "OVMF.amdsev.fd".into(), cpu: "EPYC-v4".into() }));
        assert!(
            line.contains("confidential-guest-support=tee") && line.contains("-bios|OVMF.amdsev.fd"),
            "{line}"
        );
        assert!(
            line.contains("sev-snp-guest,id=tee,policy=0x30000,") && line.contains("kernel-hashes=on"),
            "{line}"
        );
        assert!(line.contains("-accel|kvm|-cpu|EPYC-v4") && !line.contains("tcg"), "{line}");
        // Bit 17 is always set, bit 16 allows SMT; bits 18 and 19 would allow migration and debugging.
        let policy = u64::from_str_radix(SNP_POLICY.trim_start_matches("0x"), 16).unwrap();
        assert_eq!(policy, 1 << 16 | 1 << 17);
    }

    #[test]
    fn tdx_has_its_object_and_firmware_and_is_never_emulated() {
        let line = text(&machine(Tee::Tdx { firmware: "OVMF.inteltdx.fd".into() }));
        assert!(line.contains("tdx-guest,id=tee") && line.contains("kernel-irqchip=split"), "{line}");
        assert!(
            line.contains("-bios|OVMF.inteltdx.fd") && line.contains("-accel|kvm") && !line.contains("tcg"),
            "{line}"
        );
    }

    #[test]
    fn the_double_of_a_tdx_machine_differs_from_it_in_what_only_kvm_has() {
        let tdx = text(&machine(Tee::Tdx { firmware: "f".into() }));
        let double = text(&machine(Tee::TdxDouble { firmware: "f".into(), physical_bits: 46 }));
        let with_kvm = double
            .replace("q35,smm=off,pic=off,", "q35,kernel-irqchip=split,confidential-guest-support=tee,")
            .replace("|tcg|-cpu|max,phys-bits=46|", "|kvm|-cpu|host|")
            .replace("|-bios|", "|-object|tdx-guest,id=tee|-bios|");
        assert_eq!(with_kvm, tdx);
    }

    #[test]
    fn a_simulating_image_is_told_its_digest() {
        let line = text(&Machine { simulated_digest: Some("ab".repeat(48)), ..machine(Tee::None) });
        assert!(line.contains(&format!(
            "-fw_cfg|name=opt/anchorhold/simulated-launch-digest,string={}",
            "ab".repeat(48)
        )));
    }
}
