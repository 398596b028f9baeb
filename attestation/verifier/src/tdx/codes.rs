//! The reason codes of TDX quotes, their chains and their collateral.
//!
//! Offsets of body fields depend on the version of the quote, so the rules that judge one name it where they are recorded.

crate::codes::codes! {
    /// Every part of the quote ends inside the received bytes.
    QUOTE_TRUNCATED = Parse "tdx_quote_truncated";
    /// The version is 4 or 5.
    QUOTE_VERSION = Parse "tdx_quote_version" @ "quote" 0 2;
    /// The attestation key is ECDSA on P-256 (type 2).
    ATTESTATION_KEY_TYPE = Parse "tdx_attestation_key_type" @ "quote" 2 2;
    /// The TEE type is 0x81, TDX.
    TEE_TYPE = Parse "tdx_tee_type" @ "quote" 4 4;
    /// The reserved bytes of a version 4 header are zero.
    HEADER_RESERVED = Parse "tdx_header_reserved" @ "quote" 8 4;
    /// The quoting enclave is Intel's.
    QE_VENDOR = Parse "tdx_qe_vendor" @ "quote" 12 16;
    /// The body of a version 5 quote is of a TD 1.0, 1.5 or 1.5 extended.
    BODY_TYPE = Parse "tdx_body_type" @ "quote" 48 2;
    /// The body of a version 5 quote has exactly the size of its type.
    BODY_SIZE = Parse "tdx_body_size" @ "quote" 50 4;
    /// The parts of the signature data fill it exactly, and the authentication data is 32 bytes.
    SIGNATURE_LAYOUT = Parse "tdx_signature_layout";
    /// The certification data is a QE report (type 6) with a PCK certificate chain (type 5).
    CERTIFICATION_TYPE = Parse "tdx_certification_type";
    /// What follows the quote is zero and within the limit.
    TRAILING_BYTES = Parse "tdx_trailing_bytes";
    /// Each chain is strict PEM of X.509 v3 certificates in strict DER.
    CERTIFICATE_MALFORMED = Parse "tdx_certificate_malformed";
    /// A PCK chain has three certificates and the chain of a signer of collateral two.
    CERTIFICATE_COUNT = Parse "tdx_certificate_count";

    /// The last certificate of each chain is the pinned root, byte for byte: a chain to another root ends here.
    NO_TRUST_ANCHOR = Chain "tdx_no_trust_anchor";
    /// The issuer of the PCK certificate is Intel's platform or processor CA.
    CA_NAME = Chain "tdx_ca_name";
    /// That CA may sign certificates and revocation lists, and allows no further CA.
    CA_AUTHORITY = Chain "tdx_ca_authority";
    /// The pinned root issued and signed that CA.
    CA_SIGNATURE = Chain "tdx_ca_signature";
    /// The leaf is a PCK certificate.
    LEAF_NAME = Chain "tdx_leaf_name";
    /// The leaf signs data with a key on P-256 and is not a CA.
    LEAF_AUTHORITY = Chain "tdx_leaf_authority";
    /// The CA issued and signed the leaf.
    LEAF_SIGNATURE = Chain "tdx_leaf_signature";
    /// Intel's extension of the leaf is well-formed and complete.
    LEAF_EXTENSION = Chain "tdx_leaf_extension";
    /// Every certificate of the PCK chain is valid at the given time.
    CERTIFICATE_VALIDITY = Chain "tdx_certificate_validity";

    /// The PCK key signed the report of the quoting enclave.
    QE_REPORT_SIGNATURE = Signature "tdx_qe_report_signature";
    /// The report of the quoting enclave commits to the attestation key and the authentication data.
    QE_REPORT_DATA = Signature "tdx_qe_report_data";
    /// The second half of that report data, which commits to nothing, is zero.
    QE_REPORT_DATA_TAIL = Signature "tdx_qe_report_data_tail";
    /// The attestation key signed header and body.
    QUOTE_SIGNATURE = Signature "tdx_quote_signature";

    /// Collateral came with the quote: without it nothing is known of revocation and TCB.
    COLLATERAL_MISSING = Collateral "tdx_collateral_missing";
    /// The pinned root issued and signed the signer of the collateral.
    SIGNER_SIGNATURE = Collateral "tdx_signer_signature";
    /// The signer of the collateral is Intel's TCB signing certificate.
    SIGNER_NAME = Collateral "tdx_signer_name";
    /// The signer of the collateral signs data with a key on P-256 and is not a CA.
    SIGNER_AUTHORITY = Collateral "tdx_signer_authority";
    /// The signer of the collateral is valid at the given time.
    SIGNER_VALIDITY = Collateral "tdx_signer_validity";
    /// The issuer chain of the PCK revocation list is that of the CA that issued the PCK certificate.
    CRL_ISSUER = Collateral "tdx_crl_issuer";
    /// Both revocation lists are well-formed.
    CRL_MALFORMED = Collateral "tdx_crl_malformed";
    /// The root signed its revocation list, and the PCK CA its own.
    CRL_SIGNATURE = Collateral "tdx_crl_signature";
    /// Both revocation lists are the current ones at the given time.
    CRL_FRESHNESS = Collateral "tdx_crl_freshness";
    /// No certificate in use is revoked.
    CERTIFICATE_REVOKED = Collateral "tdx_certificate_revoked";
    /// The TCB signer signed exactly this TCB info.
    TCB_INFO_SIGNATURE = Collateral "tdx_tcb_info_signature";
    /// The TCB info has the documented shape, known words only, and no key twice.
    TCB_INFO_MALFORMED = Collateral "tdx_tcb_info_malformed";
    /// The TCB info is of TDX, version 3, with TCB type 0.
    TCB_INFO_KIND = Collateral "tdx_tcb_info_kind";
    /// The TCB info is the current one at the given time.
    TCB_INFO_DATES = Collateral "tdx_tcb_info_dates";
    /// The TCB signer signed exactly this QE identity.
    QE_IDENTITY_SIGNATURE = Collateral "tdx_qe_identity_signature";
    /// The QE identity has the documented shape, known words only, and no key twice.
    QE_IDENTITY_MALFORMED = Collateral "tdx_qe_identity_malformed";
    /// The QE identity is of the TD quoting enclave, version 2.
    QE_IDENTITY_KIND = Collateral "tdx_qe_identity_kind";
    /// The QE identity is the current one at the given time.
    QE_IDENTITY_DATES = Collateral "tdx_qe_identity_dates";

    /// The TCB info is of the FMSPC in the PCK certificate.
    FMSPC = Identity "tdx_fmspc";
    /// The TCB info is of the PCE-ID in the PCK certificate.
    PCE_ID = Identity "tdx_pce_id";
    /// MRSIGNER of the quoting enclave is that of the QE identity.
    QE_MRSIGNER = Identity "tdx_qe_mrsigner";
    /// ISVPRODID of the quoting enclave is that of the QE identity.
    QE_PRODUCT = Identity "tdx_qe_product";
    /// ATTRIBUTES of the quoting enclave are those of the QE identity, under its mask.
    QE_ATTRIBUTES = Identity "tdx_qe_attributes";
    /// MISCSELECT of the quoting enclave is that of the QE identity, under its mask.
    QE_MISCSELECT = Identity "tdx_qe_miscselect";
    /// The TCB info names the TDX module of this major version.
    MODULE_UNKNOWN = Identity "tdx_module_unknown";
    /// MRSIGNERSEAM is the signer of that module.
    MRSIGNERSEAM = Identity "tdx_mrsignerseam";
    /// SEAMATTRIBUTES are those of that module under its mask, and zero outside it.
    SEAM_ATTRIBUTES = Identity "tdx_seam_attributes";

    /// The platform meets a TCB level.
    PLATFORM_LEVEL = Tcb "tdx_platform_level";
    /// The TDX module meets a TCB level of its identity.
    MODULE_LEVEL = Tcb "tdx_module_level";
    /// The quoting enclave meets a TCB level of its identity.
    QE_LEVEL = Tcb "tdx_qe_level";
    /// No part of the TCB is revoked.
    TCB_REVOKED = Tcb "tdx_tcb_revoked";
    /// The TCB status is one that the policy accepts, or within its grace, or its advisories are all accepted.
    TCB_STATUS = Tcb "tdx_tcb_status";
    /// TCB info and QE identity are of the policy's evaluation number or a later one.
    EVALUATION_NUMBER = Tcb "tdx_evaluation_number";

    /// The policy names at least one MRTD.
    MRTDS_EMPTY = Policy "tdx_mrtds_empty";
    /// MRTD is one that the policy names.
    MRTD = Policy "tdx_mrtd";
    /// Simulated roots are accepted only by a policy that was told so.
    SIMULATED = Policy "tdx_simulated";
    /// The policy accepts zero bytes after the quote, or there are none.
    PADDING = Policy "tdx_padding";
    /// RTMR0 is the one that the policy names.
    RTMR0 = Policy "tdx_rtmr0";
    /// RTMR1 is the one that the policy names.
    RTMR1 = Policy "tdx_rtmr1";
    /// RTMR2 is the one that the policy names.
    RTMR2 = Policy "tdx_rtmr2";
    /// RTMR3 is the one that the policy names.
    RTMR3 = Policy "tdx_rtmr3";
    /// MRSEAM is one that the policy names.
    MRSEAM = Policy "tdx_mrseam";
    /// MRCONFIGID is the one that the policy names.
    MR_CONFIG_ID = Policy "tdx_mr_config_id";
    /// MROWNER is the one that the policy names.
    MR_OWNER = Policy "tdx_mr_owner";
    /// MROWNERCONFIG is the one that the policy names.
    MR_OWNER_CONFIG = Policy "tdx_mr_owner_config";
    /// The TD is not under debug.
    DEBUG = Policy "tdx_debug";
    /// The TD is not under profiling.
    PROFILING = Policy "tdx_profiling";
    /// No reserved or unknown bit of TDATTRIBUTES is set.
    ATTRIBUTES_RESERVED = Policy "tdx_attributes_reserved";
    /// The TD gets no exception that the host can cause on its private pages (SEPT_VE_DISABLE).
    SEPT_VE_DISABLE = Policy "tdx_sept_ve_disable";
    /// The TD cannot be migrated.
    MIGRATABLE = Policy "tdx_migratable";
    /// The TD does not use performance monitoring.
    PERFMON = Policy "tdx_perfmon";
    /// The protection-keys bit is as the policy asks.
    PKS = Policy "tdx_pks";
    /// The key-locker bit is as the policy asks.
    KEY_LOCKER = Policy "tdx_key_locker";
    /// The address-space-separation bit is as the policy asks.
    LASS = Policy "tdx_lass";
    /// The single-step-defence bit is as the policy asks.
    STEP_DEFENCE = Policy "tdx_step_defence";
    /// The provisioning-agent bit is as the policy asks.
    PROVISIONING_AGENT = Policy "tdx_provisioning_agent";
    /// Bits 0 and 1 of XFAM are one and bits outside the known ones are zero.
    XFAM_FIXED = Policy "tdx_xfam_fixed";
    /// XFAM is the one that the policy names.
    XFAM = Policy "tdx_xfam";
    /// Every service TD that is or was bound to this TD is one that the policy names.
    SERVICE_TD = Policy "tdx_service_td";
    /// A TD with extended service TD binding shows what is bound, in an extended body, to a policy that names service TDs.
    SERVICE_TD_EXTENDED = Policy "tdx_service_td_extended";
    /// The devices that are bound to this TD are those that the policy names.
    DEVICE_INFO = Policy "tdx_device_info";
    /// The report is of a VM index that the policy names.
    VM_INDEX = Policy "tdx_vm_index";
    /// The dynamic-platform flag of the PCK certificate is as the policy asks.
    DYNAMIC_PLATFORM = Policy "tdx_dynamic_platform";
    /// The cached-keys flag of the PCK certificate is as the policy asks.
    CACHED_KEYS = Policy "tdx_cached_keys";
    /// The SMT flag of the PCK certificate is as the policy asks.
    SMT = Policy "tdx_smt";
    /// The platform is not one that the policy denies.
    PLATFORM_DENIED = Policy "tdx_platform_denied";
    /// The platform is one that the policy allows.
    PLATFORM_NOT_ALLOWED = Policy "tdx_platform_not_allowed";

    /// REPORTDATA is what the relying party computed itself.
    REPORT_DATA = Binding "tdx_report_data";
}
