//! The real process under its real confinement, with a real sealed model.

use crate::rig::{STUCK, TENANCY, generate, text, with};
use anchorhold_engine::{ChatMessage, FinishReason, Prompt, RequestId, Structure};
use anchorhold_ipc::{
    Confinement, Event, FromWorker, Line, LoadModel, ObjectDescriptors, Precision, RejectReason,
    RequestError, Specials, StructureFault, ToWorker, WireSecret, Work, WorkKind, pair,
};
use anchorhold_sealed_weights::{Effort, OwnerKey, SealOptions, SegmentSize, seal};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use std::fs::{self, File};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use tempfile::TempDir;

const WEIGHTS_KEY: [u8; 32] = [9; 32];
const OWNER_SEED: [u8; 32] = [4; 32];
const VERSION: u64 = 5;

/// A started process; killed when dropped.
struct Process {
    child: Child,
    keeper: Line<ToWorker, FromWorker>,
    gateway: Line<Work, Event>,
    confinement: Confinement,
    /// Its root.
    _empty: TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, and that is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    fn start() -> Self {
        let empty = tempfile::tempdir().unwrap();
        let ((control, keeper), (data, gateway)) = (pair().unwrap(), pair().unwrap());
        set_socket_timeout(&keeper, Timeout::Recv, Some(STUCK)).unwrap();
        set_socket_timeout(&gateway, Timeout::Recv, Some(STUCK)).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_anchorhold-worker"))
            .env_clear()
            .current_dir(&empty)
            .stdin(Stdio::from(control))
            .stdout(Stdio::from(data))
            .spawn()
            .unwrap();
        let mut keeper = Line::new(keeper);
        let (FromWorker::Confined(confinement), _) = keeper.receive().unwrap() else { panic!() };
        Self { child, keeper, gateway: Line::new(gateway), confinement, _empty: empty }
    }

    /// Hands the package over, with what `change` makes of the order.
    fn load(&mut self, change: impl FnOnce(&mut LoadModel, &mut Vec<File>)) -> FromWorker {
        let (mut order, mut files) = order();
        change(&mut order, &mut files);
        let descriptors: Vec<BorrowedFd<'_>> = files.iter().map(|file| file.as_fd()).collect();
        self.keeper.send(&ToWorker::Load(Box::new(order)), &descriptors).unwrap();
        self.keeper.receive().unwrap().0
    }

    /// Asks for one generation and reads it to its end.
    fn ask(&mut self, id: u64, kind: WorkKind) -> (String, Event) {
        self.gateway
            .send(&Work::Submit { id: RequestId(id), within_ms: 600_000, kind: kind.into() }, &[])
            .unwrap();
        let mut said = String::new();
        loop {
            match self.gateway.receive().unwrap().0 {
                Event::Delta { text, .. } => said += &text,
                Event::Load(_) => {}
                end => return (said, end),
            }
        }
    }

    fn status(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

/// The chat model of this repository, sealed once for all tests.
fn package() -> &'static (TempDir, PathBuf, [u8; 32]) {
    static PACKAGE: OnceLock<(TempDir, PathBuf, [u8; 32])> = OnceLock::new();
    PACKAGE.get_or_init(|| {
        let source = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/models/anchor-chat"));
        let valid_s = 1_700_000_000..=4_000_000_000;
        let options =
            SealOptions { segment: SegmentSize::Mib1, ..SealOptions::new("anchor-chat", VERSION, valid_s) };
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("package");
        let owner = OwnerKey::from_seed(&OWNER_SEED).unwrap();
        let summary = seal(source, &out, &options, &owner, &WEIGHTS_KEY, &Effort::default()).unwrap();
        (folder, out, summary.manifest_digest)
    })
}

/// What the keeper would send for that package.
fn order() -> (LoadModel, Vec<File>) {
    let (_, path, manifest_digest) = package();
    let mut ids: Vec<String> = fs::read_dir(path.join("objects"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".tree"))
        .collect();
    ids.sort();
    let mut files = vec![File::open(path.join("card.sealed")).unwrap()];
    for id in &ids {
        files.push(File::open(path.join("objects").join(id)).unwrap());
        files.push(File::open(path.join("objects").join(format!("{id}.tree"))).unwrap());
    }
    let order = LoadModel {
        manifest: fs::read(path.join("manifest.json")).unwrap(),
        manifest_digest: *manifest_digest,
        version_min: VERSION,
        at_s: 0,
        owner_key: OwnerKey::from_seed(&OWNER_SEED).unwrap().public_key(),
        weights_key: WireSecret(Box::new(WEIGHTS_KEY)),
        objects: ids.into_iter().map(|id| ObjectDescriptors { id }).collect(),
        threads: 2,
        cpus: Vec::new(),
        keep_prefixes: true,
        precision: Precision::F32,
    };
    (order, files)
}

fn chat(content: &str) -> Prompt {
    Prompt::Chat(vec![ChatMessage::text("user", content)].into())
}

#[test]
fn answers_a_conversation_under_its_confinement() {
    let mut process = Process::start();
    assert!(process.confinement.active.iter().any(|layer| layer == "seccomp"), "{:?}", process.confinement);
    let FromWorker::Loaded { report, .. } = process.load(|_, _| {}) else { panic!("not loaded") };
    assert_eq!((report.model.id.as_str(), report.model.version), ("anchor-chat", VERSION));
    assert_eq!(report.model.manifest_digest, package().2);
    assert!(report.bytes > 1_000_000 && report.model.max_tokens > 64, "{report:?}");
    assert!(report.memory_bytes > 1_000_000 && report.locked_bytes <= report.memory_bytes, "{report:?}");
    let (said, end) = process.ask(1, generate(chat("hello"), 24, &[]));
    let Event::Finished { tokens_out, .. } = end else { panic!("{end:?}") };
    assert!(!said.is_empty() && tokens_out > 0);
    assert_eq!(process.ask(2, generate(chat("hello"), 24, &[])).0, said, "greedy repeats itself");
    let first = said.chars().next().unwrap().to_string();
    let (cut, end) = process.ask(3, generate(chat("hello"), 24, &[&first]));
    assert!(cut.is_empty() && matches!(end, Event::Finished { reason: FinishReason::Stop, .. }), "{end:?}");
    let (_, end) = process.ask(4, WorkKind::Embed { tenancy: TENANCY, inputs: vec![text("a")] });
    let error = RequestError::Rejected(RejectReason::WrongKind);
    assert_eq!(end, Event::Failed { id: RequestId(4), error });
    process.keeper.send(&ToWorker::Wipe, &[]).unwrap();
    assert_eq!(process.status(), Some(0));
}

#[test]
fn keeps_to_forms_under_its_confinement() {
    let mut process = Process::start();
    assert!(matches!(process.load(|_, _| {}), FromWorker::Loaded { .. }));
    let formed = |form: Structure, seed| {
        with(generate(chat("hello"), 120, &[]), |asked| {
            *asked.structure = Some(Box::new(form));
            (asked.sampling.temperature, asked.sampling.seed) = (1.5, seed);
        })
    };
    let stopped = |end: &Event| matches!(end, Event::Finished { reason: FinishReason::Stop, .. });
    let schema = r#"{"type":"object","properties":{"ok":{"type":"boolean"},"size":{"enum":["small","large"]}},
        "required":["ok","size"],"additionalProperties":false}"#;
    for seed in 0..4 {
        let (said, end) = process.ask(seed, formed(Structure::JsonSchema(schema.to_owned()), seed));
        let wanted = ["true", "false"]
            .iter()
            .flat_map(|ok| ["small", "large"].map(|size| format!("{{\"ok\":{ok},\"size\":\"{size}\"}}")));
        assert!(stopped(&end) && wanted.into_iter().any(|wanted| wanted == said), "{said} {end:?}");
    }
    let (said, end) = process.ask(10, formed(Structure::Choice(vec!["yes".into(), "no".into()]), 1));
    assert!(stopped(&end) && ["yes", "no"].contains(&said.as_str()), "{said} {end:?}");
    let (said, end) = process.ask(11, formed(Structure::Regex("[0-9]{3}-[a-f]{2}".into()), 1));
    let (digits, letters) = said.split_once('-').unwrap();
    assert!(stopped(&end) && digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{said}");
    assert!(letters.len() == 2 && letters.bytes().all(|byte| (b'a'..=b'f').contains(&byte)), "{said}");
    let fault = |id, fault| {
        let error = RequestError::Rejected(RejectReason::Structure(fault));
        Event::Failed { id: RequestId(id), error }
    };
    let (_, end) = process.ask(12, formed(Structure::JsonSchema("{\"$ref\":\"https://x/y\"}".into()), 1));
    assert_eq!(end, fault(12, StructureFault::Malformed));
    let (_, end) = process.ask(13, formed(Structure::Regex("a".repeat(5_000)), 1));
    assert_eq!(end, fault(13, StructureFault::TooComplex));
    assert!(!process.ask(14, generate(chat("hello"), 4, &[])).0.is_empty(), "and serves as before");
}

#[test]
fn refuses_a_package_that_is_not_the_released_one() {
    type Change = fn(&mut LoadModel, &mut Vec<File>);
    let cases: [(&str, Change); 10] = [
        ("manifest", |order, _| order.manifest.truncate(100)),
        ("signature", |order, _| order.owner_key = [1; 32]),
        ("mixed", |order, _| order.manifest_digest[0] ^= 1),
        ("version", |order, _| order.version_min = VERSION + 1),
        ("expired", |order, _| order.at_s = u64::MAX),
        ("wrong_key", |order, _| order.weights_key.0[0] ^= 1),
        ("descriptors", |_, files| drop(files.pop())),
        ("descriptors", |_, files| files.clear()),
        ("absent", |order, files| {
            order.objects.pop();
            files.truncate(files.len() - 2);
        }),
        ("truncated", |_, files| files[1] = File::open("/dev/null").unwrap()),
    ];
    for (wanted, change) in cases {
        let mut process = Process::start();
        let FromWorker::LoadFailed { code, detail } = process.load(change) else {
            panic!("{wanted}: loaded")
        };
        assert_eq!(code, wanted, "{detail}");
        assert_eq!(process.status(), Some(1), "{wanted}");
    }
}

#[test]
fn objects_that_the_manifest_does_not_name_are_left_alone() {
    let mut process = Process::start();
    let loaded = process.load(|order, files| {
        order.objects.insert(0, ObjectDescriptors { id: "stranger".into() });
        files.insert(1, File::open("/dev/null").unwrap());
        files.insert(2, File::open("/dev/null").unwrap());
    });
    assert!(matches!(loaded, FromWorker::Loaded { .. }), "{loaded:?}");
    drop(std::mem::replace(&mut process.gateway, Line::new(pair().unwrap().0)));
    assert_eq!(process.status(), Some(0), "ends with the gateway's line");
}

#[test]
fn does_not_start_without_its_sockets() {
    let output = Command::new(env!("CARGO_BIN_EXE_anchorhold-worker"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("anchorhold-worker: error: standard input and output are not"), "{said}");
}

#[test]
fn the_tokens_of_a_prompt_are_those_that_a_request_with_it_has() {
    let mut process = Process::start();
    assert!(matches!(process.load(|_, _| ()), FromWorker::Loaded { .. }));
    let text = "Ein naïver Satz 🦀 <|im_end|> with specials spelled out";
    for prompt in [Prompt::Text(text.into()), chat(text)] {
        let (specials, spell) = (Specials::Added, true);
        let asked = WorkKind::Tokenize { tenancy: TENANCY, prompt: prompt.clone(), specials, spell };
        let (_, Event::Tokenized { tokens, spelled, .. }) = process.ask(1, asked) else { panic!() };
        let spelled = spelled.unwrap().concat();
        assert!(String::from_utf8_lossy(&spelled).contains("naïver Satz 🦀"));
        let (_, Event::Finished { tokens_in, .. }) = process.ask(2, generate(prompt, 1, &[])) else {
            panic!()
        };
        assert_eq!(tokens_in, tokens.len() as u64);
    }
    let asked = WorkKind::Tokenize {
        tenancy: TENANCY,
        prompt: Prompt::Text(text.into()),
        specials: Specials::Omitted,
        spell: false,
    };
    let (_, Event::Tokenized { tokens, .. }) = process.ask(3, asked) else { panic!() };
    let (_, end) = process.ask(4, WorkKind::Detokenize { tenancy: TENANCY, tokens });
    assert_eq!(end, Event::Detokenized { id: RequestId(4), text: text.into() });
}
