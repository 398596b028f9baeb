//! The reason codes of a TPM's quote.

crate::codes::codes! {
    /// The key's public area is a TPMT_PUBLIC, wholly and with nothing after it.
    KEY_MALFORMED = Parse "tpm_key_malformed";
    /// The key is of NIST P-256 for ECDSA with SHA-256, and names itself by SHA-256.
    KEY_TYPE = Parse "tpm_key_type";
    /// The quote is a TPMS_ATTEST, wholly and with nothing after it.
    QUOTE_MALFORMED = Parse "tpm_quote_malformed";
    /// The quote was made by a TPM and is a quote: magic and type.
    QUOTE_TYPE = Parse "tpm_quote_type" @ "tpm quote" 0 6;
    /// The quote is over PCRs of the SHA-256 bank and no other.
    PCR_SELECTION = Parse "tpm_pcr_selection";
    /// There is a value of 32 bytes for each PCR that was quoted.
    PCR_COUNT = Parse "tpm_pcr_count";

    /// The certificates of the key are X.509, its own first and a root last.
    CERTIFICATES = Parse "tpm_certificates";

    /// The first certificate is of the key that quotes.
    CERTIFIED_KEY = Identity "tpm_certified_key";
    /// The first certificate is for attestation keys (extended key usage 2.23.133.8.3) and of no certificate authority.
    CERTIFIED_USE = Identity "tpm_certified_use";
    /// Each certificate is valid and issued by the next, and the last by itself.
    CHAIN = Chain "tpm_chain";
    /// The key can sign only what its TPM made, was made in it and cannot leave it: restricted, sign, not decrypt, fixedTPM,
    /// fixedParent, sensitiveDataOrigin.
    KEY_ATTRIBUTES = Identity "tpm_key_attributes" @ "tpm key" 4 4;
    /// The quote names the key as a primary key of the endorsement or the owner hierarchy.
    SIGNER = Identity "tpm_signer" @ "tpm quote" 6 36;

    /// The key signed exactly the received quote (ECDSA with SHA-256).
    QUOTE_SIGNATURE = Signature "tpm_quote_signature";
    /// The digest in the quote is that of the given PCR values.
    PCR_DIGEST = Signature "tpm_pcr_digest";

    /// The policy names at least one key, or a root of certificates.
    KEYS_EMPTY = Policy "tpm_keys_empty";
    /// The key is one that the policy names, or certified below a root that it names.
    KEY = Policy "tpm_key";
    /// The policy names at least one PCR.
    PCRS_EMPTY = Policy "tpm_pcrs_empty";
    /// Every PCR that the policy names was quoted.
    PCR_NOT_QUOTED = Policy "tpm_pcr_not_quoted";
    /// Every PCR that the policy names has a value that it accepts.
    PCR_VALUE = Policy "tpm_pcr_value";

    /// An event log came, when the policy asks for one.
    LOG_MISSING = Eventlog "tpm_log_missing";
    /// The log adds up to each PCR that the policy names.
    LOG_REPLAY = Eventlog "tpm_log_replay";

    /// The extra data of the quote is the nonce that the relying party expects.
    NONCE = Binding "tpm_nonce";
}

/// Under which of them the rules are that every TPM's quote has.
pub(super) const QUOTE: super::QuoteCodes = super::QuoteCodes {
    part: "tpm quote",
    kind: QUOTE_TYPE,
    malformed: QUOTE_MALFORMED,
    selection: PCR_SELECTION,
    count: PCR_COUNT,
    digest: PCR_DIGEST,
    empty: PCRS_EMPTY,
    not_quoted: PCR_NOT_QUOTED,
    value: PCR_VALUE,
};
