//! The settings file: read into plain structs that refuse unknown keys, then checked.

mod attester;
mod audit;
mod broker;
mod worker;

pub(crate) use attester::{AttesterKind, Board, Endorsed, Gpus, Tpm};
pub(crate) use audit::{Audit, Collector, Hearing, LogWitnesses};
pub(crate) use broker::{Broker, Kbs};
pub(crate) use worker::{Device, Worker};

use crate::store::Store;
use anchorhold_audit_log::{ModelId, Origin};
use anchorhold_ipc::Precision;
use anchorhold_rats::{Ed25519PublicKey, ResourcePath, Sha256Digest};
use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Deserializer};
use std::path::{Path, PathBuf};

/// The most models of one guest.
const MAX_MODELS: usize = 16;
const MAX_THREADS: u16 = 1024;

/// What the file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// SHA-256 of the file.
    #[serde(skip, default = "Settings::unread")]
    pub(crate) digest: Sha256Digest,
    /// The name under which boots of this deployment are logged.
    pub(crate) deployment: String,
    /// Whether every layer of confinement must hold that production needs, beside those that are asked for.
    #[serde(default)]
    pub(crate) production: bool,
    pub(crate) attester: AttesterKind,
    /// GPUs whose reports are a part of the evidence; none if it is not written.
    pub(crate) gpus: Option<Gpus>,
    /// A TPM whose quotes accompany the evidence; none if it is not written.
    pub(crate) tpm: Option<Tpm>,
    pub(crate) broker: Broker,
    pub(crate) gateway: Gateway,
    pub(crate) worker: Worker,
    pub(crate) audit: Audit,
    /// Who reads the kernel's audit records; none where they are not logged.
    pub(crate) collector: Option<Collector>,
    /// What vendors say about the parts of this machine, for whoever cannot ask them.
    #[serde(default)]
    pub(crate) endorsements: Endorsed,
    /// How packages at addresses are fetched; none when every package is a directory.
    pub(crate) store: Option<Store>,
    #[serde(rename = "model")]
    pub(crate) models: Vec<Model>,
}

/// The gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Gateway {
    pub(crate) program: PathBuf,
    /// Its own settings file.
    pub(crate) config: PathBuf,
    /// Directories that it writes to at start (its certificate).
    pub(crate) writes: Vec<PathBuf>,
}

/// What is on where nothing is written.
const fn keeps() -> bool {
    true
}

/// One sealed model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) package: Package,
    /// The Ed25519 key of the model's owner, hex.
    pub(crate) owner_key: Ed25519PublicKey,
    /// The lowest version that may be served.
    pub(crate) version_min: u64,
    /// Where a KBS has the key: `kbs:///repository/type/tag`.
    #[serde(default, deserialize_with = "resource")]
    pub(crate) resource: Option<ResourcePath>,
}

fn resource<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ResourcePath>, D::Error> {
    let uri = String::deserialize(deserializer)?;
    ResourcePath::from_uri(&uri).map(Some).map_err(serde::de::Error::custom)
}

/// Where a sealed package is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum Package {
    /// A directory of this guest.
    Directory(PathBuf),
    /// An address such as `s3://bucket/prefix`. What it says is for the fetcher to understand.
    Address(String),
}

impl From<String> for Package {
    fn from(text: String) -> Self {
        if text.contains("://") { Self::Address(text) } else { Self::Directory(text.into()) }
    }
}

impl Settings {
    /// Reads and checks the file. Relative paths in it are taken from the file's own directory. It cannot undo that this is `production`.
    ///
    /// # Errors
    /// What is wrong, with file, line and key.
    pub(crate) fn read(path: &Path, production: bool) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut settings: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let base = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
        settings.production |= production;
        settings.digest = Sha256Digest::of(text.as_bytes());
        settings.resolve(&base);
        settings.check().with_context(|| format!("{}", path.display()))?;
        Ok(settings)
    }

    /// Until [`read`](Self::read) has set it.
    const fn unread() -> Sha256Digest {
        Sha256Digest::new([0; 32])
    }

    fn resolve(&mut self, base: &Path) {
        let own = [&mut self.gateway.program, &mut self.gateway.config];
        let more = [&mut self.worker.program, &mut self.audit.directory];
        let packages = self.models.iter_mut().filter_map(|model| match &mut model.package {
            Package::Directory(directory) => Some(directory),
            Package::Address(_) => None,
        });
        let packages = packages.chain(self.store.iter_mut().flat_map(Store::paths));
        let packages = packages.chain(self.collector.iter_mut().map(|collector| &mut collector.program));
        let packages = packages.chain(self.gpus.iter_mut().flat_map(Gpus::programs));
        let of_tpm = self.tpm.iter_mut().flat_map(|tpm| &mut tpm.certificates);
        let endorsed = self.endorsements.snp_crls.iter_mut().chain(&mut self.endorsements.tdx_collateral);
        let more = more.into_iter().chain(of_tpm).chain(endorsed);
        let witnesses = self.audit.witnesses.iter_mut().flat_map(|witnesses| &mut witnesses.witness);
        let more = more.chain(witnesses.map(|witness| &mut witness.certificate));
        let files = own.into_iter().chain(more).chain(self.broker.files()).chain(self.attester.files());
        for path in files.chain(packages).chain(&mut self.gateway.writes) {
            *path = base.join(&*path);
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        Origin::new(&format!("{}/{}", self.deployment, "0".repeat(32))).context("deployment")?;
        if let AttesterKind::Software { report_version, .. } = self.attester {
            ensure!(
                matches!(report_version, 3 | 5),
                "attester.report_version is {report_version}, wanted 3 or 5"
            );
        }
        self.gpus.as_ref().map_or(Ok(()), |gpus| gpus.check(&self.attester))?;
        self.tpm.as_ref().map_or(Ok(()), Tpm::check)?;
        self.broker.check()?;
        self.audit.check()?;
        ensure!(!self.models.is_empty(), "no [[model]]: there is nothing to serve");
        ensure!(self.models.len() <= MAX_MODELS, "{} models, the limit is {MAX_MODELS}", self.models.len());
        for (at, model) in self.models.iter().enumerate() {
            ModelId::new(&model.id).context("model.id")?;
            let twice = self.models.iter().skip(at + 1).any(|other| other.id == model.id);
            ensure!(!twice, "model.id {} stands twice", model.id);
            ensure!(model.version_min > 0, "model.version_min is 0, versions begin at 1");
            match (&self.broker, &model.resource) {
                (Broker::Kbs(_), None) => bail!("model.resource is missing: a KBS knows keys by name"),
                (Broker::Anchorhold(_), Some(_)) => {
                    bail!("model.resource is for broker.protocol = \"kbs\", the key broker knows models")
                }
                _ => {}
            }
            if let Package::Address(address) = &model.package {
                ensure!(
                    self.store.is_some(),
                    "model.package {address} is an address and there is no [store]"
                );
            }
        }
        self.store.as_ref().map_or(Ok(()), Store::check)?;
        if self.production {
            let collector = self.collector.as_ref();
            ensure!(
                collector.is_some_and(|collector| collector.required),
                "production needs a [collector] that is required: what the kernel refuses goes into the log"
            );
            ensure!(
                self.worker.group.is_some(),
                "production needs [worker.group]: each worker has its share"
            );
        }
        let threads = self.worker.threads;
        ensure!(
            (1..=MAX_THREADS).contains(&threads),
            "worker.threads is {threads}, wanted 1 to {MAX_THREADS}"
        );
        self.worker.group.as_ref().map_or(Ok(()), |group| group.check(threads))?;
        ensure!(
            self.worker.device == Device::Cpu || !self.worker.pin_threads,
            "worker.pin_threads is for worker.device = \"cpu\""
        );
        ensure!(
            self.worker.device == Device::Cpu || self.worker.precision == Precision::Bf16,
            "worker.device is cuda, which computes in bf16: worker.precision must say so"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        deployment = "test"
        [attester]
        kind = "software"
        report_version = 5
        debug = false
        [broker]
        protocol = "anchorhold"
        url = "https://127.0.0.1:1"
        certificate = "broker.pem"
        signing_key = "KEY"
        log_key = "key-broker/0+af9a0567+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB"
        witnesses = { needed = 0, keys = [] }
        kem = "x-wing"
        [gateway]
        program = "gateway"
        config = "gateway.toml"
        writes = ["public"]
        [worker]
        program = "worker"
        threads = 2
        required_layers = ["seccomp"]
        [audit]
        directory = "audit"
        [[model]]
        id = "m"
        package = "m"
        owner_key = "KEY"
        version_min = 1
    "#;

    fn read(text: &str) -> anyhow::Result<Settings> {
        let settings: Settings = toml::from_str(&text.replace("KEY", &"ab".repeat(32)))?;
        settings.check()?;
        Ok(settings)
    }

    #[test]
    fn reads_a_good_file() {
        assert_eq!(read(GOOD).unwrap().models.len(), 1);
    }

    /// The good file with a KBS in place of the key broker.
    fn with_kbs() -> String {
        let (start, end) = (GOOD.find("[broker]").unwrap(), GOOD.find("[gateway]").unwrap());
        let kbs = "[broker]\nprotocol = \"kbs\"\nurl = \"https://127.0.0.1:1\"\ncertificate = \"kbs.pem\"\n\
                   token_keys = \"keys.json\"\n";
        format!("{}{kbs}{}resource = \"kbs:///acme/chat/3\"\n", &GOOD[..start], &GOOD[end..])
    }

    #[test]
    fn simulated_gpus_belong_to_simulated_guests_and_others_to_machines() {
        let with =
            |text: &str, gpus: &str| read(&text.replace("[audit]", &format!("[gpus]\n{gpus}\n[audit]")));
        let (simulated, asked) =
            ("kind = \"software\"\nboard = \"hgx\"", "kind = \"nvidia\"\nprogram = \"p\"\nacceptor = \"a\"");
        let machine =
            GOOD.replace("\"software\"\n        report_version = 5\n        debug = false", "\"snp\"");
        assert_ne!(machine, GOOD);
        assert!(with(GOOD, simulated).is_ok());
        assert!(with(&machine, asked).is_ok());
        for (text, gpus) in [(GOOD, asked), (machine.as_str(), simulated)] {
            assert!(format!("{:#}", with(text, gpus).unwrap_err()).contains("gpus.kind"));
        }
        assert!(with(GOOD, "kind = \"software\"\nboard = \"dgx\"").is_err());
    }

    #[test]
    fn endorsements_are_files_that_are_there_and_within_the_limits_of_documents() {
        let with = |files: &str| {
            let text = GOOD.replace("[audit]", &format!("[endorsements]\nsnp_crls = [{files}]\n[audit]"));
            read(&text).unwrap().endorsements.read().map(|read| read.snp_crls.len())
        };
        assert_eq!(with("").unwrap(), 0);
        assert_eq!(with("\"Cargo.toml\"").unwrap(), 1, "what is in it, whoever verifies looks at");
        assert!(with("\"no-such-file\"").is_err());
        assert!(with("\"/dev/zero\"").is_err(), "over the limit of a list");
        assert!(with(&["\"Cargo.toml\""; 9].join(", ")).is_err(), "over the limit of lists");
        assert!(read(&GOOD.replace("[audit]", "[endorsements]\nsnp_crl = []\n[audit]")).is_err());
    }

    #[test]
    fn reads_a_file_with_a_kbs() {
        let mut settings = read(&with_kbs()).unwrap();
        assert_eq!(settings.models[0].resource, Some("acme/chat/3".parse().unwrap()));
        settings.resolve(Path::new("/etc/keeper"));
        let Broker::Kbs(kbs) = settings.broker else { panic!("a KBS") };
        assert_eq!(kbs.certificate, Path::new("/etc/keeper/kbs.pem"));
        assert_eq!(kbs.token_keys, Path::new("/etc/keeper/keys.json"));
    }

    #[test]
    fn refuses_a_kbs_that_is_not_wholly_named() {
        for (from, to, named) in [
            ("resource = \"kbs:///acme/chat/3\"\n", "", "model.resource"),
            ("kbs:///acme/chat/3", "kbs://other/acme/chat/3", "resource"),
            ("kbs:///acme/chat/3", "kbs:///acme/../3", "resource"),
            ("token_keys = \"keys.json\"\n", "", "token_keys"),
            ("token_keys", "signing_key", "unknown field"),
            ("\"kbs\"", "\"trustee\"", "trustee"),
            ("protocol = \"kbs\"\n", "", "protocol"),
        ] {
            assert!(with_kbs().contains(from), "{from}");
            let error = format!("{:#}", read(&with_kbs().replace(from, to)).unwrap_err());
            assert!(error.contains(named), "{to}: {error}");
        }
        let for_a_kbs = format!("{GOOD}resource = \"kbs:///acme/chat/3\"\n");
        assert!(read(&for_a_kbs).unwrap_err().to_string().contains("model.resource"));
    }

    #[test]
    fn workers_keep_prefixes_and_compute_exactly_unless_told_otherwise() {
        let of = |text: &str| {
            let worker = read(text).unwrap().worker;
            (worker.keep_prefixes, worker.precision)
        };
        assert_eq!(of(GOOD), (true, Precision::F32));
        let other = "threads = 2\nkeep_prefixes = false\nprecision = \"bf16\"";
        assert_eq!(of(&GOOD.replace("threads = 2", other)), (false, Precision::Bf16));
        let stored = of(&GOOD.replace("threads = 2", "threads = 2\nprecision = \"stored\""));
        assert_eq!(stored, (true, Precision::Stored));
    }

    #[test]
    fn a_device_has_a_worker_of_its_own() {
        assert_eq!(read(GOOD).unwrap().worker.program(), Path::new("worker"));
        let cuda = GOOD.replace("threads = 2", "threads = 2\nprecision = \"bf16\"\ndevice = \"cuda\"");
        let cuda = cuda.replace("program = \"worker\"", "program = \"/bin/worker\"");
        assert_eq!(read(&cuda).unwrap().worker.program(), Path::new("/bin/worker-cuda"));
    }

    #[test]
    fn an_attester_is_the_machine_or_a_simulated_one() {
        let software = "kind = \"software\"\n        report_version = 5\n        debug = false";
        assert!(GOOD.contains(software));
        let read = |kind: &str| read(&GOOD.replace(software, kind)).unwrap().attester;
        for kind in ["auto", "snp", "tdx"] {
            assert!(!read(&format!("kind = {kind:?}")).is_simulated(), "{kind}");
        }
        let td = read("kind = \"software-tdx\"\ndebug = false\nlaunch_digest_file = \"/d\"");
        assert_eq!((td.is_simulated(), td.launch_digest_file()), (true, Some(Path::new("/d"))));
    }

    #[test]
    fn a_tpm_is_quoted_where_its_pcrs_are_named() {
        let with = |text: &str| read(&GOOD.replace("[broker]", &format!("[tpm]\n{text}\n[broker]")));
        assert_eq!(read(GOOD).unwrap().tpm, None);
        let tpm = with("pcrs = [4, 9]").unwrap().tpm.unwrap();
        assert_eq!(
            (tpm.device, tpm.event_log),
            ("/dev/tpmrm0".into(), "/sys/kernel/security/tpm0/binary_bios_measurements".into())
        );
        for (text, named) in [
            ("pcrs = []", "nothing to quote"),
            ("pcrs = [24]", "PCRs 0 to 23"),
            ("device = \"/dev/tpm0\"", "pcrs"),
            ("pcrs = [4]\nbank = \"sha1\"", "unknown field"),
        ] {
            let error = format!("{:#}", with(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn a_share_has_a_default_and_limits() {
        let with = |text: &str| read(&GOOD.replace("[audit]", &format!("[worker.group]\n{text}\n[audit]")));
        assert_eq!(read(GOOD).unwrap().worker.group, None);
        let share = with("memory_mib = 64").unwrap().worker.group.unwrap().share(2);
        assert_eq!(
            (share.memory_bytes, share.pids, share.cpu_percent, share.cpus, share.nodes),
            (64 << 20, 18, None, None, None)
        );
        let share =
            with("memory_mib = 64\ncpus = \"0-3,8\"\nnodes = \"1\"").unwrap().worker.group.unwrap().share(2);
        assert_eq!((share.cpus, share.nodes), (Some("0-3,8".to_owned()), Some("1".to_owned())));
        for (text, named) in [
            ("pids = 40", "memory_mib"),
            ("memory_mib = 8", "memory_mib"),
            ("memory_mib = 64\npids = 5", "pids"),
            ("memory_mib = 64\ncpu_percent = 0", "cpu_percent"),
            ("memory_mib = 64\ncpus = \"0-3\\n1\"", "cpus"),
            ("memory_mib = 64\nnodes = \"\"", "nodes"),
            ("memory_mib = 64\nnodes = \"all\"", "nodes"),
            ("memory_mib = 64\nswap_mib = 1", "unknown field"),
        ] {
            let error = format!("{:#}", with(text).unwrap_err());
            assert!(error.contains(named), "{text}: {error}");
        }
    }

    #[test]
    fn production_needs_the_log_of_the_kernel_and_a_share_for_each_worker() {
        let production = GOOD.replace("deployment = \"test\"", "deployment = \"test\"\nproduction = true");
        assert!(read(&production).unwrap_err().to_string().contains("[collector]"));
        let logged = production.replace("[audit]", "[collector]\nprogram = \"c\"\n[audit]");
        assert!(read(&logged).unwrap_err().to_string().contains("[worker.group]"));
        let optional = logged.replace("program = \"c\"", "program = \"c\"\nrequired = false");
        assert!(read(&optional).unwrap_err().to_string().contains("[collector]"));
        let whole = logged.replace("[audit]", "[worker.group]\nmemory_mib = 64\n[audit]");
        assert!(read(&whole).unwrap().production);
    }

    #[test]
    fn settings_do_not_undo_production() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keeper.toml");
        let text = GOOD.replace("deployment = \"test\"", "deployment = \"test\"\nproduction = false");
        std::fs::write(&file, text.replace("KEY", &"ab".repeat(32))).unwrap();
        assert!(!Settings::read(&file, false).unwrap().production);
        let error = format!("{:#}", Settings::read(&file, true).unwrap_err());
        assert!(error.contains("production needs a [collector]"), "{error}");
    }

    #[test]
    fn refuses_what_is_wrong_and_names_it() {
        for (from, to, named) in [
            ("threads = 2", "threads = 0", "worker.threads"),
            ("report_version = 5", "report_version = 4", "report_version"),
            ("threads = 2", "threads = 2\nprecision = \"f16\"", "f16"),
            ("threads = 2", "threads = 2\ndevice = \"tpu\"", "tpu"),
            ("threads = 2", "threads = 2\ndevice = \"cuda\"", "worker.precision"),
            ("threads = 2", "threads = 2\nkeep_prefixes = 1", "keep_prefixes"),
            ("version_min = 1", "version_min = 0", "version_min"),
            ("id = \"m\"", "id = \"a b\"", "model.id"),
            ("deployment = \"test\"", "deployment = \"\\n\"", "deployment"),
            ("debug = false", "debug = false\nroot = \"simulated\"", "unknown field"),
            ("kind = \"software\"", "kind = \"hardware\"", "hardware"),
            ("kind = \"software\"", "kind = \"auto\"", "unknown field"),
            ("kind = \"software\"", "kind = \"software-tdx\"", "unknown field"),
            ("KEY", "AB", "hex"),
            ("key-broker/0", "key-broker/1", "broker.log_key"),
            ("needed = 0", "needed = 1", "broker.witnesses"),
            ("keys = []", "keys = [\"w\"]", "broker.witnesses.keys"),
            ("x-wing", "x448", "broker.kem"),
            ("package = \"m\"", "package = \"s3://bucket/m\"", "no [store]"),
        ] {
            let error = format!("{:#}", read(&GOOD.replace(from, to)).unwrap_err());
            assert!(error.contains(named), "{to}: {error}");
        }
        let (models, rest) =
            ("[[model]]", "\n        program = \"f\"\n        cache = \"c\"\n        cache_max_bytes = 1\n");
        let with_store = |more: &str| read(&GOOD.replace(models, &format!("[store]{rest}{more}\n{models}")));
        assert!(with_store("").unwrap().store.is_some());
        for (more, named) in [
            ("in_flight = 17", "in_flight"),
            ("in_flight = 0", "in_flight"),
            ("range_mib = 15", "range_mib"),
            ("total_s = 0", "total_s"),
            ("plain_http = true", "unknown field"),
            ("credentials = { kind = \"key\" }", "unknown variant"),
        ] {
            let error = format!("{:#}", with_store(more).unwrap_err());
            assert!(error.contains(named), "{more}: {error}");
        }
        let twice = format!("{GOOD}{}", GOOD.split_at(GOOD.find("[[model]]").unwrap()).1);
        assert!(read(&twice).unwrap_err().to_string().contains("twice"));
    }
}
