//! What attests this guest, and what its documents carry beside the evidence.

use anchorhold_attester::device::tpm;
use anchorhold_rats::{Der, Endorsements, MAX_CERTIFICATES, TdxCollateral};
use anyhow::{Context as _, ensure};
use serde::Deserialize;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// How much of a file with an endorsement is read: more than any may have.
const MAX_ENDORSEMENT_BYTES: u64 = 1024 * 1024;

/// What attests this guest. Nothing is chosen that is weaker than what is written here.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum AttesterKind {
    /// Whatever this machine has, if it is a TEE.
    Auto {},
    /// This machine, which must be an SEV-SNP guest.
    Snp {},
    /// This machine, which must be a TD.
    Tdx {},
    /// A simulated SEV-SNP guest: real formats under a root that protects nothing.
    Software {
        /// The report version, 3 or 5.
        report_version: u8,
        /// Whether the simulated guest policy allows debugging, so that refusals can be shown.
        debug: bool,
        /// A file with the launch digest to report, in hex; of the programs that run if it is not written.
        #[serde(default)]
        launch_digest_file: Option<PathBuf>,
    },
    /// A simulated TD, likewise.
    SoftwareTdx {
        /// Whether the simulated TD allows debugging.
        debug: bool,
        /// A file with the MRTD to report, in hex; of the programs that run if it is not written.
        #[serde(default)]
        launch_digest_file: Option<PathBuf>,
    },
}

impl AttesterKind {
    /// Whether no hardware stands behind its evidence.
    pub(crate) const fn is_simulated(&self) -> bool {
        matches!(self, Self::Software { .. } | Self::SoftwareTdx { .. })
    }

    /// Where a simulated guest's launch digest is.
    pub(crate) fn launch_digest_file(&self) -> Option<&Path> {
        match self {
            Self::Software { launch_digest_file, .. } | Self::SoftwareTdx { launch_digest_file, .. } => {
                launch_digest_file.as_deref()
            }
            Self::Auto {} | Self::Snp {} | Self::Tdx {} => None,
        }
    }

    pub(super) fn files(&mut self) -> Option<&mut PathBuf> {
        match self {
            Self::Software { launch_digest_file, .. } | Self::SoftwareTdx { launch_digest_file, .. } => {
                launch_digest_file.as_mut()
            }
            Self::Auto {} | Self::Snp {} | Self::Tdx {} => None,
        }
    }
}

/// What attests the GPUs of this guest.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Gpus {
    /// NVIDIA's, asked by two programs, which alone load NVIDIA's library.
    Nvidia {
        /// Who has them report.
        program: PathBuf,
        /// Who lets them take work, once a key was released to them.
        acceptor: PathBuf,
    },
    /// Simulated ones, beside a software attester alone.
    Software {
        /// What they are.
        board: Board,
    },
}

/// Which GPUs are simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Board {
    /// One H100.
    Single,
    /// Eight H100 and the four switches between them.
    Hgx,
}

impl Gpus {
    pub(super) fn programs(&mut self) -> Vec<&mut PathBuf> {
        match self {
            Self::Nvidia { program, acceptor } => vec![program, acceptor],
            Self::Software { .. } => Vec::new(),
        }
    }

    pub(super) fn check(&self, attester: &AttesterKind) -> anyhow::Result<()> {
        let is_simulated = matches!(self, Self::Software { .. });
        ensure!(
            is_simulated == attester.is_simulated(),
            "gpus.kind: simulated GPUs belong to a simulated guest, and GPUs of this machine to one that it attests"
        );
        Ok(())
    }
}

/// A TPM of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tpm {
    /// The PCRs that are quoted.
    pub(crate) pcrs: Vec<u8>,
    /// Its device; the kernel's resource manager if it is not written.
    #[serde(default = "tpm_device")]
    pub(crate) device: PathBuf,
    /// The kernel's log of the firmware's measurements; that of the first TPM if it is not written.
    #[serde(default = "tpm_event_log")]
    pub(crate) event_log: PathBuf,
    /// Certificates of the key that quotes, DER, its own first and a root last; none if it is not written.
    #[serde(default)]
    pub(crate) certificates: Vec<PathBuf>,
}

fn tpm_device() -> PathBuf {
    tpm::TPM.into()
}

fn tpm_event_log() -> PathBuf {
    tpm::EVENT_LOG.into()
}

impl Tpm {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        ensure!(!self.pcrs.is_empty(), "tpm.pcrs is empty: there is nothing to quote");
        let over = self.pcrs.iter().find(|pcr| **pcr >= tpm::PCRS);
        ensure!(over.is_none(), "tpm.pcrs has {}, a TPM has PCRs 0 to 23", over.copied().unwrap_or_default());
        let count = self.certificates.len();
        ensure!(count <= MAX_CERTIFICATES, "tpm.certificates has {count}, the limit is {MAX_CERTIFICATES}");
        Ok(())
    }

    /// Reads the certificates. Whether they certify anything, whoever verifies looks.
    pub(crate) fn read_certificates(&self) -> anyhow::Result<Vec<Der>> {
        self.certificates.iter().map(|path| Ok(Der(read_endorsement(path)?))).collect()
    }
}

/// Files that go into attestation documents.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Endorsed {
    /// Revocation lists of AMD's, DER.
    #[serde(default)]
    pub(super) snp_crls: Vec<PathBuf>,
    /// Intel's collateral for this platform: the object `tdx` of the endorsements that `anchorhold evidence endorse` writes, JSON.
    pub(super) tdx_collateral: Option<PathBuf>,
}

fn read_endorsement(path: &Path) -> anyhow::Result<Vec<u8>> {
    let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
    let mut bytes = Vec::new();
    file.take(MAX_ENDORSEMENT_BYTES).read_to_end(&mut bytes).with_context(|| path.display().to_string())?;
    Ok(bytes)
}

impl Endorsed {
    /// Reads the files. Whether their vendors have signed them, whoever verifies looks.
    ///
    /// # Errors
    /// A file that cannot be read or is over the limits of documents.
    pub(crate) fn read(&self) -> anyhow::Result<Endorsements> {
        let crl = |path: &PathBuf| Ok(Der(read_endorsement(path)?));
        let collateral = |path: &PathBuf| {
            serde_json::from_slice::<TdxCollateral>(&read_endorsement(path)?)
                .with_context(|| path.display().to_string())
        };
        let endorsements = Endorsements {
            snp_crls: self.snp_crls.iter().map(crl).collect::<anyhow::Result<_>>()?,
            tdx: self.tdx_collateral.as_ref().map(collateral).transpose()?,
            ..Endorsements::default()
        };
        endorsements.check_limits().context("endorsements")?;
        Ok(endorsements)
    }
}
