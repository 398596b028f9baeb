//! The two programs between a keeper and a double of NVIDIA's library.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at a surprise")]

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

const ATTESTER: &str = env!("CARGO_BIN_EXE_anchorhold-gpu-attester");
const ACCEPTOR: &str = env!("CARGO_BIN_EXE_anchorhold-gpu-acceptor");

struct Attester {
    child: Child,
    line: Line<ToGpuAttester, FromGpuAttester>,
    _folder: tempfile::TempDir,
}

impl Attester {
    fn start(program: &str, wrong: Option<&str>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let (ours, theirs) = pair().unwrap();
        let mut command = Command::new(program);
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
fn each_gpu_reports_for_the_nonce() {
    let mut attester = Attester::start(ATTESTER, None);
    let FromGpuAttester::Confined(layers) = attester.told() else { panic!("not confined") };
    for layer in ["seccomp", "seccomp serving", "no new privileges", "no capabilities"] {
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
    assert!(failed(attester.ask(&ToGpuAttester::Accept)).contains("other program"));
    assert!(attester.end().success());
}

#[test]
fn what_cannot_be_asked_is_told_at_the_start() {
    for (wrong, said) in [
        ("library", "libnvidia-ml.so.1"),
        ("driver", "init answered 9"),
        ("mode", "not in confidential mode"),
    ] {
        let mut attester = Attester::start(ATTESTER, Some(wrong));
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
        let mut attester = Attester::start(ATTESTER, Some(wrong));
        assert!(matches!(attester.told(), FromGpuAttester::Confined(_)), "{wrong}");
        let detail = failed(attester.ask(&ToGpuAttester::Attest { nonce: [7; 32] }));
        assert!(detail.contains(said), "{wrong}: {detail}");
        assert!(attester.end().success(), "{wrong}");
    }
}

#[test]
fn gpus_take_work_when_the_acceptor_tells_them_and_what_they_answer_is_told() {
    for wrong in [None, Some("ready")] {
        let mut acceptor = Attester::start(ACCEPTOR, wrong);
        let FromGpuAttester::Confined(layers) = acceptor.told() else { panic!("not confined") };
        assert!(layers.active.iter().any(|active| active == "few capabilities"), "{layers:?}");
        assert!(failed(acceptor.ask(&ToGpuAttester::Attest { nonce: [7; 32] })).contains("other program"));
        let answer = acceptor.ask(&ToGpuAttester::Accept);
        match wrong {
            None => assert_eq!(answer, FromGpuAttester::Accepted),
            Some(_) => assert!(failed(answer).contains("set_ready answered 3")),
        }
        assert!(acceptor.end().success());
    }
}
