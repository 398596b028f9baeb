//! The audit log, who cosigns it, and who brings the kernel's records.

use anchorhold_log_key::MAX_READERS;
use anchorhold_rats::WrappingKey;
use anchorhold_witnesses::{
    Clock as SecondsClock, SettingsError, WitnessSettings, Witnesses as LogCosigners,
};
use anyhow::ensure;
use serde::{Deserialize, Deserializer};
use std::path::PathBuf;

/// A log that no witness has seen for a day is not witnessed.
const MAX_HELD_S: u32 = 24 * 60 * 60;

/// The audit log.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Audit {
    /// Holds one directory for each boot.
    pub(crate) directory: PathBuf,
    /// Who can read the logs when the guest is gone: X25519 or X-Wing keys, each of which the key to the entries is encrypted to. Nobody if it
    /// is not written; a log is then read only while its guest runs.
    #[serde(default)]
    pub(crate) readers: Vec<WrappingKey>,
    /// Who cosigns the log while it grows; none where nobody does.
    pub(crate) witnesses: Option<LogWitnesses>,
    /// Who may read whom an entry is about; nothing of that is recorded where nobody may.
    pub(crate) personal: Option<PersonalSettings>,
}

/// The personal part of entries.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PersonalSettings {
    /// The privacy recipient's public key, to which the key of each subject is encrypted.
    #[serde(deserialize_with = "recipient")]
    pub(crate) recipient: WrappingKey,
}

fn recipient<'de, D: Deserializer<'de>>(deserializer: D) -> Result<WrappingKey, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// The witnesses of this guest's log, and what happens without them.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LogWitnesses {
    /// How many must have cosigned.
    pub(crate) needed: usize,
    /// All of them. The key broker is one, for the logs of the guests to which it releases keys.
    pub(crate) witness: Vec<WitnessSettings>,
    /// After so many seconds without their cosignatures that is logged; 60 if it is not written.
    #[serde(default = "late")]
    pub(crate) late_seconds: u32,
    /// After so many seconds nothing new is served; 300 if it is not written.
    #[serde(default = "held")]
    pub(crate) held_seconds: u32,
}

const fn late() -> u32 {
    60
}

const fn held() -> u32 {
    300
}

impl Audit {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let readers = self.readers.len();
        ensure!(readers <= MAX_READERS, "audit.readers: {readers} keys, the limit is {MAX_READERS}");
        self.witnesses.as_ref().map_or(Ok(()), LogWitnesses::check)
    }
}

impl LogWitnesses {
    /// Who asks them, by this clock.
    ///
    /// # Errors
    /// A key, an address or a certificate is none, or cannot be read.
    pub(crate) fn clients(&self, clock: SecondsClock) -> Result<LogCosigners, SettingsError> {
        let settings = anchorhold_witnesses::Settings { needed: self.needed, witness: self.witness.clone() };
        LogCosigners::new(&settings).map(|witnesses| witnesses.with_clock(clock))
    }

    fn check(&self) -> anyhow::Result<()> {
        let (late, held) = (self.late_seconds, self.held_seconds);
        ensure!(
            0 < late && late <= held && held <= MAX_HELD_S,
            "audit.witnesses: wanted 1 <= late_seconds <= held_seconds <= {MAX_HELD_S}"
        );
        Ok(())
    }
}

/// Who reads the kernel's audit records.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Collector {
    pub(crate) program: PathBuf,
    /// How the records come to it: `daemon`, also if it is not written, or `beside`.
    #[serde(default)]
    pub(crate) hearing: Hearing,
    /// Whether nothing is served without them, also if it is not written.
    #[serde(default = "super::keeps")]
    pub(crate) required: bool,
}

/// How the kernel's audit records come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Hearing {
    /// To the collector alone, which loses none: for a guest of ours.
    #[default]
    Daemon,
    /// Beside a machine's own audit daemon, best effort.
    Beside,
}
