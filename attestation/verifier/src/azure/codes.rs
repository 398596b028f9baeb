//! The reason codes of a paravisor's evidence.

crate::codes::codes! {
    /// The HCL report is 1236 to 4096 bytes.
    HCL_LENGTH = Parse "azure_hcl_length";
    /// Signature, versions, request type and reserved fields of the HCL report are the documented ones.
    HCL_HEADER = Parse "azure_hcl_header";
    /// The three lengths in the HCL report agree, and the claims lie inside it.
    HCL_SIZES = Parse "azure_hcl_sizes";
    /// The hardware report is of SNP (2) or TDX (4).
    HCL_REPORT_TYPE = Parse "azure_hcl_report_type" @ "hcl report" 1224 4;
    /// The digest of the claims is SHA-256 (1).
    HCL_HASH_TYPE = Parse "azure_hcl_hash_type" @ "hcl report" 1228 4;
    /// What follows the claims is zero.
    HCL_PADDING = Parse "azure_hcl_padding";
    /// The hardware report of a TD is a TDREPORT, and the rest of its field is zero.
    TD_REPORT = Parse "azure_td_report";
    /// The runtime claims are the documented JSON, and give no documented member twice.
    CLAIMS_JSON = Parse "azure_claims_json";
    /// The claims hold one HCLAkPub, an RSA key of 2048 to 4096 bits with exponent 65537.
    CLAIMS_KEY = Parse "azure_claims_key";
    /// The quote is a TPMS_ATTEST, wholly and with nothing after it.
    QUOTE_MALFORMED = Parse "azure_quote_malformed";
    /// The quote was made by a TPM and is a quote: magic and type.
    QUOTE_TYPE = Parse "azure_quote_type" @ "vtpm quote" 0 6;
    /// The quote is over PCRs of the SHA-256 bank and no other.
    PCR_SELECTION = Parse "azure_pcr_selection";
    /// There is a value of 32 bytes for each PCR that was quoted.
    PCR_COUNT = Parse "azure_pcr_count";

    /// The hardware report is of the kind of TEE that the evidence names.
    TEE_KIND = Identity "azure_tee_kind" @ "hcl report" 1224 4;
    /// The hardware report is the one that was authenticated, or what the authenticated quote was made from.
    TEE_REPORT = Identity "azure_tee_report" @ "hcl report" 32 1184;
    /// The TEE's report data is the SHA-256 digest of the claims and 32 zero bytes.
    CLAIMS_DIGEST = Binding "azure_claims_digest";

    /// HCLAkPub signed exactly the received quote (RSASSA-PKCS1-v1_5, SHA-256).
    QUOTE_SIGNATURE = Signature "azure_quote_signature";
    /// The digest in the quote is that of the given PCR values.
    PCR_DIGEST = Signature "azure_pcr_digest";

    /// The policy names at least one PCR.
    PCRS_EMPTY = Policy "azure_pcrs_empty";
    /// Every PCR that the policy names was quoted.
    PCR_NOT_QUOTED = Policy "azure_pcr_not_quoted";
    /// Every PCR that the policy names has a value that it accepts.
    PCR_VALUE = Policy "azure_pcr_value";
    /// The claims say that Secure Boot is on.
    SECURE_BOOT = Policy "azure_secure_boot";
    /// The claims say that the console is off, when the policy asks for it.
    CONSOLE = Policy "azure_console";
    /// The machine is one that the policy names.
    VM_ID = Policy "azure_vm_id";

    /// The extra data of the quote is the nonce that the relying party expects.
    NONCE = Binding "azure_nonce";
}

/// Under which of them the rules about the TPM's quote are.
pub(super) const QUOTE: crate::tpm::QuoteCodes = crate::tpm::QuoteCodes {
    part: "vtpm quote",
    kind: QUOTE_TYPE,
    malformed: QUOTE_MALFORMED,
    selection: PCR_SELECTION,
    count: PCR_COUNT,
    digest: PCR_DIGEST,
    empty: PCRS_EMPTY,
    not_quoted: PCR_NOT_QUOTED,
    value: PCR_VALUE,
};
