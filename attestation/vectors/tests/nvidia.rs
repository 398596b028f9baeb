//! The runner over cases of devices with files and profiles that are not as they should be.

#[cfg(test)]
mod cases {
    use anchorhold_attester::software::gpu::{Chip, GpuConfig, GpuDevice, simulated_nvidia_device_root_der};
    use anchorhold_rats::Nonce;
    use anchorhold_vectors::{Corpus, Outcome};
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};
    use tempfile::TempDir;

    const GUEST: &str = r#"
format = 1
id = "cases"
version = 1
issued = "2026-01-01T00:00:00Z"
expires = "2026-12-31T00:00:00Z"
description = "Rules of cases"

[snp]
measurements = []
products = ["genoa"]
signers = ["vcek"]
machines = "listed"
min_tcb = { genoa = { bl = 10, tee = 0, snp = 23, ucode = 84 } }
"#;
    const GPU: &str = r#"
[gpu]
mode = "single"
gpus = 1
switches = 0
architectures = ["hopper"]
machines = "any"
require_rims = false
ocsp = { require = false }
"#;

    /// A folder with one good device under a simulated root.
    fn folder() -> TempDir {
        let device = GpuDevice::make(GpuConfig::new(Chip::Gh100, [0x5a; 8])).unwrap();
        let evidence = device.evidence(&Nonce::new([9; 32])).unwrap();
        let frame = |der: &Vec<u8>| {
            let text = STANDARD.encode(der);
            let lines: Vec<&str> =
                text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
            format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
        };
        let chain: String = device.chain().iter().map(frame).collect();
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
        write("report", &evidence.report);
        write("chain", chain.as_bytes());
        write("root", simulated_nvidia_device_root_der());
        folder
    }

    /// Judges the good device with one more file and this policy of the manifest.
    fn run(extra: Option<(&str, &str)>, policy: &Value, at: &str) -> Outcome {
        let folder = folder();
        let mut files = json!({ "report": "report", "chain": "chain", "root": "root" });
        if let Some((role, text)) = extra {
            std::fs::write(folder.path().join("extra"), text).unwrap();
            files[role] = "extra".into();
        }
        let case = json!({
            "id": "a", "platform": "nvidia", "files": files, "pin": "forged", "at": at, "policy": policy,
            "expect": "accept",
        });
        let manifest = json!({ "format": 1, "cases": [case] });
        std::fs::write(folder.path().join("manifest.json"), manifest.to_string()).unwrap();
        let corpus = Corpus::open(folder.path()).unwrap();
        corpus.run(&corpus.cases()[0], || 0)
    }

    const AT: &str = "2026-07-25T00:00:00Z";

    #[test]
    fn reads_profiles_and_ocsp_responses_of_a_device() {
        let good = format!("{GUEST}{GPU}");
        assert_eq!(run(Some(("profile", &good)), &json!({}), AT).verdict, "accept");
        let nonce = json!({ "nonce": "09".repeat(32) });
        assert_eq!(run(Some(("profile", &good)), &nonce, AT).verdict, "accept");
        let other = json!({ "nonce": "08".repeat(32) });
        assert_eq!(run(Some(("profile", &good)), &other, AT).code, "nvidia_nonce");
        let two = good.replace("gpus = 1", "gpus = 2");
        assert_eq!(run(Some(("profile", &two)), &json!({}), AT).code, "nvidia_gpu_count");
        for (role, code) in [("ocsp-9", "nvidia_ocsp_malformed"), ("rim-9", "rim_xml_malformed")] {
            assert_eq!(run(Some((role, "?")), &json!({}), AT).code, code);
        }
    }

    #[test]
    fn refuses_to_judge_what_a_case_does_not_say_plainly() {
        let good = format!("{GUEST}{GPU}");
        for (extra, policy, at) in [
            (("ocsp-10", "?"), json!({}), AT),
            (("rim-0", "?"), json!({}), AT),
            (("profile", "?"), json!({}), AT),
            (("profile", GUEST), json!({}), AT),
            (("profile", good.as_str()), json!({ "gpu_count": 1 }), AT),
            (("profile", good.as_str()), json!({ "appraise_rim": true }), AT),
            (("profile", good.as_str()), json!({}), "2027-01-01T00:00:00Z"),
        ] {
            let outcome = run(Some(extra), &policy, at);
            assert_eq!((outcome.verdict, outcome.ok), ("error", false), "{extra:?}");
            assert!(!outcome.code.is_empty());
        }
    }
}
