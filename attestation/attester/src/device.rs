//! Evidence from the machine that this runs on.
//!
//! [`Device::find`] looks for what attests here, [`Device::attest`] makes evidence. Below it are the readers, each of one
//! interface of the kernel: [`tsm`] (configfs, the first choice), [`snp`] (`/dev/sev-guest`), [`tdx`] (registers, event log)
//! and [`tpm`].
//!
//! What they read is from the kernel, and through it from firmware and host: it has limits and is refused when it is not what is
//! documented, but it is judged by verifiers only. No reader keeps the device between two calls.

mod error;
mod files;
mod runtime_log;
pub mod snp;
pub mod tdx;
pub mod tpm;
pub mod tsm;

pub use error::Error;
pub use files::{Access, Files, System};
pub use runtime_log::{MAX_RUNTIME_EVENTS, RuntimeLog};
pub use tsm::{Provider, Tsm, TsmReport};

use anchorhold_rats::{CertificateTable, Der, Evidence, Measurement, ReportData, RuntimeEvent, Tee};
use snp::SevGuest;
use std::path::{Path, PathBuf};
use tdx::{Register, Registers};

/// What attests here.
#[derive(Debug)]
pub struct Device<F = System> {
    files: F,
    source: Source<F>,
    event_log: PathBuf,
    registers: Registers<F>,
    runtime: RuntimeLog,
}

/// Where an event of the running guest went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measured {
    /// Into a register that quotes show.
    InRegister,
    /// Nowhere: this machine has no register for it.
    Nowhere,
}

#[derive(Debug)]
enum Source<F> {
    Tsm(Tsm<F>, Provider),
    SevGuest(SevGuest),
}

impl Device {
    /// Finds what attests on this machine: reports through configfs, or `/dev/sev-guest` where the kernel is older.
    ///
    /// `/dev/tdx_guest` alone is not enough: its report is for the same machine only, and the way to a quote without configfs is
    /// a service of the host on a port that differs from cloud to cloud.
    ///
    /// # Errors
    /// [`Error::NoDevice`], or what an interface that is there answered.
    pub fn find() -> Result<Self, Error> {
        let tsm = Tsm::default();
        let source = match tsm.provider()? {
            Some(provider) => Source::Tsm(tsm, provider),
            None => Source::SevGuest(SevGuest::open()?.ok_or(Error::NoDevice)?),
        };
        let (registers, runtime) = (Registers::default(), RuntimeLog::default());
        Ok(Self { files: System, source, event_log: tdx::CCEL.into(), registers, runtime })
    }

    /// The files below which a confined process must still reach what [`find`](Self::find) found: those that are only read, and
    /// those that are written too.
    #[must_use]
    pub fn paths() -> ([&'static Path; 1], [&'static Path; 3]) {
        let writes = [tsm::REPORTS, snp::SEV_GUEST, tdx::MEASUREMENTS];
        ([Path::new(tdx::CCEL)], writes.map(Path::new))
    }
}

impl<F: Files + Clone> Device<F> {
    /// What attests through this interface, and of a TD the file with the event log and the folder of registers.
    ///
    /// # Errors
    /// [`Error::NoDevice`] where there is no such interface.
    pub fn of_tsm(files: F, reports: &Path, event_log: &Path, registers: &Path) -> Result<Self, Error> {
        let tsm = Tsm::new(files.clone(), reports);
        let provider = tsm.provider()?.ok_or(Error::NoDevice)?;
        let (source, event_log) = (Source::Tsm(tsm, provider), event_log.to_owned());
        let registers = Registers::new(files.clone(), registers);
        Ok(Self { files, source, event_log, registers, runtime: RuntimeLog::default() })
    }
}

impl<F: Files> Device<F> {
    /// Whose evidence it is.
    #[must_use]
    pub const fn provider(&self) -> Provider {
        match &self.source {
            Source::Tsm(_, provider) => *provider,
            Source::SevGuest(_) => Provider::Snp,
        }
    }

    /// Measures an event of the running guest, where the processor and the kernel have a register for that (RTMR3 of a TD, from Linux
    /// 6.16 on), and keeps it for the event log of later evidence. The same event is measured once.
    ///
    /// # Errors
    /// [`Error`] of a register that is there and was not extended, after which it may be in doubt; [`Error::Full`].
    pub fn measure(&mut self, event: RuntimeEvent) -> Result<Measured, Error> {
        if self.provider() != Provider::Tdx || self.registers.read(Register::Rtmr3)?.is_none() {
            return Ok(Measured::Nowhere);
        }
        if !self.runtime.holds(&event) {
            if !self.runtime.has_room() {
                return Err(Error::Full { limit: MAX_RUNTIME_EVENTS });
            }
            self.registers.extend(Register::Rtmr3, &event.digest())?;
            self.runtime.push(event);
        }
        Ok(Measured::InRegister)
    }

    /// Evidence for this report data: for SNP the report with the certificates that the host has for it, which may be
    /// none; for TDX the quote with the firmware's event log, and behind it what was measured since.
    ///
    /// # Errors
    /// [`Error`].
    pub fn attest(&self, report_data: &ReportData) -> Result<Evidence, Error> {
        let report = match &self.source {
            Source::Tsm(tsm, _) => tsm.report(report_data)?,
            Source::SevGuest(device) => snp::report(device, report_data)?,
        };
        match report.provider {
            Provider::Snp => snp_evidence(report),
            Provider::Tdx => {
                let event_log = tdx::event_log(&self.files, &self.event_log)?;
                let event_log = event_log.map(|log| self.runtime.behind(log, &self.event_log)).transpose()?;
                Ok(Evidence { event_log: event_log.map(Der), ..Evidence::tdx(report.report) })
            }
        }
    }
}

/// An SNP report with the certificates out of the host's table.
fn snp_evidence(report: TsmReport) -> Result<Evidence, Error> {
    let certificates = match report.auxiliary.as_slice() {
        [] => Vec::new(),
        table => CertificateTable::parse(table).map_err(Error::Certificates)?.certificates(),
    };
    Ok(Evidence::snp(report.report, certificates))
}

/// What was launched, as this machine's evidence says it: MEASUREMENT of an SNP report (at 0x90), MRTD of a TD quote (at 136 of
/// its body). It is what the guest says of itself; whoever wants to rely on it has the evidence judged.
#[must_use]
pub fn measurement_of(evidence: &Evidence) -> Option<Measurement> {
    let at = match (evidence.tee, evidence.report.first()?) {
        (Tee::Snp, _) => 0x90,
        (Tee::Tdx, 5) => 54 + 136,
        (Tee::Tdx, _) => 48 + 136,
    };
    Measurement::try_from(evidence.report.get(at..)?.get(..Measurement::LEN)?).ok()
}
