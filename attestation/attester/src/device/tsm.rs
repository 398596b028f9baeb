//! Reports through configfs (`/sys/kernel/config/tsm/report`), the one interface that the kernel has for every TEE.
//!
//! Source: the kernel's `Documentation/ABI/testing/configfs-tsm-report` (from 6.7). What it leaves open is as in
//! `drivers/virt/coco/guest/report.c` and `fs/configfs/file.c`: what is written to `inblob` counts when the file is closed, and
//! nobody is told when it is refused then. So the generation is the only sign that the kernel has what was written.

use super::files::{read_all, write_once};
use super::{Access, Error, Files, System};
use anchorhold_rats::{ReportData, hex};
use ring::rand::{SecureRandom as _, SystemRandom};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where the kernel has it.
pub const REPORTS: &str = "/sys/kernel/config/tsm/report";
/// The longest report that is read, in bytes: what evidence may carry.
const MAX_REPORT_BYTES: usize = 16 * 1024;
/// The longest `auxblob` that is read, in bytes: what a table of certificates may be.
const MAX_AUX_BYTES: usize = 128 * 1024;
/// The longest text of a numeric or naming attribute, in bytes.
const MAX_TEXT_BYTES: usize = 64;
/// How often a report is asked for while others stand in the way.
const ATTEMPTS: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Whose reports the kernel gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// `sev_guest`: an SNP report, and the host's table of certificates beside it.
    Snp,
    /// `tdx_guest`: a TD quote.
    Tdx,
}

/// A report as the kernel gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TsmReport {
    /// Whose format it has.
    pub provider: Provider,
    /// `outblob`: the SNP report or the TD quote.
    pub report: Vec<u8>,
    /// `auxblob`: for SNP the host's table of certificates; empty where there is none.
    pub auxiliary: Vec<u8>,
}

/// The kernel's interface for reports.
#[derive(Debug, Clone)]
pub struct Tsm<F = System> {
    files: F,
    folder: PathBuf,
    first_pause: Duration,
}

impl Default for Tsm {
    fn default() -> Self {
        Self::new(System, REPORTS)
    }
}

impl<F: Files> Tsm<F> {
    /// The interface in this folder.
    pub fn new(files: F, folder: impl Into<PathBuf>) -> Self {
        Self { files, folder: folder.into(), first_pause: FIRST_PAUSE }
    }

    /// The same, with this pause before the second attempt; each further one is twice as long. Default: 20 ms.
    #[must_use]
    pub fn with_first_pause(self, first_pause: Duration) -> Self {
        Self { first_pause, ..self }
    }

    /// Whose reports there are; `None` where the kernel has no such interface, or no TEE below it.
    ///
    /// # Errors
    /// [`Error`] when the interface is there and does not work, or its provider is not known.
    pub fn provider(&self) -> Result<Option<Provider>, Error> {
        match Entry::make(self) {
            Ok(entry) => entry.provider().map(Some),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A report for this report data.
    ///
    /// Each attempt has an entry of its own, as the kernel's documentation proposes; that nobody else wrote to it is
    /// read off its generation. The report data in the report is compared too: what the kernel calls a conflict is then never
    /// taken for a report, also where a counter would miss it.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Contended`] when others stood in the way five times.
    pub fn report(&self, report_data: &ReportData) -> Result<TsmReport, Error> {
        let mut pause = self.first_pause;
        let mut attempts = 1;
        loop {
            match Entry::make(self).and_then(|entry| entry.report(report_data)) {
                Err(error) if error.is_passing() && attempts < ATTEMPTS => std::thread::sleep(pause),
                Err(error) if error.is_passing() => {
                    return Err(Error::Contended { attempts, last: Box::new(error) });
                }
                outcome => return outcome,
            }
            pause = pause.saturating_mul(2);
            attempts += 1;
        }
    }
}

/// One entry below the interface. It goes when it is dropped.
struct Entry<'a, F: Files> {
    files: &'a F,
    folder: PathBuf,
}

impl<F: Files> Drop for Entry<'_, F> {
    fn drop(&mut self) {
        // An entry that stays takes memory of the kernel and nothing else; nobody would act on the error.
        let _ = self.files.remove_folder(&self.folder);
    }
}

impl<'a, F: Files> Entry<'a, F> {
    /// Makes an entry under a name that nobody foresees.
    fn make(tsm: &'a Tsm<F>) -> Result<Self, Error> {
        let mut name = [0; 16];
        SystemRandom::new().fill(&mut name).map_err(|_| Error::Random)?;
        let folder = tsm.folder.join(format!("anchorhold-{}", hex(&name)));
        tsm.files.make_folder(&folder).map_err(|error| Error::io("making", &folder, error))?;
        Ok(Self { files: &tsm.files, folder })
    }

    fn provider(&self) -> Result<Provider, Error> {
        let path = self.folder.join("provider");
        let text = self.text(&path)?;
        match text.as_str() {
            "sev_guest" => Ok(Provider::Snp),
            "tdx_guest" => Ok(Provider::Tdx),
            _ => Err(Error::Provider { wanted: "sev_guest or tdx_guest", observed: text }),
        }
    }

    fn report(&self, report_data: &ReportData) -> Result<TsmReport, Error> {
        let provider = self.provider()?;
        let before = self.generation()?;
        let mut writes = 1;
        // Level 0 is asked for by default. A guest below a service module may not ask for more than its own.
        if let Some(floor) = self.privilege_floor()?
            && floor > 0
        {
            write_once(self.files, &self.folder.join("privlevel"), floor.to_string().as_bytes())?;
            writes += 1;
        }
        self.write_inblob(report_data.as_bytes())?;
        let report = read_all(self.files, &self.folder.join("outblob"), MAX_REPORT_BYTES)?;
        let auxiliary = match read_all(self.files, &self.folder.join("auxblob"), MAX_AUX_BYTES) {
            Err(error) if error.is_absence() => Vec::new(),
            outcome => outcome?,
        };
        let observed = self.generation()?.wrapping_sub(before);
        if observed != writes {
            return Err(Error::Interference { wanted: writes, observed });
        }
        if report_data_of(provider, &report) != Some(&report_data.as_bytes()[..]) {
            return Err(Error::OtherReportData);
        }
        Ok(TsmReport { provider, report, auxiliary })
    }

    /// Writes the report data, in as many calls as it takes; the kernel has it once the file is closed.
    fn write_inblob(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.folder.join("inblob");
        let failed = |error| Error::io("writing", &path, error);
        let mut file = self.files.open(&path, Access::Write).map_err(failed)?;
        file.write_all(bytes).map_err(failed)
    }

    fn generation(&self) -> Result<u64, Error> {
        let path = self.folder.join("generation");
        self.text(&path)?.parse().map_err(|_| Error::malformed(&path, "a decimal number"))
    }

    /// `None` where the TEE has no levels.
    fn privilege_floor(&self) -> Result<Option<u32>, Error> {
        let path = self.folder.join("privlevel_floor");
        match self.text(&path) {
            Ok(text) => text.parse().map(Some).map_err(|_| Error::malformed(&path, "a decimal number")),
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn text(&self, path: &Path) -> Result<String, Error> {
        let bytes = read_all(self.files, path, MAX_TEXT_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|_| Error::malformed(path, "text"))?;
        Ok(text.strip_suffix('\n').map(str::to_owned).unwrap_or(text))
    }
}

/// The report data in a report: at 0x50 of an SNP report (AMD 56860, "ATTESTATION_REPORT structure"), and at the end of the
/// TD 1.0 part of a quote's body, after a header of 48 bytes (version 4) or with type and size too (version 5).
fn report_data_of(provider: Provider, report: &[u8]) -> Option<&[u8]> {
    let at = match (provider, report.first()?) {
        (Provider::Snp, _) => 0x50,
        (Provider::Tdx, 5) => 54 + 520,
        (Provider::Tdx, _) => 48 + 520,
    };
    report.get(at..)?.get(..ReportData::LEN)
}
