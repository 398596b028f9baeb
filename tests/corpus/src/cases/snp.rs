//! SEV-SNP: reports and chains that are wrong in one way each, signed by whoever should sign them.

mod chain;
mod crl;
mod policy;
mod profile;
mod real;
mod report;

use crate::writer::{AT, Case, Suite};
use anchorhold_attester::software::certificate::{Extension, Template, name, pss_sha384, rsa_key_info};
use anchorhold_attester::software::report::ReportFields;
use anchorhold_attester::software::{Authority, LaunchConfig, SoftwareGuest, simulated_ark_der};
use anchorhold_rats::{Evidence, Measurement, ReportData, Timestamp};
use anyhow::Context as _;

const MEASUREMENT: Measurement = Measurement::new([7; 48]);
const REPORT_DATA: ReportData = ReportData::new([9; 64]);

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let made = Made::new()?;
    report::write(suite, &made)?;
    chain::write(suite, &made)?;
    crl::write(suite, &made)?;
    policy::write(suite, &made)?;
    profile::write(suite, &made)?;
    real::write(suite, &made)
}

/// One good guest, which most cases change in one place.
struct Made {
    guest: SoftwareGuest,
    good: Evidence,
}

impl Made {
    fn new() -> anyhow::Result<Self> {
        let guest = launch(LaunchConfig::new(MEASUREMENT))?;
        let good = guest.attest(&REPORT_DATA)?;
        Ok(Self { guest, good })
    }

    /// The good case.
    fn case(&self) -> anyhow::Result<Case> {
        of(&self.good)
    }

    /// The good case with changed fields, signed again.
    fn fields(&self, edit: impl FnOnce(&mut ReportFields)) -> anyhow::Result<Case> {
        of(&fields_of(&self.guest, edit)?)
    }

    /// The good case with changed signed bytes, signed again.
    fn bytes(&self, edit: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Case> {
        let mut bytes = self.guest.report_fields(&REPORT_DATA).encode();
        edit(&mut bytes);
        of(&self.guest.sign(&bytes)?)
    }

    /// The good case with changed bytes of the whole report, signed by nobody.
    fn raw(&self, edit: impl FnOnce(&mut Vec<u8>)) -> anyhow::Result<Case> {
        let mut report = self.good.report.clone();
        edit(&mut report);
        Ok(self.case()?.file("report", report))
    }

    /// The good case with a changed VCEK, certified by the ASK.
    fn leaf(&self, edit: impl FnOnce(&mut Template)) -> anyhow::Result<Case> {
        let mut template = self.guest.template().clone();
        edit(&mut template);
        Ok(self.case()?.file("vek", template.sign(&Authority::Ask.key()?)?))
    }

    /// The good case with a changed ASK, certified by the ARK.
    fn ask(&self, edit: impl FnOnce(&mut Template)) -> anyhow::Result<Case> {
        let mut template = ask_template()?;
        edit(&mut template);
        Ok(self.case()?.file("ask", template.sign(&Authority::Ark.key()?)?))
    }
}

fn at() -> anyhow::Result<Timestamp> {
    Ok(AT.parse()?)
}

fn launch(config: LaunchConfig) -> anyhow::Result<SoftwareGuest> {
    Ok(SoftwareGuest::launch(config, at()?)?)
}

fn fields_of(guest: &SoftwareGuest, edit: impl FnOnce(&mut ReportFields)) -> anyhow::Result<Evidence> {
    let mut fields = guest.report_fields(&REPORT_DATA);
    edit(&mut fields);
    Ok(guest.sign(&fields.encode())?)
}

/// Evidence as a case.
fn of(evidence: &Evidence) -> anyhow::Result<Case> {
    let certificate = |index: usize| evidence.certificates.get(index).context("a certificate is missing");
    Ok(Case::new("snp")
        .file("report", evidence.report.clone())
        .file("vek", certificate(0)?.0.clone())
        .file("ask", certificate(1)?.0.clone())
        .file("ark", simulated_ark_der()))
}

/// A case with the good ASK and ARK.
pub(super) fn ask_and_ark(case: Case) -> Case {
    case.file("ask", Authority::Ask.certificate_der()).file("ark", simulated_ark_der())
}

/// What a good ASK under the simulated root says.
fn ask_template() -> anyhow::Result<Template> {
    Ok(Template {
        serial: vec![2],
        algorithm: pss_sha384(48),
        issuer: name(Authority::Ark.common_name()),
        subject: name(Authority::Ask.common_name()),
        not_before: "2020-01-01T00:00:00Z".parse()?,
        not_after: "2049-12-31T23:59:59Z".parse()?,
        public_key_info: rsa_key_info(&Authority::Ask.key()?),
        extensions: Extension::intermediate(),
    })
}
