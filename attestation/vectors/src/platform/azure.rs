//! Cases of a virtual TPM below Azure's paravisor, in the JSON that Trustee's attester writes.

use super::{Roots, hex_bytes, of_refusal, profile, snp, tdx};
use crate::corpus::{Error, Files};
use crate::manifest::Case;
use anchorhold_rats::{Checks, Der, Endorsements, Evidence, Tee};
use anchorhold_verifier::azure::{self, Input, Policy};

pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    let profile = profile::read(files)?;
    let (evidence, endorsements) = present(files)?;
    let anchors = match Roots::read(files).anchors(case.pin) {
        Ok(anchors) => anchors,
        Err(checks) => return Ok(checks),
    };
    if let Some(profile) = profile {
        let policy = profile::policy(case, &profile)?;
        return profile::judge(case, &policy, &evidence, &endorsements, &anchors);
    }
    let Evidence { tee, report, certificates, paravisor, .. } = &evidence;
    let paravisor = paravisor.as_ref().ok_or(Error::Form { what: "evidence", wanted: WANTED })?;
    let vtpm = azure::authenticate(&Input::new(paravisor, *tee, report));
    // What the TEE's report must be for is known only from the paravisor's claims; without them, whatever it says.
    let bound = vtpm.as_ref().ok().map(azure::AuthenticVtpm::report_data);
    let mut checks = match tee {
        Tee::Snp => {
            let input = anchorhold_verifier::snp::Input { report, certificates, crls: &[] };
            snp::judge_input(case, &input, &anchors, bound)?
        }
        Tee::Tdx => tdx::judge_quote(case, report, endorsements.tdx.as_ref(), &anchors, bound)?,
    };
    match vtpm {
        Err(refusal) => checks.append(of_refusal(refusal)),
        Ok(vtpm) => {
            let nonce = match &case.policy.tpm_nonce {
                Some(text) => hex_bytes("tpm_nonce", text)?,
                None => vtpm.nonce().to_vec(),
            };
            let quoted = vtpm.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
            let policy = Policy { require_secure_boot: false, ..Policy::strict(quoted) };
            checks.append(match azure::appraise(&vtpm, &policy, &nonce) {
                Ok(checks) => checks,
                Err(refusal) => of_refusal(refusal),
            });
        }
    }
    Ok(checks)
}

/// The evidence of a case, with its collateral.
pub(super) fn present(files: &Files) -> Result<(Evidence, Endorsements), Error> {
    files.only(&["evidence", "ask", "ark", "root", "collateral", "profile"])?;
    let wrong = |_| Error::Form { what: "evidence", wanted: WANTED };
    let mut evidence = Evidence::from_trustee_azure_json(files.need("evidence")?).map_err(wrong)?;
    if evidence.tee == Tee::Snp {
        let presented = ["ask", "ark"].into_iter().filter_map(|role| files.get(role));
        evidence.certificates.extend(presented.map(|der| Der(der.into())));
    }
    let tdx = files.get("collateral").map(tdx::read_collateral).transpose()?;
    Ok((evidence, Endorsements { tdx, ..Endorsements::default() }))
}

const WANTED: &str = "the JSON of Trustee's vTPM attesters";
