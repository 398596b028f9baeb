//! Help and usage.

use crate::support::run;
use std::path::Path;

const COMMANDS: &[(&str, &[&str])] = &[
    ("anchorhold", &[]),
    ("owner-new", &["owner", "new"]),
    ("owner-show", &["owner", "show"]),
    ("seal", &["seal"]),
    ("package-verify", &["package", "verify"]),
    ("package-show", &["package", "show"]),
    ("verify", &["verify"]),
    ("proxy", &["proxy"]),
    ("evidence-show", &["evidence", "show"]),
    ("evidence-verify", &["evidence", "verify"]),
    ("evidence-explain", &["evidence", "explain"]),
    ("evidence-bundle", &["evidence", "bundle"]),
    ("evidence-endorse", &["evidence", "endorse"]),
    ("evidence-save", &["evidence", "save"]),
    ("evidence-token-verify", &["evidence", "token", "verify"]),
    ("audit-archive-add", &["audit", "archive", "add"]),
    ("audit-archive-export", &["audit", "archive", "export"]),
    ("audit-archive-init", &["audit", "archive", "init"]),
    ("audit-archive-status", &["audit", "archive", "status"]),
    ("audit-check-proof", &["audit", "check-proof"]),
    ("audit-dossier", &["audit", "dossier"]),
    ("audit-entries", &["audit", "entries"]),
    ("audit-erase", &["audit", "erase"]),
    ("audit-export", &["audit", "export"]),
    ("audit-reader-new", &["audit", "reader", "new"]),
    ("audit-reader-show", &["audit", "reader", "show"]),
    ("audit-hold-list", &["audit", "hold", "list"]),
    ("audit-hold-place", &["audit", "hold", "place"]),
    ("audit-hold-release", &["audit", "hold", "release"]),
    ("audit-personal", &["audit", "personal"]),
    ("audit-prune", &["audit", "prune"]),
    ("audit-recipient", &["audit", "recipient"]),
    ("audit-prove", &["audit", "prove"]),
    ("audit-report", &["audit", "report"]),
    ("audit-stats", &["audit", "stats"]),
    ("audit-tail", &["audit", "tail"]),
    ("audit-tiles", &["audit", "tiles"]),
    ("audit-verify", &["audit", "verify"]),
    ("package-fetch", &["package", "fetch"]),
    ("key-create", &["key", "create"]),
    ("key-list", &["key", "list"]),
    ("key-revoke", &["key", "revoke"]),
    ("policy-check", &["policy", "check"]),
    ("policy-explain", &["policy", "explain"]),
    ("policy-diff", &["policy", "diff"]),
    ("policy-backtest", &["policy", "backtest"]),
    ("policy-approve", &["policy", "approve"]),
    ("policy-assemble", &["policy", "assemble"]),
    ("policy-sign", &["policy", "sign"]),
    ("policy-verify-signature", &["policy", "verify-signature"]),
    ("image-measure-snp", &["image", "measure", "snp"]),
    ("image-measure-tdx", &["image", "measure", "tdx"]),
    ("image-measure-tpm", &["image", "measure", "tpm"]),
    ("image-measure-rtmr3", &["image", "measure", "rtmr3"]),
    ("image-measure-simulated", &["image", "measure", "simulated"]),
    ("image-reference-values", &["image", "reference-values"]),
    ("image-verify", &["image", "verify"]),
    ("vectors-run", &["vectors", "run"]),
    ("simulated-root", &["simulated-root"]),
    ("top", &["top"]),
];

/// Compares with a file; writes it when `UPDATE_SNAPSHOTS` is set.
fn snapshot(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli/snapshots").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(wanted == text, "{} differs; it now reads:\n{text}", path.display());
}

#[test]
fn help_is_as_published_and_has_an_example_for_every_command() {
    for (name, command) in COMMANDS {
        let ran = run(command.iter().chain(&["--help"]));
        ran.expect(0, "");
        assert!(ran.err.is_empty(), "{}", ran.err);
        assert!(command.is_empty() || ran.out.contains("Example"), "{name}");
        snapshot(name, &ran.out);
    }
}

#[test]
fn the_exit_codes_are_in_the_help() {
    let help = run(["--help"]).out;
    for code in 0..=8 {
        assert!(help.contains(&format!("\n  {code}  ")), "{code}");
    }
}

#[test]
fn a_command_line_that_is_not_understood_ends_with_2() {
    run(["nonsense"]).expect(2, "anchorhold: error: unrecognized subcommand");
    run([""; 0]).expect(2, "anchorhold: error: ");
    run(["verify", "https://a.example", "--measurement", "xyz"]).expect(2, "not 48 bytes of lower-case hex");
    run(["verify", "http://a.example", "--measurement", &"5a".repeat(48)])
        .expect(2, "not https://host[:port]");
    run(["image", "measure", "simulated", "--component", "keeper"]).expect(2, "wanted NAME=PATH");
}

#[test]
fn version_is_a_result() {
    assert_eq!(run(["--version"]).out, concat!("anchorhold ", env!("CARGO_PKG_VERSION"), "\n"));
}
