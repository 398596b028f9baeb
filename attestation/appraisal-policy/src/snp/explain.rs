//! Every rule of the table `[snp]` with the value in force.

use super::{Snp, floors};
use crate::words::{flag_word, list, machines_word, none_or, or_any};
use crate::{Rule, hex};
use anchorhold_rats::Measurement;
use anchorhold_verifier::snp::{ChipId, Flag, MinimumTcb, Policy, Signer};
use toml::{Table, Value};

const UNCHECKED_MICROCODE: &str = "\
the host may load microcode of its own: its loader checks signatures from 219 (Milan), 84 (Genoa) and 71 (Turin) on \
(CVE-2024-56161, AMD-SB-3019, AMD-SB-7033)";

pub(crate) fn rules(snp: &Snp) -> Vec<Rule> {
    let policy = &snp.policy;
    let mut out = rules_of_origin(snp);
    out.extend(rules_of_guest(policy));
    out.extend(rules_of_firmware(policy));
    out.extend(rules_of_guest_policy(policy));
    out.extend(rules_of_platform(policy));
    out
}

/// What may have signed the report, and of what.
fn rules_of_origin(snp: &Snp) -> Vec<Rule> {
    let policy = &snp.policy;
    let products = floors::products(&policy.min_tcb);
    let mut out = vec![
        Rule::permits("snp.debug", false, "guests that the host can debug are refused"),
        Rule::permits("snp.migration", false, "guests that a migration agent can export are refused"),
        Rule::permits("snp.simulated", false, "evidence under another root than AMD's is refused"),
        Rule::accepts(
            "snp.measurements",
            list(&policy.measurements, |digest: &Measurement| format!("sha384:{digest}")),
            "the launch digests that are accepted",
        )
        .weaker_if(policy.measurements.is_empty(), "no launch digest is named, so every guest is refused"),
        Rule::accepts("snp.products", list(&products, |name| *name), "the product lines that are accepted"),
        Rule::accepts(
            "snp.vmpls",
            list(&policy.allowed_vmpls, |vmpl| i64::from(*vmpl)),
            "the privilege levels in the guest that may ask for the report",
        )
        .weaker_if(policy.allowed_vmpls != [0], "software above level 0 can ask for such reports"),
        Rule::accepts(
            "snp.signers",
            list(&policy.allowed_signers, |signer| if *signer == Signer::Vcek { "vcek" } else { "vlek" }),
            "the kinds of keys that may sign: of one chip (vcek), or of a cloud provider (vlek)",
        )
        .weaker_if(
            policy.allowed_signers.contains(&Signer::Vlek),
            "a provider's key names no chip, so no machine can be allowed or revoked",
        ),
        Rule::accepts(
            "snp.allowed_providers",
            or_any(policy.allowed_providers.as_ref(), |all| list(all, |id| Value::from(id.as_str()))),
            "the providers (CSP_ID) whose keys may sign; asks nothing of a chip's own key",
        )
        .weaker_if(
            policy.allowed_signers.contains(&Signer::Vlek) && policy.allowed_providers.is_none(),
            "the key of any provider and region will do",
        ),
        Rule::accepts(
            "snp.machines",
            machines_word(policy.allowed_chips.as_ref(), ChipId::to_string),
            "the chips that are accepted; \"listed\" are those of the machine lists",
        )
        .weaker_if(
            policy.allowed_chips.is_none(),
            "any chip of the product will do, also one in an attacker's hands",
        ),
        Rule::restricts(
            "snp.denied_machines",
            none_or(&policy.denied_chips, ChipId::to_string),
            "the chips that are refused",
        ),
    ];
    if let Some(because) = &snp.milan_because {
        let why =
            "Milan's root seed can be recovered by software (arXiv 2605.12990), so its reports can be forged";
        let rule = Rule::says("snp.milan_because", because.as_str(), "why Milan is accepted all the same");
        out.push(rule.weaker_if(true, why));
    }
    out
}

fn rules_of_guest(policy: &Policy) -> Vec<Rule> {
    let hex_word = |bytes: &[u8]| Value::from(hex::encode(bytes));
    let mut out = vec![
        Rule::at_least("snp.min_guest_svn", i64::from(policy.min_guest_svn), "the lowest GUEST_SVN"),
        Rule::accepts("snp.host_data", or_any(policy.host_data.as_ref(), |b| hex_word(b)), "HOST_DATA"),
        Rule::accepts("snp.family_id", or_any(policy.family_id.as_ref(), |b| hex_word(b)), "FAMILY_ID"),
        Rule::accepts("snp.image_id", or_any(policy.image_id.as_ref(), |b| hex_word(b)), "IMAGE_ID"),
    ];
    for (path, keys, meaning) in [
        ("snp.id_keys", &policy.id_keys, "the digests of accepted ID keys"),
        ("snp.author_keys", &policy.author_keys, "the digests of accepted author keys"),
    ] {
        let word = or_any(keys.as_ref(), |keys| list(keys, |key| hex::encode(key)));
        out.push(Rule::accepts(path, word, meaning));
    }
    let meaning = "the ID key must be signed by an author key";
    out.push(Rule::demands("snp.require_author_key", policy.require_author_key, meaning));
    out
}

fn rules_of_firmware(policy: &Policy) -> Vec<Rule> {
    let floor = |path, minima: &Option<MinimumTcb>, meaning, why| {
        Rule::at_least(path, or_any(minima.as_ref(), floors::table), meaning).weaker_if(minima.is_none(), why)
    };
    let vector = |bits: u64| Value::from(i64::try_from(bits).unwrap_or(i64::MAX));
    let mut mitigations = Table::new();
    mitigations.insert("launch".to_owned(), vector(policy.required_mitigations.launch));
    mitigations.insert("current".to_owned(), vector(policy.required_mitigations.current));
    vec![
        Rule::at_least("snp.min_tcb", floors::table(&policy.min_tcb), "the lowest firmware that is reported")
            .weaker_if(floors::are_below_fixes(&policy.min_tcb), UNCHECKED_MICROCODE),
        floor(
            "snp.min_committed_tcb",
            &policy.min_committed_tcb,
            "the lowest firmware to which the platform can be rolled back",
            "the platform may be rolled back to any firmware",
        ),
        floor(
            "snp.min_launch_tcb",
            &policy.min_launch_tcb,
            "the lowest firmware under which the guest was launched",
            "the guest may have been launched under any firmware",
        ),
        Rule::demands(
            "snp.require_committed_firmware",
            policy.require_committed_firmware,
            "the firmware in use cannot be rolled back",
        ),
        Rule::at_least(
            "snp.min_firmware_version",
            or_any(policy.min_firmware_version.as_ref(), |version| Value::from(version.to_string())),
            "the lowest committed version of the SNP firmware",
        ),
        Rule::bits(
            "snp.required_mitigations",
            Value::Table(mitigations),
            "mitigations that must be active at launch and now",
        ),
        Rule::demands(
            "snp.require_alias_check",
            policy.require_alias_check,
            "the check for memory aliases is complete (BadRAM, CVE-2024-21944, AMD-SB-3015)",
        )
        .weaker_if(
            !policy.require_alias_check,
            "a memory module that lies about its size can alias the guest's memory",
        ),
        Rule::demands("snp.require_crl", policy.require_crl, "a revocation list of AMD must be judged")
            .weaker_if(!policy.require_crl, "a certificate that AMD revoked may go unnoticed"),
    ]
}

fn rules_of_guest_policy(policy: &Policy) -> Vec<Rule> {
    let rules = &policy.guest_policy;
    let mut out: Vec<_> = [
        ("snp.guest_policy.smt_allowed", rules.smt_allowed, "SMT is allowed"),
        ("snp.guest_policy.single_socket", rules.single_socket, "the guest runs on one socket only"),
        ("snp.guest_policy.cxl_allowed", rules.cxl_allowed, "CXL memory may be attached"),
        ("snp.guest_policy.aes_256_xts", rules.aes_256_xts, "memory is encrypted with AES-256-XTS"),
        ("snp.guest_policy.rapl_disabled", rules.rapl_disabled, "power readings are off (PLATYPUS)"),
        ("snp.guest_policy.ciphertext_hiding", rules.ciphertext_hiding, "ciphertext hiding is demanded"),
        ("snp.guest_policy.page_swap_disabled", rules.page_swap_disabled, "the host swaps no page"),
    ]
    .into_iter()
    .map(|(path, rule, meaning)| Rule::accepts(path, flag_word(rule), meaning))
    .collect();
    if let Some(cxl) = out.get_mut(2) {
        *cxl = cxl.clone().weaker_if(rules.cxl_allowed != Flag::Clear, "CXL memory is outside the package");
    }
    let (major, minor) = rules.min_abi_version;
    let meaning = "the lowest firmware ABI that the guest asked for";
    out.push(Rule::at_least("snp.guest_policy.min_abi_version", format!("{major}.{minor}"), meaning));
    out
}

fn rules_of_platform(policy: &Policy) -> Vec<Rule> {
    let rules = &policy.platform;
    [
        ("snp.platform.smt_enabled", rules.smt_enabled, "SMT is on"),
        ("snp.platform.tsme_enabled", rules.tsme_enabled, "transparent memory encryption is on"),
        ("snp.platform.ecc_enabled", rules.ecc_enabled, "memory has ECC"),
        ("snp.platform.rapl_disabled", rules.rapl_disabled, "power readings are off"),
        (
            "snp.platform.ciphertext_hiding_enabled",
            rules.ciphertext_hiding_enabled,
            "ciphertext hiding is on",
        ),
        ("snp.platform.tio_enabled", rules.tio_enabled, "SEV-TIO is on"),
    ]
    .into_iter()
    .map(|(path, rule, meaning)| Rule::accepts(path, flag_word(rule), meaning))
    .collect()
}
