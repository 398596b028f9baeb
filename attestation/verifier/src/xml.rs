//! A strict reader of a closed subset of XML 1.0 with namespaces, and its canonical form. For this crate's own signed
//! documents only; it is public so that another implementation can be held beside it.
//!
//! The subset: UTF-8 without byte order mark, an optional XML declaration, elements, attributes, text, character
//! references and the five predefined entities. Names are ASCII. Document types, comments, processing instructions
//! and CDATA sections are refused, and so are namespace names without a scheme, as Canonical XML asks. No
//! namespace declaration may name the prefixes `xml` and `xmlns`, and of the attributes in the namespace `xml` only
//! `lang`, `space` and `id` are read: `xml:base` would change the canonical form of a subtree.
//!
//! A [`Document`] is a flat list of nodes in document order that borrows from the input. Nothing here recurses, and
//! every list has a limit.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

mod canonical;
mod parse;

/// The longest document that is read, in bytes.
pub const MAX_BYTES: usize = 256 * 1024;
/// The deepest nesting of elements.
pub const MAX_DEPTH: usize = 16;
/// The most elements and runs of text in one document.
pub const MAX_NODES: usize = 4096;
/// The most attributes and namespace declarations of one element.
pub const MAX_ATTRIBUTES: usize = 64;
/// The most namespace declarations of one element and its ancestors together.
pub const MAX_NAMESPACES: usize = 32;

/// The namespace of the prefix `xml` (Namespaces in XML 1.0, section 3).
pub const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// Why bytes are not a document of the subset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// More of something than is read.
    Limit {
        /// Of what.
        what: &'static str,
        /// The most that is read.
        limit: usize,
    },
    /// A part of XML outside the subset.
    Feature {
        /// Which part.
        what: &'static str,
        /// Where it starts, in bytes.
        offset: usize,
    },
    /// Not well-formed.
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Where it was noticed, in bytes.
        offset: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limit { what, limit } => write!(f, "more than {limit} {what}"),
            Self::Feature { what, offset } => {
                write!(f, "{what} at byte {offset}, which is outside the subset")
            }
            Self::Malformed { what, offset } => write!(f, "{what} at byte {offset}"),
        }
    }
}

impl std::error::Error for Error {}

/// A well-formed document. Its node 0 is the root element.
#[derive(Debug)]
pub struct Document<'a> {
    nodes: Vec<Node<'a>>,
    attributes: Vec<Attribute<'a>>,
    bindings: Vec<Binding<'a>>,
}

#[derive(Debug)]
struct Node<'a> {
    parent: Option<usize>,
    /// The number of the first node after this one and everything below it.
    end: usize,
    kind: Kind<'a>,
}

#[derive(Debug)]
enum Kind<'a> {
    Element(Tag<'a>),
    Text(Cow<'a, str>),
}

#[derive(Debug)]
struct Tag<'a> {
    name: Name<'a>,
    /// Its own namespace declarations, in `bindings`.
    declared: Range<usize>,
    /// In `attributes`.
    attributes: Range<usize>,
}

/// A name as written, and the binding of its prefix, if it has a namespace.
#[derive(Debug, Clone, Copy)]
struct Name<'a> {
    prefix: &'a str,
    local: &'a str,
    binding: Option<usize>,
}

#[derive(Debug)]
struct Attribute<'a> {
    name: Name<'a>,
    value: Cow<'a, str>,
}

/// One namespace declaration; the empty prefix is the default namespace, and an empty name takes it away.
#[derive(Debug)]
struct Binding<'a> {
    prefix: &'a str,
    uri: Cow<'a, str>,
}

impl<'a> Document<'a> {
    /// Reads a document.
    ///
    /// # Errors
    /// [`Error`] for anything that is not one document of the subset.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        parse::parse(bytes)
    }

    /// The root element.
    #[must_use]
    pub const fn root(&self) -> Element<'_> {
        Element { document: self, index: 0 }
    }

    /// Every element, in document order.
    pub fn elements(&self) -> impl Iterator<Item = Element<'_>> {
        (0..self.nodes.len()).filter(|index| self.tag(*index).is_some()).map(|index| self.element(index))
    }

    /// Canonical XML 1.1 without comments of the whole document, with `left_out` and everything below it taken away
    /// (XML Signature, section 6.6.4).
    #[must_use]
    pub fn canonical_without(&self, left_out: Element<'_>) -> Vec<u8> {
        canonical::write(self, 0, Some(left_out.index))
    }

    /// Canonical XML 1.1 without comments of `apex` and everything below it, with the namespaces and the attributes
    /// `xml:lang` and `xml:space` that it inherits.
    #[must_use]
    pub fn canonical_subtree(&self, apex: Element<'_>) -> Vec<u8> {
        canonical::write(self, apex.index, None)
    }

    const fn element(&self, index: usize) -> Element<'_> {
        Element { document: self, index }
    }

    fn tag(&self, index: usize) -> Option<&Tag<'a>> {
        match &self.nodes.get(index)?.kind {
            Kind::Element(tag) => Some(tag),
            Kind::Text(_) => None,
        }
    }

    fn attributes(&self, tag: &Tag<'a>) -> &[Attribute<'a>] {
        self.attributes.get(tag.attributes.clone()).unwrap_or_default()
    }

    fn declared(&self, tag: &Tag<'a>) -> &[Binding<'a>] {
        self.bindings.get(tag.declared.clone()).unwrap_or_default()
    }

    /// The namespace of a name; empty for none.
    fn namespace(&self, name: &Name<'a>) -> &str {
        name.binding.and_then(|index| self.bindings.get(index)).map_or("", |binding| &binding.uri)
    }

    /// The element and its ancestors, from the inside out.
    fn ancestors(&self, index: usize) -> impl Iterator<Item = &Tag<'a>> {
        std::iter::successors(Some(index), |index| self.nodes.get(*index)?.parent)
            .filter_map(|index| self.tag(index))
    }
}

/// One element of a document.
#[derive(Clone, Copy)]
pub struct Element<'d> {
    document: &'d Document<'d>,
    index: usize,
}

impl<'d> Element<'d> {
    /// Whether it has this local name in this namespace.
    #[must_use]
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.document
            .tag(self.index)
            .is_some_and(|tag| tag.name.local == local && self.document.namespace(&tag.name) == namespace)
    }

    /// Whether its parent is `other`.
    #[must_use]
    pub fn is_child_of(&self, other: Self) -> bool {
        self.document.nodes.get(self.index).and_then(|node| node.parent) == Some(other.index)
    }

    /// Its attributes as namespace (empty for none), local name and value; namespace declarations are not attributes.
    pub fn attributes(&self) -> impl Iterator<Item = (&'d str, &'d str, &'d str)> + use<'d> {
        let document = self.document;
        let all = document.tag(self.index).map(|tag| document.attributes(tag)).unwrap_or_default();
        all.iter().map(|attribute| {
            (document.namespace(&attribute.name), attribute.name.local, attribute.value.as_ref())
        })
    }

    /// The value of the attribute with this local name and no namespace.
    #[must_use]
    pub fn attribute(&self, local: &str) -> Option<&'d str> {
        self.attributes()
            .find(|(namespace, name, _)| namespace.is_empty() && *name == local)
            .map(|found| found.2)
    }

    /// Its child elements in order, if all text between them is white space.
    #[must_use]
    pub fn children(&self) -> Option<Vec<Self>> {
        let mut found = Vec::new();
        for (index, node) in self.child_nodes() {
            match &node.kind {
                Kind::Element(_) => found.push(self.document.element(index)),
                Kind::Text(text) if text.chars().all(is_space) => {}
                Kind::Text(_) => return None,
            }
        }
        Some(found)
    }

    /// Its text, if it has no child elements.
    #[must_use]
    pub fn text(&self) -> Option<&'d str> {
        let mut nodes = self.child_nodes();
        match (nodes.next().map(|(_, node)| &node.kind), nodes.next()) {
            (None, _) => Some(""),
            (Some(Kind::Text(text)), None) => Some(text),
            _ => None,
        }
    }

    fn child_nodes(&self) -> impl Iterator<Item = (usize, &'d Node<'d>)> + use<'d> {
        let nodes = &self.document.nodes;
        let end = nodes.get(self.index).map_or(0, |node| node.end);
        let mut next = self.index + 1;
        std::iter::from_fn(move || {
            let index = next;
            let node = nodes.get(index).filter(|_| index < end)?;
            next = node.end;
            Some((index, node))
        })
    }
}

/// White space of XML 1.0, section 2.3.
const fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}
