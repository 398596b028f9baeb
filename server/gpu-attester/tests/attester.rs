//! The program between a keeper and a double of NVIDIA's library.

use anchorhold_ipc::{FromGpuAttester, Line, ToGpuAttester, pair};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// The double, compiled; the loader takes it for the library because it has its name.
fn double(folder: &Path) -> PathBuf {
    let library = folder.join("double.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/double.c");
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-Wl,-soname,libnvidia-ml.so.1", "-o"])
        .args([library.as_os_str(), source.as_ref()])
        .status();
    assert!(compiled.unwrap().success());
    library
}

struct Attester {
    child: Child,
    line: Line<ToGpuAttester, FromGpuAttester>,
    _folder: tempfile::TempDir,
}

impl Attester {
    fn start(wrong: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let (ours, theirs) = pair().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_anchorhold-gpu-attester"));
        command.env_clear().current_dir(&empty).stdin(Stdio::from(theirs)).stdout(Stdio::null());
        if wrong != Some("library") {
            command.env("LD_PRELOAD", double(folder.path()));
        }
        command.envs(wrong.map(|wrong| ("WRONG", wrong)));
        let child = command.spawn().unwrap();
        Self { child, line: Line::new(ours), _folder: folder }
    }

    fn told(&mut self) -> FromGpuAttester {
        self.line.receive().unwrap().0
    }

    fn ask(&mut self, question: &ToGpuAttester) -> FromGpuAttester {
        self.line.send(question, &[]).unwrap();
        self.told()
    }

    fn end(self) -> ExitStatus {
        let Self { mut child, line, .. } = self;
        drop(line);
        child.wait().unwrap()
    }
}

fn failed(told: FromGpuAttester) -> String {
    match told {
        FromGpuAttester::Failed { detail } => detail,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_gpu_reports_for_the_nonce_and_works_when_it_is_told() {
    let mut attester = Attester::start(None);
    let FromGpuAttester::Confined(layers) = attester.told() else { panic!("not confined") };
    for layer in ["seccomp", "seccomp serving", "no new privileges"] {
        assert!(layers.active.iter().any(|active| active == layer), "{layer}: {layers:?}");
    }
    for nonce in [[7; 32], [8; 32]] {
        let FromGpuAttester::Reports(reports) = attester.ask(&ToGpuAttester::Attest { nonce }) else {
            panic!("no reports")
        };
        assert_eq!(reports.len(), 2);
        for (report, number) in reports.iter().zip(1..) {
            assert_eq!(report.report, [&nonce[..], &[number]].concat());
            assert_eq!(report.certificates_pem, format!("certificates of {number}").into_bytes());
        }
    }
    assert_eq!(attester.ask(&ToGpuAttester::Accept), FromGpuAttester::Accepted);
    assert!(attester.end().success());
}

#[test]
fn what_cannot_be_asked_is_told_at_the_start() {
    for (wrong, said) in [
        ("library", "libnvidia-ml.so.1"),
        ("driver", "init answered 9"),
        ("mode", "not in confidential mode"),
    ] {
        let mut attester = Attester::start(Some(wrong));
        let detail = failed(attester.told());
        assert!(detail.contains(said), "{wrong}: {detail}");
        assert_eq!(attester.end().code(), Some(1), "{wrong}");
    }
}

#[test]
fn what_the_library_says_is_held_to_its_limits() {
    for (wrong, said) in [
        ("none", "0 GPUs"),
        ("many", "17 GPUs"),
        ("length", "5121 bytes"),
        ("lost", "report answered 15"),
        ("nonce", "another nonce"),
    ] {
        let mut attester = Attester::start(Some(wrong));
        assert!(matches!(attester.told(), FromGpuAttester::Confined(_)), "{wrong}");
        let detail = failed(attester.ask(&ToGpuAttester::Attest { nonce: [7; 32] }));
        assert!(detail.contains(said), "{wrong}: {detail}");
        assert!(attester.end().success(), "{wrong}");
    }
}

#[test]
fn gpus_that_take_no_work_are_told_of() {
    let mut attester = Attester::start(Some("ready"));
    assert!(matches!(attester.told(), FromGpuAttester::Confined(_)));
    assert!(failed(attester.ask(&ToGpuAttester::Accept)).contains("set_ready answered 3"));
}
