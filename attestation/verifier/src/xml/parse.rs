//! From bytes to a [`Document`], from left to right, with a stack of open elements in place of recursion.

use super::{
    Attribute, Binding, Document, Error, Kind, MAX_ATTRIBUTES, MAX_BYTES, MAX_DEPTH, MAX_NAMESPACES,
    MAX_NODES, Name, Node, Tag, XML_NAMESPACE, XMLNS_NAMESPACE, is_space,
};
use std::borrow::Cow;

/// The most characters between `&` and `;`: the longest reference that means something is `#x10FFFF`, with leading zeros.
const MAX_REFERENCE: usize = 16;
/// The binding of the prefix `xml`, which every document has.
const XML_BINDING: usize = 0;

/// Which rules of normalisation a value follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Text,
    Attribute,
}

/// An element whose end tag has not come.
struct Open<'a> {
    node: usize,
    written: &'a str,
    /// How many bindings were in scope before it.
    outer_scope: usize,
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    document: Document<'a>,
    open: Vec<Open<'a>>,
    /// The bindings in scope, outermost first.
    scope: Vec<usize>,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Document<'_>, Error> {
    if bytes.len() > MAX_BYTES {
        return Err(Error::Limit { what: "bytes", limit: MAX_BYTES });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::Malformed { what: "not UTF-8", offset: error.valid_up_to() })?;
    if let Some((offset, _)) = text.char_indices().find(|(_, character)| !is_character(*character)) {
        return Err(Error::Malformed { what: "a forbidden character", offset });
    }
    let xml = Binding { prefix: "xml", uri: Cow::Borrowed(XML_NAMESPACE) };
    let document = Document { nodes: Vec::new(), attributes: Vec::new(), bindings: vec![xml] };
    let mut parser = Parser { text, rest: text, document, open: Vec::new(), scope: vec![XML_BINDING] };
    parser.declaration()?;
    parser.skip_space();
    parser.refuse_features()?;
    if !parser.rest.starts_with('<') {
        return Err(parser.malformed("no root element"));
    }
    parser.start_tag()?;
    while !parser.open.is_empty() {
        parser.content()?;
    }
    parser.skip_space();
    parser.refuse_features()?;
    if parser.rest.is_empty() {
        Ok(parser.document)
    } else {
        Err(parser.malformed("more after the root element"))
    }
}

impl<'a> Parser<'a> {
    const fn offset(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    const fn malformed(&self, what: &'static str) -> Error {
        Error::Malformed { what, offset: self.offset() }
    }

    /// Takes away `prefix`, if it stands here.
    fn take(&mut self, prefix: &str) -> bool {
        self.rest.strip_prefix(prefix).map(|rest| self.rest = rest).is_some()
    }

    fn expect(&mut self, wanted: &str, what: &'static str) -> Result<(), Error> {
        if self.take(wanted) { Ok(()) } else { Err(self.malformed(what)) }
    }

    /// What stands before the next of `ends`, which stays.
    fn until(&mut self, ends: &[char], what: &'static str) -> Result<&'a str, Error> {
        let end = self.rest.find(ends).ok_or_else(|| self.malformed(what))?;
        let (before, rest) = self.rest.split_at_checked(end).ok_or_else(|| self.malformed(what))?;
        self.rest = rest;
        Ok(before)
    }

    /// Skips white space and says whether there was some.
    fn skip_space(&mut self) -> bool {
        let before = self.rest.len();
        self.rest = self.rest.trim_start_matches(is_space);
        self.rest.len() < before
    }

    /// The XML declaration (XML 1.0, section 2.8), which may only name what is read anyway.
    fn declaration(&mut self) -> Result<(), Error> {
        if !self.rest.strip_prefix("<?xml").is_some_and(|rest| rest.starts_with(is_space)) {
            return Ok(());
        }
        let start = self.offset();
        let what = "an XML declaration without its end";
        let end = self.rest.find("?>").ok_or_else(|| self.malformed(what))?;
        let declared = self.rest.get("<?xml".len()..end).unwrap_or_default();
        self.rest = self.rest.get(end + "?>".len()..).unwrap_or_default();
        let mut known =
            [("version", &["1.0"][..]), ("encoding", &["UTF-8", "utf-8"]), ("standalone", &["yes", "no"])]
                .into_iter();
        let wrong =
            Error::Feature { what: "an XML declaration other than version 1.0 in UTF-8", offset: start };
        if !declared.trim_start_matches(is_space).starts_with("version") {
            return Err(wrong);
        }
        let mut left = declared;
        while !left.trim_matches(is_space).is_empty() {
            let spaced = left.trim_start_matches(is_space);
            let (name, after) = spaced.split_once('=').filter(|_| spaced.len() < left.len()).ok_or(wrong)?;
            let values =
                known.by_ref().find(|(known, _)| *known == name.trim_end_matches(is_space)).ok_or(wrong)?.1;
            let after = after.trim_start_matches(is_space);
            let quote = after.chars().next().filter(|quote| matches!(quote, '"' | '\'')).ok_or(wrong)?;
            let (value, rest) = after.get(1..).and_then(|after| after.split_once(quote)).ok_or(wrong)?;
            if !values.contains(&value) {
                return Err(wrong);
            }
            left = rest;
        }
        Ok(())
    }

    /// Refuses what the subset leaves out, with its name.
    fn refuse_features(&self) -> Result<(), Error> {
        let what = match self.rest {
            rest if rest.starts_with("<!--") => "a comment",
            rest if rest.starts_with("<![CDATA[") => "a CDATA section",
            rest if rest.starts_with("<!DOCTYPE") => "a document type",
            rest if rest.starts_with("<?") => "a processing instruction",
            _ => return Ok(()),
        };
        Err(Error::Feature { what, offset: self.offset() })
    }

    /// One tag or run of text inside the root element.
    fn content(&mut self) -> Result<(), Error> {
        if self.take("</") {
            return self.end_tag();
        }
        self.refuse_features()?;
        if self.rest.starts_with('<') {
            return self.start_tag();
        }
        let start = self.offset();
        let written = self.until(&['<'], "an element without its end")?;
        if written.contains("]]>") {
            return Err(Error::Malformed { what: "]]> in text", offset: start });
        }
        let text = decode(written, Place::Text, start)?;
        self.push(Kind::Text(text))?;
        Ok(())
    }

    /// Adds a node below the innermost open element.
    fn push(&mut self, kind: Kind<'a>) -> Result<usize, Error> {
        let index = self.document.nodes.len();
        if index == MAX_NODES {
            return Err(Error::Limit { what: "nodes", limit: MAX_NODES });
        }
        let parent = self.open.last().map(|open| open.node);
        self.document.nodes.push(Node { parent, end: index + 1, kind });
        Ok(index)
    }

    fn end_tag(&mut self) -> Result<(), Error> {
        let (written, ..) = self.name()?;
        self.skip_space();
        self.expect(">", "an end tag that does not end")?;
        match self.open.pop() {
            Some(open) if open.written == written => {
                self.close(&open);
                Ok(())
            }
            _ => Err(self.malformed("an end tag of another element")),
        }
    }

    fn close(&mut self, open: &Open<'a>) {
        self.scope.truncate(open.outer_scope);
        let end = self.document.nodes.len();
        if let Some(node) = self.document.nodes.get_mut(open.node) {
            node.end = end;
        }
    }

    fn start_tag(&mut self) -> Result<(), Error> {
        self.expect("<", "no tag")?;
        if self.open.len() == MAX_DEPTH {
            return Err(Error::Limit { what: "levels of elements", limit: MAX_DEPTH });
        }
        let outer_scope = self.scope.len();
        let (written, prefix, local) = self.name()?;
        let (first_binding, first_attribute) = (self.document.bindings.len(), self.document.attributes.len());
        let is_empty = self.attributes(first_binding, first_attribute)?;
        let mut name = Name { prefix, local, binding: None };
        name.binding = self.resolve(prefix)?;
        let last_attribute = self.document.attributes.len();
        for index in first_attribute..last_attribute {
            self.resolve_attribute(first_attribute, index)?;
        }
        let tag = Tag {
            name,
            declared: first_binding..self.document.bindings.len(),
            attributes: first_attribute..last_attribute,
        };
        let node = self.push(Kind::Element(tag))?;
        let open = Open { node, written, outer_scope };
        if is_empty {
            self.close(&open);
        } else {
            self.open.push(open);
        }
        Ok(())
    }

    /// Reads attributes and namespace declarations up to the end of the tag; true if the tag has no content.
    fn attributes(&mut self, first_binding: usize, first_attribute: usize) -> Result<bool, Error> {
        loop {
            let spaced = self.skip_space();
            if self.take(">") {
                return Ok(false);
            }
            if self.take("/>") {
                return Ok(true);
            }
            if !spaced {
                return Err(self.malformed("no space before an attribute"));
            }
            let (bindings, attributes) = (self.document.bindings.len(), self.document.attributes.len());
            if bindings - first_binding + attributes - first_attribute == MAX_ATTRIBUTES {
                return Err(Error::Limit { what: "attributes", limit: MAX_ATTRIBUTES });
            }
            let (written, prefix, local) = self.name()?;
            let value = self.value()?;
            match prefix {
                _ if written == "xmlns" => self.bind("", value, first_binding)?,
                "xmlns" => self.bind(local, value, first_binding)?,
                _ => {
                    let name = Name { prefix, local, binding: None };
                    self.document.attributes.push(Attribute { name, value });
                }
            }
        }
    }

    /// `= "value"`, normalised (XML 1.0, section 3.3.3; without a document type every attribute is CDATA).
    fn value(&mut self) -> Result<Cow<'a, str>, Error> {
        self.skip_space();
        self.expect("=", "an attribute without a value")?;
        self.skip_space();
        let quote = if self.take("\"") { '"' } else { '\'' };
        if quote == '\'' {
            self.expect("'", "an attribute value without quotes")?;
        }
        let start = self.offset();
        let written = self.until(&[quote, '<'], "an attribute value without its end")?;
        if self.rest.starts_with('<') {
            return Err(self.malformed("< in an attribute value"));
        }
        self.rest = self.rest.strip_prefix(quote).unwrap_or_default();
        decode(written, Place::Attribute, start)
    }

    /// A name as written, its prefix and its local name (Namespaces in XML 1.0, section 4).
    fn name(&mut self) -> Result<(&'a str, &'a str, &'a str), Error> {
        let part =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.' | ':');
        let end = self.rest.find(|character| !part(character)).unwrap_or(self.rest.len());
        let (written, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        let (prefix, local) = match written.split_once(':') {
            Some((prefix, local)) if is_local_name(prefix) => (prefix, local),
            Some(_) => return Err(self.malformed("no name")),
            None => ("", written),
        };
        if !is_local_name(local) {
            return Err(self.malformed("no name"));
        }
        self.rest = rest;
        Ok((written, prefix, local))
    }

    /// Takes in a namespace declaration of the tag being read (Namespaces in XML 1.0, sections 2 and 3).
    fn bind(&mut self, prefix: &'a str, uri: Cow<'a, str>, first_binding: usize) -> Result<(), Error> {
        let index = self.document.bindings.len();
        let mut own = self.document.bindings.get(first_binding..).unwrap_or_default().iter();
        if own.any(|binding| binding.prefix == prefix) {
            return Err(self.malformed("the same namespace declaration twice"));
        }
        if matches!(prefix, "xml" | "xmlns") || [XML_NAMESPACE, XMLNS_NAMESPACE].contains(&uri.as_ref()) {
            return Err(self.malformed("a declaration of a reserved namespace"));
        }
        if !(has_scheme(&uri) || prefix.is_empty() && uri.is_empty()) {
            return Err(self.malformed("a namespace name without a scheme"));
        }
        if self.scope.len() == MAX_NAMESPACES {
            return Err(Error::Limit { what: "namespaces", limit: MAX_NAMESPACES });
        }
        self.document.bindings.push(Binding { prefix, uri });
        self.scope.push(index);
        Ok(())
    }

    /// The binding of a prefix; `None` for no namespace.
    fn resolve(&self, prefix: &str) -> Result<Option<usize>, Error> {
        let found = self.scope.iter().rev().find_map(|index| {
            let binding = self.document.bindings.get(*index)?;
            (binding.prefix == prefix).then_some((*index, binding.uri.is_empty()))
        });
        match found {
            Some((index, false)) => Ok(Some(index)),
            Some((_, true)) => Ok(None),
            None if prefix.is_empty() => Ok(None),
            None => Err(self.malformed("a prefix without a namespace")),
        }
    }

    /// Gives an attribute its namespace and refuses it if an earlier one of the element has the same expanded name.
    fn resolve_attribute(&mut self, first: usize, index: usize) -> Result<(), Error> {
        let Some(Name { prefix, local, .. }) = self.document.attributes.get(index).map(|found| found.name)
        else {
            return Ok(());
        };
        // The default namespace is not for attributes (Namespaces in XML 1.0, section 6.2).
        let binding = if prefix.is_empty() { None } else { self.resolve(prefix)? };
        if binding == Some(XML_BINDING) && !matches!(local, "lang" | "space" | "id") {
            let what = "an attribute of the namespace xml other than lang, space and id";
            return Err(Error::Feature { what, offset: self.offset() });
        }
        let name = Name { prefix, local, binding };
        let document = &mut self.document;
        let namespace = document.namespace(&name);
        let mut earlier = document.attributes.get(first..index).unwrap_or_default().iter();
        if earlier.any(|other| other.name.local == local && document.namespace(&other.name) == namespace) {
            return Err(self.malformed("the same attribute twice"));
        }
        if let Some(attribute) = document.attributes.get_mut(index) {
            attribute.name = name;
        }
        Ok(())
    }
}

/// Resolves references and normalises line ends (XML 1.0, sections 2.11 and 3.3.3) of what starts at `offset`.
fn decode(written: &str, place: Place, offset: usize) -> Result<Cow<'_, str>, Error> {
    let is_plain = |character: char| match character {
        '&' | '\r' => false,
        '\n' | '\t' => place == Place::Text,
        _ => true,
    };
    if written.chars().all(is_plain) {
        return Ok(Cow::Borrowed(written));
    }
    let mut decoded = String::with_capacity(written.len());
    let mut rest = written.chars();
    while let Some(character) = rest.next() {
        let line_end = if place == Place::Text { '\n' } else { ' ' };
        match character {
            '\r' => {
                rest = rest.as_str().strip_prefix('\n').unwrap_or(rest.as_str()).chars();
                decoded.push(line_end);
            }
            '\n' => decoded.push(line_end),
            '\t' if place == Place::Attribute => decoded.push(' '),
            '&' => {
                let offset = offset + written.len() - rest.as_str().len() - 1;
                let (name, after) = rest
                    .as_str()
                    .split_once(';')
                    .filter(|(name, _)| name.len() <= MAX_REFERENCE)
                    .ok_or(Error::Malformed { what: "a reference without its end", offset })?;
                decoded.push(resolve_reference(name, offset)?);
                rest = after.chars();
            }
            other => decoded.push(other),
        }
    }
    Ok(Cow::Owned(decoded))
}

fn resolve_reference(name: &str, offset: usize) -> Result<char, Error> {
    let (digits, radix) = match name {
        "amp" => return Ok('&'),
        "lt" => return Ok('<'),
        "gt" => return Ok('>'),
        "quot" => return Ok('"'),
        "apos" => return Ok('\''),
        _ => match (name.strip_prefix("#x"), name.strip_prefix('#')) {
            (Some(digits), _) => (digits, 16),
            (None, Some(digits)) => (digits, 10),
            _ => return Err(Error::Feature { what: "an entity that is not predefined", offset }),
        },
    };
    Some(digits)
        .filter(|digits| digits.chars().all(|digit| digit.is_digit(radix)))
        .and_then(|digits| u32::from_str_radix(digits, radix).ok())
        .and_then(char::from_u32)
        .filter(|character| is_character(*character))
        .ok_or(Error::Malformed { what: "a reference to no character", offset })
}

/// Char of XML 1.0, section 2.2.
const fn is_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// An NCName of Namespaces in XML 1.0, section 3, in ASCII.
fn is_local_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') && !name.contains(':')
}

/// Whether a namespace name is absolute (Canonical XML 1.1, section 1.3, demands failure otherwise): RFC 3986, section 3.1.
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':').is_some_and(|(scheme, _)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|character| character.is_ascii_alphanumeric() || "+-.".contains(character))
    })
}
