//! `audit prove`, `audit check-proof` and `audit tiles`.

use crate::support::{Folder, run};
use anchorhold_audit_log::cosignature::Cosigner;
use anchorhold_audit_log::merkle::{Place, inclusion_proof_from, verify_inclusion};
use anchorhold_audit_log::note::Note;
use anchorhold_audit_log::tlog::tiles::{Tile, TileError, TileKind, read_entries, read_node};
use anchorhold_audit_log::{
    BootId, Checkpoint, Event, EventType, Log, Origin, Outcome, Signer, Stamp, merkle::leaf_hash,
};
use std::path::Path;

const SEED: [u8; 32] = [5; 32];
const WITNESS_SEED: [u8; 32] = [8; 32];
const AT: Stamp = Stamp { wall_ns: 1_800_000_000_000_000_000, mono_ns: 1 };
const ENTRIES: u64 = 300;

fn signer() -> Signer {
    Signer::from_seed(Origin::new("acme/1").unwrap(), &SEED).unwrap()
}

fn witness() -> Cosigner {
    Cosigner::from_seed("witness.example/1", &WITNESS_SEED).unwrap()
}

/// The bundle of a log of 300 entries, whose checkpoint a witness has cosigned.
fn bundle(folder: &Folder) -> String {
    let path = folder.path("log");
    let mut log = Log::create(Path::new(&path), signer(), BootId::new([6; 16]), AT).unwrap();
    for _ in 1..ENTRIES {
        log.stage(Event::new(EventType::LogExport, Outcome::Success, AT)).unwrap();
    }
    log.commit().unwrap();
    let mut note = log.checkpoint().unwrap();
    let text = Note::parse(&note).unwrap().unverified_text().to_owned();
    note.extend_from_slice(witness().cosign(&text, 1_800_000_001).as_bytes());
    log.store_cosigned(&note, ENTRIES, AT).unwrap();
    let out = folder.path("bundle.tar");
    run(["audit", "export", "--log", &path, "--out", &out]).expect(0, "");
    out
}

#[test]
fn a_proof_of_an_entry_is_checked_without_the_log() {
    let folder = Folder::new();
    let (bundle, out, key) = (bundle(&folder), folder.path("proofs"), signer().key().to_string());
    let ran = run(["audit", "prove", &bundle, "--from", "254", "--to", "258", "--out", &out, "--json"]);
    ran.expect(0, "");
    assert_eq!((&ran.json()["size"], &ran.json()["from"]), (&ENTRIES.into(), &254.into()));
    let file = |index: u64, kind: &str| format!("{out}/{index}.{kind}");
    let check = |proof: &str, entry: &str, more: &[&str]| {
        run(["audit", "check-proof", proof, entry].iter().chain(more))
    };
    for index in 254..258 {
        let (proof, entry) = (file(index, "tlog-proof"), file(index, "json"));
        let ran = check(&proof, &entry, &["--audit-key", &key, "--json"]);
        ran.expect(0, "");
        let json = ran.json();
        assert_eq!((&json["verdict"], &json["index"]), (&"accepted".into(), &index.into()));
        assert_eq!((&json["kind"], &json["origin"]), (&"log.export".into(), &"acme/1".into()));
    }
    // Witnesses, by a policy; it may leave the log to be named here.
    let policy = folder.path("policy");
    let witnessed = format!("witness w {}\nquorum w\n", witness().key());
    std::fs::write(&policy, &witnessed).unwrap();
    let (proof, entry) = (file(255, "tlog-proof"), file(255, "json"));
    check(&proof, &entry, &["--log-policy", &policy]).expect(6, "");
    let ran = check(&proof, &entry, &["--log-policy", &policy, "--audit-key", &key]);
    ran.expect(0, "");
    assert!(ran.out.contains("cosigned     witness.example/1 at 1800000001"), "{}", ran.out);
    std::fs::write(&policy, format!("log {key}\n{witnessed}")).unwrap();
    check(&proof, &entry, &["--log-policy", &policy]).expect(0, "");
    let other = Cosigner::from_seed("witness.example/2", &[9; 32]).unwrap();
    std::fs::write(&policy, format!("log {key}\nwitness w {}\nquorum w\n", other.key())).unwrap();
    let ran = check(&proof, &entry, &["--log-policy", &policy]);
    ran.expect(6, "");
    assert!(ran.out.contains("are no quorum"), "{}", ran.out);
    std::fs::write(&policy, "quorum w\n").unwrap();
    check(&proof, &entry, &["--log-policy", &policy]).expect(1, "line 1");
    check(&proof, &entry, &[]).expect(2, "--log-policy");
}

#[test]
fn case_47_another_entry_and_a_changed_proof_are_not_proven() {
    let folder = Folder::new();
    let (bundle, out, key) = (bundle(&folder), folder.path("proofs"), signer().key().to_string());
    run(["audit", "prove", &bundle, "--from", "7", "--to", "9", "--out", &out]).expect(0, "");
    let check = |proof: &str, entry: &str| {
        run([
            "audit",
            "check-proof",
            &format!("{out}/{proof}"),
            &format!("{out}/{entry}"),
            "--audit-key",
            &key,
        ])
    };
    let ran = check("7.tlog-proof", "8.json");
    ran.expect(6, "");
    assert!(ran.out.contains("leads to another root hash"), "{}", ran.out);
    let good = std::fs::read(format!("{out}/7.tlog-proof")).unwrap();
    for at in (0..good.len()).step_by(29) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(format!("{out}/bad"), &bad).unwrap();
        // What a witness says is not looked at where no policy names it.
        let in_cosignature = at > good.len() - 130;
        let code = check("bad", "7.json").code;
        assert!(code == 6 || in_cosignature, "byte {at}: exit {code}");
    }
    let mut line = std::fs::read(format!("{out}/7.json")).unwrap();
    line.push(b'\n');
    std::fs::write(format!("{out}/line"), &line).unwrap();
    check("7.tlog-proof", "line").expect(0, "");
    let other = Signer::from_seed(Origin::new("acme/2").unwrap(), &SEED).unwrap().key().to_string();
    let (proof, entry) = (format!("{out}/7.tlog-proof"), format!("{out}/7.json"));
    run(["audit", "check-proof", &proof, &entry, "--audit-key", &other]).expect(6, "");
}

#[test]
fn proofs_and_tiles_are_made_of_whole_and_proven_logs_only() {
    let folder = Folder::new();
    let (bundle, out) = (bundle(&folder), folder.path("out"));
    for more in [&["--index", "300"][..], &["--from", "5", "--to", "5"], &["--from", "5", "--to", "301"]] {
        let args = ["audit", "prove", &bundle, "--out", &out];
        run(args.iter().chain(more)).expect(1, "300 entries");
    }
    run(["audit", "prove", &bundle, "--out", &out]).expect(2, "--index");
    run(["audit", "prove", &bundle, "--index", "1", "--from", "1", "--to", "2", "--out", &out]).expect(2, "");
    let part = folder.path("part.tar");
    run(["audit", "export", "--log", &folder.path("log"), "--from", "1", "--to", "9", "--out", &part])
        .expect(0, "");
    run(["audit", "prove", &part, "--index", "1", "--out", &out]).expect(1, "a part of its log");
    run(["audit", "tiles", &part, "--out", &out]).expect(1, "a part of its log");
    let mut bytes = std::fs::read(&bundle).unwrap();
    let at = bytes.windows(8).position(|window| window == b"\"seq\":77").unwrap();
    bytes[at + 6] = b'8';
    std::fs::write(&part, bytes).unwrap();
    run(["audit", "prove", &part, "--index", "1", "--out", &out]).expect(6, "nothing was written");
    run(["audit", "tiles", &part, "--out", &out]).expect(6, "nothing was written");
    assert!(!Path::new(&out).exists());
    std::fs::create_dir(&out).unwrap();
    run(["audit", "prove", &bundle, "--index", "1", "--out", &out]).expect(1, "cannot create");
    run(["audit", "tiles", &bundle, "--out", &out]).expect(1, "cannot create");
}

#[test]
fn every_entry_is_proven_out_of_the_tiles_of_a_folder() {
    let folder = Folder::new();
    let (bundle, out) = (bundle(&folder), folder.path("tiles"));
    let ran = run(["audit", "tiles", &bundle, "--out", &out, "--json"]);
    ran.expect(0, "");
    // Hashes: one full and one partial tile of level 0, one of level 1; entries: two bundles.
    assert_eq!((&ran.json()["size"], &ran.json()["tiles"]), (&ENTRIES.into(), &5.into()));
    let note = std::fs::read(format!("{out}/checkpoint")).unwrap();
    let head = Checkpoint::verify(&note, signer().key()).unwrap().head;
    let read = |tile: Tile| Ok::<_, TileError>(std::fs::read(format!("{out}/{tile}")).unwrap());
    for index in 0..ENTRIES {
        let tile = Tile::of_tree(TileKind::Entries, index / 256, ENTRIES).unwrap();
        let content = read(tile).unwrap();
        let entries = read_entries(&content, tile.width()).unwrap();
        let leaf = leaf_hash(entries[usize::try_from(index % 256).unwrap()]);
        let place = Place { index, size: ENTRIES };
        let proof = inclusion_proof_from(place, |node| read_node(node, ENTRIES, read)).unwrap().unwrap();
        verify_inclusion(&leaf, place, &proof, &head.root).unwrap();
    }
}
