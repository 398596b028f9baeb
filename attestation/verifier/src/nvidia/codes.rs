//! The reason codes of NVIDIA GPUs and NVSwitches. Texts name the device by its place in the evidence, from 0.

crate::codes::codes! {
    /// The report is neither cut short nor followed by other bytes.
    REPORT_LENGTH = Parse "nvidia_report_length";
    /// The report begins with a request of SPDM 1.1 GET_MEASUREMENTS.
    REQUEST_CODE = Parse "nvidia_request_code" @ "gpu report" 0 2;
    /// The request asks for a signature over all measurements, of slot 0.
    REQUEST_PARAMETERS = Parse "nvidia_request_parameters" @ "gpu report" 2 2;
    /// The response is one of SPDM 1.1 MEASUREMENTS.
    RESPONSE_CODE = Parse "nvidia_response_code" @ "gpu report" 37 2;
    /// The response is for slot 0 and all other bits of its parameters are zero.
    RESPONSE_PARAMETERS = Parse "nvidia_response_parameters" @ "gpu report" 39 2;
    /// Each block is a DMTF measurement of type 1 with a value of 48 bytes, and its lengths agree.
    BLOCK_FORMAT = Parse "nvidia_block_format";
    /// The response holds as many blocks as it says, and at least one.
    BLOCK_COUNT = Parse "nvidia_block_count" @ "gpu report" 41 1;
    /// No two blocks have the same index, and none has index 0.
    BLOCK_INDEX = Parse "nvidia_block_index";
    /// The opaque data is a list of typed fields that fills its length, and not over the limit.
    OPAQUE_FORMAT = Parse "nvidia_opaque_format";
    /// No type of field occurs twice in the opaque data.
    OPAQUE_DUPLICATE = Parse "nvidia_opaque_duplicate";
    /// The fields that every report of this kind of device has are there.
    OPAQUE_MISSING = Parse "nvidia_opaque_missing";
    /// Each known field has its length and a value in its range.
    OPAQUE_FIELD = Parse "nvidia_opaque_field";
    /// The opaque data is of version 0 or 1, where it names one.
    OPAQUE_VERSION = Parse "nvidia_opaque_version";
    /// Each certificate is strict DER of an X.509 v3 certificate.
    CERTIFICATE_MALFORMED = Parse "nvidia_certificate_malformed";
    /// Five certificates come with the report: attestation key, BROM, provisioner, identity and root.
    CHAIN_LENGTH = Parse "nvidia_chain_length";

    /// There is a root for devices among the trust anchors, and the fifth certificate is it, byte for byte.
    NO_TRUST_ANCHOR = Chain "nvidia_no_trust_anchor";
    /// Each certificate names the next one as its issuer.
    CERTIFICATE_ISSUER = Chain "nvidia_certificate_issuer";
    /// Where a certificate names its issuer's key, the next one has that key.
    KEY_IDENTIFIER = Chain "nvidia_key_identifier";
    /// The next certificate's key signed each certificate (ECDSA P-384, SHA-384).
    CERTIFICATE_SIGNATURE = Chain "nvidia_certificate_signature";
    /// The first certificate may sign data and is no CA; the others are CAs that allow what is below them.
    CERTIFICATE_AUTHORITY = Chain "nvidia_certificate_authority";
    /// Every certificate's key is on P-384.
    CERTIFICATE_KEY = Chain "nvidia_certificate_key";
    /// The names say the role of each certificate, and one chip for the device.
    CERTIFICATE_ROLE = Chain "nvidia_certificate_role";
    /// Every certificate of the chain is valid at the given time.
    CERTIFICATE_VALIDITY = Chain "nvidia_certificate_validity";

    /// The key of the first certificate signed request and response.
    REPORT_SIGNATURE = Signature "nvidia_report_signature";

    /// The chip is a GPU or switch of an architecture that is known here.
    ARCHITECTURE_UNKNOWN = Identity "nvidia_architecture_unknown";
    /// The BROM certificate names the device: a serial number of its kind of device.
    DEVICE_IDENTITY = Identity "nvidia_device_identity";
    /// The first certificate states the firmware that its key belongs to.
    FWID_CERTIFIED = Identity "nvidia_fwid_certified";
    /// The firmware that the report states is the certified one.
    FWID = Identity "nvidia_fwid";
    /// A switch's own statement of its identity is the certified one.
    SWITCH_IDENTITY = Identity "nvidia_switch_identity";
    /// No device and no attestation key occurs twice.
    DUPLICATE_DEVICE = Identity "nvidia_duplicate_device";

    /// Each OCSP response is strict DER of a successful basic response.
    OCSP_MALFORMED = Collateral "nvidia_ocsp_malformed";
    /// No more answers are about one certificate than are judged.
    OCSP_COUNT = Collateral "nvidia_ocsp_count";
    /// The responder is the issuer of the certificate in question, or the issuer delegated it.
    OCSP_RESPONDER = Collateral "nvidia_ocsp_responder";
    /// The responder signed the OCSP response.
    OCSP_SIGNATURE = Collateral "nvidia_ocsp_signature";
    /// The OCSP response is the current one at the given time.
    OCSP_FRESHNESS = Collateral "nvidia_ocsp_freshness";
    /// The responder knows the certificate.
    OCSP_UNKNOWN = Collateral "nvidia_ocsp_unknown";
    /// The certificate is not revoked; a hold is the policy's to judge.
    OCSP_REVOKED = Collateral "nvidia_ocsp_revoked";
    /// The policy asks for OCSP, and every intermediate has an answer.
    OCSP_MISSING = Collateral "nvidia_ocsp_missing";
    /// The answers are not older than the policy allows.
    OCSP_AGE = Collateral "nvidia_ocsp_age";
    /// No certificate of a device is on hold, unless the policy allows it.
    OCSP_HOLD = Collateral "nvidia_ocsp_hold";

    /// The version of the driver or VBIOS is that of the manifest for it, not of another one.
    RIM_VERSION = Rim "nvidia_rim_version";
    /// The policy asks for manifests, and the device's measurements were compared with each that belongs to it.
    RIM_MISSING = Rim "nvidia_rim_missing";

    /// Simulated roots are accepted only by a policy that was told so.
    SIMULATED = Policy "nvidia_simulated";
    /// There are as many GPUs as the policy says.
    GPU_COUNT = Policy "nvidia_gpu_count";
    /// There are as many switches as the policy says.
    SWITCH_COUNT = Policy "nvidia_switch_count";
    /// The device's architecture is one that the policy names.
    ARCHITECTURE_DENIED = Policy "nvidia_architecture_denied";
    /// The feature flag says the confidential mode that the policy names.
    MODE = Policy "nvidia_mode";
    /// Protected PCIe is on in that mode, and off in the others.
    PROTECTED_PCIE = Policy "nvidia_protected_pcie";
    /// The report of a GPU states its firmware, unless the policy allows that it does not.
    FWID_MISSING = Policy "nvidia_fwid_missing";
    /// The driver is one that the policy names, when it names some.
    DRIVER_NOT_ALLOWED = Policy "nvidia_driver_not_allowed";
    /// The device is not on the policy's list of denied devices.
    DEVICE_DENIED = Policy "nvidia_device_denied";
    /// The device is on the policy's list of allowed devices, when there is one.
    DEVICE_NOT_ALLOWED = Policy "nvidia_device_not_allowed";
    /// The driver is at or above the policy's minimum.
    DRIVER_MINIMUM = Tcb "nvidia_driver_minimum";
    /// The VBIOS of a GPU is at or above the policy's minimum.
    VBIOS_MINIMUM = Tcb "nvidia_vbios_minimum";
    /// The BIOS of a switch is at or above the policy's minimum.
    SWITCH_BIOS_MINIMUM = Tcb "nvidia_switch_bios_minimum";
    /// The GPUs that each switch is linked to are exactly those in the evidence.
    TOPOLOGY_GPUS = Binding "nvidia_topology_gpus";
    /// The switches that each GPU is linked to are exactly those in the evidence.
    TOPOLOGY_SWITCHES = Binding "nvidia_topology_switches";
    /// The nonce in the device's signed request is the one that the relying party expects.
    NONCE = Binding "nvidia_nonce" @ "gpu report" 4 32;
}
