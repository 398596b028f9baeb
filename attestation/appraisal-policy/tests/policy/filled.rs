//! Profiles and machine lists for evidence at hand, as whoever built the image and owns the machines writes them.

use crate::support::with;
use anchorhold_appraisal_policy::MachineList;
use anchorhold_rats::Timestamp;
use anchorhold_verifier::{Claims, TeeClaims};
use toml::Value;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a profile judges this family of evidence.
pub(crate) fn judges(profile: &str, family: &str) -> bool {
    profile.contains(&format!("\n[{family}]\n"))
}

/// The profile with the evidence's own reference values filled in, as whoever built the image does. What is left to refuse
/// is the platform.
pub(crate) fn filled(text: &str, claims: &Claims) -> String {
    let mut out = text.to_owned();
    match &claims.tee {
        TeeClaims::Snp(report) if judges(text, "snp") => {
            out = with(&out, "snp.measurements", vec![format!("sha384:{}", report.report().measurement)]);
        }
        TeeClaims::Tdx(quote) if judges(text, "tdx") => {
            let body = quote.body();
            out = with(&out, "tdx.mrtds", vec![format!("sha384:{}", body.mrtd)]);
            if !judges(text, "paravisor") {
                out = with(&out, "tdx.rtmr1", format!("sha384:{}", hex(&body.rtmrs[1])));
                out = with(&out, "tdx.rtmr2", format!("sha384:{}", hex(&body.rtmrs[2])));
            }
        }
        _ => {}
    }
    if let Some(vtpm) = claims.paravisor.as_ref().filter(|_| judges(text, "paravisor")) {
        let value = |pcr: u8| {
            Some((pcr.to_string(), Value::from(vec![format!("sha256:{}", hex(vtpm.pcrs().get(&pcr)?))])))
        };
        out = with(&out, "paravisor.pcrs", Value::Table([4, 7, 11].into_iter().filter_map(value).collect()));
    }
    out
}

/// A list of the machines that the evidence names; a report under a provider's key names none.
pub(crate) fn machine_list(kind: &str, claims: &Claims, at: Timestamp) -> Option<MachineList> {
    let devices = claims.gpus.iter().map(|device| format!("gpu = \"{}\"", device.pdi()));
    let mut machines: Vec<_> = devices.collect();
    match &claims.tee {
        TeeClaims::Snp(report) => {
            machines.extend(report.chip_id().map(|chip| format!("snp_chip = \"{chip}\"")));
        }
        TeeClaims::Tdx(quote) => machines.push(format!("tdx_platform = \"{}\"", quote.pck().platform_id)),
    }
    if machines.is_empty() {
        return None;
    }
    let mut text = format!(
        "format = 1\nid = \"machines\"\nversion = 1\nissued = \"{at}\"\nexpires = \"{}\"\n\
         description = \"of the case\"\nkind = \"{kind}\"\n",
        at.plus_seconds(60)
    );
    for machine in machines {
        text += &format!("[[machine]]\n{machine}\nreason = \"case\"\nsince = \"{at}\"\n");
    }
    Some(MachineList::from_toml(&text).unwrap())
}
