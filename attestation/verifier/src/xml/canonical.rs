//! Canonical XML 1.1 without comments (<https://www.w3.org/TR/xml-c14n11/>) of a whole document or a subtree.

use super::{Document, Kind, Tag, XML_NAMESPACE};
use std::collections::BTreeMap;

/// Writes the node `apex` with everything below it but `left_out`. An apex other than the root inherits the namespaces
/// and the attributes `xml:lang` and `xml:space` of its ancestors (section 2.4).
pub(super) fn write(document: &Document<'_>, apex: usize, left_out: Option<usize>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut open: Vec<(usize, &Tag<'_>)> = Vec::new();
    let end = document.nodes.get(apex).map_or(apex, |node| node.end);
    let mut index = apex;
    while let Some(node) = document.nodes.get(index).filter(|_| index < end) {
        while let Some((_, tag)) = open.pop_if(|(end, _)| *end <= index) {
            write_end(tag, &mut out);
        }
        if left_out == Some(index) {
            index = node.end;
            continue;
        }
        match &node.kind {
            Kind::Text(text) => write_text(text, &mut out),
            Kind::Element(tag) => {
                write_start(document, index, tag, index == apex, &mut out);
                open.push((node.end, tag));
            }
        }
        index += 1;
    }
    while let Some((_, tag)) = open.pop() {
        write_end(tag, &mut out);
    }
    out
}

fn write_end(tag: &Tag<'_>, out: &mut Vec<u8>) {
    out.extend(b"</");
    write_name(tag.name.prefix, tag.name.local, out);
    out.push(b'>');
}

fn write_start(document: &Document<'_>, index: usize, tag: &Tag<'_>, is_apex: bool, out: &mut Vec<u8>) {
    out.push(b'<');
    write_name(tag.name.prefix, tag.name.local, out);
    let namespaces = if is_apex { all_in_scope(document, index) } else { new_here(document, index, tag) };
    for (prefix, uri) in namespaces {
        match prefix {
            "" => write_attribute("", "xmlns", uri, out),
            prefix => write_attribute("xmlns", prefix, uri, out),
        }
    }
    // Keys sort by namespace, then local name; both by code point, which is the byte order of UTF-8.
    let mut attributes: BTreeMap<(&str, &str), (&str, &str)> = BTreeMap::new();
    for attribute in document.attributes(tag) {
        let key = (document.namespace(&attribute.name), attribute.name.local);
        attributes.insert(key, (attribute.name.prefix, &attribute.value));
    }
    if is_apex {
        let inherited = document.ancestors(index).skip(1).flat_map(|ancestor| document.attributes(ancestor));
        for attribute in inherited {
            let key = (document.namespace(&attribute.name), attribute.name.local);
            if matches!(key, (XML_NAMESPACE, "lang" | "space")) {
                attributes.entry(key).or_insert((attribute.name.prefix, &attribute.value));
            }
        }
    }
    for ((_, local), (prefix, value)) in attributes {
        write_attribute(prefix, local, value, out);
    }
    out.push(b'>');
}

/// Every namespace in scope but `xml`; an empty default namespace is the same as none.
fn all_in_scope<'d>(document: &'d Document<'_>, index: usize) -> BTreeMap<&'d str, &'d str> {
    let mut found = BTreeMap::new();
    for tag in document.ancestors(index) {
        for binding in document.declared(tag) {
            found.entry(binding.prefix).or_insert(binding.uri.as_ref());
        }
    }
    found.retain(|_, uri| !uri.is_empty());
    found
}

/// The declarations of `tag` that say something new to the parent.
fn new_here<'d>(document: &'d Document<'_>, index: usize, tag: &'d Tag<'_>) -> BTreeMap<&'d str, &'d str> {
    let outer = |prefix: &str| {
        document
            .ancestors(index)
            .skip(1)
            .flat_map(|ancestor| document.declared(ancestor))
            .find(|binding| binding.prefix == prefix)
            .map_or("", |binding| binding.uri.as_ref())
    };
    document
        .declared(tag)
        .iter()
        .map(|binding| (binding.prefix, binding.uri.as_ref()))
        .filter(|(prefix, uri)| outer(prefix) != *uri)
        .collect()
}

fn write_name(prefix: &str, local: &str, out: &mut Vec<u8>) {
    if !prefix.is_empty() {
        out.extend(prefix.as_bytes());
        out.push(b':');
    }
    out.extend(local.as_bytes());
}

fn write_attribute(prefix: &str, local: &str, value: &str, out: &mut Vec<u8>) {
    out.push(b' ');
    write_name(prefix, local, out);
    out.extend(b"=\"");
    for byte in value.bytes() {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'"' => out.extend(b"&quot;"),
            b'\t' => out.extend(b"&#x9;"),
            b'\n' => out.extend(b"&#xA;"),
            b'\r' => out.extend(b"&#xD;"),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

fn write_text(text: &str, out: &mut Vec<u8>) {
    for byte in text.bytes() {
        match byte {
            b'&' => out.extend(b"&amp;"),
            b'<' => out.extend(b"&lt;"),
            b'>' => out.extend(b"&gt;"),
            b'\r' => out.extend(b"&#xD;"),
            other => out.push(other),
        }
    }
}
