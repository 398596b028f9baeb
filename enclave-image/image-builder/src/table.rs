//! `rootfs.toml`: everything that is in an image.

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::path::Path;

/// The file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// The SELinux context of a type, `{}` standing for the type.
    pub context: String,
    /// The root file system's UUID.
    pub uuid: String,
    /// The salt of the root's hash tree, hex.
    pub salt: String,
    /// The kernel.
    pub kernel: Kernel,
    /// NVIDIA's driver, in the images that have it.
    pub driver: Kernel,
    /// The kernel's modules in the initrd, in the images whose kernel has a loader.
    pub module: Vec<Module>,
    /// What stands beside the image.
    pub beside: Vec<Beside>,
    /// The kernel's command line, word by word.
    pub cmdline: Vec<Word>,
    /// Folders of the root.
    pub folder: Vec<Folder>,
    /// Symbolic links of the root.
    pub link: Vec<Link>,
    /// Files of the root.
    pub file: Vec<File>,
}

/// What the kernel, or a driver beside it, is built from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kernel {
    /// The package of its source.
    pub source: String,
    /// What it calls itself.
    pub release: String,
}

/// A file beside the image, out of a package.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// What it is called there.
    pub name: String,
    /// Where it comes from.
    pub package: OfPackage,
}

/// A file of a locked package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfPackage {
    /// The package.
    pub name: String,
    /// The file's path in it, without the first slash.
    pub file: String,
}

/// A word of the command line.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Word {
    /// As the kernel reads it.
    pub word: String,
    /// Why it stands there.
    pub why: String,
    /// Where; everywhere if it is not written.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// A module of the kernel, which the first process loads by this name.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    /// Its name, without `.ko`.
    pub name: String,
    /// In which flavours; in all if it is not written.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// A folder of the root, mode 0555.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Folder {
    /// Its path.
    pub path: String,
    /// Its SELinux type.
    pub label: String,
    /// Where; everywhere if it is not written.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// A link of the root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// Its path.
    pub path: String,
    /// What it points to.
    pub to: String,
    /// Its SELinux type.
    pub label: String,
}

/// A file of the root.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its path.
    pub path: String,
    /// Where its bytes come from.
    pub source: Source,
    /// Its permissions, octal.
    pub mode: String,
    /// Its SELinux type.
    pub label: String,
    /// Where; everywhere if it is not written.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// Where bytes come from.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum Source {
    /// A program of this project.
    Program(String),
    /// A file of a locked package.
    Package(OfPackage),
    /// A file of this repository.
    Repository(String),
    /// These words.
    Text(String),
    /// The name of the flavour.
    Flavour,
    /// The compiled SELinux policy; left out when none was given.
    Policy,
}

/// What an image is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// Silent after the boot, real attesters only.
    Production,
    /// The same with the start told on a serial port.
    Debug,
    /// With the simulated attester.
    Demo,
}

/// Which machine an image is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// A confidential virtual machine of a server.
    Server,
    /// A device with little memory and a TPM.
    Small,
    /// A server's machine with GPUs of NVIDIA's.
    Gpu,
}

impl Profile {
    /// Which of the kernels that `kernel.sh` builds an image has.
    #[must_use]
    pub const fn kernel(self, flavour: Flavour) -> &'static str {
        match (self, flavour) {
            (Self::Gpu, _) => "gpu",
            (Self::Server | Self::Small, Flavour::Demo) => "demo",
            (Self::Server | Self::Small, Flavour::Production | Flavour::Debug) => "base",
        }
    }
}

macro_rules! names {
    ($type:ident, $what:literal, $($name:literal => $value:ident),+) => {
        impl $type {
            /// As the tables and the command line write it.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$value => $name),+ }
            }
        }

        impl std::str::FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($name => Ok(Self::$value),)+
                    _ => Err(format!(concat!("{} is no ", $what), text)),
                }
            }
        }
    };
}

names!(Flavour, "flavour", "production" => Production, "debug" => Debug, "demo" => Demo);
names!(Profile, "profile", "server" => Server, "small" => Small, "gpu" => Gpu);

/// Whether an entry with this `only` is in an image.
#[must_use]
pub fn is_in(only: Option<&[String]>, flavour: Flavour, profile: Profile) -> bool {
    only.is_none_or(|only| only.iter().any(|name| name == flavour.name() || name == profile.name()))
}

impl File {
    /// Its permissions.
    pub fn permissions(&self) -> anyhow::Result<u32> {
        u32::from_str_radix(&self.mode, 8).with_context(|| format!("the mode of {}", self.path))
    }
}

impl Table {
    /// Reads and checks the file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let table: Self = toml::from_str(text)?;
        ensure!(table.context.matches("{}").count() == 1, "context needs one {{}} for the type");
        let only = table.cmdline.iter().map(|word| &word.only);
        let only = only.chain(table.file.iter().map(|file| &file.only));
        let only = only.chain(table.folder.iter().map(|folder| &folder.only));
        for name in only.flatten().flatten() {
            let known = name.parse::<Flavour>().is_ok() || name.parse::<Profile>().is_ok();
            ensure!(known, "only: {name} is neither a flavour nor a profile");
        }
        for Module { name, only } in &table.module {
            let is_name =
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
            ensure!(is_name, "{name} is not the name of a module");
            let known = only.iter().flatten().all(|name| name.parse::<Flavour>().is_ok());
            ensure!(known, "only: the module {name} is in some flavours or in all");
        }
        for word in &table.cmdline {
            ensure!(
                !word.word.is_empty()
                    && word.word.bytes().all(|b| b.is_ascii_graphic())
                    && !word.why.is_empty(),
                "a word of the command line is empty, has blanks, or has no reason"
            );
        }
        for file in &table.file {
            let mode = file.permissions()?;
            ensure!(mode & !0o555 == 0, "{}: mode {} is more than read and execute", file.path, file.mode);
        }
        let paths =
            table.folder.iter().map(|folder| &folder.path).chain(table.link.iter().map(|link| &link.path));
        for path in paths.chain(table.file.iter().map(|file| &file.path)) {
            let is_plain = path.starts_with('/') && !path.split('/').any(|part| part == ".." || part == ".");
            ensure!(is_plain, "{path} is not a path from the root");
        }
        Ok(table)
    }

    /// The programs of this project that images of a profile have, in any flavour, in the order of the file.
    #[must_use]
    pub fn programs(&self, profile: Profile) -> Vec<&str> {
        let flavours = [Flavour::Production, Flavour::Debug, Flavour::Demo];
        let is_in_one =
            |file: &&File| flavours.into_iter().any(|flavour| is_in(file.only.as_deref(), flavour, profile));
        let programs = self.file.iter().filter(is_in_one).filter_map(|file| match &file.source {
            Source::Program(name) => Some(name.as_str()),
            _ => None,
        });
        programs.collect()
    }

    /// The SELinux context of a type.
    #[must_use]
    pub fn label(&self, kind: &str) -> String {
        self.context.replace("{}", kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const GOOD: &str = r#"
        context = "u:r:{}:s0"
        uuid = "0"
        salt = "00"
        kernel = { source = "linux", release = "6" }
        driver = { source = "driver", release = "1" }
        module = [{ name = "one" }, { name = "two_2", only = ["debug"] }]
        beside = []
        cmdline = [{ word = "panic=-1", why = "ends" }, { word = "quiet", why = "x", only = ["demo"] }]
        folder = [{ path = "/", label = "root_t" }]
        link = [{ path = "/lib", to = "usr/lib", label = "root_t" }]
        file = [{ path = "/a", source = { program = "a" }, mode = "555", label = "a_t" },
                { path = "/b", source = { package = { name = "p", file = "b" } }, mode = "444", label = "b_t" },
                { path = "/c", source = "flavour", mode = "444", label = "c_t" }]
    "#;

    #[test]
    fn reads_what_is_right_and_refuses_what_is_not() {
        let table = Table::parse(GOOD).unwrap();
        assert_eq!(table.label("x_t"), "u:r:x_t:s0");
        assert_eq!(table.file[2].source, Source::Flavour);
        for (from, to) in [
            ("555", "755"),
            ("555", "4555"),
            ("555", "59"),
            ("\"/a\"", "\"a\""),
            ("\"/a\"", "\"/../a\""),
            ("demo", "everyone"),
            ("panic=-1", "panic=-1 quiet"),
            ("why = \"ends\"", "why = \"\""),
            ("{}", "x"),
            ("mode = \"444\"", "mode = \"444\", owner = 0"),
            ("\"one\"", "\"../one\""),
            ("\"one\"", "\"\""),
            ("debug", "gpu"),
        ] {
            assert!(Table::parse(&GOOD.replacen(from, to, 1)).is_err(), "{to}");
        }
    }

    /// The table that the images are built from.
    fn shipped() -> Table {
        Table::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../rootfs.toml")).unwrap()
    }

    const FLAVOURS: [Flavour; 3] = [Flavour::Production, Flavour::Debug, Flavour::Demo];

    /// What the kernel of an image is told to have (`kernel/*.config`), each name with its value: a later line takes the place of one
    /// before. What is not named there is not built, or needed by what is.
    fn named(flavour: Flavour, profile: Profile) -> BTreeMap<String, String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel");
        let mut names = BTreeMap::new();
        for part in ["base", profile.kernel(flavour)] {
            let text = std::fs::read_to_string(folder.join(format!("{part}.config"))).unwrap();
            let lines = text.lines().filter_map(|line| line.strip_prefix("CONFIG_")?.split_once('='));
            names.extend(lines.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        names
    }

    #[test]
    fn case_44_no_image_has_a_driver_for_other_disks_or_for_the_hosts_randomness() {
        for (flavour, profile) in
            FLAVOURS.into_iter().flat_map(|flavour| [(flavour, Profile::Server), (flavour, Profile::Gpu)])
        {
            let named = named(flavour, profile);
            let named: Vec<&str> =
                named.iter().filter(|(_, value)| *value != "n").map(|(name, _)| name.as_str()).collect();
            assert!(
                named.len() > 100 && named.contains(&"MODULES") == (profile == Profile::Gpu),
                "{named:?}"
            );
            let of = |start: &str, end: &str| {
                let found = named.iter().filter(|name| name.starts_with(start) && name.ends_with(end));
                found.copied().collect::<Vec<_>>()
            };
            assert_eq!(of("VIRTIO_", ""), ["VIRTIO_BLK", "VIRTIO_MENU", "VIRTIO_NET", "VIRTIO_PCI"]);
            assert_eq!(of("BLK_DEV", ""), ["BLK_DEV", "BLK_DEV_DM", "BLK_DEV_INITRD"]);
            assert_eq!(of("", "_FS"), ["CONFIGFS_FS", "EROFS_FS", "PROC_FS"]);
            for kind in ["HW_RANDOM", "SCSI", "ATA", "USB", "MMC", "NET_9P", "FUSE", "INPUT", "VSOCKETS"] {
                assert!(of(kind, "").is_empty(), "{kind}");
            }
        }
    }

    #[test]
    fn case_44_only_the_demonstration_reads_files_of_the_hosts_firmware() {
        let reads = |flavour| named(flavour, Profile::Server).keys().any(|name| name.starts_with("FW_CFG"));
        assert!(!reads(Flavour::Production) && !reads(Flavour::Debug) && reads(Flavour::Demo));
        // Where there are modules it is one, which no other initrd has.
        let table = shipped();
        let modules = |flavour| {
            let of = table
                .module
                .iter()
                .filter(move |module| is_in(module.only.as_deref(), flavour, Profile::Gpu));
            of.map(|module| module.name.as_str()).collect::<Vec<_>>()
        };
        for flavour in FLAVOURS {
            let named = named(flavour, Profile::Gpu);
            let lines: Vec<_> = named.iter().filter(|(name, _)| name.starts_with("FW_CFG")).collect();
            assert!(lines.iter().all(|(_, value)| *value == "m"), "{lines:?}");
        }
        assert_eq!(modules(Flavour::Production), ["nvidia", "nvidia-uvm"]);
        assert_eq!(modules(Flavour::Debug), ["nvidia", "nvidia-uvm"]);
        assert_eq!(modules(Flavour::Demo), ["nvidia", "nvidia-uvm", "qemu_fw_cfg"]);
    }

    #[test]
    fn case_44_a_kernel_with_modules_differs_in_what_they_need_and_loads_none_on_its_own() {
        let (base, gpu) =
            (named(Flavour::Production, Profile::Server), named(Flavour::Production, Profile::Gpu));
        let changed: Vec<_> = base
            .iter()
            .filter(|(name, value)| gpu.get(*name) != Some(value))
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(changed, ["KEYS", "LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY", "MODULES"]);
        for (name, value) in
            [("MODPROBE_PATH", "\"\""), ("STATIC_USERMODEHELPER_PATH", "\"\""), ("MODULE_UNLOAD", "n")]
        {
            assert_eq!(gpu.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn images_with_gpus_say_so_in_the_measured_command_line_and_no_other_does() {
        let table = shipped();
        let promises = |profile| {
            let words =
                table.cmdline.iter().filter(|word| is_in(word.only.as_deref(), Flavour::Production, profile));
            words.filter(|word| word.word.starts_with("anchorhold.gpu=")).count()
        };
        assert_eq!([Profile::Server, Profile::Small, Profile::Gpu].map(promises), [0, 0, 1]);
    }

    #[test]
    fn what_can_be_executed_is_counted_and_each_program_has_a_label_of_its_own() {
        let table = shipped();
        let policy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/selinux/base.cil");
        let policy = std::fs::read_to_string(policy).unwrap();
        let executable = |profile| {
            let files = table.file.iter().filter(move |file| {
                file.mode == "555" && is_in(file.only.as_deref(), Flavour::Production, profile)
            });
            files.collect::<Vec<_>>()
        };
        // Loader and C library beside six programs; with GPUs three programs more.
        assert_eq!(
            [Profile::Server, Profile::Small, Profile::Gpu].map(|of| executable(of).len()),
            [8, 8, 11]
        );
        let mut labels = Vec::new();
        for file in executable(Profile::Gpu) {
            let Source::Program(name) = &file.source else { continue };
            assert_eq!(file.path, format!("/usr/bin/{name}"));
            assert!(policy.contains(&format!("(type {})\n", file.label)), "{}", file.label);
            labels.push(file.label.as_str());
        }
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), 9, "{labels:?}");
        assert!(labels.iter().all(|label| label.ends_with("_exec_t")), "{labels:?}");
    }

    #[test]
    fn programs_of_a_profile_are_those_of_its_files_whatever_the_flavour() {
        let text = GOOD.replacen("mode = \"555\", label", "only = [\"demo\"], mode = \"555\", label", 1);
        assert_eq!(Table::parse(&text).unwrap().programs(Profile::Small), ["a"]);
        let text = text.replacen("[\"demo\"], mode", "[\"gpu\"], mode", 1);
        let table = Table::parse(&text).unwrap();
        assert_eq!([Profile::Server, Profile::Gpu].map(|of| table.programs(of).len()), [0, 1]);
        let programs = shipped().programs(Profile::Server).join(" ").replace("anchorhold-", "");
        assert_eq!(programs, "guest-init keeper gateway worker collector fetcher");
    }

    #[test]
    fn the_gpus_own_program_lies_where_kernel_and_policy_let_it_be_found() {
        let table = shipped();
        let file = table.file.iter().find(|file| file.path.ends_with("/gsp_ga10x.bin")).unwrap();
        assert_eq!(file.path, format!("/usr/lib/firmware/nvidia/{}/gsp_ga10x.bin", table.driver.release));
        assert_eq!(file.label, "firmware_t");
        let label =
            |path: &str| table.folder.iter().find(|folder| folder.path == path).unwrap().label.clone();
        for folder in Path::new(&file.path).ancestors().skip(1).map(|path| path.to_str().unwrap()) {
            let wanted = match folder {
                "/" | "/usr" => "root_t",
                "/usr/lib" => "lib_t",
                _ => "firmware_t",
            };
            assert_eq!(label(folder), wanted, "{folder}");
        }
        // The kernel looks below /lib.
        let link = table.link.iter().find(|link| link.path == "/lib").unwrap();
        assert_eq!((link.to.as_str(), link.label.as_str()), ("usr/lib", "lib_t"));
    }

    #[test]
    fn case_44_names_and_resolvers_are_those_of_the_settings() {
        let table = shipped();
        let at = |path: &str| table.link.iter().find(|link| link.path == path).map(|link| link.to.as_str());
        assert_eq!(at("/etc/hosts"), Some("anchorhold/hosts"));
        assert_eq!(at("/etc/resolv.conf"), Some("anchorhold/resolv.conf"));
        assert!(!table.file.iter().any(|file| file.path.starts_with("/etc/anchorhold")));
        // No daemon that would ask for names or addresses on its own.
        let programs = table.file.iter().filter(|file| file.path.starts_with("/usr/bin/"));
        assert!(programs.into_iter().all(|file| file.path.starts_with("/usr/bin/anchorhold-")));
    }

    #[test]
    fn an_entry_is_everywhere_or_where_it_says() {
        let only = vec!["demo".to_owned(), "small".to_owned()];
        assert!(is_in(None, Flavour::Production, Profile::Server));
        assert!(is_in(Some(&only), Flavour::Demo, Profile::Server));
        assert!(is_in(Some(&only), Flavour::Production, Profile::Small));
        assert!(!is_in(Some(&only), Flavour::Production, Profile::Server));
    }
}
