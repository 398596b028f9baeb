//! Cases of a TPM of the guest's own: its quote alone, in the JSON of our evidence.

use super::{Presented, Roots, hex_bytes, of_refusal, profile};
use crate::corpus::{Error, Files};
use crate::manifest::Case;
use anchorhold_rats::{Checks, Endorsements, TpmEvidence};
use anchorhold_verifier::tpm::{self, Policy};

const WANTED: &str = "the JSON of a TPM's evidence";

/// By the table `[tpm]` of a profile where the case has one, and otherwise by a policy for exactly this quote.
pub(super) fn judge(case: &Case, files: &Files) -> Result<Checks, Error> {
    let evidence = read(files)?;
    let policy = match profile::read(files)? {
        Some(profile) => {
            let wanted = "with a table tpm";
            let policy = profile::policy(case, &profile)?.tpm;
            Some(policy.ok_or(Error::Form { what: "profile", wanted })?)
        }
        None => None,
    };
    let quote = match tpm::authenticate(&evidence, case.at) {
        Ok(quote) => quote,
        Err(refusal) => return Ok(of_refusal(refusal)),
    };
    let policy = policy.unwrap_or_else(|| {
        let quoted = quote.pcrs().iter().map(|(pcr, value)| (*pcr, vec![*value])).collect();
        Policy { require_event_log: quote.log().is_some(), ..Policy::strict(vec![quote.key()], quoted) }
    });
    let nonce = match &case.policy.tpm_nonce {
        Some(text) => hex_bytes("tpm_nonce", text)?,
        None => quote.nonce().to_vec(),
    };
    Ok(tpm::appraise(&quote, &policy, &nonce).unwrap_or_else(of_refusal))
}

/// The quote of a case.
pub(super) fn present(files: &Files) -> Result<Presented, Error> {
    let tpm = Some(read(files)?);
    let (endorsements, roots) = (Endorsements::default(), Roots::default());
    Ok(Presented { tee: None, devices: Vec::new(), tpm, endorsements, roots })
}

fn read(files: &Files) -> Result<TpmEvidence, Error> {
    files.only(&["evidence", "profile"])?;
    serde_json::from_slice(files.need("evidence")?)
        .map_err(|_| Error::Form { what: "evidence", wanted: WANTED })
}
