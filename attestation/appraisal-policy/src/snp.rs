//! SEV-SNP: the table `[snp]` of profiles, and `[grant.snp]` of release policies.

mod explain;
mod floors;

pub(crate) use explain::rules;

use crate::words::{bytes, bytes_list, flag, machines};
use crate::{DEBUG, MIGRATION, PolicyError, Reader, SIMULATED, measurement};
use anchorhold_rats::{Measurement, ReportData};
use anchorhold_verifier::snp::{
    ChipId, FirmwareVersion, MinimumTcb, MitigationVectors, Policy, Product, Signer,
};

const MEASUREMENTS: &str = "a list of launch digests as \"sha384:…\"";
const CHIPS: &str = "\"listed\", \"any\" or a list of CHIP_IDs in hex";
const SIGNERS: &str = "a list of \"vcek\", \"vlek\"";
const BYTES_16: &str = "\"any\" or 16 bytes in hex";
const BYTES_32: &str = "\"any\" or 32 bytes in hex";
const KEYS: &str = "\"any\" or a list of 48-byte key digests in hex";
const PROVIDERS: &str = "\"any\" or a list of CSP_IDs, as VLEKs state them";
const VECTOR: &str = "the bits of a vector as a whole number, 0 or more";
/// The longest CSP_ID, in bytes.
const MAX_PROVIDER_BYTES: usize = 256;
const VMPL: &str = "a list of whole numbers from 0 to 3";

/// What the table says beside the verifier's policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snp {
    pub(crate) policy: Policy,
    /// Why Milan is accepted, where it is.
    pub(crate) milan_because: Option<String>,
}

/// Reads the table `[snp]` of a profile.
///
/// `measurements`, `products` and `min_tcb` are mandatory. What is left out has the value of
/// [`Policy::strict`] but for four rules, which are tighter: the committed and the launch TCB have the floors of
/// `min_tcb`, a revocation list must be judged, and only listed machines are accepted.
pub(crate) fn read(mut table: Reader) -> Result<Snp, PolicyError> {
    let measurements = table.list_or_nothing("measurements", MEASUREMENTS, measurement)?;
    read_rules(table, measurements)
}

/// Reads the table `[grant.snp]` of a release policy, for guests with one of these launch digests. The rules are those of
/// profiles, and what is most often weakened must be spelled out.
pub(crate) fn read_grant(table: Reader, measurements: Vec<Measurement>) -> Result<Snp, PolicyError> {
    table.require(&[
        "debug",
        "migration",
        "products",
        "min_tcb",
        "machines",
        "signers",
        "vmpls",
        "host_data",
        "require_crl",
        "require_alias_check",
    ])?;
    for (key, flag) in [("guest_policy", "smt_allowed"), ("platform", "ciphertext_hiding_enabled")] {
        table.require_in(key, flag)?;
    }
    read_rules(table, measurements)
}

fn read_rules(mut table: Reader, measurements: Vec<Measurement>) -> Result<Snp, PolicyError> {
    for (key, reason) in [("debug", DEBUG), ("migration", MIGRATION), ("simulated", SIMULATED)] {
        table.or(key, (), |table, key| table.must_be_false(key, reason))?;
    }
    let products = table.list("products", floors::PRODUCTS, floors::product)?;
    let milan_because = milan(&mut table, &products)?;
    let minimum = floors::floors(table.table("min_tcb")?, &products)?;
    let mut policy = Policy::strict(measurements, minimum);
    policy.min_committed_tcb = floor_or_any(&mut table, "min_committed_tcb", &products, minimum)?;
    policy.min_launch_tcb = floor_or_any(&mut table, "min_launch_tcb", &products, minimum)?;
    policy.require_crl = table.or("require_crl", true, Reader::truth)?;
    policy.allowed_chips = machines(&mut table, CHIPS, |text| chip(text).map_err(drop))?;
    policy.denied_chips = table.or("denied_machines", Vec::new(), |table, key| {
        Ok(table.list_or(key, "none", "\"none\" or a list of CHIP_IDs in hex", chip)?.unwrap_or_default())
    })?;
    read_firmware(&mut table, &mut policy)?;
    read_guest(&mut table, &mut policy)?;
    if table.has("guest_policy") {
        read_guest_policy(table.table("guest_policy")?, &mut policy)?;
    }
    if table.has("platform") {
        read_platform(table.table("platform")?, &mut policy)?;
    }
    table.finish()?;
    Ok(Snp { policy, milan_because })
}

/// Milan's root seed can be recovered by software (arXiv 2605.12990), after which any report of any Milan chip can be
/// forged. So naming it takes a sentence that says why the risk is borne.
fn milan(table: &mut Reader, products: &[Product]) -> Result<Option<String>, PolicyError> {
    if products.contains(&Product::Milan) { table.sentence("milan_because").map(Some) } else { Ok(None) }
}

fn floor_or_any(
    table: &mut Reader,
    key: &str,
    products: &[Product],
    default: MinimumTcb,
) -> Result<Option<MinimumTcb>, PolicyError> {
    if table.take_word(key, "any") {
        return Ok(None);
    }
    table.or(key, Some(default), |table, key| floors::floors(table.table(key)?, products).map(Some))
}

fn read_firmware(table: &mut Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    policy.require_committed_firmware =
        table.or("require_committed_firmware", policy.require_committed_firmware, Reader::truth)?;
    policy.min_firmware_version = table.or("min_firmware_version", None, |table, key| {
        let text = table.text(key)?;
        if text == "any" {
            return Ok(None);
        }
        let [major, minor, build] =
            numbers(&text).ok_or_else(|| table.wrong(key, "\"any\" or a version such as \"1.55.43\""))?;
        Ok(Some(FirmwareVersion { major, minor, build }))
    })?;
    policy.required_mitigations =
        table.or("required_mitigations", MitigationVectors::default(), |table, key| {
            let mut vectors = table.table(key)?;
            let (launch, current) = (vectors.number("launch", VECTOR)?, vectors.number("current", VECTOR)?);
            vectors.finish()?;
            Ok(MitigationVectors { launch, current })
        })?;
    policy.require_alias_check =
        table.or("require_alias_check", policy.require_alias_check, Reader::truth)?;
    Ok(())
}

fn read_guest(table: &mut Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    policy.allowed_vmpls = table.or("vmpls", vec![0], |table, key| {
        let vmpls: Vec<u32> = table.numbers(key, VMPL)?;
        if vmpls.iter().any(|vmpl| *vmpl > 3) {
            return Err(table.wrong(key, VMPL));
        }
        Ok(vmpls)
    })?;
    policy.allowed_signers =
        table.or("signers", vec![Signer::Vcek], |table, key| table.list(key, SIGNERS, signer))?;
    policy.allowed_providers = table.or("allowed_providers", None, |table, key| {
        table.list_or(key, "any", PROVIDERS, |text| provider(text).then(|| text.to_owned()).ok_or(()))
    })?;
    policy.min_guest_svn =
        table.or("min_guest_svn", 0, |table, key| table.number(key, "a whole number, 0 or more"))?;
    policy.host_data = table.or("host_data", None, |table, key| bytes(table, key, BYTES_32))?;
    policy.family_id = table.or("family_id", None, |table, key| bytes(table, key, BYTES_16))?;
    policy.image_id = table.or("image_id", None, |table, key| bytes(table, key, BYTES_16))?;
    policy.id_keys = table.or("id_keys", None, |table, key| bytes_list(table, key, KEYS))?;
    policy.author_keys = table.or("author_keys", None, |table, key| bytes_list(table, key, KEYS))?;
    policy.require_author_key = table.or("require_author_key", false, Reader::truth)?;
    Ok(())
}

fn read_guest_policy(mut table: Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    let rules = &mut policy.guest_policy;
    for (key, rule) in [
        ("smt_allowed", &mut rules.smt_allowed),
        ("single_socket", &mut rules.single_socket),
        ("cxl_allowed", &mut rules.cxl_allowed),
        ("aes_256_xts", &mut rules.aes_256_xts),
        ("rapl_disabled", &mut rules.rapl_disabled),
        ("ciphertext_hiding", &mut rules.ciphertext_hiding),
        ("page_swap_disabled", &mut rules.page_swap_disabled),
    ] {
        *rule = table.or(key, *rule, flag)?;
    }
    rules.min_abi_version = table.or("min_abi_version", rules.min_abi_version, |table, key| {
        let text = table.text(key)?;
        let [major, minor] = numbers(&text).ok_or_else(|| table.wrong(key, "a version such as \"1.55\""))?;
        Ok((major, minor))
    })?;
    table.finish()
}

fn read_platform(mut table: Reader, policy: &mut Policy) -> Result<(), PolicyError> {
    let rules = &mut policy.platform;
    for (key, rule) in [
        ("smt_enabled", &mut rules.smt_enabled),
        ("tsme_enabled", &mut rules.tsme_enabled),
        ("ecc_enabled", &mut rules.ecc_enabled),
        ("rapl_disabled", &mut rules.rapl_disabled),
        ("ciphertext_hiding_enabled", &mut rules.ciphertext_hiding_enabled),
        ("tio_enabled", &mut rules.tio_enabled),
    ] {
        *rule = table.or(key, *rule, flag)?;
    }
    table.finish()
}

/// CHIP_ID: 64 bytes of lower-case hex, which is also the form of report data.
///
/// # Errors
/// [`ParseHexError`](anchorhold_rats::ParseHexError) for everything else.
pub(crate) fn chip(text: &str) -> Result<ChipId, anchorhold_rats::ParseHexError> {
    text.parse::<ReportData>().map(|bytes| ChipId(*bytes.as_bytes()))
}

fn signer(text: &str) -> Result<Signer, ()> {
    match text {
        "vcek" => Ok(Signer::Vcek),
        "vlek" => Ok(Signer::Vlek),
        _ => Err(()),
    }
}

fn provider(text: &str) -> bool {
    let plain = |c: u8| c == b' ' || c.is_ascii_graphic();
    (1..=MAX_PROVIDER_BYTES).contains(&text.len()) && text.bytes().all(plain)
}

/// `N` numbers from 0 to 255 between dots, without leading zeros.
fn numbers<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut parts = text.split('.');
    let mut out = [0; N];
    for number in &mut out {
        let part = parts.next()?;
        *number = part.parse().ok().filter(|number: &u8| number.to_string() == part)?;
    }
    parts.next().is_none().then_some(out)
}
