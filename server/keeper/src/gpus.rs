//! The GPUs of this guest: their part of its evidence, and which they are.

use crate::children;
use crate::clock::Clock;
use crate::required::require;
use crate::settings::{self, Settings};
use anchorhold_attester::software::gpu::{Board, Chip};
use anchorhold_audit_log::DeviceId;
use anchorhold_confine::{Phase, Reach, Role};
use anchorhold_ipc::{Confinement, FromGpuAttester, GpuReport, Line, MAX_GPU_REPORTS, ToGpuAttester};
use anchorhold_rats::{Der, Endorsements, GpuEvidence, MAX_CERTIFICATES, Nonce};
use anchorhold_verifier::{nvidia::unverified_identity, pem};
use anyhow::{Context as _, bail, ensure};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long the reports of all GPUs may take: one takes a second or two.
const PATIENCE: Duration = Duration::from_secs(60);

/// What attests the GPUs of this guest.
pub(crate) struct Gpus {
    source: Source,
    ids: Vec<DeviceId>,
    endorsements: Endorsements,
}

enum Source {
    None,
    Software(Box<Board>),
    /// Those of the machine, and the program that lets them take work.
    Nvidia(Mutex<Asked>, PathBuf),
}

/// A process that asks NVIDIA's library; ended when it is dropped.
struct Asked {
    child: Child,
    line: Line<ToGpuAttester, FromGpuAttester>,
}

impl Gpus {
    /// What the settings name. `tell` is told the process id and the layers of the process that asks, where there is one.
    ///
    /// # Errors
    /// The GPUs cannot be asked, or say of themselves what nothing here can be made of.
    pub(crate) fn open(
        settings: &Settings,
        empty: &Path,
        clock: Clock,
        tell: impl FnOnce(u32, &Confinement),
    ) -> anyhow::Result<Self> {
        let mut endorsements = Endorsements::default();
        let source = match &settings.gpus {
            None => Source::None,
            Some(settings::Gpus::Software { board }) => {
                let at = clock.wall();
                let board = match board {
                    settings::Board::Single => Board::single(Chip::Gh100),
                    settings::Board::Hgx => Board::make(),
                };
                let board = board.context("making simulated GPUs")?;
                let (rims, of_signers) = board.rims(at).context("making manifests of simulated GPUs")?;
                let of_devices = board.ocsp(at).context("making OCSP responses about simulated GPUs")?;
                endorsements.rims = rims;
                endorsements.ocsp = [of_signers, of_devices].concat();
                Source::Software(Box::new(board))
            }
            Some(settings::Gpus::Nvidia { program, acceptor }) => {
                let who = ("GPU attester", Role::GpuAttester(Reach::default()));
                let asked = Asked::start(settings, (program, who), empty, tell);
                Source::Nvidia(Mutex::new(asked.context("asking this machine's GPUs")?), acceptor.clone())
            }
        };
        let mut gpus = Self { source, ids: Vec::new(), endorsements };
        // For nobody: the guest learns here which GPUs it has.
        let evidence = gpus.evidence(&Nonce::random()?)?;
        gpus.ids = evidence.iter().map(identity).collect::<anyhow::Result<_>>()?;
        Ok(gpus)
    }

    /// The report of each GPU for this nonce; of none where the guest has none.
    ///
    /// # Errors
    /// A GPU does not answer, or another number of them than when the guest started.
    pub(crate) fn evidence(&self, nonce: &Nonce) -> anyhow::Result<Vec<GpuEvidence>> {
        let evidence = match &self.source {
            Source::None => Vec::new(),
            Source::Software(board) => board.evidence(nonce).context("making evidence of simulated GPUs")?,
            Source::Nvidia(asked, _) => {
                // A panic while it was held left at worst an answer unread, which is then refused for its nonce.
                asked.lock().unwrap_or_else(PoisonError::into_inner).reports(nonce)?
            }
        };
        let (observed, wanted) = (evidence.len(), self.ids.len());
        ensure!(
            self.ids.is_empty() || observed == wanted,
            "{observed} GPUs answered, {wanted} did at the start"
        );
        Ok(evidence)
    }

    /// Lets the GPUs take work, by a process that ends when they do: whoever released a key has judged their reports.
    ///
    /// # Errors
    /// They take none.
    pub(crate) fn accept_work(&self, settings: &Settings, empty: &Path) -> anyhow::Result<()> {
        match &self.source {
            Source::None | Source::Software(_) => Ok(()),
            Source::Nvidia(_, program) => {
                let who = ("GPU acceptor", Role::GpuAcceptor(Reach::default()));
                let acceptor = Asked::start(settings, (program, who), empty, |_, _| {});
                acceptor
                    .and_then(|mut acceptor| acceptor.accept())
                    .context("letting this machine's GPUs take work")
            }
        }
    }

    /// Which they are, in the order of their reports.
    pub(crate) fn ids(&self) -> &[DeviceId] {
        &self.ids
    }

    /// What their maker would say of simulated ones. It holds for a week.
    pub(crate) fn endorsements(&self) -> &Endorsements {
        &self.endorsements
    }
}

impl Asked {
    fn start(
        settings: &Settings,
        (program, (process, role)): (&Path, (&str, Role)),
        empty: &Path,
        tell: impl FnOnce(u32, &Confinement),
    ) -> anyhow::Result<Self> {
        let (child, line) = children::gpu_attester(program, empty)?;
        set_socket_timeout(&line, Timeout::Recv, Some(PATIENCE)).context("bounding its answers")?;
        let mut asked = Self { child, line: Line::new(line) };
        match asked.receive()? {
            FromGpuAttester::Confined(layers) => {
                require(settings, (process, &role), Phase::Serving, &layers)?;
                tell(asked.child.id(), &layers);
                Ok(asked)
            }
            FromGpuAttester::Failed { detail } => bail!("{detail}"),
            FromGpuAttester::Reports(_) | FromGpuAttester::Accepted => bail!("it did not confine itself"),
        }
    }

    fn receive(&mut self) -> anyhow::Result<FromGpuAttester> {
        self.line.receive().map(|(told, _)| told).context("the GPU attester does not answer")
    }

    fn ask(&mut self, question: &ToGpuAttester) -> anyhow::Result<FromGpuAttester> {
        self.line.send(question, &[]).context("the GPU attester is gone")?;
        self.receive()
    }

    fn reports(&mut self, nonce: &Nonce) -> anyhow::Result<Vec<GpuEvidence>> {
        match self.ask(&ToGpuAttester::Attest { nonce: *nonce.as_bytes() })? {
            FromGpuAttester::Reports(reports) => {
                let count = reports.len();
                ensure!(
                    (1..=MAX_GPU_REPORTS).contains(&count),
                    "{count} reports of GPUs, wanted 1 to {MAX_GPU_REPORTS}"
                );
                reports.into_iter().map(read).collect()
            }
            FromGpuAttester::Failed { detail } => bail!("{detail}"),
            FromGpuAttester::Confined(_) | FromGpuAttester::Accepted => bail!("no reports of GPUs came"),
        }
    }

    fn accept(&mut self) -> anyhow::Result<()> {
        match self.ask(&ToGpuAttester::Accept)? {
            FromGpuAttester::Accepted => Ok(()),
            FromGpuAttester::Failed { detail } => bail!("the GPUs take no work: {detail}"),
            FromGpuAttester::Confined(_) | FromGpuAttester::Reports(_) => bail!("the GPUs take no work"),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What NVIDIA's library says, in the form of evidence: certificates in DER.
fn read(told: GpuReport) -> anyhow::Result<GpuEvidence> {
    let text = String::from_utf8(told.certificates_pem).ok().context("certificates of a GPU are no text")?;
    let ders = pem::read(&text, MAX_CERTIFICATES)
        .map_err(|error| anyhow::anyhow!("certificates of a GPU: {error}"))?;
    Ok(GpuEvidence { report: told.report, certificates: ders.into_iter().map(Der).collect() })
}

fn identity(evidence: &GpuEvidence) -> anyhow::Result<DeviceId> {
    let pdi = unverified_identity(&evidence.certificates).context("the certificates of a GPU name none")?;
    Ok(DeviceId::new(pdi.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anchorhold_attester::software::certificates_pem;

    fn told(certificates_pem: Vec<u8>) -> GpuReport {
        GpuReport { report: vec![1], certificates_pem }
    }

    #[test]
    fn a_gpu_is_named_by_its_certificates_and_nothing_is_made_of_others() {
        let board = Board::single(Chip::Gh100).unwrap();
        let made = board.evidence(&Nonce::new([3; 32])).unwrap().remove(0);
        let text = certificates_pem(made.certificates.iter().map(|der| der.0.as_slice()));
        let read_back = read(told(format!("{text}\0").into_bytes())).unwrap();
        assert_eq!(read_back.certificates, made.certificates);
        let [gpu] = board.gpus.as_slice() else { panic!("one GPU") };
        assert_eq!(identity(&read_back).unwrap(), DeviceId::new(gpu.config().pdi));

        for bad in [vec![0xff], b"no certificate".to_vec(), text.as_bytes()[..text.len() / 2].to_vec()] {
            assert!(read(told(bad)).is_err());
        }
        // A chain without the certificate that names the device.
        let leaf = GpuEvidence { certificates: made.certificates[..1].to_vec(), ..made };
        assert!(identity(&leaf).is_err());
    }
}
