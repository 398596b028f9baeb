//! `anchorhold-image`: builds the guest's image, and puts a deployment's settings into its initrd.

use anchorhold_image_builder::acpi;
use anchorhold_image_builder::build::{Inputs, build};
use anchorhold_image_builder::lock::Lock;
use anchorhold_image_builder::qemu::{Accelerator, Machine, PciAddress, Tee};
use anchorhold_image_builder::table::{Flavour, Profile, Table};
use anchorhold_image_builder::{settings, uki};
use anyhow::Context as _;
use clap::{Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Builds the guest's image: the same bytes in every folder, on every day.
#[derive(Debug, Parser)]
#[command(
    name = "anchorhold-image",
    version,
    after_help = "`make image` calls it with the folders of this project."
)]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Put kernel, initrd, root and command line into a folder
    Build(Build),
    /// Print the names of this project's programs that images of a profile have, one a line
    Programs {
        /// server, small or gpu
        #[arg(long, default_value = "server")]
        profile: Profile,
        /// The table of what is in an image
        #[arg(long, value_name = "FILE", default_value = "enclave-image/rootfs.toml")]
        table: PathBuf,
    },
    /// Fetch a locked package, hold it against its digest, and print where it is
    Fetch {
        /// image.lock or build.lock
        #[arg(long, value_name = "FILE")]
        lock: PathBuf,
        /// Its name there
        #[arg(long, value_name = "NAME")]
        package: String,
        /// The folder of fetched packages
        #[arg(long, value_name = "DIR")]
        cache: PathBuf,
        /// The Debian mirror for packages that are not there, such as http://host/debian
        #[arg(long, value_name = "URL")]
        mirror: Option<String>,
    },
    /// Write an initrd that has the settings of a deployment after the image's own
    Settings {
        /// The folder of the image
        #[arg(long, value_name = "DIR")]
        image: PathBuf,
        /// The folder with guest.toml, keeper.toml, gateway.toml and what they name
        #[arg(long, value_name = "DIR")]
        settings: PathBuf,
        /// The initrd to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Read the tables of ACPI that firmware measures, out of a QEMU that runs a TDX guest's machine without TDX
    ///
    /// Writes what `anchorhold image measure tdx --acpi` takes. QEMU, firmware, processors, memory and devices must be those of the guest.
    Acpi(Acpi),
    /// Write kernel, initrd and command line as one program for UEFI
    Uki {
        /// The folder of the image
        #[arg(long, value_name = "DIR")]
        image: PathBuf,
        /// The initrd, with the settings of the deployment
        #[arg(long, value_name = "FILE")]
        initrd: PathBuf,
        /// The folder that enclave-image/tools.sh made
        #[arg(long, value_name = "DIR")]
        tools: PathBuf,
        /// The program to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
struct Build {
    /// production, debug or demo; each has another measurement
    #[arg(long)]
    flavour: Flavour,
    /// server, small or gpu
    #[arg(long, default_value = "server")]
    profile: Profile,
    /// The folder of this repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// The folder of the built programs
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// anchorhold-guest-init, linked statically
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// The folder that enclave-image/kernel.sh made
    #[arg(long, value_name = "DIR")]
    kernels: PathBuf,
    /// The compiled SELinux policy
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The folder that enclave-image/tools.sh made
    #[arg(long, value_name = "DIR")]
    tools: PathBuf,
    /// The folder of fetched packages
    #[arg(long, value_name = "DIR")]
    cache: PathBuf,
    /// The Debian mirror for packages that are not there, such as http://host/debian
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// The folder of the image
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Acpi {
    /// The qemu-system-x86_64 that starts the guest
    #[arg(long, value_name = "FILE")]
    qemu: PathBuf,
    /// The guest's firmware
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// Its virtual processors
    #[arg(long, value_name = "NUMBER")]
    cpus: u16,
    /// Its memory
    #[arg(long, value_name = "MIB")]
    memory: u32,
    /// The bits of an address on its processors, as /proc/cpuinfo of a TDX host has them
    #[arg(long, value_name = "BITS", default_value_t = 46, value_parser = clap::value_parser!(u8).range(36..=52))]
    physical_bits: u8,
    /// A GPU that it gets, as 0000:41:00.0; repeat for each. It must be bound to vfio-pci on this machine
    #[arg(long, value_name = "ADDRESS")]
    gpu: Vec<PciAddress>,
    /// The folder for the files table-loader, rsdp and tables
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

fn main() -> ExitCode {
    if let Err(error) = run(&Arguments::parse()) {
        // Nothing is left to tell it to when standard error is gone too.
        let _ = writeln!(std::io::stderr(), "anchorhold-image: error: {error:#}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.command {
        Order::Build(order) => {
            let table = Table::read(&order.repository.join("enclave-image/rootfs.toml"))?;
            let lock = Lock::of(&order.repository, order.profile)?;
            let manifest = build(&Inputs {
                table: &table,
                lock: &lock,
                flavour: order.flavour,
                profile: order.profile,
                repository: &order.repository,
                programs: &order.programs,
                init: &order.init,
                kernels: &order.kernels,
                policy: order.policy.as_deref(),
                tools: &order.tools,
                cache: &order.cache,
                mirror: order.mirror.as_deref(),
                jobs: order.jobs,
                out: &order.out,
            })?;
            writeln!(std::io::stdout(), "{}", serde_json::to_string_pretty(&manifest)?)?;
            Ok(())
        }
        Order::Programs { profile, table } => {
            for name in Table::read(table)?.programs(*profile) {
                writeln!(std::io::stdout(), "{name}")?;
            }
            Ok(())
        }
        Order::Fetch { lock, package, cache, mirror } => {
            let path = Lock::read(lock)?.package(package)?.fetch(cache, mirror.as_deref())?;
            writeln!(std::io::stdout(), "{}", path.display())?;
            Ok(())
        }
        Order::Settings { image, settings, out } => settings::append(image, settings, out),
        Order::Acpi(order) => acpi(order),
        Order::Uki { image, initrd, tools, out } => uki::write(image, initrd, tools, out),
    }
}

fn acpi(order: &Acpi) -> anyhow::Result<()> {
    let machine = Machine {
        tee: Tee::TdxDouble { firmware: order.firmware.clone(), physical_bits: order.physical_bits },
        accelerator: Accelerator::Tcg,
        cpus: order.cpus,
        memory_mib: order.memory,
        kernel: PathBuf::new(),
        initrd: PathBuf::new(),
        cmdline: String::new(),
        unified: None,
        root: PathBuf::new(),
        forward: None,
        console: PathBuf::new(),
        simulated_digest: None,
        tpm: None,
        gpus: order.gpu.clone(),
        uninvited: Vec::new(),
    };
    std::fs::create_dir_all(&order.out).with_context(|| order.out.display().to_string())?;
    let tables = acpi::read(&order.qemu, &machine, &order.out)?;
    tables.write(&order.out)?;
    for acpi::Table { signature, bytes } in tables.list() {
        writeln!(std::io::stdout(), "{} {bytes} bytes", String::from_utf8_lossy(signature))?;
    }
    Ok(())
}
