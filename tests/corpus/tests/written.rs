//! The suite as it would be written now: the writer still makes what every manifest of it promises.

use anchorhold_corpus::{Suite, write_all};
use anchorhold_vectors::Corpus;

#[test]
fn every_case_that_is_written_has_the_verdict_stage_and_code_that_its_manifest_names() {
    let mut suite = Suite::default();
    write_all(&mut suite).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (cases, _) = suite.write(folder.path()).unwrap();
    let corpus = Corpus::open(folder.path()).unwrap();
    assert_eq!(corpus.cases().len(), cases);
    let outcomes = corpus.cases().iter().map(|case| corpus.run(case, || 0));
    let wrong: Vec<String> = outcomes
        .filter(|outcome| !outcome.ok)
        .map(|outcome| format!("{}: {} {} {}", outcome.id, outcome.verdict, outcome.stage, outcome.code))
        .collect();
    assert!(wrong.is_empty(), "{} cases:\n{}", wrong.len(), wrong.join("\n"));
}
