//! What attests this guest: the machine, or the software attester where the settings say so.

use crate::clock::Clock;
use crate::settings::{self, AttesterKind, Settings};
use anchorhold_attester::device::{self, Device, Measured, Provider, System, tpm};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest};
use anchorhold_attester::software::{Debug, LaunchConfig, ReportVersion, SoftwareGuest, measure_components};
use anchorhold_audit_log::Tee as LoggedTee;
use anchorhold_rats::{Der, Evidence, Measurement, ReportData, RuntimeEvent, Tee, TpmEvidence};
use anyhow::{Context as _, bail, ensure};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// TDATTRIBUTES.DEBUG.
const TD_DEBUG: u64 = 1;
/// The longest file with a launch digest, in bytes: hex and the end of a line.
const MAX_DIGEST_FILE_BYTES: u64 = 128;

/// What makes this boot's evidence.
pub(crate) struct Attester {
    /// Held for one measurement or one piece of evidence, so that register and event log of a quote are of one moment.
    source: Mutex<Source>,
    tee: Tee,
    is_simulated: bool,
    measurement: Measurement,
    tpm: Option<(settings::Tpm, Vec<Der>)>,
}

enum Source {
    Device(Device),
    Software(Box<SoftwareGuest>),
    SoftwareTd(Box<TdxGuest>),
}

impl Attester {
    /// Opens what the settings name. A machine that does not have it is an error: no setting falls back to less.
    ///
    /// # Errors
    /// What is missing, or what the device answered.
    pub(crate) fn open(settings: &Settings, clock: Clock) -> anyhow::Result<Self> {
        let (source, measurement) = Source::open(settings, clock)?;
        let (tee, is_simulated) = (source.tee(), !matches!(source, Source::Device(_)));
        let tpm = settings.tpm.as_ref().map(|tpm| anyhow::Ok((tpm.clone(), tpm.read_certificates()?)));
        let tpm = tpm.transpose().context("tpm.certificates")?;
        Ok(Self { source: Mutex::new(source), tee, is_simulated, measurement, tpm })
    }

    /// What was launched, as the evidence will say it.
    pub(crate) const fn measurement(&self) -> Measurement {
        self.measurement
    }

    /// Measures what this guest does from now on, where it has a register for that: RTMR3 of a TD.
    ///
    /// # Errors
    /// What the register answered. It is there and does not say what the guest does, so the guest must not do it.
    pub(crate) fn measure(&self, event: RuntimeEvent) -> anyhow::Result<Measured> {
        match &mut *self.lock() {
            Source::Device(device) => device.measure(event).context("extending RTMR3"),
            Source::Software(_) => Ok(Measured::Nowhere),
            Source::SoftwareTd(guest) => {
                guest.measure(&event);
                Ok(Measured::InRegister)
            }
        }
    }

    /// The guest's own evidence over this report data, without its devices.
    pub(crate) fn attest(&self, report_data: &ReportData) -> anyhow::Result<Evidence> {
        let evidence = match &*self.lock() {
            Source::Device(device) => device.attest(report_data).context("making evidence")?,
            Source::Software(guest) => guest.attest(report_data).context("making evidence")?,
            Source::SoftwareTd(guest) => guest.attest(report_data).context("making evidence")?,
        };
        let quoted = |(tpm, certificates): &(settings::Tpm, Vec<Der>)| {
            anyhow::Ok(TpmEvidence { certificates: certificates.clone(), ..quote(tpm, report_data)? })
        };
        let tpm = self.tpm.as_ref().map(quoted).transpose()?;
        Ok(Evidence { tpm, ..evidence })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Source> {
        // A panic while it was held left the device's own state as it was.
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) const fn tee(&self) -> Tee {
        self.tee
    }

    pub(crate) const fn is_simulated(&self) -> bool {
        self.is_simulated
    }

    /// How the audit log names it.
    pub(crate) const fn logged_tee(&self) -> LoggedTee {
        match (self.tee(), self.is_simulated()) {
            (Tee::Snp, false) => LoggedTee::Snp,
            (Tee::Snp, true) => LoggedTee::SnpSimulated,
            (Tee::Tdx, false) => LoggedTee::Tdx,
            (Tee::Tdx, true) => LoggedTee::TdxSimulated,
        }
    }

    /// How people name it.
    pub(crate) const fn platform(&self) -> &'static str {
        match self.tee() {
            Tee::Snp => "AMD SEV-SNP",
            Tee::Tdx => "Intel TDX",
        }
    }
}

impl Source {
    const fn tee(&self) -> Tee {
        match self {
            Self::Device(device) => match device.provider() {
                Provider::Snp => Tee::Snp,
                Provider::Tdx => Tee::Tdx,
            },
            Self::Software(_) => Tee::Snp,
            Self::SoftwareTd(_) => Tee::Tdx,
        }
    }

    fn open(settings: &Settings, clock: Clock) -> anyhow::Result<(Self, Measurement)> {
        let launch = || simulated_measurement(settings);
        match &settings.attester {
            AttesterKind::Software { report_version, debug, .. } => {
                let measurement = launch()?;
                let config = LaunchConfig {
                    report_version: match report_version {
                        3 => ReportVersion::V3,
                        _ => ReportVersion::V5,
                    },
                    debug: if *debug { Debug::Allowed } else { Debug::Denied },
                    ..LaunchConfig::new(measurement)
                };
                let guest = SoftwareGuest::launch(config, clock.wall());
                let guest = Box::new(guest.context("launching the software attester")?);
                Ok((Self::Software(guest), measurement))
            }
            AttesterKind::SoftwareTdx { debug, .. } => {
                let measurement = launch()?;
                let mut config = TdConfig::new(measurement);
                if *debug {
                    config.attributes |= TD_DEBUG;
                }
                let guest = TdxGuest::launch(config, clock.wall());
                let guest = Box::new(guest.context("launching the software attester")?);
                Ok((Self::SoftwareTd(guest), measurement))
            }
            AttesterKind::Auto {} => Self::of_device(None),
            AttesterKind::Snp {} => Self::of_device(Some(Provider::Snp)),
            AttesterKind::Tdx {} => Self::of_device(Some(Provider::Tdx)),
        }
    }

    fn of_device(wanted: Option<Provider>) -> anyhow::Result<(Self, Measurement)> {
        let device = Device::find().context("looking for this machine's attester")?;
        let observed = device.provider();
        if let Some(wanted) = wanted {
            ensure!(
                wanted == observed,
                "attester.kind is {}, this machine has {}",
                name(wanted),
                name(observed)
            );
        }
        // For nobody: the guest learns here what others will see that was launched.
        let evidence = device.attest(&ReportData::new([0; ReportData::LEN])).context("making evidence")?;
        let measurement = device::measurement_of(&evidence).context("the report has no measurement")?;
        Ok((Self::Device(device), measurement))
    }
}

/// A quote for this report data, with the log of this boot.
fn quote(settings: &settings::Tpm, report_data: &ReportData) -> anyhow::Result<TpmEvidence> {
    let quoted = tpm::Tpm::open(&settings.device)?.quote(&settings.pcrs, report_data.as_bytes());
    let event_log = tpm::event_log(&System, &settings.event_log)?;
    Ok(TpmEvidence { event_log: Some(Der(event_log)), ..quoted.context("quoting the TPM's PCRs")? })
}

const fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Snp => "snp",
        Provider::Tdx => "tdx",
    }
}

/// What a simulated guest says that was launched: what the file says into which whoever started the machine wrote it, or
/// the programs that run.
fn simulated_measurement(settings: &Settings) -> anyhow::Result<Measurement> {
    if let Some(file) = settings.attester.launch_digest_file() {
        return read_digest(file).with_context(|| file.display().to_string());
    }
    let keeper = std::env::current_exe().context("finding this program")?;
    let worker = settings.worker.program();
    let mut components = vec![
        ("keeper", keeper.as_path()),
        ("gateway", settings.gateway.program.as_path()),
        ("worker", worker.as_path()),
    ];
    components.extend(settings.store.as_ref().map(|store| ("fetcher", store.program.as_path())));
    measure_components(&components).context("measuring the programs")
}

fn read_digest(file: &Path) -> anyhow::Result<Measurement> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(file)?.take(MAX_DIGEST_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(read)? > MAX_DIGEST_FILE_BYTES {
        bail!("more than {MAX_DIGEST_FILE_BYTES} bytes");
    }
    let text = text.trim_end_matches(['\n', '\0']);
    text.parse().map_err(|_| anyhow::anyhow!("not a launch digest of 48 bytes in hex"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_digest_is_read_from_its_file_whole_or_not_at_all() {
        let folder = std::env::temp_dir().join(format!("anchorhold-digest-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("digest");
        let digest = "0a".repeat(48);
        for (text, is_read) in [
            (digest.clone(), true),
            (format!("{digest}\n"), true),
            (format!("{digest}\0"), true),
            (digest[1..].to_owned(), false),
            (format!("{digest}0a"), false),
            (digest.to_uppercase(), false),
            ("0".repeat(4096), false),
            (String::new(), false),
        ] {
            std::fs::write(&file, &text).unwrap();
            assert_eq!(read_digest(&file).ok(), is_read.then_some(Measurement::new([10; 48])), "{text:?}");
        }
        std::fs::remove_dir_all(&folder).unwrap();
        assert!(read_digest(&file).is_err());
    }
}
