//! Ours against `sev` 8.0.0 and `dcap-qvl` 0.7.1 on the rejection suite and on the real samples. Where two verifiers
//! disagree one is wrong, or they do not judge the same: each disagreement is in [`table::TABLE`] with the reason, and
//! `DISAGREEMENTS.md` is that table. `WRITE=1` writes the file anew.

#[cfg(test)]
mod peers;
#[cfg(test)]
mod real;
#[cfg(test)]
mod table;

#[cfg(test)]
mod tests {
    use crate::peers::{self, Peer, Verdict};
    use crate::real;
    use crate::table::{Disagreements, TABLE};
    use anchorhold_vectors::{Corpus, Platform};
    use std::path::{Path, PathBuf};

    const LEAST_COMPARED: usize = 200;

    fn suite() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../vectors/rejection")
    }

    /// Ours and theirs on the suite. What only a policy refuses is no disagreement with a verifier that takes none.
    fn compare_suite() -> Disagreements {
        let corpus = Corpus::open(&suite()).unwrap();
        let mut found = Disagreements::default();
        for case in corpus.cases() {
            let peer = match case.platform {
                Platform::Snp => Peer::Sev,
                Platform::Tdx => Peer::DcapQvl,
                Platform::Nvidia | Platform::Azure | Platform::Tpm => continue,
            };
            let ours = corpus.run(case, || 0);
            assert!(ours.ok, "{}: {} {} {}", ours.id, ours.verdict, ours.stage, ours.code);
            let theirs = peers::judge(&suite(), case);
            let policy = matches!(ours.stage.as_str(), "policy" | "binding" | "eventlog");
            if policy && theirs == Verdict::Accept {
                found.policy_only += 1;
                continue;
            }
            let code = if ours.verdict == "accept" { "accept" } else { &ours.code };
            found.compare(peer, code, &theirs, &case.id);
        }
        found
    }

    #[test]
    fn every_disagreement_on_the_suite_is_in_the_table_and_the_document_is_the_table() {
        let found = compare_suite();
        assert!(found.compared >= LEAST_COMPARED, "{} compared", found.compared);
        let unlisted = found.unlisted();
        assert!(unlisted.is_empty(), "not in the table:\n{}", unlisted.join("\n"));
        let stale: Vec<_> = TABLE.iter().filter(|row| !found.shows(row)).map(|row| row.ours).collect();
        assert!(stale.is_empty(), "in the table, but there is no such disagreement: {stale:?}");
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("DISAGREEMENTS.md");
        let document = found.document();
        if std::env::var_os("WRITE").is_some() {
            std::fs::write(&path, &document).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), document, "{}: run with WRITE=1", path.display());
    }

    #[test]
    fn every_disagreement_on_real_samples_is_in_the_table() {
        let Some(found) = real::compare() else { return };
        assert!(found.compared >= real::LEAST_COMPARED, "{} compared", found.compared);
        let unlisted = found.unlisted();
        assert!(unlisted.is_empty(), "not in the table:\n{}", unlisted.join("\n"));
    }
}
