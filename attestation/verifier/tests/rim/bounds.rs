//! Hostile documents cost no more than their size.

use crate::support::*;
use anchorhold_verifier::xml::{Document, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, MAX_NAMESPACES, MAX_NODES};
use rustix::time::{ClockId, clock_gettime};
use std::time::Duration;

/// Far above what each of them takes, and far below what a quadratic reader would. Of this thread's own processor time, which
/// does not grow when the machine is busy with something else.
const BOUND: Duration = Duration::from_millis(500);

/// The processor time of this thread.
fn spent() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap()
}

fn fill(unit: &str, rest: usize) -> String {
    unit.repeat((MAX_BYTES - rest) / unit.len())
}

#[test]
fn case_09_reads_hostile_documents_in_time() {
    let attributes: String = (0..MAX_ATTRIBUTES).map(|n| format!(" a{n}=\"\"")).collect();
    let bindings: String = (0..MAX_NAMESPACES - 1).map(|n| format!(" xmlns:a{n}=\"a:b\"")).collect();
    let uses: String = (0..MAX_NAMESPACES - 1).map(|n| format!(" a{n}:b{n}=\"\"")).collect();
    let documents = [
        fill("<a>", 0),
        fill("<a/>", 0),
        format!("<a>{}</a>", fill("&amp;", 7)),
        format!("<a>{}</a>", fill("&#x10FFFF;", 7)),
        format!("<a>{}</a>", fill("&", 7)),
        format!("<a>{}</a>", fill("\r", 7)),
        format!("<a>{}</a>", fill("]]", 7)),
        format!("<a b=\"{}\"/>", fill("&lt;", 9)),
        format!("<a {}", fill("b=", 3)),
        format!("<{}", fill("a", 1)),
        format!("<{}/>", fill("a:", 3)),
        format!("<?xml version=\"1.0\"{}?><a/>", fill(" a=\"\"", 30)),
        format!("<a xmlns:p=\"a:{}\"><b/></a>", fill("&#98;", 30)),
        format!("<a>{}</a>", fill(&format!("<b{attributes}/>"), 7)),
        format!("<a{bindings}>{}</a>", fill(&format!("<b{uses}/>"), 7 + bindings.len())),
        fill(&format!("<a{bindings}>"), 0),
    ];
    let start = spent();
    for document in &documents {
        let before = spent();
        let _ = Document::parse(document.as_bytes());
        assert!(spent() - before < BOUND, "{}", &document[..40]);
    }
    assert!(spent() - start < BOUND * 4);
}

#[test]
fn case_09_canonical_forms_stay_near_the_size_of_the_document() {
    let bindings: String = (0..MAX_NAMESPACES - 1).map(|n| format!(" xmlns:a{n}=\"a:b\"")).collect();
    let deep = format!("{}{}", "<b>".repeat(MAX_DEPTH - 1), "</b>".repeat(MAX_DEPTH - 1));
    let text = format!("<a{bindings}>{}</a>", deep.repeat((MAX_NODES - 1) / (MAX_DEPTH - 1)));
    let document = Document::parse(text.as_bytes()).unwrap();
    let before = spent();
    assert_eq!(document.canonical_subtree(document.root()).len(), text.len());
    // The whole document has one apex; only an apex repeats namespaces.
    let inner = document.elements().last().unwrap();
    assert!(document.canonical_subtree(inner).len() <= bindings.len() + 7);
    let escaped = format!("<a>{}</a>", fill(">", 7));
    let document = Document::parse(escaped.as_bytes()).unwrap();
    assert_eq!(document.canonical_subtree(document.root()).len(), 7 + 4 * (escaped.len() - 7));
    assert!(spent() - before < BOUND);
}

#[test]
fn case_09_judges_many_resources_and_children_in_time() {
    let chain = Chain::new();
    let many: String = (0..200).map(|index| resource(index, true, &[1; 8])).collect();
    let signed = sign(&body_with(&many), &chain);
    assert!(signed.len() > MAX_BYTES / 2);
    let before = spent();
    assert!(refusal(&signed, &chain).is_empty());
    let signatures = format!("<a xmlns:ds=\"{DS}\">{}</a>", "<ds:Signature/>".repeat(MAX_NODES - 1));
    let nested = edited(
        &body(),
        "@SIGNATURE@",
        &format!("<ds:KeyInfo xmlns:ds=\"{DS}\">{}</ds:KeyInfo>", fill("<b/>", MAX_BYTES - 4 * 4000)),
    );
    assert_eq!(refusal(&signatures, &chain), ["rim_root"]);
    assert_eq!(refusal(&nested, &chain), ["rim_signature_count"]);
    assert!(spent() - before < BOUND);
}
