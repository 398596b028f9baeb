//! What one may do about a rule that failed.

/// What the holder of the guest, or else the author of the policy, may do about the rule with this code.
pub(super) fn advice(code: &str) -> &'static str {
    match code {
        "snp_tcb_minimum"
        | "snp_tcb_committed_minimum"
        | "snp_tcb_launch_minimum"
        | "snp_firmware_version" => {
            "update the machine's firmware and launch the guest again, or lower the floor in snp.min_tcb"
        }
        "snp_firmware_provisional" => "commit the machine's firmware, which then cannot be rolled back",
        "snp_product_denied" => "run the guest on a product of snp.products, or name this one with a floor",
        "snp_measurement" | "tdx_mrtd" | "tdx_rtmr0" | "tdx_rtmr1" | "tdx_rtmr2" | "tdx_rtmr3" => {
            "run a granted image, or add this image's digests to grant.image after a review of the image"
        }
        "azure_pcr_value" => {
            "run a granted image, or add this image's values to paravisor.pcrs after a review of it"
        }
        "release_measurement_revoked" => "run another image: this one is revoked",
        "snp_debug_allowed" | "tdx_debug" | "tdx_profiling" => {
            "launch the guest without debugging; no policy can allow it"
        }
        "snp_migration_allowed" | "tdx_migratable" => {
            "launch the guest without migration; no policy can allow it"
        }
        "snp_vmpl" => "ask for the report at a granted privilege level",
        "snp_signer" | "snp_provider" => "use a machine whose reports a granted kind of key signs",
        "snp_alias_check" => "update the BIOS, which checks memory for aliases at boot (BadRAM)",
        "snp_smt" | "snp_platform_smt" | "tdx_smt" => "turn SMT off, or allow it in the grant",
        "snp_chip_not_allowed" | "tdx_platform_not_allowed" | "nvidia_device_not_allowed" => {
            "run on a listed machine, or add this one to the list after an inspection of it"
        }
        "snp_chip_denied" | "tdx_platform_denied" | "nvidia_device_denied" => {
            "take the machine out of service: it is refused by name"
        }
        "snp_host_data" | "tdx_mr_config_id" => "launch the guest with the granted configuration",
        "tdx_tcb_status" => {
            "update the platform as Intel's advisories say; tdx.grace and tdx.accepted_advisories bear some for a time"
        }
        "snp_simulated" | "tdx_simulated" | "nvidia_simulated" => {
            "use hardware: simulated evidence protects nothing"
        }
        "family_denied" => "name the family in the grant, or send evidence without it",
        "family_missing" => "send the evidence that the grant asks for",
        "nvidia_gpu_count" | "nvidia_switch_count" => {
            "give the guest as many devices as the grant says, and send evidence of each"
        }
        "nvidia_mode" | "nvidia_protected_pcie" => {
            "set the GPUs to the granted confidential mode and start the guest again"
        }
        "nvidia_driver_minimum" | "nvidia_driver_not_allowed" => {
            "install a granted driver in the guest's image"
        }
        "nvidia_vbios_minimum" | "nvidia_switch_bios_minimum" => "update the devices' firmware",
        "rim_measurement" | "rim_measurement_missing" => {
            "turn developer tools off and install firmware of NVIDIA's; the measurements are of no manifest"
        }
        "nvidia_nonce" | "snp_report_data" | "tdx_report_data" | "azure_nonce" => {
            "make the evidence anew for this request; another request's is refused"
        }
        "release_kem" => "let the guest make a key of a granted KEM",
        "release_anchor" | "release_witnesses" => "let the guest's log be witnessed as the grant says",
        "release_model" => "ask for a granted model, or grant this one to this image",
        "release_purpose" => "ask for a granted purpose",
        code if anchorhold_verifier::codes::is_of_endorsements(code) => {
            "get current endorsements: `anchorhold evidence endorse` fetches them"
        }
        _ => {
            "see the rule's meaning: `anchorhold policy explain` without evidence, and attestation/verifier/CODES.md"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::advice;
    use anchorhold_verifier::codes;

    #[test]
    fn every_code_that_is_named_exists() {
        let source = include_str!("advice.rs");
        let body = source.split("#[cfg(test)]").next().unwrap();
        let names = body.split('"').skip(1).step_by(2);
        let codes: Vec<_> = names.filter(|name| name.contains('_') && !name.contains(' ')).collect();
        assert!(codes.len() > 40);
        for code in codes {
            let known = codes::meaning(code).is_some()
                || code.starts_with("release_")
                || ["family_denied", "family_missing"].contains(&code);
            assert!(known, "{code}");
        }
        assert!(advice("snp_crl_missing").contains("endorsements"));
        assert!(advice("no_such_code").contains("CODES.md"));
    }
}
