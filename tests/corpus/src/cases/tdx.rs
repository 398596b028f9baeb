//! TDX: quotes, chains and collateral that are wrong in one way each, signed by whoever should sign them.

mod chain;
mod collateral;
mod event_log;
mod log_rules;
mod policy;
mod profile;
mod quote;
mod tcb;

use crate::writer::{AT, Case, Suite};
use anchorhold_attester::software::Curve;
use anchorhold_attester::software::certificate::{Extension, Template};
use anchorhold_attester::software::tdx::{
    CollateralTemplate, EnclaveReport, QuoteFields, QuoteVersion, SignatureData, TdConfig, TdxAuthority,
    TdxGuest, assemble, intel_name, simulated_intel_root_der,
};
use anchorhold_rats::{Measurement, ReportData, TdxCollateral, Timestamp};
use serde_json::json;

const MRTD: Measurement = Measurement::new([7; 48]);
const REPORT_DATA: ReportData = ReportData::new([9; 64]);

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let made = Made::new(TdConfig { version: QuoteVersion::V4, ..TdConfig::new(MRTD) })?;
    quote::write(suite, &made)?;
    chain::write(suite, &made)?;
    collateral::write(suite, &made)?;
    tcb::write(suite, &made)?;
    policy::write(suite, &made)?;
    profile::write(suite, &made)?;
    event_log::write(suite, &made)?;
    log_rules::write(suite, &made)
}

/// One good TD and its platform's collateral, which most cases change in one place.
struct Made {
    guest: TdxGuest,
    config: TdConfig,
    quote: Vec<u8>,
    collateral: Vec<u8>,
}

impl Made {
    fn new(config: TdConfig) -> anyhow::Result<Self> {
        let guest = TdxGuest::launch(config.clone(), at()?)?;
        let quote = guest.quote(&REPORT_DATA)?;
        let collateral = json_of(&guest.collateral(at()?)?)?;
        Ok(Self { guest, config, quote, collateral })
    }

    /// The good case.
    fn case(&self) -> Case {
        Case::new("tdx")
            .file("quote", self.quote.clone())
            .file("collateral", self.collateral.clone())
            .file("root", simulated_intel_root_der())
    }

    /// The good case with changed bytes of the whole quote, signed by nobody.
    fn raw(&self, edit: impl FnOnce(&mut Vec<u8>)) -> Case {
        let mut quote = self.quote.clone();
        edit(&mut quote);
        self.case().file("quote", quote)
    }

    /// The good case with changed fields of the quote, signed again.
    fn fields(&self, edit: impl FnOnce(&mut QuoteFields)) -> anyhow::Result<Case> {
        let mut fields = self.guest.fields(&REPORT_DATA);
        edit(&mut fields);
        Ok(self.case().file("quote", self.guest.sign(&fields.encode())?))
    }

    /// The good case with another report of the quoting enclave, signed by the PCK.
    fn enclave(&self, edit: impl FnOnce(&mut EnclaveReport)) -> anyhow::Result<Case> {
        let signed = self.guest.fields(&REPORT_DATA).encode();
        let mut report = self.guest.enclave_report();
        edit(&mut report);
        let data = self.guest.signature_data(&signed, &report)?;
        Ok(self.case().file("quote", assemble(&signed, &data)))
    }

    /// The good case with changed signature data.
    fn data(&self, edit: impl FnOnce(&mut SignatureData)) -> anyhow::Result<Case> {
        let signed = self.guest.fields(&REPORT_DATA).encode();
        let mut data = self.guest.signature_data(&signed, &self.guest.enclave_report())?;
        edit(&mut data);
        Ok(self.case().file("quote", assemble(&signed, &data)))
    }

    /// The good case with a changed PCK certificate, certified by the PCK CA.
    fn leaf(&self, edit: impl FnOnce(&mut Template)) -> anyhow::Result<Case> {
        let mut guest = TdxGuest::launch(self.config.clone(), at()?)?;
        let mut template = guest.template().clone();
        edit(&mut template);
        guest.certify(template)?;
        Ok(self.case().file("quote", guest.quote(&REPORT_DATA)?))
    }

    /// The good case with changed collateral, signed again.
    fn signed(&self, edit: impl FnOnce(&mut CollateralTemplate)) -> anyhow::Result<Case> {
        let mut template = CollateralTemplate::for_platform(&self.config.platform, at()?);
        edit(&mut template);
        Ok(self.case().file("collateral", json_of(&template.sign()?)?))
    }

    /// The good case with changed collateral, signed by nobody.
    fn unsigned(&self, edit: impl FnOnce(&mut TdxCollateral)) -> anyhow::Result<Case> {
        let mut collateral = self.guest.collateral(at()?)?;
        edit(&mut collateral);
        Ok(self.case().file("collateral", json_of(&collateral)?))
    }
}

fn at() -> anyhow::Result<Timestamp> {
    Ok(AT.parse()?)
}

/// The collateral as dcap-qvl writes it.
pub(super) fn json_of(collateral: &TdxCollateral) -> anyhow::Result<Vec<u8>> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok(serde_json::to_vec(&json!({
        "pck_crl_issuer_chain": collateral.pck_crl_issuer_chain,
        "root_ca_crl": hex(&collateral.root_ca_crl.0),
        "pck_crl": hex(&collateral.pck_crl.0),
        "tcb_info_issuer_chain": collateral.tcb_info_issuer_chain,
        "tcb_info": collateral.tcb_info,
        "tcb_info_signature": hex(&collateral.tcb_info_signature.0),
        "qe_identity_issuer_chain": collateral.qe_identity_issuer_chain,
        "qe_identity": collateral.qe_identity,
        "qe_identity_signature": hex(&collateral.qe_identity_signature.0),
    }))?)
}

/// What the root signs to make another certificate of one of its own.
fn certificate(
    authority: TdxAuthority,
    serial: u8,
    usage: Extension,
    constraints: Extension,
) -> anyhow::Result<Template> {
    Ok(Template {
        serial: vec![serial],
        algorithm: Curve::P256.signature_algorithm(),
        issuer: intel_name(TdxAuthority::Root.common_name()),
        subject: intel_name(authority.common_name()),
        not_before: at()?.plus_seconds(-86_400),
        not_after: at()?.plus_seconds(86_400),
        public_key_info: authority.key()?.key_info(),
        extensions: vec![usage, constraints],
    })
}
