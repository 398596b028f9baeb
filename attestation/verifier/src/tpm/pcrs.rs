//! The values of the PCRs that a TPM quotes.

use super::{Attest, QuoteCodes};
use crate::show::hex;
use anchorhold_rats::{Checks, Der};
use ring::digest::{Context, SHA256};
use std::collections::BTreeMap;

/// The values by number, if there is one for each quoted PCR and their digest is the quoted one.
pub(crate) fn record_pcrs(
    attest: &Attest,
    values: &[Der],
    codes: &QuoteCodes,
    checks: &mut Checks,
) -> Option<BTreeMap<u8, [u8; 32]>> {
    let parsed: Vec<[u8; 32]> =
        values.iter().filter_map(|value| value.0.as_slice().try_into().ok()).collect();
    let wanted = attest.selection.len();
    let counted = values.len() == wanted && parsed.len() == wanted;
    let observed = format!("{} values, {} of 32 bytes", values.len(), parsed.len());
    if !checks.record(codes.count, counted, format!("{wanted} values of 32 bytes"), observed) {
        return None;
    }
    let mut context = Context::new(&SHA256);
    parsed.iter().for_each(|value| context.update(value));
    let computed = context.finish();
    checks
        .record(
            codes.digest,
            computed.as_ref() == attest.pcr_digest,
            hex(&attest.pcr_digest),
            hex(computed.as_ref()),
        )
        .then(|| attest.selection.iter().copied().zip(parsed).collect())
}

/// Records the rules about each PCR that a policy names.
pub(crate) fn judge_pcrs(
    quoted: &BTreeMap<u8, [u8; 32]>,
    accepted: &BTreeMap<u8, Vec<[u8; 32]>>,
    codes: &QuoteCodes,
    checks: &mut Checks,
) {
    let count = accepted.len();
    checks.record(codes.empty, count > 0, "at least one PCR in the policy", count.to_string());
    for (pcr, values) in accepted {
        let observed = quoted.get(pcr);
        let text = observed.map_or_else(|| "not quoted".to_string(), |value| hex(value));
        let wanted = format!("PCR {pcr} quoted");
        if !checks.record(codes.not_quoted, observed.is_some(), wanted, text.clone()) {
            continue;
        }
        let accepted = observed.is_some_and(|value| values.contains(value));
        let wanted = match values.as_slice() {
            [value] => format!("PCR {pcr} {}", hex(value)),
            values => format!("PCR {pcr} one of {} values", values.len()),
        };
        checks.record(codes.value, accepted, wanted, text);
    }
}
