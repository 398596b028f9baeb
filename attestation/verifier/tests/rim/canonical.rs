//! Canonical forms written down by hand from the rules and examples of Canonical XML 1.1, chapters 2 and 3.

use anchorhold_verifier::xml::Document;

fn whole(text: &str) -> String {
    let document = Document::parse(text.as_bytes()).unwrap();
    String::from_utf8(document.canonical_subtree(document.root())).unwrap()
}

/// The canonical form of the first element with this local name and no namespace, and of the document without it.
fn cut(text: &str, local: &str) -> (String, String) {
    let document = Document::parse(text.as_bytes()).unwrap();
    let found =
        document.elements().find(|element| element.is("", local) || element.is("a:b", local)).unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(document.canonical_subtree(found)), text(document.canonical_without(found)))
}

#[test]
fn writes_start_and_end_tags() {
    assert_eq!(
        whole(
            "<?xml version=\"1.0\"?>\n\n<doc>\n   <e1   />\n   <e2   ></e2>\n   <e3   name = \"elem3\"   id='1'/>\n</doc >\n"
        ),
        "<doc>\n   <e1></e1>\n   <e2></e2>\n   <e3 id=\"1\" name=\"elem3\"></e3>\n</doc>"
    );
}

#[test]
fn sorts_namespaces_by_prefix_and_attributes_by_namespace() {
    // Section 3.3 of the specification, without its document type.
    assert_eq!(
        whole(
            "<e5 a:attr=\"out\" b:attr=\"sorted\" attr2=\"all\" attr=\"I'm\" xmlns:b=\"http://www.ietf.org\" \
             xmlns:a=\"http://www.w3.org\" xmlns=\"http://example.org\"/>"
        ),
        "<e5 xmlns=\"http://example.org\" xmlns:a=\"http://www.w3.org\" xmlns:b=\"http://www.ietf.org\" attr=\"I'm\" \
         attr2=\"all\" b:attr=\"sorted\" a:attr=\"out\"></e5>"
    );
}

#[test]
fn drops_declarations_that_say_nothing_new() {
    assert_eq!(
        whole(
            "<e6 xmlns=\"\" xmlns:a=\"http://www.w3.org\"><e7 xmlns=\"http://www.ietf.org\"><e8 xmlns=\"\" \
             xmlns:a=\"http://www.w3.org\"><e9 xmlns=\"\" xmlns:a=\"http://www.ietf.org\"/></e8></e7></e6>"
        ),
        "<e6 xmlns:a=\"http://www.w3.org\"><e7 xmlns=\"http://www.ietf.org\"><e8 xmlns=\"\"><e9 \
         xmlns:a=\"http://www.ietf.org\"></e9></e8></e7></e6>"
    );
    // A sibling's declaration is not in scope.
    assert_eq!(
        whole("<a><b xmlns:p=\"a:b\"/><c xmlns:p=\"a:b\"/></a>"),
        "<a><b xmlns:p=\"a:b\"></b><c xmlns:p=\"a:b\"></c></a>"
    );
}

#[test]
fn replaces_characters_of_text_and_attributes() {
    assert_eq!(
        whole(
            "<a b=\"&lt;&gt;&amp;&quot;&apos;'&#x9;&#10;&#xD;>\">&lt;&gt;&amp;&quot;&apos;\"&#x9;&#10;&#xD;></a>"
        ),
        "<a b=\"&lt;>&amp;&quot;''&#x9;&#xA;&#xD;>\">&lt;&gt;&amp;\"'\"\t\n&#xD;&gt;</a>"
    );
    assert_eq!(whole("<a>&#169;\u{a9}&#x1F600;</a>"), "<a>\u{a9}\u{a9}\u{1f600}</a>");
}

#[test]
fn normalises_line_ends_and_attribute_values() {
    assert_eq!(
        whole("<a b=\"1\r\n2\r3\n4\t5\">1\r\n2\r3\n4\t5\r\r\n</a>"),
        "<a b=\"1 2 3 4 5\">1\n2\n3\n4\t5\n\n</a>"
    );
}

#[test]
fn leaves_out_one_subtree_and_keeps_what_surrounds_it() {
    let (_, without) = cut("<r>1<a/>2<s><t>3</t></s>\n<a>4</a></r>", "s");
    assert_eq!(without, "<r>1<a></a>2\n<a>4</a></r>");
    let (all, nothing) = cut("<r>1</r>", "r");
    assert_eq!((all.as_str(), nothing.as_str()), ("<r>1</r>", ""));
}

#[test]
fn a_subtree_inherits_every_namespace_and_two_attributes() {
    let text = "<r xmlns:z=\"a:z\" xmlns=\"a:r\" xml:lang=\"de\" xml:space=\"preserve\" xml:id=\"i\"><m xmlns=\"a:b\" \
                xmlns:p=\"a:p\" xml:lang=\"en\" c=\"\"><s xmlns:p=\"a:q\" xml:id=\"j\"/></m></r>";
    assert_eq!(
        cut(text, "s").0,
        "<s xmlns=\"a:b\" xmlns:p=\"a:q\" xmlns:z=\"a:z\" xml:id=\"j\" xml:lang=\"en\" xml:space=\"preserve\"></s>"
    );
    // Taken back by an ancestor, the default namespace is not inherited.
    assert_eq!(cut("<r xmlns=\"a:r\"><m xmlns=\"\"><s/></m></r>", "s").0, "<s></s>");
}
