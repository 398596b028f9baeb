//! `attester/src/az_snp_vtpm` and `az_tdx_vtpm`: what Azure's paravisor and its virtual TPM say.

use super::{ReadEvidence, ReadEvidenceError, Vtpm, WriteEvidenceError, parse};
use crate::Tee;
use anchorhold_rats::{Endorsements, Evidence, hex};
use base64::{Engine as _, engine::general_purpose::URL_SAFE};
use serde::Deserialize;
use serde_json::{Value, json};

const WANTED: &str = "the az-snp-vtpm or az-tdx-vtpm attester";
/// Says that the paravisor's claims hold the report data too.
const VERSION_WITH_USER_DATA: u32 = 2;

#[derive(Deserialize)]
struct Version {
    version: Option<u32>,
}

pub(super) fn read(tee: Tee, json: &str) -> Result<ReadEvidence, ReadEvidenceError> {
    let malformed = ReadEvidenceError::Malformed { wanted: WANTED };
    let Version { version } = parse(json, WANTED)?;
    // Version 0 had no number, and the TPM's quote in the encoding of a crate.
    let version = version.ok_or(ReadEvidenceError::Old)?;
    if !(1..=VERSION_WITH_USER_DATA).contains(&version) {
        return Err(malformed);
    }
    let evidence = Evidence::from_trustee_azure_json(json.as_bytes()).map_err(|_| malformed.clone())?;
    let wanted = match tee {
        Tee::AzSnpVtpm => (anchorhold_rats::Tee::Snp, 1),
        _ => (anchorhold_rats::Tee::Tdx, 0),
    };
    if (evidence.tee, evidence.certificates.len()) != wanted {
        return Err(malformed);
    }
    let binds_user_data = version == VERSION_WITH_USER_DATA;
    Ok(ReadEvidence { evidence, endorsements: Endorsements::default(), binds_user_data })
}

/// Written as version 1, since nothing here makes a paravisor put the report data into its claims.
pub(super) fn write(evidence: &Evidence, vtpm: Vtpm<'_>) -> Result<(Tee, Value), WriteEvidenceError> {
    let quote = json!({
        "signature": hex(&vtpm.signature),
        "message": hex(&vtpm.quote),
        "pcrs": vtpm.pcrs.iter().map(|pcr| hex(&pcr.0)).collect::<Vec<_>>(),
    });
    let hcl_report = URL_SAFE.encode(&vtpm.hcl_report);
    match (evidence.tee, evidence.certificates.as_slice()) {
        (anchorhold_rats::Tee::Snp, [vcek]) => {
            let vcek = URL_SAFE.encode(&vcek.0);
            let json = json!({ "version": 1, "tpm_quote": quote, "hcl_report": hcl_report, "vcek": vcek });
            Ok((Tee::AzSnpVtpm, json))
        }
        (anchorhold_rats::Tee::Tdx, []) => {
            let td_quote = URL_SAFE.encode(&evidence.report);
            let json =
                json!({ "version": 1, "tpm_quote": quote, "hcl_report": hcl_report, "td_quote": td_quote });
            Ok((Tee::AzTdxVtpm, json))
        }
        _ => Err(WriteEvidenceError::Certificates),
    }
}
