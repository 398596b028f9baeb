//! Every disagreement, with who is right and why.

use crate::peers::{Peer, Verdict};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Right {
    Ours,
    /// Neither is wrong: they do not promise the same.
    Scope,
}

/// What ours says, by reason code, where a peer says otherwise.
pub(crate) struct Row {
    pub(crate) peer: Peer,
    /// `accept`, or the reason code of the refusal.
    pub(crate) ours: &'static str,
    pub(crate) right: Right,
    pub(crate) why: &'static str,
}

pub(crate) const TABLE: &[Row] = &[
    row(
        Peer::Sev,
        "accept",
        Right::Scope,
        "the chain was presented without its intermediate, which we have built in and `sev` wants to be given",
    ),
    row(
        Peer::Sev,
        "snp_certificate_malformed",
        Right::Ours,
        "a repeated or unknown critical extension is refused by RFC 5280, section 4.2; `sev` does not read extensions",
    ),
    row(Peer::Sev, "snp_certificate_revoked", Right::Ours, "`sev` takes no revocation list"),
    row(Peer::Sev, "snp_certificate_validity", Right::Ours, "`sev` does not look at validity"),
    row(
        Peer::Sev,
        "snp_chip_id",
        Right::Ours,
        "`sev` does not compare HWID with CHIP_ID, so any chip of the product may have signed",
    ),
    row(Peer::Sev, "snp_crl_count", Right::Scope, "`sev` takes no revocation list"),
    row(Peer::Sev, "snp_crl_freshness", Right::Ours, "`sev` takes no revocation list"),
    row(Peer::Sev, "snp_crl_issuer", Right::Ours, "`sev` takes no revocation list"),
    row(Peer::Sev, "snp_crl_malformed", Right::Ours, "`sev` takes no revocation list"),
    row(Peer::Sev, "snp_crl_missing", Right::Scope, "`sev` takes no policy and no revocation list"),
    row(Peer::Sev, "snp_crl_signature", Right::Ours, "`sev` takes no revocation list"),
    row(
        Peer::Sev,
        "snp_firmware_order",
        Right::Ours,
        "no firmware states a committed version above the current one; `sev` does not compare them",
    ),
    row(Peer::Sev, "snp_firmware_provisional", Right::Scope, "`sev` takes no policy"),
    row(Peer::Sev, "snp_firmware_version", Right::Scope, "`sev` takes no policy"),
    row(
        Peer::Sev,
        "snp_guest_policy_reserved",
        Right::Ours,
        "the ABI fixes bit 17 to one and the high bits to zero; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_intermediate_authority",
        Right::Ours,
        "who is no CA for certificates cannot issue a VCEK (RFC 5280, section 4.2.1.9); `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_intermediate_crl_link",
        Right::Ours,
        "an intermediate that points to another product's list is none of AMD's; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_intermediate_kind",
        Right::Ours,
        "ASKs issue VCEKs and ASVKs VLEKs; `sev` takes either for both",
    ),
    row(
        Peer::Sev,
        "snp_intermediate_product",
        Right::Ours,
        "an intermediate named for another product; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_intermediate_signature",
        Right::Ours,
        "the certificate names other PSS parameters than it was signed with; `sev` compares the algorithm alone",
    ),
    row(
        Peer::Sev,
        "snp_leaf_extensions",
        Right::Ours,
        "without AMD's extensions nothing says which chip and TCB were certified; `sev` does not read them",
    ),
    row(
        Peer::Sev,
        "snp_leaf_issuer",
        Right::Ours,
        "the leaf names another issuer; `sev` does not compare names",
    ),
    row(Peer::Sev, "snp_leaf_key", Right::Ours, "a VCEK is no CA; `sev` does not look"),
    row(
        Peer::Sev,
        "snp_leaf_kind",
        Right::Ours,
        "the leaf is not the kind of key that SIGNING_KEY names; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_leaf_signature",
        Right::Ours,
        "the certificate names other PSS parameters than it was signed with; `sev` compares the algorithm alone",
    ),
    row(Peer::Sev, "snp_mitigations", Right::Scope, "`sev` takes no policy"),
    row(
        Peer::Sev,
        "snp_no_trust_anchor",
        Right::Ours,
        "the intermediate names another root; `sev` does not compare names",
    ),
    row(
        Peer::Sev,
        "snp_presented_root",
        Right::Ours,
        "the chain that was presented ends in another root than the one that is pinned",
    ),
    row(
        Peer::Sev,
        "snp_product_cpuid",
        Right::Ours,
        "`sev` does not compare the CPUID of the report with the product of the certificate",
    ),
    row(
        Peer::Sev,
        "snp_report_reserved",
        Right::Ours,
        "a reserved bit beside SIGNING_KEY; `sev` masks it away",
    ),
    row(
        Peer::Sev,
        "snp_report_unsigned",
        Right::Ours,
        "SIGNING_KEY and MASK_CHIP_KEY say that no chip key signed; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_report_version",
        Right::Ours,
        "what an unknown version means is unknown; `sev` reads 6 and above as 5",
    ),
    row(
        Peer::Sev,
        "snp_signature_algorithm",
        Right::Ours,
        "SIGNATURE_ALGO is not ECDSA P-384; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_signature_padding",
        Right::Ours,
        "bytes that no signature covers must be zero, else one report has many encodings; `sev` ignores them",
    ),
    row(
        Peer::Sev,
        "snp_signing_key_reserved",
        Right::Ours,
        "a reserved value of SIGNING_KEY; `sev` does not look",
    ),
    row(
        Peer::Sev,
        "snp_tcb_certified",
        Right::Ours,
        "the key was certified for another TCB than the report states; `sev` does not compare",
    ),
    row(Peer::Sev, "snp_tcb_committed_minimum", Right::Scope, "`sev` takes no policy"),
    row(Peer::Sev, "snp_tcb_launch_minimum", Right::Scope, "`sev` takes no policy"),
    row(Peer::Sev, "snp_tcb_minimum", Right::Scope, "`sev` takes no policy"),
    row(
        Peer::Sev,
        "snp_tcb_order",
        Right::Ours,
        "no TCB may be above the current one; `sev` does not compare them",
    ),
    row(Peer::Sev, "snp_vmpl_range", Right::Ours, "there is no such VMPL; `sev` does not look"),
    row(
        Peer::DcapQvl,
        "accept",
        Right::Scope,
        "dcap-qvl refuses debug TDs, and hardening advice without a policy of its own; ours leaves both to a caller who says so",
    ),
    row(
        Peer::DcapQvl,
        "tdx_ca_authority",
        Right::Ours,
        "a PCK CA that may not sign certificates cannot issue (RFC 5280, section 4.2.1.3)",
    ),
    row(
        Peer::DcapQvl,
        "tdx_certification_type",
        Right::Ours,
        "the outer certification data is not of the type that Intel's quotes have; dcap-qvl does not look at it",
    ),
    row(
        Peer::DcapQvl,
        "tdx_crl_freshness",
        Right::Ours,
        "a list that is issued in the future is not the current one; dcap-qvl looks at its end alone",
    ),
    row(
        Peer::DcapQvl,
        "tdx_crl_issuer",
        Right::Ours,
        "the chain that came with the list is not that of its issuer; dcap-qvl does not read it",
    ),
    row(
        Peer::DcapQvl,
        "tdx_evaluation_number",
        Right::Scope,
        "a rule of the caller, which dcap-qvl was not given",
    ),
    row(
        Peer::DcapQvl,
        "tdx_header_reserved",
        Right::Ours,
        "reserved bytes of a version 4 header are zero; dcap-qvl ignores them",
    ),
    row(
        Peer::DcapQvl,
        "tdx_leaf_authority",
        Right::Ours,
        "a PCK certificate whose key usage forbids signatures, or allows issuing; dcap-qvl does not look",
    ),
    row(
        Peer::DcapQvl,
        "tdx_leaf_name",
        Right::Ours,
        "a leaf with another name than Intel's PCK certificates have; dcap-qvl does not look",
    ),
    row(
        Peer::DcapQvl,
        "tdx_pce_id",
        Right::Ours,
        "TCB info of another PCE; dcap-qvl does not compare PCE-IDs",
    ),
    row(
        Peer::DcapQvl,
        "tdx_qe_identity_kind",
        Right::Scope,
        "QE identity of version 3, whose meaning we do not know; dcap-qvl reads it as version 2",
    ),
    row(
        Peer::DcapQvl,
        "tdx_qe_report_data_tail",
        Right::Ours,
        "the upper half of the QE's report data is zero by Intel's specification; dcap-qvl compares the lower half",
    ),
    row(
        Peer::DcapQvl,
        "tdx_signer_authority",
        Right::Ours,
        "a TCB signer whose key usage forbids signatures; dcap-qvl does not look",
    ),
    row(
        Peer::DcapQvl,
        "tdx_tcb_info_kind",
        Right::Ours,
        "a tcbType with another meaning of levels; dcap-qvl does not look",
    ),
    row(
        Peer::DcapQvl,
        "tdx_trailing_bytes",
        Right::Ours,
        "bytes that no signature covers follow the quote; dcap-qvl takes any",
    ),
];

const fn row(peer: Peer, ours: &'static str, right: Right, why: &'static str) -> Row {
    Row { peer, ours, right, why }
}

/// Disagreements by peer and what ours says: the cases, and what the peer said of the first.
#[derive(Debug, Default)]
pub(crate) struct Disagreements {
    found: BTreeMap<(Peer, String), Vec<(String, Verdict)>>,
    /// How many times two verdicts were compared.
    pub(crate) compared: usize,
    /// Cases that only a rule of ours for the caller's policy refuses.
    pub(crate) policy_only: usize,
}

impl Disagreements {
    pub(crate) fn compare(&mut self, peer: Peer, ours: &str, theirs: &Verdict, case: &str) {
        self.compared += 1;
        let agree = match theirs {
            Verdict::Accept => ours == "accept",
            Verdict::Refuse(_) => ours != "accept",
            Verdict::Panic => false,
        };
        if !agree {
            let cases = self.found.entry((peer, ours.to_owned())).or_default();
            cases.push((case.to_owned(), theirs.clone()));
        }
    }

    pub(crate) fn shows(&self, row: &Row) -> bool {
        self.found.contains_key(&(row.peer, row.ours.to_owned()))
    }

    /// What is not in the table, one line each.
    pub(crate) fn unlisted(&self) -> Vec<String> {
        self.found
            .iter()
            .filter(|((peer, ours), _)| !TABLE.iter().any(|row| row.peer == *peer && row.ours == ours))
            .map(|((peer, ours), cases)| format!("{} {ours}: {cases:?}", peer.name()))
            .collect()
    }

    /// The table as a document, with the cases of the suite.
    pub(crate) fn document(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").unwrap();
        line(HEAD.to_owned());
        line(format!(
            "Compared: {} cases of `tests/vectors/rejection`. Not compared: {} that only a rule of the relying party's \
             policy refuses, which neither peer takes.\n",
            self.compared, self.policy_only
        ));
        line("| Peer | Ours | Peer says | Right | Why | Cases |".to_owned());
        line("|---|---|---|---|---|---|".to_owned());
        for row in TABLE {
            let found = self.found.get(&(row.peer, row.ours.to_owned())).map_or(&[][..], Vec::as_slice);
            let cases = found.iter().map(|(case, _)| case.as_str()).collect::<Vec<_>>().join(", ");
            let says = match found.first() {
                Some((_, Verdict::Panic)) => "panics",
                _ if row.ours == "accept" => "refuses",
                _ => "accepts",
            };
            let right = match row.right {
                Right::Ours => "ours",
                Right::Scope => "neither is wrong",
            };
            line(format!(
                "| {} | `{}` | {says} | {right} | {} | {cases} |",
                row.peer.name(),
                row.ours,
                row.why
            ));
        }
        text.push_str(TAIL);
        text
    }
}

/// What no test can run again.
const TAIL: &str = "
## NVIDIA's verifier

The table has no row of it: it is Python, takes no time and no OCSP response as an argument, and asks NVIDIA's services, so no test here runs
it. It was run by hand on 2026-11-29: `nv-local-gpu-verifier` 2.7.3 from PyPI, its own functions in the order of its `attest`, on the real samples
at the times of their manifest. Two things were changed from outside: certificates were judged for the sample's time, and OCSP was answered
with \"good\" without a question, so revocation was not compared.

| What was judged (case of `tests/vectors/real`) | NVIDIA's verifier | Ours |
|---|---|---|
| H100, driver 545.00: report, chain, both manifests, measurements (`nvidia-hopper-545-full`) | accepts | accepts |
| the same after a certificate of the driver's manifest has expired (`nvidia-hopper-545-full-ended`) | refuses | refuses |
| the same for another nonce (no case) | refuses | refuses |
| H100, driver 535.86.09: report and chain (`nvidia-hopper-535`) | accepts | accepts |
| the same with a driver manifest that was changed after signing (`nvidia-hopper-535-tampered`) | refuses | refuses |
| the same with the driver manifest of 545.00 (no case) | refuses, the measurements | refuses, the version |
| H100, driver 570.124.03: report and chain (`nvidia-hopper-570`) | accepts | accepts |
| the same with an expired driver manifest (`nvidia-hopper-570-expired`) | refuses | refuses |
| H100, driver 560.00, with the chain of another GPU (`nvidia-hopper-560-badsig`) | refuses; its check of the chain finds another FWID, and its caller then ends in a `TypeError` | refuses |
| Blackwell, driver 575.32: report and chain (`nvidia-blackwell-575`) | accepts | accepts |
| a driver manifest with a changed signature, and one with certificates of another root (`nvidia-hopper-545-full-bad-signature`, `-bad-chain`) | refuses both | refuses both |
| a chain of the root alone, one without an intermediate, one without its leaf (`nvidia-hopper-545-full-chain-2` to `-4`) | refuses all | refuses all |

No disagreement about a verdict was found. Not compared: OCSP, switches, boards, the measurements of samples that lack one of the two manifests,
and the cases of `tests/vectors/rejection`, whose simulated devices end in a root of ours. Azure's paravisor has no row either: no verifier for it was at hand.
";

const HEAD: &str = "# Disagreements

Where our verifier and another one do not agree about the same evidence. Written by
`WRITE=1 cargo test --release --manifest-path tests/differential/Cargo.toml --test disagreements`; the same test fails on a disagreement that
is not listed, and on a row that no longer holds. *Ours* is the reason code with which we refuse, or `accept`.
";
