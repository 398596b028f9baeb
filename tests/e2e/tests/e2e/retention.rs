//! Whom entries are about, from a serving guest to the archive: sealed, opened by one recipient, held, erased, and proven all the while.

use crate::support::{Served, chat};
use anchorhold_attester::software::simulated_ark_der;
use anchorhold_e2e::refusals::Stand;
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Exit code, lines of JSON and standard error of a command.
fn run(stand: &Stand, arguments: &[&str]) -> (Option<i32>, Vec<Value>, String) {
    let arguments: Vec<&dyn AsRef<OsStr>> = arguments.iter().map(|text| text as &dyn AsRef<OsStr>).collect();
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    (output.status.code(), lines, String::from_utf8(output.stderr).unwrap())
}

fn printed(stand: &Stand, arguments: &[&str]) -> String {
    let arguments: Vec<&dyn AsRef<OsStr>> = arguments.iter().map(|text| text as &dyn AsRef<OsStr>).collect();
    let output = stand.programs.output("anchorhold", &arguments).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// The files below a folder that hold these bytes.
fn found(folder: &Path, wanted: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                folders.push(path);
            } else if kind.is_file()
                && std::fs::read(&path).unwrap().windows(wanted.len()).any(|window| window == wanted)
            {
                found.push(path);
            }
        }
    }
    found
}

fn kid(entry: &Value) -> String {
    entry["sealed"]["kid"].as_str().unwrap().to_owned()
}

/// One case, and where its files are.
struct Case {
    stand: Stand,
    privacy: String,
    archivist: String,
    archive: String,
    bundle: String,
    /// The keyring beside the guest's log, and that of the archive.
    keyrings: [PathBuf; 2],
}

/// What a guest left that served three requests of one caller, whose key was destroyed after the second.
struct Left {
    log: PathBuf,
    origin: String,
    /// The text of the key that was destroyed.
    first_key: String,
    /// The id of the key of the third request.
    last_kid: String,
}

impl Case {
    fn serve() -> (Self, Left) {
        let mut stand = Stand::new().unwrap();
        let mut settings = stand.with_chat().unwrap();
        let in_stand = |name: &str| stand.path().join(name).display().to_string();
        let (privacy, archivist, archive) =
            (in_stand("privacy.key"), in_stand("archivist.key"), in_stand("archive"));
        let bundle = in_stand("bundle.tar");
        settings.privacy_recipient = Some(printed(&stand, &["audit", "recipient", &privacy]));
        let served = Served::start(stand, &settings);
        let ask =
            || assert_eq!(served.post("/v1/chat/completions", &chat("What is Anchorhold?")).status, 200);
        ask();
        ask();
        let log = served.guest.audit_log.clone();
        let keyring = log.parent().unwrap().join("personal");
        let [first]: [PathBuf; 1] = files_of(&keyring).try_into().unwrap();
        let first_key = std::fs::read_to_string(&first).unwrap();
        // An erasure in a guest that serves: the file is destroyed, and the next entry is under a new key.
        std::fs::remove_file(&first).unwrap();
        ask();
        assert_eq!(files_of(&keyring).len(), 1);
        served.guest.stop().unwrap();
        let stand = served.stand;
        let entries = anchorhold_e2e::guest::log_entries(&log).unwrap();
        let told: Vec<&Value> = entries.iter().filter(|entry| entry["type"] == "infer.complete").collect();
        assert_eq!(told.len(), 3);
        assert!(kid(told[0]) == kid(told[1]) && kid(told[1]) != kid(told[2]));
        let pseudonym = |at: usize| told[at]["actor"]["pseud"].as_str().unwrap();
        assert!(pseudonym(0).len() == 64 && pseudonym(0) == pseudonym(1));
        assert_eq!(found(&log, b"127.0.0.1"), Vec::<PathBuf>::new(), "no address stands in the log");
        let origin = entries[0]["log"]["origin"].as_str().unwrap().to_owned();
        let left = Left { log, origin, first_key, last_kid: kid(told[2]) };
        let keyrings = [keyring, Path::new(&archive).join("keyring")];
        (Self { stand, privacy, archivist, archive, bundle, keyrings }, left)
    }

    /// Exports the log into the archive, and the keys go with it. Gives back the archive's key.
    fn archive(&self, log: &Path) -> String {
        let Self { stand, archivist, archive, bundle, .. } = self;
        let exported = anchorhold_e2e::guest::export_log(&stand.programs, log, Path::new(bundle)).unwrap();
        assert!(exported.status.success());
        let bytes = std::fs::read(bundle).unwrap();
        assert!(!bytes.windows(9).any(|window| window == b"127.0.0.1"), "nor in what is exported");
        printed(stand, &["owner", "new", archivist]);
        let init = ["audit", "archive", "init", archive, "--key", archivist, "--origin", "archive.example/1"];
        let archive_key = printed(stand, &init);
        let from = self.keyrings[0].display().to_string();
        let add = ["audit", "archive", "add", archive, bundle, "--key", archivist, "--keyring", &from];
        printed(stand, &add);
        assert!(files_of(&self.keyrings[0]).is_empty(), "a key is in one keyring");
        archive_key
    }

    /// Whom the entries of the bundle are about, as far as the archive's keyring says.
    fn personal(&self, more: &[&str]) -> Vec<Value> {
        let own = self.keyrings[1].display().to_string();
        let personal = ["audit", "personal", &self.bundle, "--keyring", &own];
        let all = [personal.as_slice(), &["--recipient-key", &self.privacy, "--json"], more].concat();
        let (code, lines, error) = run(&self.stand, &all);
        assert_eq!(code, Some(0), "{error}");
        lines
    }

    /// The one whom the third entry is about.
    fn subject(&self) -> String {
        let lines = self.personal(&[]);
        let of = |state: &str| lines.iter().filter(|line| line["sealed"] == state).count();
        assert!(of("opened") >= 1 && of("erased") >= 2 && of("refused") == 0, "{lines:?}");
        let opened = lines.iter().find(|line| line["sealed"] == "opened").unwrap();
        assert_eq!((&opened["address"], &opened["tenant"]), (&"127.0.0.1".into(), &"demo".into()));
        let subject = format!("demo/{}", opened["key"].as_str().unwrap());
        assert_eq!(self.personal(&["--subject", &subject]).len(), of("opened"));
        subject
    }

    /// An act of the archivist's, with more arguments.
    fn act(&self, act: &[&str], more: &[&str]) -> (Option<i32>, Vec<Value>, String) {
        let whose = [self.archive.as_str(), "--key", &self.archivist];
        run(&self.stand, &[["audit"].as_slice(), act, &whose, more].concat())
    }

    /// A hold blocks the erasure, which is done once it is released; in between, entries are pruned.
    fn hold_and_erase(&self, subject: &str) {
        let done = |(code, _, error): (Option<i32>, Vec<Value>, String)| assert_eq!(code, Some(0), "{error}");
        let hold = ["--id", "case-17", "--tenant", "demo", "--reason", "litigation"];
        done(self.act(&["hold", "place"], &hold));
        let whom = ["--subject", subject, "--recipient-key", &self.privacy, "--reason", "gdpr_17_1_b"];
        let (code, _, error) = self.act(&["erase"], &whom);
        assert!(code == Some(1) && error.contains("hold case-17 covers entries"), "{error}");
        done(self.act(&["prune"], &["--profile", "default", "--at", "2036-01-01T00:00:00Z"]));
        done(self.act(&["hold", "release"], &["--id", "case-17", "--reason", "case_closed"]));
        done(self.act(&["erase"], &whom));
    }
}

fn files_of(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect()
}

#[test]
fn case_37_a_caller_of_a_serving_guest_is_sealed_opened_held_and_erased() {
    let (case, served) = Case::serve();
    let archive_key = case.archive(&served.log);
    let subject = case.subject();
    let last_key = case.keyrings[1].join(format!("{}.key", served.last_kid));
    let last_key = std::fs::read_to_string(last_key).unwrap();
    case.hold_and_erase(&subject);
    let lines = case.personal(&[]);
    assert!(!lines.is_empty() && lines.iter().all(|line| line["sealed"] == "erased"), "{lines:?}");
    let stand = &case.stand;
    for text in [&served.first_key, &last_key] {
        assert_eq!(found(stand.path(), text.as_bytes()), Vec::<PathBuf>::new());
    }

    // What was pruned, and what is left, is proven; so is the bundle from before, under the guest's evidence.
    let (left, root) = (stand.path().join("left.tar"), stand.path().join("root.der"));
    std::fs::write(&root, simulated_ark_der()).unwrap();
    let (left, root) = (left.display().to_string(), root.display().to_string());
    let export = ["audit", "archive", "export", &case.archive, "--out", &left, "--origin", &served.origin];
    printed(stand, &export);
    for bundle in [&left, &case.bundle] {
        let trust = ["--measurement", &stand.measurement, "--dangerous-simulated-root", &root];
        let (code, _, error) = run(stand, &[["audit", "verify", bundle].as_slice(), &trust].concat());
        assert_eq!(code, Some(0), "{error}");
    }
    let status =
        printed(stand, &["audit", "archive", "status", &case.archive, "--archive-key", &archive_key]);
    assert!(status.contains(" by act ") && status.contains("0 stand"), "{status}");
    assert!(status.ends_with("accepted"), "{status}");
}
