//! DER as a tree, so that one element can be changed and the lengths around it stay right; and the new signature that makes
//! readers look behind it.

use crate::edit::Script;
use anchorhold_attester::software::SigningKey;
use anchorhold_verifier::der;

/// The deepest that elements are taken apart.
const MAX_DEPTH: usize = 12;
const CONSTRUCTED: u8 = 0x20;

/// One element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub tag: u8,
    pub value: Value,
}

/// What is in an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    Bytes(Vec<u8>),
    Nodes(Vec<Node>),
}

impl Node {
    /// Bytes that are one element after another; `None` when they are not.
    fn read_all(bytes: &[u8], depth: usize) -> Option<Vec<Self>> {
        let mut reader = der::Reader::new(bytes);
        let mut nodes = Vec::new();
        while !reader.is_empty() {
            let (tag, contents) = reader.any().ok()?;
            nodes.push(Self { tag, value: Value::read(tag, contents, depth) });
        }
        Some(nodes)
    }

    /// The one element that these bytes are.
    pub fn read(bytes: &[u8]) -> Self {
        let mut nodes = Self::read_all(bytes, 0).expect("DER");
        assert_eq!(nodes.len(), 1, "one element");
        nodes.remove(0)
    }

    /// The bytes, with lengths that fit.
    pub fn write(&self) -> Vec<u8> {
        let contents = match &self.value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Nodes(nodes) => nodes.iter().flat_map(Self::write).collect(),
        };
        let mut out = vec![self.tag];
        match contents.len() {
            short @ 0..=0x7f => out.push(short as u8),
            long => {
                let length = (long as u32).to_be_bytes();
                let zeros = length.iter().take_while(|byte| **byte == 0).count();
                out.push(0x80 | (4 - zeros) as u8);
                out.extend(&length[zeros..]);
            }
        }
        out.extend(contents);
        out
    }

    /// The elements inside.
    pub fn nodes(&self) -> &[Self] {
        match &self.value {
            Value::Bytes(_) => &[],
            Value::Nodes(nodes) => nodes,
        }
    }

    /// Changes one element, which the script picks from the outside in.
    pub fn edit(&mut self, script: &mut Script<'_>) {
        let pick = script.byte();
        match &mut self.value {
            Value::Nodes(nodes) if !nodes.is_empty() && pick < 0xf0 => {
                let at = usize::from(pick) % nodes.len();
                match script.byte() {
                    0..=15 => drop(nodes.remove(at)),
                    16..=31 => nodes.insert(at, nodes[at].clone()),
                    32..=47 => {
                        let other = script.below(nodes.len());
                        nodes.swap(at, other);
                    }
                    _ => nodes[at].edit(script),
                }
            }
            Value::Bytes(bytes) if pick < 0xf0 => script.edit_once(bytes),
            _ => self.tag = script.byte(),
        }
    }
}

impl Value {
    /// Constructed elements are taken apart, and so are octet strings that hold DER, as extensions do.
    fn read(tag: u8, contents: &[u8], depth: usize) -> Self {
        let apart =
            depth < MAX_DEPTH && !contents.is_empty() && (tag & CONSTRUCTED != 0 || tag == der::OCTET_STRING);
        match apart.then(|| Node::read_all(contents, depth + 1)).flatten() {
            Some(nodes) => Self::Nodes(nodes),
            None => Self::Bytes(contents.to_vec()),
        }
    }
}

/// What is signed in a certificate or a revocation list.
pub fn signed_part(der: &[u8]) -> Node {
    Node::read(der).nodes().first().expect("a signed part").clone()
}

/// A certificate or a revocation list around this signed part, with the algorithm that stands in `like` and a new signature.
pub fn sign(part: &Node, like: &[u8], key: &SigningKey) -> Vec<u8> {
    let mut whole = Node::read(like);
    let signature = key.sign_der(&part.write(), "fuzzed").expect("a signature");
    let Value::Nodes(nodes) = &mut whole.value else { unreachable!("a sequence") };
    nodes[0] = part.clone();
    nodes[2].value = Value::Bytes([&[0][..], &signature].concat());
    whole.write()
}

/// `good` with up to four changes of its signed part, and signed again. Gives the signed part too.
pub fn resigned(good: &[u8], key: &SigningKey, script: &mut Script<'_>) -> (Node, Vec<u8>) {
    let mut part = signed_part(good);
    for _ in 0..=script.byte() % 4 {
        part.edit(script);
    }
    let whole = sign(&part, good, key);
    (part, whole)
}
