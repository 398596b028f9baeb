//! The same start, with one thing wrong: what `make demo-refuse` shows and what the tests demand.

use crate::broker::{Broker, Roots};
use crate::guest::{Guest, Refusal, Settings, Start, measurement};
use crate::models::{self, CHAT};
use crate::owner::{Chosen, Owner, Sealed};
use crate::policy::Policy;
use crate::port::Watch;
use crate::process::Programs;
use crate::relay::{Attack, Relay};
use anyhow::{Context as _, bail, ensure};
use std::path::Path;

/// One thing wrong, and who must refuse it how.
pub struct Case {
    /// What is wrong.
    pub name: &'static str,
    /// Who refuses.
    pub by: &'static str,
    /// With which code.
    pub code: &'static str,
    start: fn(&mut Stand) -> anyhow::Result<Start>,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every case.
pub const CASES: &[Case] = &[
    Case { name: "wrong measurement", by: "key broker", code: "snp_measurement", start: wrong_measurement },
    Case {
        name: "replayed nonce",
        by: "key broker",
        code: "challenge_used",
        start: |s| attacked(s, Attack::Replay),
    },
    Case { name: "debug guest", by: "key broker", code: "snp_debug_allowed", start: debug_guest },
    Case {
        name: "swapped release key",
        by: "key broker",
        code: "binding_mismatch",
        start: |s| attacked(s, Attack::SwapReleaseKey),
    },
    Case {
        name: "swapped TLS key",
        by: "key broker",
        code: "binding_mismatch",
        start: |s| attacked(s, Attack::SwapTlsKey),
    },
    Case {
        name: "swapped audit key",
        by: "key broker",
        code: "binding_mismatch",
        start: |s| attacked(s, Attack::SwapAuditKey),
    },
    Case {
        name: "production broker, simulated root",
        by: "key broker",
        code: "snp_no_trust_anchor",
        start: production_broker,
    },
    Case { name: "one flipped bit in the weights", by: "worker", code: "segment", start: flipped_bit },
    Case { name: "older model version", by: "worker", code: "version", start: older_version },
];

impl Case {
    /// Starts a guest in which this one thing is wrong, and gives back its refusal.
    ///
    /// # Errors
    /// The guest was not refused, or another refused it, or for another reason.
    pub fn run(&self) -> anyhow::Result<Refusal> {
        let mut stand = Stand::new()?;
        let refusal = match (self.start)(&mut stand)? {
            Start::Refused(refusal) => refusal,
            Start::Ready(guest) => bail!("{}: the guest serves on {}", self.name, guest.address),
        };
        ensure!(
            refusal.by == self.by && refusal.code == self.code,
            "{}: {} must refuse with {}, but {} refused with {}: {}",
            self.name,
            self.by,
            self.code,
            refusal.by,
            refusal.code,
            refusal.text
        );
        Ok(refusal)
    }
}

/// An owner, a broker and the chat model, in a directory that goes with them.
#[derive(Debug)]
pub struct Stand {
    /// The programs.
    pub programs: Programs,
    directory: tempfile::TempDir,
    /// The owner.
    pub owner: Owner,
    /// The broker, not serving yet.
    pub broker: Broker,
    /// The launch digest of a guest made of these programs, hex.
    pub measurement: String,
}

impl Stand {
    /// An owner and a broker that accepts the simulated root.
    pub fn new() -> anyhow::Result<Self> {
        Self::with(Roots::Simulated)
    }

    /// An owner and a broker with these roots.
    pub fn with(roots: Roots) -> anyhow::Result<Self> {
        let programs = Programs::beside_this_one()?;
        let directory = tempfile::Builder::new().prefix("anchorhold-").tempdir()?;
        let owner = Owner::new(&programs, &directory.path().join("owner"))?;
        let broker = Broker::init(&programs, roots, &directory.path().join("broker"))?;
        let measurement = measurement(&programs)?;
        Ok(Self { programs, directory, owner, broker, measurement })
    }

    /// Where its files lie.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Seals a model and hands its key to the broker, which must not serve yet.
    pub fn seal(&self, source: &Path, id: (&str, u64)) -> anyhow::Result<Sealed> {
        let sealed = self.owner.seal(source, id, &self.broker.keys.import_key)?;
        self.broker.import(&sealed)?;
        Ok(sealed)
    }

    /// The same with a weights key and segments of the caller's choice.
    pub fn seal_with(&self, source: &Path, id: (&str, u64), chosen: &Chosen) -> anyhow::Result<Sealed> {
        let sealed = self.owner.seal_with(source, id, &self.broker.keys.import_key, chosen)?;
        self.broker.import(&sealed)?;
        Ok(sealed)
    }

    /// Puts a policy for these packages and this launch digest in force, and serves.
    pub fn serve(&mut self, packages: &[Sealed], measurement: &str) -> anyhow::Result<()> {
        self.serve_by(packages, measurement, "")
    }

    /// The same, with these tables at the end of the policy, which are of the last model's grant.
    pub fn serve_by(&mut self, packages: &[Sealed], measurement: &str, more: &str) -> anyhow::Result<()> {
        let models: Vec<_> =
            packages.iter().map(|sealed| (sealed.model_id.as_str(), sealed.version)).collect();
        let policy = Policy { version: 1, measurement, models: &models, lease: "60m", max_instances: 64 };
        self.broker.set_policy(&(policy.to_toml() + more))?;
        self.broker.serve()
    }

    /// The usual start with the chat model, up to the guest's settings.
    pub fn with_chat(&mut self) -> anyhow::Result<Settings> {
        let sealed = [self.seal(&models::chat(), (CHAT, 1))?];
        let measurement = self.measurement.clone();
        self.serve(&sealed, &measurement)?;
        Settings::new(&self.broker, &self.owner, &sealed)
    }

    /// Starts a guest on a port that is watched: one that is refused must never have opened it.
    pub fn start(&self, settings: &Settings) -> anyhow::Result<Start> {
        let watch = Watch::begin()?;
        let settings = Settings { listen: watch.address().to_string(), ..settings.clone() };
        let start =
            Guest::start(&self.programs, &self.path().join("guest"), &settings, |_| watch.look_again())?;
        if matches!(start, Start::Refused(_)) {
            watch.end()?;
        }
        Ok(start)
    }
}

fn wrong_measurement(stand: &mut Stand) -> anyhow::Result<Start> {
    let sealed = [stand.seal(&models::chat(), (CHAT, 1))?];
    stand.serve(&sealed, &"ab".repeat(48))?;
    stand.start(&Settings::new(&stand.broker, &stand.owner, &sealed)?)
}

fn attacked(stand: &mut Stand, attack: Attack) -> anyhow::Result<Start> {
    let mut settings = stand.with_chat()?;
    let relay = Relay::start(&stand.broker, attack, stand.path())?;
    (settings.broker_url, settings.broker_certificate) = (relay.url.clone(), relay.certificate.clone());
    stand.start(&settings)
}

fn debug_guest(stand: &mut Stand) -> anyhow::Result<Start> {
    let settings = Settings { debug: true, ..stand.with_chat()? };
    stand.start(&settings)
}

fn production_broker(stand: &mut Stand) -> anyhow::Result<Start> {
    *stand = Stand::with(Roots::Production)?;
    let settings = stand.with_chat()?;
    stand.start(&settings)
}

/// Flips one bit in the middle of the largest object, which holds the weights.
fn flipped_bit(stand: &mut Stand) -> anyhow::Result<Start> {
    let sealed = [stand.seal(&models::chat(), (CHAT, 1))?];
    let mut largest = (0, std::path::PathBuf::new());
    for entry in std::fs::read_dir(sealed[0].package.join("objects"))? {
        let entry = entry?;
        largest = largest.max((entry.metadata()?.len(), entry.path()));
    }
    let mut bytes = std::fs::read(&largest.1)?;
    let middle = bytes.len() / 2;
    *bytes.get_mut(middle).context("no weights")? ^= 1;
    std::fs::write(&largest.1, bytes)?;
    let measurement = stand.measurement.clone();
    stand.serve(&sealed, &measurement)?;
    stand.start(&Settings::new(&stand.broker, &stand.owner, &sealed)?)
}

/// The broker releases version 2; the host puts back the package of version 1, which the owner signed too.
fn older_version(stand: &mut Stand) -> anyhow::Result<Start> {
    let old = stand.seal(&models::chat(), (CHAT, 1))?;
    let new = [stand.seal(&models::chat(), (CHAT, 2))?];
    let measurement = stand.measurement.clone();
    stand.serve(&new, &measurement)?;
    let mut settings = Settings::new(&stand.broker, &stand.owner, &new)?;
    for model in &mut settings.models {
        model.1.clone_from(&old.package);
    }
    stand.start(&settings)
}
