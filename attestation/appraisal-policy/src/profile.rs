//! What a relying party accepts, as a file.

use crate::header::{Header, NotInForce};
use crate::rule::{self, Rule};
use crate::snp::Snp;
use crate::{PolicyError, Reader, event_log, gpu, paravisor, snp, tdx, tpm};
use anchorhold_rats::{Sha256Digest, Timestamp};
use anchorhold_verifier::{
    AppraisalPolicy, azure, event_log as log, nvidia, snp as amd, tdx as intel, tpm as trusted,
};

/// An appraisal profile: one table of rules for each family of evidence that is accepted. A family without a table is
/// refused.
#[derive(Debug, Clone)]
pub struct AppraisalProfile {
    header: Header,
    snp: Option<Snp>,
    /// What the verifier is asked for.
    appraisal: AppraisalPolicy,
    digest: Sha256Digest,
}

impl AppraisalProfile {
    /// Reads a profile. Whether it holds at a time is asked by [`require_at`](Self::require_at), not here.
    ///
    /// # Errors
    /// [`PolicyError`] with the path of the key: unknown, missing, empty, of the wrong form, or never allowed.
    pub fn from_toml(text: &str) -> Result<Self, PolicyError> {
        let mut file = Reader::of_file(text)?;
        let header = Header::read(&mut file)?;
        let snp = family(&mut file, "snp", snp::read)?;
        let tdx = family(&mut file, "tdx", tdx::read)?;
        let event_log = family(&mut file, "event_log", event_log::read)?;
        let gpu = family(&mut file, "gpu", gpu::read)?;
        let paravisor = family(&mut file, "paravisor", paravisor::read)?;
        let tpm = family(&mut file, "tpm", tpm::read)?;
        file.finish()?;
        // Rules without the report that holds them to the guest would never be asked.
        let has_tee = snp.is_some() || tdx.is_some();
        for (table, is_idle, wanted) in [
            (
                "event_log",
                event_log.is_some() && tdx.is_none(),
                "beside a table tdx, whose quote holds the log",
            ),
            ("gpu", gpu.is_some() && !has_tee, "beside a table snp or tdx, whose report holds the devices"),
            (
                "paravisor",
                paravisor.is_some() && !has_tee,
                "beside a table snp or tdx, whose report holds it",
            ),
            ("tpm", tpm.is_some() && !has_tee, "beside a table snp or tdx, for whose guest it quotes"),
        ] {
            if is_idle {
                return Err(PolicyError::Value { path: table.to_owned(), wanted });
            }
        }
        let policy = snp.as_ref().map(|snp| snp.policy.clone());
        let appraisal = AppraisalPolicy { snp: policy, tdx, event_log, paravisor, tpm, gpu };
        let digest = Sha256Digest::of(text.as_bytes());
        Ok(Self { header, snp, appraisal, digest })
    }

    /// Name, version and time.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// What the verifier is asked for. Use it only while the profile is in force, and after the machine lists were
    /// applied to it: without them, a family whose `machines` are `"listed"` accepts none.
    #[must_use]
    pub const fn appraisal(&self) -> &AppraisalPolicy {
        &self.appraisal
    }

    /// The rules for SEV-SNP.
    #[must_use]
    pub const fn snp(&self) -> Option<&amd::Policy> {
        self.appraisal.snp.as_ref()
    }

    /// The rules for TDX.
    #[must_use]
    pub const fn tdx(&self) -> Option<&intel::Policy> {
        self.appraisal.tdx.as_ref()
    }

    /// The rules for the event log of a TD.
    #[must_use]
    pub const fn event_log(&self) -> Option<&log::Policy> {
        self.appraisal.event_log.as_ref()
    }

    /// The rules for NVIDIA's GPUs and switches.
    #[must_use]
    pub const fn gpu(&self) -> Option<&nvidia::Policy> {
        self.appraisal.gpu.as_ref()
    }

    /// The rules for Azure's paravisor.
    #[must_use]
    pub const fn paravisor(&self) -> Option<&azure::Policy> {
        self.appraisal.paravisor.as_ref()
    }

    /// The rules for a TPM of the guest's own.
    #[must_use]
    pub const fn tpm(&self) -> Option<&trusted::Policy> {
        self.appraisal.tpm.as_ref()
    }

    /// SHA-256 of the file.
    #[must_use]
    pub const fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// Establishes that the profile is in force at the time `at`.
    ///
    /// # Errors
    /// [`NotInForce`] before it was issued and from its end on.
    pub fn require_at(&self, at: Timestamp) -> Result<(), NotInForce> {
        self.header.require_at(at)
    }

    /// Whether the profile is in force at the time `at`.
    #[must_use]
    pub fn valid_at(&self, at: Timestamp) -> bool {
        self.require_at(at).is_ok()
    }

    /// Every rule with the value in force, whether the file spells it out or not.
    #[must_use]
    pub fn rules(&self) -> Vec<Rule> {
        let mut out = self.header.rules();
        out.extend(self.snp.iter().flat_map(snp::rules));
        out.extend(self.tdx().into_iter().flat_map(tdx::rules));
        out.extend(self.event_log().into_iter().flat_map(event_log::rules));
        out.extend(self.gpu().into_iter().flat_map(gpu::rules));
        out.extend(self.paravisor().into_iter().flat_map(paravisor::rules));
        out.extend(self.tpm().into_iter().flat_map(tpm::rules));
        out
    }

    /// The same profile with every rule spelled out. Reading it back gives the same policies.
    #[must_use]
    pub fn to_toml(&self) -> String {
        rule::to_toml(&self.rules())
    }
}

fn family<T>(
    file: &mut Reader,
    key: &str,
    read: impl FnOnce(Reader) -> Result<T, PolicyError>,
) -> Result<Option<T>, PolicyError> {
    if file.has(key) { read(file.table(key)?).map(Some) } else { Ok(None) }
}
