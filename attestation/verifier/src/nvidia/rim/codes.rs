//! The reason codes of NVIDIA's reference integrity manifests.

crate::codes::codes! {
    /// The manifest is well-formed XML.
    XML_MALFORMED = Rim "rim_xml_malformed";
    /// The manifest has no document type, entity, comment, processing instruction or other part of XML that is not read.
    XML_FEATURE = Rim "rim_xml_feature";
    /// Size, depth and counts of the manifest are within limits.
    XML_LIMIT = Rim "rim_xml_limit";
    /// The root is SoftwareIdentity of ISO/IEC 19770-2:2015.
    ROOT = Rim "rim_root";

    /// The document has exactly one Signature.
    SIGNATURE_COUNT = Rim "rim_signature_count";
    /// The Signature is a direct child of the root.
    SIGNATURE_PLACE = Rim "rim_signature_place";
    /// The Signature holds SignedInfo, SignatureValue and KeyInfo, and nothing else.
    SIGNATURE_SHAPE = Rim "rim_signature_shape";
    /// Canonical XML 1.1, ECDSA with SHA-384, and SHA-384.
    ALGORITHMS = Rim "rim_algorithms";
    /// Exactly one Reference, to the whole document.
    REFERENCE = Rim "rim_reference";
    /// The Reference is transformed by enveloped-signature, then Canonical XML 1.1.
    TRANSFORMS = Rim "rim_transforms";
    /// KeyInfo holds one X509Data of X509Certificates, and nothing else.
    KEY_INFO = Rim "rim_key_info";
    /// DigestValue is the SHA-384 of the document without its Signature.
    DIGEST = Rim "rim_digest";
    /// The signer's key signed SignedInfo.
    SIGNATURE = Rim "rim_signature";

    /// The trust anchors hold a root for manifests.
    NO_TRUST_ANCHOR = Rim "rim_no_trust_anchor";
    /// A signer, and at most four certificates with it.
    CERTIFICATE_COUNT = Rim "rim_certificate_count";
    /// Each certificate is strict DER of an X.509 v3 certificate.
    CERTIFICATE_MALFORMED = Rim "rim_certificate_malformed";
    /// A root among the certificates is the pinned one, by all its bytes.
    CERTIFICATE_ROOT = Rim "rim_certificate_root";
    /// Each certificate names the next one as its issuer, the last one the pinned root.
    CERTIFICATE_ISSUER = Rim "rim_certificate_issuer";
    /// Each certificate is signed by the next one, with ECDSA on P-384 and SHA-384.
    CERTIFICATE_SIGNATURE = Rim "rim_certificate_signature";
    /// Each issuer is a CA that may sign certificates and allows the CAs below it.
    CERTIFICATE_AUTHORITY = Rim "rim_certificate_authority";
    /// The signer has a key on P-384 for digital signatures and is not a CA.
    SIGNER = Rim "rim_signer";
    /// Every certificate is valid at the given time.
    CERTIFICATE_VALIDITY = Rim "rim_certificate_validity";

    /// The root holds Entity, Meta, Payload and Signature, and names a primary tag.
    TAG = Rim "rim_tag";
    /// Meta names product, version and edition of a direct payload.
    META = Rim "rim_meta";
    /// Edition and version say that the manifest is of a driver, a VBIOS or a switch BIOS.
    KIND = Rim "rim_kind";
    /// Each Resource is a measurement with index, size and as many SHA-384 values as it says.
    RESOURCE = Rim "rim_resource";
    /// No two Resources have one index.
    RESOURCE_DUPLICATE = Rim "rim_resource_duplicate";
    /// At least one Resource is active.
    NO_VALUES = Rim "rim_no_values";

    /// No index is active in two manifests.
    INDEX_CONFLICT = Rim "rim_index_conflict";
    /// The report holds a block for each active index.
    MEASUREMENT_MISSING = Rim "rim_measurement_missing";
    /// The block equals one of the reference values of its index.
    MEASUREMENT = Rim "rim_measurement";
}
