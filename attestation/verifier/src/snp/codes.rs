//! The reason codes of SEV-SNP reports and their chains.

crate::codes::codes! {
    /// The report is exactly 1184 bytes.
    REPORT_LENGTH = Parse "snp_report_length";
    /// VERSION is 2, 3, 4 or 5.
    REPORT_VERSION = Parse "snp_report_version" @ "report" 0x0 4;
    /// SIGNATURE_ALGO is 1, ECDSA P-384 with SHA-384.
    SIGNATURE_ALGORITHM = Parse "snp_signature_algorithm" @ "report" 0x34 4;
    /// All reserved bytes and bits of the signed part are zero.
    REPORT_RESERVED = Parse "snp_report_reserved";
    /// The bytes that no signature covers are zero: R and S above 48 bytes, and the tail of the signature.
    SIGNATURE_PADDING = Parse "snp_signature_padding" @ "report" 0x2a0 512;
    /// Bit 17 of the guest policy is one and bits 26 to 63 are zero.
    GUEST_POLICY_RESERVED = Parse "snp_guest_policy_reserved" @ "report" 0x8 8;
    /// VMPL is 0 to 3.
    VMPL_RANGE = Parse "snp_vmpl_range" @ "report" 0x30 4;
    /// SIGNING_KEY is 0 (VCEK), 1 (VLEK) or 7 (none).
    SIGNING_KEY_RESERVED = Parse "snp_signing_key_reserved" @ "report" 0x48 4;
    /// Each certificate is strict DER of an X.509 v3 certificate.
    CERTIFICATE_MALFORMED = Parse "snp_certificate_malformed";
    /// At most leaf, intermediate and root come with the report.
    CERTIFICATE_COUNT = Parse "snp_certificate_count";

    /// The evidence holds the certificate of the key that signed the report.
    LEAF_MISSING = Chain "snp_leaf_missing";
    /// The certificate of the intermediate came with the evidence or is built in.
    INTERMEDIATE_MISSING = Chain "snp_intermediate_missing";
    /// The intermediate names the pinned ARK as its issuer: a chain to another root ends here.
    NO_TRUST_ANCHOR = Chain "snp_no_trust_anchor";
    /// A root that comes with the report is the pinned ARK, byte for byte; it is never trusted for being there.
    PRESENTED_ROOT = Chain "snp_presented_root";
    /// The pinned ARK signed the intermediate (RSASSA-PSS, SHA-384, salt 48, RSA-4096).
    INTERMEDIATE_SIGNATURE = Chain "snp_intermediate_signature";
    /// The intermediate is a CA, may sign certificates, and allows no further CA.
    INTERMEDIATE_AUTHORITY = Chain "snp_intermediate_authority";
    /// A VCEK comes below an ASK and a VLEK below an ASVK.
    INTERMEDIATE_KIND = Chain "snp_intermediate_kind";
    /// The intermediate's name names the product of the leaf.
    INTERMEDIATE_PRODUCT = Chain "snp_intermediate_product";
    /// The intermediate points to AMD's revocation list of its kind and product.
    INTERMEDIATE_CRL_LINK = Chain "snp_intermediate_crl_link";
    /// The leaf names the intermediate as its issuer.
    LEAF_ISSUER = Chain "snp_leaf_issuer";
    /// The intermediate signed the leaf (RSASSA-PSS, SHA-384, salt 48, RSA-4096).
    LEAF_SIGNATURE = Chain "snp_leaf_signature";
    /// The leaf is the kind of certificate that SIGNING_KEY names: VCEK with HWID, or VLEK with CSP_ID.
    LEAF_KIND = Chain "snp_leaf_kind";
    /// The leaf's key is on P-384 and the leaf is not a CA.
    LEAF_KEY = Chain "snp_leaf_key";
    /// AMD's extensions of the leaf are well-formed and complete.
    LEAF_EXTENSIONS = Chain "snp_leaf_extensions";
    /// Every certificate of the chain is valid at the given time.
    CERTIFICATE_VALIDITY = Chain "snp_certificate_validity";

    /// At most four revocation lists are given.
    CRL_COUNT = Collateral "snp_crl_count";
    /// Each given revocation list is well-formed.
    CRL_MALFORMED = Collateral "snp_crl_malformed";
    /// Each given revocation list is issued by the pinned ARK or by the leaf's issuer.
    CRL_ISSUER = Collateral "snp_crl_issuer";
    /// Each given revocation list is signed by its issuer, which may sign such lists.
    CRL_SIGNATURE = Collateral "snp_crl_signature";
    /// Each given revocation list is the current one at the given time.
    CRL_FRESHNESS = Collateral "snp_crl_freshness";
    /// No given revocation list names the intermediate or the leaf.
    CRL_REVOKED = Collateral "snp_certificate_revoked";
    /// The policy asks for a revocation list of the ARK, and one was judged.
    CRL_MISSING = Collateral "snp_crl_missing";

    /// The report is signed at all: SIGNING_KEY is not 7 and the chip key is not masked.
    REPORT_UNSIGNED = Signature "snp_report_unsigned" @ "report" 0x48 4;
    /// The leaf's key signed the bytes 0x000 to 0x29f of the report.
    REPORT_SIGNATURE = Signature "snp_report_signature" @ "report" 0x0 672;

    /// Family and model of a v3 or later report are those of the leaf's productName.
    PRODUCT_CPUID = Identity "snp_product_cpuid" @ "report" 0x188 3;
    /// The HWID of a VCEK equals CHIP_ID, unless the host masked CHIP_ID.
    CHIP_ID = Identity "snp_chip_id" @ "report" 0x1a0 64;

    /// The reserved bytes of each TCB version are zero.
    TCB_RESERVED = Tcb "snp_tcb_reserved";
    /// The TCB in the leaf's extensions equals REPORTED_TCB, each component.
    TCB_CERTIFIED = Tcb "snp_tcb_certified" @ "report" 0x180 8;
    /// COMMITTED, REPORTED and LAUNCH TCB are not above CURRENT_TCB in any component.
    TCB_ORDER = Tcb "snp_tcb_order" @ "report" 0x38 8;
    /// REPORTED_TCB is at or above the policy's minimum for this product in each component.
    TCB_MINIMUM = Tcb "snp_tcb_minimum" @ "report" 0x180 8;
    /// COMMITTED_TCB is at or above the policy's minimum in each component.
    TCB_COMMITTED_MINIMUM = Tcb "snp_tcb_committed_minimum" @ "report" 0x1e0 8;
    /// LAUNCH_TCB is at or above the policy's minimum in each component.
    TCB_LAUNCH_MINIMUM = Tcb "snp_tcb_launch_minimum" @ "report" 0x1f0 8;
    /// The firmware in use is the committed one, when the policy asks for it.
    FIRMWARE_PROVISIONAL = Tcb "snp_firmware_provisional" @ "report" 0x1e0 16;
    /// The committed firmware version is not above the current one.
    FIRMWARE_ORDER = Tcb "snp_firmware_order" @ "report" 0x1e8 8;
    /// The current and the committed firmware version are at or above the policy's minimum.
    FIRMWARE_VERSION = Tcb "snp_firmware_version";
    /// The mitigations that the policy names were active at launch, and those that it names are active now (v5 reports).
    MITIGATIONS = Tcb "snp_mitigations";

    /// The policy names at least one measurement.
    MEASUREMENTS_EMPTY = Policy "snp_measurements_empty";
    /// MEASUREMENT is one that the policy names.
    MEASUREMENT = Policy "snp_measurement" @ "report" 0x90 48;
    /// The product is one that the policy names.
    PRODUCT_DENIED = Policy "snp_product_denied";
    /// Simulated roots are accepted only by a policy that was told so.
    SIMULATED = Policy "snp_simulated";
    /// The guest policy does not allow debugging.
    DEBUG_ALLOWED = Policy "snp_debug_allowed" @ "report" 0x8 8;
    /// The guest policy does not allow a migration agent.
    MIGRATION_ALLOWED = Policy "snp_migration_allowed" @ "report" 0x8 8;
    /// The report was asked for at a VMPL that the policy names.
    VMPL = Policy "snp_vmpl" @ "report" 0x30 4;
    /// The report is signed by a kind of key that the policy names.
    SIGNER = Policy "snp_signer" @ "report" 0x48 4;
    /// A VLEK is certified for a cloud provider that the policy names.
    PROVIDER = Policy "snp_provider";
    /// GUEST_SVN is at or above the policy's minimum.
    GUEST_SVN = Policy "snp_guest_svn" @ "report" 0x4 4;
    /// The guest policy asks for at least this firmware ABI.
    ABI_VERSION = Policy "snp_abi_version" @ "report" 0x8 2;
    /// The SMT bit of the guest policy is as the appraisal policy asks.
    SMT = Policy "snp_smt" @ "report" 0x8 8;
    /// The single-socket bit of the guest policy is as asked.
    SINGLE_SOCKET = Policy "snp_single_socket" @ "report" 0x8 8;
    /// The CXL bit of the guest policy is as asked.
    CXL = Policy "snp_cxl" @ "report" 0x8 8;
    /// The AES-256-XTS bit of the guest policy is as asked.
    AES_256_XTS = Policy "snp_aes_256_xts" @ "report" 0x8 8;
    /// The RAPL bit of the guest policy is as asked.
    RAPL = Policy "snp_rapl" @ "report" 0x8 8;
    /// The ciphertext-hiding bit of the guest policy is as asked.
    CIPHERTEXT_HIDING = Policy "snp_ciphertext_hiding" @ "report" 0x8 8;
    /// The page-swap bit of the guest policy is as asked.
    PAGE_SWAP = Policy "snp_page_swap" @ "report" 0x8 8;
    /// The platform has finished its check for memory aliases.
    ALIAS_CHECK = Policy "snp_alias_check" @ "report" 0x40 8;
    /// SMT of the platform is as asked.
    PLATFORM_SMT = Policy "snp_platform_smt" @ "report" 0x40 8;
    /// TSME of the platform is as asked.
    PLATFORM_TSME = Policy "snp_platform_tsme" @ "report" 0x40 8;
    /// ECC memory of the platform is as asked.
    PLATFORM_ECC = Policy "snp_platform_ecc" @ "report" 0x40 8;
    /// RAPL of the platform is as asked.
    PLATFORM_RAPL = Policy "snp_platform_rapl" @ "report" 0x40 8;
    /// Ciphertext hiding of the platform is as asked.
    PLATFORM_CIPHERTEXT_HIDING = Policy "snp_platform_ciphertext_hiding" @ "report" 0x40 8;
    /// SEV-TIO of the platform is as asked.
    PLATFORM_TIO = Policy "snp_platform_tio" @ "report" 0x40 8;
    /// HOST_DATA is the one that the policy names.
    HOST_DATA = Policy "snp_host_data" @ "report" 0xc0 32;
    /// FAMILY_ID is the one that the policy names.
    FAMILY_ID = Policy "snp_family_id" @ "report" 0x10 16;
    /// IMAGE_ID is the one that the policy names.
    IMAGE_ID = Policy "snp_image_id" @ "report" 0x20 16;
    /// ID_KEY_DIGEST is one that the policy names.
    ID_KEY = Policy "snp_id_key" @ "report" 0xe0 48;
    /// AUTHOR_KEY_EN is set, when the policy asks for an author key.
    AUTHOR_KEY_MISSING = Policy "snp_author_key_missing" @ "report" 0x48 4;
    /// AUTHOR_KEY_DIGEST is one that the policy names.
    AUTHOR_KEY = Policy "snp_author_key" @ "report" 0x110 48;
    /// The chip is not on the policy's list of denied chips.
    CHIP_DENIED = Policy "snp_chip_denied" @ "report" 0x1a0 64;
    /// The chip is on the policy's list of allowed chips, when there is one.
    CHIP_NOT_ALLOWED = Policy "snp_chip_not_allowed" @ "report" 0x1a0 64;

    /// REPORT_DATA is what the relying party expects.
    REPORT_DATA = Binding "snp_report_data" @ "report" 0x50 64;
}
