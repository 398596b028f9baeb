//! Azure: a paravisor's virtual TPM around SNP and TDX evidence that is wrong in one way each, in the JSON of Trustee's attesters.

mod claims;
mod hcl;
mod policy;
mod quote;

use super::snp::ask_and_ark;
use crate::writer::{AT, Case, Suite};
use anchorhold_attester::software::tdx::{TdConfig, TdxGuest, simulated_intel_root_der};
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor};
use anchorhold_rats::{Measurement, Paravisor, ReportData, Tee, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

const MEASUREMENT: Measurement = Measurement::new([7; 48]);
const NONCE: [u8; 64] = [5; 64];

pub(super) fn write(suite: &mut Suite) -> anyhow::Result<()> {
    let made = Made::new()?;
    controls(suite, &made)?;
    hcl::write(suite, &made)?;
    claims::write(suite, &made)?;
    quote::write(suite, &made)?;
    policy::write(suite, &made)
}

/// One good guest of each kind below one paravisor, which most cases change in one place.
struct Made {
    paravisor: SoftwareParavisor,
    snp: SoftwareGuest,
    tdx: TdxGuest,
}

/// What a guest sends, before it is written as JSON.
#[derive(Clone)]
struct Sent {
    paravisor: Paravisor,
    /// The VCEK of an SNP guest.
    vcek: Option<Vec<u8>>,
    /// The quote and the collateral of a TD.
    td: Option<(Vec<u8>, Vec<u8>)>,
}

impl Made {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            paravisor: SoftwareParavisor::new()?,
            snp: SoftwareGuest::launch(LaunchConfig::new(MEASUREMENT), at()?)?,
            tdx: TdxGuest::launch(TdConfig::new(MEASUREMENT), at()?)?,
        })
    }

    /// The good evidence of an SNP guest.
    fn snp(&self) -> anyhow::Result<Sent> {
        self.snp_below(&self.paravisor)
    }

    /// The same below another paravisor.
    fn snp_below(&self, paravisor: &SoftwareParavisor) -> anyhow::Result<Sent> {
        self.snp_for(paravisor, &paravisor.report_data())
    }

    /// Evidence whose SNP report is for this report data, whatever the claims are.
    fn snp_for(&self, paravisor: &SoftwareParavisor, report_data: &ReportData) -> anyhow::Result<Sent> {
        let evidence = self.snp.attest(report_data)?;
        let vcek = evidence.certificates.first().map(|vcek| vcek.0.clone());
        Ok(Sent { paravisor: paravisor.attest(Tee::Snp, &evidence.report, &NONCE)?, vcek, td: None })
    }

    /// The good evidence of a TD.
    fn tdx(&self) -> anyhow::Result<Sent> {
        self.tdx_for(&self.paravisor.report_data())
    }

    /// Evidence whose TD quote is for this report data, whatever the claims are.
    fn tdx_for(&self, report_data: &ReportData) -> anyhow::Result<Sent> {
        let quote = self.tdx.quote(report_data)?;
        let paravisor = self.paravisor.attest(Tee::Tdx, &quote, &NONCE)?;
        let collateral = super::tdx::json_of(&self.tdx.collateral(at()?)?)?;
        Ok(Sent { paravisor, vcek: None, td: Some((quote, collateral)) })
    }
}

impl Sent {
    /// The same with a change of what the paravisor adds.
    fn with(mut self, edit: impl FnOnce(&mut Paravisor)) -> Self {
        edit(&mut self.paravisor);
        self
    }

    /// As a case.
    fn case(&self) -> anyhow::Result<Case> {
        let base64 = |bytes: &Vec<u8>| URL_SAFE_NO_PAD.encode(bytes);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let Paravisor { hcl_report, quote, signature, pcrs } = &self.paravisor;
        let pcrs: Vec<String> = pcrs.iter().map(|pcr| hex(&pcr.0)).collect();
        let mut evidence = json!({
            "tpm_quote": { "message": hex(quote), "signature": hex(signature), "pcrs": pcrs },
            "hcl_report": base64(hcl_report),
        });
        if let Some(members) = evidence.as_object_mut() {
            members.extend(self.vcek.iter().map(|vcek| ("vcek".to_owned(), base64(vcek).into())));
            members.extend(self.td.iter().map(|(quote, _)| ("td_quote".to_owned(), base64(quote).into())));
        }
        let case = Case::new("azure").file("evidence", serde_json::to_vec(&evidence)?);
        Ok(match &self.td {
            None => ask_and_ark(case),
            Some((_, collateral)) => {
                case.file("collateral", collateral.clone()).file("root", simulated_intel_root_der())
            }
        })
    }

    /// As a case that is refused.
    fn refused(&self, stage: &'static str, code: &'static str) -> anyhow::Result<Case> {
        Ok(self.case()?.refused(stage, code))
    }
}

/// Good evidence: a verifier that refuses everything is of no use.
fn controls(suite: &mut Suite, made: &Made) -> anyhow::Result<()> {
    suite.add("azure-good-snp", made.snp()?.case()?, "an SNP guest below the paravisor")?;
    suite.add("azure-good-tdx", made.tdx()?.case()?, "a TD below the paravisor")?;
    let bound = made.snp()?.case()?.rule("tpm_nonce", "05".repeat(64));
    suite.add("azure-good-bound", bound, "the expected nonce")?;
    let mut few = SoftwareParavisor::new()?;
    few.pcrs = vec![(4, [4; 32]), (7, [7; 32]), (11, [11; 32])];
    suite.add("azure-good-pcrs", made.snp_below(&few)?.case()?, "three PCRs with values")
}

fn at() -> anyhow::Result<Timestamp> {
    Ok(AT.parse()?)
}
