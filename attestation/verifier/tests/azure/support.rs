//! One way to make a paravisor's evidence, and one to judge it.

use anchorhold_attester::software::paravisor::td_report;
use anchorhold_attester::software::{LaunchConfig, SoftwareGuest, SoftwareParavisor};
use anchorhold_rats::{Measurement, Paravisor, ReportData, Tee};
use anchorhold_verifier::Refusal;
use anchorhold_verifier::azure::{AuthenticVtpm, Input, Policy, appraise, authenticate};
use std::collections::BTreeMap;

pub(crate) const NONCE: [u8; 64] = [9; 64];
pub(crate) const QUOTE_DIGEST_BYTES: usize = 34;

/// What a guest sends: the TEE's report, and what the paravisor adds.
#[derive(Debug, Clone)]
pub(crate) struct Sent {
    pub(crate) tee: Tee,
    pub(crate) report: Vec<u8>,
    pub(crate) paravisor: Paravisor,
}

impl Sent {
    pub(crate) fn authenticate(&self) -> Result<AuthenticVtpm, Refusal> {
        authenticate(&Input::new(&self.paravisor, self.tee, &self.report))
    }

    pub(crate) fn authentic(&self) -> AuthenticVtpm {
        self.authenticate().unwrap_or_else(|refusal| panic!("{refusal}"))
    }

    /// The code of the first rule that refuses this.
    pub(crate) fn refusal(&self) -> String {
        self.authenticate().expect_err("accepted").code().to_string()
    }

    /// What that rule wanted, and what it saw.
    pub(crate) fn said(&self) -> (String, String) {
        let refusal = self.authenticate().expect_err("accepted");
        let check = refusal.checks().failed().next().expect("a refusal has a reason");
        (check.wanted.to_string(), check.observed.to_string())
    }

    /// The same with other bytes in the HCL report, from `offset`.
    pub(crate) fn with_hcl(&self, offset: usize, bytes: &[u8]) -> Self {
        let mut other = self.clone();
        other.paravisor.hcl_report[offset..offset + bytes.len()].copy_from_slice(bytes);
        other
    }
}

pub(crate) fn paravisor() -> SoftwareParavisor {
    SoftwareParavisor::new().unwrap()
}

pub(crate) fn snp_report(report_data: &ReportData) -> Vec<u8> {
    let now = "2026-07-25T00:00:00Z".parse().unwrap();
    let guest = SoftwareGuest::launch(LaunchConfig::new(Measurement::new([7; 48])), now).unwrap();
    guest.attest(report_data).unwrap().report
}

/// Header and body of a quote, which is what a paravisor is judged against; who signed it is another family's rule.
pub(crate) fn td_quote(version: u8, report_data: &ReportData) -> Vec<u8> {
    let mut quote = vec![version, 0, 2, 0, 0x81];
    quote.resize(if version == 5 { 54 } else { 48 }, 0);
    quote.extend((0..520).map(|index| u8::try_from(index % 251).unwrap()));
    quote.extend(report_data.as_bytes());
    quote.extend([0x5a; 300]);
    quote
}

/// Evidence on SNP with these claims and PCRs.
pub(crate) fn sent_by(paravisor: &SoftwareParavisor) -> Sent {
    let report = snp_report(&paravisor.report_data());
    let paravisor = paravisor.attest(Tee::Snp, &report, &NONCE).unwrap();
    Sent { tee: Tee::Snp, report, paravisor }
}

pub(crate) fn snp() -> Sent {
    sent_by(&paravisor())
}

pub(crate) fn tdx(version: u8) -> Sent {
    let paravisor = paravisor();
    let report = td_quote(version, &paravisor.report_data());
    let paravisor = paravisor.attest(Tee::Tdx, &report, &NONCE).unwrap();
    Sent { tee: Tee::Tdx, report, paravisor }
}

/// Evidence on TDX with this hardware report.
pub(crate) fn tdx_around(edit: impl FnOnce(&mut Vec<u8>)) -> Sent {
    let paravisor = paravisor();
    let report = td_quote(4, &paravisor.report_data());
    let mut hardware_report = td_report(&report);
    edit(&mut hardware_report);
    let paravisor = paravisor.attest_hardware(Tee::Tdx, &hardware_report, &NONCE).unwrap();
    Sent { tee: Tee::Tdx, report, paravisor }
}

/// Evidence whose claims were changed, with report and quote for the changed claims.
pub(crate) fn claims_with(edit: impl FnOnce(&str) -> String) -> Sent {
    let mut paravisor = paravisor();
    paravisor.claims = edit(&paravisor.claims);
    sent_by(&paravisor)
}

/// Evidence whose quote was changed before it was signed.
pub(crate) fn quote_with(edit: impl FnOnce(&mut Vec<u8>)) -> Sent {
    let paravisor = paravisor();
    let mut sent = sent_by(&paravisor);
    edit(&mut sent.paravisor.quote);
    sent.paravisor.signature = paravisor.sign(&sent.paravisor.quote).unwrap();
    sent
}

/// All PCRs as the software paravisor has them.
pub(crate) fn policy() -> Policy {
    Policy::strict((0..24).map(|pcr| (pcr, vec![[0; 32]])).collect())
}

pub(crate) fn policy_of(pcrs: &BTreeMap<u8, [u8; 32]>) -> Policy {
    Policy::strict(pcrs.iter().map(|(pcr, value)| (*pcr, vec![*value])).collect())
}

/// The codes of all policy rules that failed, in order.
pub(crate) fn failed(sent: &Sent, policy: &Policy, nonce: &[u8]) -> Vec<String> {
    match appraise(&sent.authentic(), policy, nonce) {
        Ok(_) => Vec::new(),
        Err(refusal) => refusal.checks().failed().map(|check| check.code.to_string()).collect(),
    }
}
