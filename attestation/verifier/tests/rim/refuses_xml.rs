//! Documents that are not XML of the subset, and parts of XML that are never read even in a well-signed manifest.

use crate::support::*;
use anchorhold_verifier::xml::{
    Document, Error, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, MAX_NAMESPACES, MAX_NODES,
};

/// The refusal of a signed manifest in which one text stands in the place of another.
fn with(from: &str, to: &str) -> Vec<String> {
    let chain = Chain::new();
    refusal(&edited(&sign(&body(), &chain), from, to), &chain)
}

fn malformed(text: &str) -> &'static str {
    match Document::parse(text.as_bytes()) {
        Err(Error::Malformed { what, .. }) => what,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn accepts_a_manifest() {
    let chain = Chain::new();
    let rim = judge(&sign(&body(), &chain), &chain).unwrap_or_else(|refusal| panic!("{refusal}"));
    assert!(rim.simulated());
    assert_eq!(rim.expires(), at("2034-01-01T00:00:00Z"));
    let claims = rim.claims();
    assert_eq!((claims.id(), claims.version(), claims.product()), ("a1b2", "550.144.03", "GH100"));
    assert_eq!(claims.certificates(), chain.certificates);
    assert_eq!(claims.resources().len(), 3);
    let values: Vec<_> = claims.reference_values().iter().collect();
    assert_eq!(values, [(0, &[[1; 48]][..]), (1, &[[2; 48], [3; 48]][..])]);
}

#[test]
fn accepts_a_declaration_and_space_around_the_root() {
    let chain = Chain::new();
    let signed = sign(&body(), &chain);
    for before in
        ["<?xml version=\"1.0\"?>", "<?xml version='1.0' encoding=\"utf-8\" standalone=\"no\" ?>\r\n", " \n"]
    {
        assert!(refusal(&format!("{before}{signed}\n\n"), &chain).is_empty(), "{before}");
    }
}

#[test]
fn refuses_other_declarations() {
    for bad in [
        "<?xml version=\"1.1\"?>",
        "<?xml version=\"1.0\" encoding=\"UTF-16\"?>",
        "<?xml encoding=\"UTF-8\"?>",
        "<?xml encoding=\"UTF-8\" version=\"1.0\"?>",
        "<?xml version=\"1.0\" version=\"1.0\"?>",
        "<?xml version=\"1.0\"encoding=\"UTF-8\"?>",
        "<?xml version=\"1.0\" more=\"\"?>",
        "<?xml version=1.0?>",
        "<?xml version=\"1.0?>",
    ] {
        let text = format!("{bad}<a/>");
        assert!(matches!(Document::parse(text.as_bytes()), Err(Error::Feature { .. })), "{bad}");
    }
    assert_eq!(malformed("<?xml version=\"1.0\"><a/>"), "an XML declaration without its end");
}

#[test]
fn refuses_a_document_type() {
    assert_eq!(
        with("<SoftwareIdentity", "<!DOCTYPE SoftwareIdentity><SoftwareIdentity"),
        ["rim_xml_feature"]
    );
}

#[test]
fn refuses_an_entity_of_its_own() {
    let bomb = "<!DOCTYPE a [<!ENTITY a \"&#38;a;&#38;a;\">]>";
    assert_eq!(with("<SoftwareIdentity", &format!("{bomb}<SoftwareIdentity")), ["rim_xml_feature"]);
    assert_eq!(with("<ns0:Payload>", "<ns0:Payload>&a;"), ["rim_xml_feature"]);
    assert_eq!(with("name=\"GH100\"", "name=\"&a;\""), ["rim_xml_feature"]);
}

#[test]
fn refuses_a_comment() {
    for (from, to) in [
        ("<SoftwareIdentity", "<!-- --><SoftwareIdentity"),
        ("<ns0:Payload>", "<ns0:Payload><!-- -->"),
        ("</SoftwareIdentity>", "</SoftwareIdentity><!-- -->"),
        // Readers that join text around a comment and readers that do not would see two digests.
        ("<ds:DigestValue>", "<ds:DigestValue><!---->"),
    ] {
        assert_eq!(with(from, to), ["rim_xml_feature"], "{to}");
    }
}

#[test]
fn refuses_a_processing_instruction() {
    for (from, to) in
        [("<SoftwareIdentity", "<?a?><SoftwareIdentity"), ("<ns0:Payload>", "<ns0:Payload><?a?>")]
    {
        assert_eq!(with(from, to), ["rim_xml_feature"], "{to}");
    }
}

#[test]
fn refuses_a_cdata_section() {
    assert_eq!(with("<ds:DigestValue>", "<ds:DigestValue><![CDATA[]]>"), ["rim_xml_feature"]);
}

#[test]
fn refuses_attributes_that_change_a_subtree() {
    assert_eq!(with("corpus=", "xml:base=\"http://a/\" corpus="), ["rim_xml_feature"]);
}

#[test]
fn refuses_what_is_not_well_formed() {
    for (bad, what) in [
        ("", "no root element"),
        ("text", "no root element"),
        ("\u{feff}<a/>", "no root element"),
        ("<a/><a/>", "more after the root element"),
        ("<a/>text", "more after the root element"),
        ("<a>", "an element without its end"),
        ("<a>text", "an element without its end"),
        ("<a></b>", "an end tag of another element"),
        ("<a><b></a></b>", "an end tag of another element"),
        ("<p:a xmlns:p=\"a:b\" xmlns:q=\"a:b\"></q:a>", "an end tag of another element"),
        ("<a></a", "an end tag that does not end"),
        ("<a></a b=\"\">", "an end tag that does not end"),
        ("<a b=\"1\"c=\"2\"/>", "no space before an attribute"),
        ("<a b/>", "an attribute without a value"),
        ("<a b=1/>", "an attribute value without quotes"),
        ("<a b=\"1/>", "an attribute value without its end"),
        ("<a b=\"<\"/>", "< in an attribute value"),
        ("<a>]]></a>", "]]> in text"),
        ("<1a/>", "no name"),
        ("< a/>", "no name"),
        ("<a:b:c xmlns:a=\"a:b\"/>", "no name"),
        ("<:a/>", "no name"),
        ("<a:/>", "no name"),
        ("<\u{e9}/>", "no name"),
        ("<!ELEMENT a>", "no name"),
        ("<a>\0</a>", "a forbidden character"),
        ("<a>\u{fffe}</a>", "a forbidden character"),
        ("<a>&#0;</a>", "a reference to no character"),
        ("<a>&#xD800;</a>", "a reference to no character"),
        ("<a>&#x;</a>", "a reference to no character"),
        ("<a>&#+65;</a>", "a reference to no character"),
        ("<a>&#99999999999;</a>", "a reference to no character"),
        ("<a>&amp</a>", "a reference without its end"),
        ("<a>&</a>", "a reference without its end"),
    ] {
        assert_eq!(malformed(bad), what, "{bad}");
    }
    assert!(matches!(
        Document::parse(b"<a>\xff</a>"),
        Err(Error::Malformed { what: "not UTF-8", offset: 3 })
    ));
    assert_eq!(with("</ns0:Payload>", ""), ["rim_xml_malformed"]);
}

#[test]
fn refuses_the_same_attribute_twice() {
    for bad in [
        "<a b=\"1\" b=\"1\"/>",
        "<a xmlns:p=\"a:b\" p:b=\"1\" p:b=\"2\"/>",
        "<a xmlns:p=\"a:b\" xmlns:q=\"a:b\" p:b=\"1\" q:b=\"2\"/>",
        "<a p:b=\"1\" q:b=\"2\" xmlns:p=\"a:b\" xmlns:q=\"a:&#98;\"/>",
    ] {
        assert_eq!(malformed(bad), "the same attribute twice", "{bad}");
    }
    assert!(Document::parse(b"<a xmlns=\"a:b\" xmlns:p=\"a:b\" b=\"\" p:b=\"\"/>").is_ok());
    assert_eq!(malformed("<a xmlns=\"a:b\" xmlns=\"a:c\"/>"), "the same namespace declaration twice");
}

#[test]
fn refuses_namespaces_that_are_not_absolute_or_reserved() {
    for bad in [
        "<a xmlns=\"b\"/>",
        "<a xmlns:p=\"\"/>",
        "<a xmlns:p=\"/b\"/>",
        "<a xmlns=\"1:b\"/>",
        "<a xmlns=\":b\"/>",
    ] {
        assert_eq!(malformed(bad), "a namespace name without a scheme", "{bad}");
    }
    for bad in [
        "<a xmlns:xml=\"http://www.w3.org/XML/1998/namespace\"/>",
        "<a xmlns:xmlns=\"a:b\"/>",
        "<a xmlns:p=\"http://www.w3.org/XML/1998/namespace\"/>",
        "<a xmlns=\"http://www.w3.org/2000/xmlns/\"/>",
    ] {
        assert_eq!(malformed(bad), "a declaration of a reserved namespace", "{bad}");
    }
    for bad in ["<p:a/>", "<a p:b=\"\"/>", "<a><b xmlns:p=\"a:b\"/><p:c/></a>", "<xmlns:a/>"] {
        assert_eq!(malformed(bad), "a prefix without a namespace", "{bad}");
    }
}

#[test]
fn refuses_documents_over_a_limit() {
    let limit = |text: &str| match Document::parse(text.as_bytes()) {
        Ok(_) => None,
        Err(Error::Limit { what, .. }) => Some(what),
        Err(other) => panic!("{other}"),
    };
    let padded = |bytes: usize| format!("<a>{}</a>", "x".repeat(bytes - "<a></a>".len()));
    let deep = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
    let wide = |count: usize| format!("<a>{}</a>", "<b/>".repeat(count - 1));
    let names = |count: usize| (0..count).map(|n| format!(" a{n}=\"\"")).collect::<String>();
    let spaces = |count: usize| (0..count).map(|n| format!(" xmlns:a{n}=\"a:b\"")).collect::<String>();
    for (good, bad, what) in [
        (padded(MAX_BYTES), padded(MAX_BYTES + 1), "bytes"),
        (deep(MAX_DEPTH), deep(MAX_DEPTH + 1), "levels of elements"),
        (wide(MAX_NODES), wide(MAX_NODES + 1), "nodes"),
        (
            format!("<a{}/>", names(MAX_ATTRIBUTES)),
            format!("<a{}/>", names(MAX_ATTRIBUTES + 1)),
            "attributes",
        ),
        // One is taken by the prefix xml.
        (
            format!("<a{}/>", spaces(MAX_NAMESPACES - 1)),
            format!("<a{}><b xmlns:b=\"a:b\"/></a>", spaces(MAX_NAMESPACES - 1)),
            "namespaces",
        ),
    ] {
        assert_eq!(limit(&good), None, "{what}");
        assert_eq!(limit(&bad), Some(what));
    }
    assert_eq!(with("</SoftwareIdentity>", &" ".repeat(MAX_BYTES)), ["rim_xml_limit"]);
}

#[test]
fn names_the_place_of_what_is_wrong() {
    let Err(refusal) = judge("<a>\n<!--", &Chain::new()) else { panic!("accepted") };
    let source = refusal.checks().all()[0].source.clone().unwrap();
    assert_eq!((source.part.as_ref(), source.offset), ("rim", 4));
}

#[test]
fn names_the_place_of_a_reference_that_is_wrong() {
    for (text, wanted) in
        [("<a>x&bad;</a>", 4), ("<a>&lt;x&bad;</a>", 8), ("<a b=\"&lt;&bad;\"/>", 10), ("<a>xy&lt</a>", 5)]
    {
        let offset = match Document::parse(text.as_bytes()) {
            Err(Error::Malformed { offset, .. } | Error::Feature { offset, .. }) => offset,
            other => panic!("{text}: {other:?}"),
        };
        assert_eq!(offset, wanted, "{text}");
    }
}

#[test]
fn an_element_without_contents_has_an_empty_text() {
    let text = |document: &str| {
        let document = Document::parse(document.as_bytes()).unwrap();
        document.root().text().map(str::to_owned)
    };
    assert_eq!(text("<a/>").as_deref(), Some(""));
    assert_eq!(text("<a></a>").as_deref(), Some(""));
    assert_eq!(text("<a>b</a>").as_deref(), Some("b"));
    assert_eq!(text("<a>b<c/></a>"), None);
    assert_eq!(text("<a><c/></a>"), None);
}

#[test]
fn white_space_in_attributes_is_one_kind_and_in_text_is_kept() {
    let document = Document::parse(b"<a b=\"1\t2\n3\r\n4\r5\">1\t2\n3\r\n4\r5</a>").unwrap();
    assert_eq!(document.root().attribute("b"), Some("1 2 3 4 5"));
    assert_eq!(document.root().text(), Some("1\t2\n3\n4\n5"));
    let document = Document::parse(b"<a b=\"1\n2\" c=\"1\t2\"/>").unwrap();
    assert_eq!((document.root().attribute("b"), document.root().attribute("c")), (Some("1 2"), Some("1 2")));
}
