//! `image`.

use crate::support::{Folder, header, run};
use anchorhold_attester::software::measure_components;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/measure")
}

fn vector(name: &str) -> String {
    vectors().join(name).to_str().unwrap().to_owned()
}

fn said() -> Value {
    serde_json::from_slice(&std::fs::read(vectors().join("digests.json")).unwrap()).unwrap()
}

/// The texts of the vector as files, and the arguments that name them.
fn direct(folder: &Folder, said: &Value) -> Vec<String> {
    let text = |name: &str| said[name].as_str().unwrap().to_owned();
    let kernel = folder.write("kernel", text("kernel"));
    let initrd = folder.write("initrd", text("initrd"));
    let command_line = folder.write("cmdline", format!("{}\n", text("command_line")));
    ["--kernel", &kernel, "--initrd", &initrd, "--command-line-file", &command_line].map(str::to_owned).into()
}

fn key(folder: &Folder, name: &str) -> (String, String) {
    let path = folder.path(name);
    let ran = run(["owner", "new", &path]);
    ran.expect(0, "");
    (path, ran.out.trim().to_owned())
}

/// Signed reference values of the vector, and the public key of who signed them.
fn reference_values(folder: &Folder) -> (String, String) {
    let (key, signer) = key(folder, "builder.key");
    let out = folder.path("image.dsse");
    let firmware = vector("firmware.fd");
    let mut args: Vec<String> =
        ["image", "reference-values", "--id", "tests", "--version", "1"].map(str::to_owned).into();
    args.extend(["--description", "the vector", "--snp-firmware", &firmware].map(str::to_owned));
    args.extend(["--vcpus", "1,4", "--vcpu-type", "EPYC-v4"].map(str::to_owned));
    args.extend(["--sign", &key, "--out", &out].map(str::to_owned));
    args.extend(direct(folder, &said()));
    run(args).expect(0, "");
    (out, signer)
}

#[test]
fn launch_digests_are_those_of_sev_snp_measure() {
    let (folder, said) = (Folder::new(), said());
    let firmware = vector("firmware.fd");
    let mut args: Vec<String> =
        ["image", "measure", "snp", "--firmware", &firmware, "--json"].map(str::to_owned).into();
    args.extend(direct(&folder, &said));
    args.extend(["--vcpus", "1,4", "--vcpu-type", "EPYC-v4,EPYC-Milan"].map(str::to_owned));
    let measured = run(args);
    measured.expect(0, "");
    let of = |vcpu_type: &str, vcpus: u64| {
        let all = said["snp"]["launches"].as_array().unwrap();
        let is = |one: &&Value| {
            one["vcpu_type"] == vcpu_type && one["vcpus"] == vcpus && one["hypervisor"] == "qemu"
        };
        all.iter().find(is).unwrap()["digest"].clone()
    };
    let measured = measured.json();
    assert_eq!(measured[0]["measurement"], of("EPYC-v4", 1));
    assert_eq!(measured[1]["measurement"], of("EPYC-v4", 4));
    assert_eq!(measured[2]["measurement"], of("EPYC-Milan", 1));
    assert_eq!(
        (measured[3]["vcpus"].as_u64(), measured[3]["vcpu_type"].as_str()),
        (Some(4), Some("EPYC-Milan"))
    );
}

#[test]
fn registers_and_pcrs_are_those_of_dstack_mr_and_systemd_measure() {
    let said = said();
    let (firmware, unified) = (vector("firmware.fd"), vector("unified.efi"));
    let zeroes = "0".repeat(96);
    let tdx = ["image", "measure", "tdx", "--firmware", &firmware, "--uki", &unified, "--json"];
    let measured = run(tdx).json();
    assert_eq!(measured["mrtd"][0]["value"], said["tdx"]["page_by_page"]);
    assert_eq!(measured["mrtd"][1]["value"], said["tdx"]["section_by_section"]);
    assert!(measured["rtmr0"].is_null() && measured["rtmr1"].is_string() && measured["rtmr2"].is_string());
    let rtmr0 = run(tdx.into_iter().chain(["--memory", "4294967296", "--rtmr0-event", &zeroes])).json();
    assert!(rtmr0["rtmr0"].is_string());
    let other = run(tdx.into_iter().chain(["--memory", "2147483648", "--rtmr0-event", &zeroes])).json();
    assert_ne!(rtmr0["rtmr0"], other["rtmr0"]);

    let tpm = run(["image", "measure", "tpm", "--uki", &unified, "--events", "--json"]).json();
    let of_11 = tpm["pcrs"].as_array().unwrap().iter().find(|pcr| pcr["pcr"] == 11).unwrap();
    assert_eq!((&of_11["sha256"], &of_11["sha384"]), (&said["pcr11"]["sha256"], &said["pcr11"]["sha384"]));
    assert_eq!(tpm["events"][0]["sha384"], said["authenticode"]["unified_efi"]);
    run(["image", "measure", "tpm"]).expect(2, "name --uki or --kernel");
    run(["image", "measure", "tpm", "--uki", &firmware]).expect(1, "cannot measure: there is no PE image");
}

#[test]
fn signed_reference_values_become_the_lines_of_a_policy() {
    let folder = Folder::new();
    let (values, signer) = reference_values(&folder);
    let verify = ["image", "verify", &values, "--signer", &signer];
    let ran = run(verify);
    ran.expect(0, "");
    assert!(ran.out.contains("snp          2 launch(es)\n") && ran.out.contains(&signer), "{}", ran.out);

    let lines = run(verify.into_iter().chain(["--lines", "profile"]));
    lines.expect(0, "");
    let digest = said()["snp"]["launches"][1]["digest"].as_str().unwrap().to_owned();
    assert!(
        lines.out.contains(&format!("    \"sha384:{digest}\", # 4 x EPYC-v4, 0x1, qemu\n")),
        "{}",
        lines.out
    );
    let rest = "products = [\"genoa\"]\nmachines = \"any\"\n[snp.min_tcb]\ngenoa = { bl = 1, tee = 0, snp = 1, ucode = 1 }\n";
    let profile = folder.write("profile.toml", format!("{}{}{rest}", header("images"), lines.out));
    run(["policy", "check", &profile]).expect(0, "");
    let grant = run(verify.into_iter().chain(["--lines", "grant"]));
    assert!(grant.out.starts_with("[grant.image]\nmeasurements = [\n") && grant.out.contains(&digest));

    // Whatever takes policies takes these too.
    run(["policy", "verify-signature", &values, "--signer", &signer]).expect(0, "");
    let explained = run(["policy", "explain", &values]);
    explained.expect(0, "the signatures were not judged");
    assert!(explained.out.contains(&digest), "{}", explained.out);
}

#[test]
fn case_44_another_file_is_not_the_one_that_was_measured() {
    let folder = Folder::new();
    let (values, signer) = reference_values(&folder);
    let verify = |name: &str, path: &str| {
        run(["image", "verify", &values, "--signer", &signer, "--file", &format!("{name}={path}")])
    };
    verify("kernel", &folder.path("kernel")).expect(0, "");
    verify("snp-firmware", &vector("firmware.fd")).expect(0, "");
    verify("kernel", &folder.path("initrd")).expect(4, "wanted sha256:");
    let other = folder.write("other", "a kernel\r");
    verify("kernel", &other).expect(4, "wanted sha256:");
    verify("disk", &other)
        .expect(2, "no file disk was measured, only kernel, initrd, command-line, snp-firmware");
}

#[test]
fn case_08_refuses_reference_values_of_a_stranger_and_expired_ones() {
    let folder = Folder::new();
    let (values, signer) = reference_values(&folder);
    let (_, stranger) = key(&folder, "stranger.key");
    run(["image", "verify", &values, "--signer", &stranger])
        .expect(3, "signature 0 is of a key that is not trusted");
    let late = run(["image", "verify", &values, "--signer", &signer, "--at", "2099-01-01T00:00:00Z"]);
    late.expect(1, "expired at");
    let text = std::fs::read_to_string(&values).unwrap();
    let changed = folder.write("changed.dsse", text.replacen("\"payload\":\"Z", "\"payload\":\"Y", 1));
    run(["image", "verify", &changed, "--signer", &signer]).expect(3, "does not verify under the key");
    let profile = folder.write("profile.toml", format!("{}[snp]\n", header("x")));
    run(["image", "verify", &profile, "--signer", &signer]).expect(3, "not a DSSE envelope");
}

#[test]
fn reference_values_measure_something_and_never_only_the_firmware() {
    let folder = Folder::new();
    let out = folder.path("out.toml");
    let head =
        ["image", "reference-values", "--id", "x", "--version", "1", "--description", "x", "--out", &out];
    let with = |more: &[&str]| run(head.iter().chain(more));
    with(&[]).expect(2, "snp|tdx|tpm is missing");
    let firmware = vector("firmware.fd");
    with(&["--snp-firmware", &firmware]).expect(2, "--snp-firmware wants --kernel");
    with(&["--tdx-firmware", &firmware]).expect(2, "--tdx-firmware wants --uki or --kernel");
    with(&["--uki", &vector("unified.efi"), "--tdx-firmware", &firmware]).expect(0, "");
    let text = std::fs::read_to_string(&out).unwrap();
    assert_eq!(text.matches("[[tdx]]").count(), 2);
    assert!(text.contains("[tpm.sha256]") && text.contains("[tpm.sha384]"));
    run(["policy", "check", &out]).expect(0, "");
}

#[test]
fn components_measure_as_the_software_guest_does() {
    let folder = Folder::new();
    let (keeper, worker) = (folder.write("keeper", "k"), folder.write("worker", "w"));
    let components = [("keeper", Path::new(&keeper)), ("worker", Path::new(&worker))];
    let wanted = measure_components(&components).unwrap();
    let measure = |components: [String; 2]| {
        let args =
            ["image", "measure", "simulated", "--component", &components[0], "--component", &components[1]];
        run(args.map(str::to_owned))
    };
    let ran = measure([format!("keeper={keeper}"), format!("worker={worker}")]);
    assert_eq!(ran.out, format!("{wanted}\n"));
    let missing = measure([format!("keeper={keeper}"), "worker=/nonexistent".to_owned()]);
    missing.expect(1, "anchorhold: error: cannot measure");
}
