//! The settings file: read into plain structs that refuse unknown keys, then checked.

use anchorhold_attester::software::ReportVersion;
use anchorhold_audit_log::cosignature::{Quorum, WitnessKey};
use anchorhold_audit_log::{ModelId, Origin, VerifierKey};
use anchorhold_key_release::PinnedBroker;
use anchorhold_rats::{Ed25519PublicKey, Kem};
use anyhow::{Context as _, anyhow, ensure};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The most models of one guest.
const MAX_MODELS: usize = 16;
const MAX_THREADS: u16 = 1024;

/// What the file says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The name under which boots of this deployment are logged.
    pub(crate) deployment: String,
    pub(crate) attester: Attester,
    pub(crate) broker: Broker,
    pub(crate) gateway: Gateway,
    pub(crate) worker: Worker,
    pub(crate) audit: Audit,
    #[serde(rename = "model")]
    pub(crate) models: Vec<Model>,
}

/// Where evidence comes from.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum Attester {
    /// A simulated SEV-SNP guest: real formats under a root that protects nothing.
    Software {
        /// The report version, 3 or 5.
        report_version: u8,
        /// Whether the simulated guest policy allows debugging, so that refusals can be shown.
        debug: bool,
    },
}

/// The key broker, known by its keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Broker {
    /// `https://host:port`.
    pub(crate) url: String,
    /// PEM file with the one certificate whose key the broker must hold.
    pub(crate) certificate: PathBuf,
    /// The Ed25519 key that signs its answers, hex.
    pub(crate) signing_key: Ed25519PublicKey,
    /// The verifier key of its log.
    pub(crate) log_key: String,
    /// Who must have seen its log with a release in it before the key is used.
    pub(crate) witnesses: Witnesses,
    /// To which kind of key weights keys are wrapped: `x-wing` or `x25519`.
    pub(crate) kem: String,
}

/// Witnesses of the broker's log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Witnesses {
    /// How many of them.
    pub(crate) needed: usize,
    /// Their verifier keys.
    pub(crate) keys: Vec<String>,
}

impl Broker {
    /// The broker as releases are held to it.
    pub(crate) fn pinned(&self) -> anyhow::Result<PinnedBroker> {
        let log_key = VerifierKey::parse(&self.log_key).map_err(|e| anyhow!("broker.log_key: {e}"))?;
        let keys = self.witnesses.keys.iter().map(|key| WitnessKey::parse(key)).collect::<Result<_, _>>();
        let keys = keys.map_err(|e| anyhow!("broker.witnesses.keys: {e}"))?;
        let witnesses = Quorum::new(keys, self.witnesses.needed).context("broker.witnesses")?;
        Ok(PinnedBroker { signing_key: self.signing_key, log_key, witnesses })
    }

    /// The kind of the boot's release key.
    pub(crate) fn kem(&self) -> anyhow::Result<Kem> {
        Kem::named(&self.kem).context("broker.kem is not x-wing or x25519")
    }
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

/// The workers.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Worker {
    pub(crate) program: PathBuf,
    /// Threads of each worker.
    pub(crate) threads: u16,
    /// Layers of confinement without which a worker may not be given a key.
    pub(crate) required_layers: Vec<String>,
}

/// The audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// Holds one directory for each boot.
    pub(crate) directory: PathBuf,
}

/// One sealed model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub(crate) id: String,
    /// The directory of the sealed package.
    pub(crate) package: PathBuf,
    /// The Ed25519 key of the model's owner, hex.
    pub(crate) owner_key: Ed25519PublicKey,
    /// The lowest version that may be served.
    pub(crate) version_min: u64,
}

impl Settings {
    /// Reads and checks the file. Relative paths in it are taken from the file's own directory.
    ///
    /// # Errors
    /// What is wrong, with file, line and key.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let mut settings: Self = toml::from_str(&text).with_context(|| format!("{}", path.display()))?;
        let base = std::path::absolute(path)?.parent().map(Path::to_owned).unwrap_or_default();
        settings.resolve(&base);
        settings.check().with_context(|| format!("{}", path.display()))?;
        Ok(settings)
    }

    fn resolve(&mut self, base: &Path) {
        let own = [&mut self.broker.certificate, &mut self.gateway.program, &mut self.gateway.config];
        let more = [&mut self.worker.program, &mut self.audit.directory];
        let packages = self.models.iter_mut().map(|model| &mut model.package);
        for path in own.into_iter().chain(more).chain(packages).chain(&mut self.gateway.writes) {
            *path = base.join(&*path);
        }
    }

    fn check(&self) -> anyhow::Result<()> {
        Origin::new(&format!("{}/{}", self.deployment, "0".repeat(32))).context("deployment")?;
        let Attester::Software { report_version, .. } = self.attester;
        ensure!(
            matches!(report_version, 3 | 5),
            "attester.report_version is {report_version}, wanted 3 or 5"
        );
        self.broker.pinned()?;
        self.broker.kem()?;
        ensure!(!self.models.is_empty(), "no [[model]]: there is nothing to serve");
        ensure!(self.models.len() <= MAX_MODELS, "{} models, the limit is {MAX_MODELS}", self.models.len());
        for (at, model) in self.models.iter().enumerate() {
            ModelId::new(&model.id).context("model.id")?;
            let twice = self.models.iter().skip(at + 1).any(|other| other.id == model.id);
            ensure!(!twice, "model.id {} stands twice", model.id);
            ensure!(model.version_min > 0, "model.version_min is 0, versions begin at 1");
        }
        let threads = self.worker.threads;
        ensure!(
            (1..=MAX_THREADS).contains(&threads),
            "worker.threads is {threads}, wanted 1 to {MAX_THREADS}"
        );
        Ok(())
    }
}

impl Attester {
    pub(crate) fn report_version(self) -> ReportVersion {
        match self {
            Self::Software { report_version: 3, .. } => ReportVersion::V3,
            Self::Software { .. } => ReportVersion::V5,
        }
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

    #[test]
    fn refuses_what_is_wrong_and_names_it() {
        for (from, to, named) in [
            ("threads = 2", "threads = 0", "worker.threads"),
            ("report_version = 5", "report_version = 4", "report_version"),
            ("version_min = 1", "version_min = 0", "version_min"),
            ("id = \"m\"", "id = \"a b\"", "model.id"),
            ("deployment = \"test\"", "deployment = \"\\n\"", "deployment"),
            ("debug = false", "debug = false\nroot = \"simulated\"", "unknown field"),
            ("kind = \"software\"", "kind = \"hardware\"", "hardware"),
            ("KEY", "AB", "hex"),
            ("key-broker/0", "key-broker/1", "broker.log_key"),
            ("needed = 0", "needed = 1", "broker.witnesses"),
            ("keys = []", "keys = [\"w\"]", "broker.witnesses.keys"),
            ("x-wing", "x448", "broker.kem"),
        ] {
            let error = format!("{:#}", read(&GOOD.replace(from, to)).unwrap_err());
            assert!(error.contains(named), "{to}: {error}");
        }
        let twice = format!("{GOOD}{}", GOOD.split_at(GOOD.find("[[model]]").unwrap()).1);
        assert!(read(&twice).unwrap_err().to_string().contains("twice"));
    }
}
