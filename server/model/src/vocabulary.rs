//! Which bytes each token of a tokenizer stands for.

use anchorhold_engine::TokenId;
use llguidance::toktrie::{TokRxInfo, TokTrie, TokenizerEnv};
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use tokenizers::Tokenizer;

/// Longer tokens are of no use to a grammar: the tree of tokens is as deep as the longest.
const MAX_TOKEN_BYTES: usize = 255;
/// The tree has 24 bits for a token's number.
const MAX_TOKENS: usize = (1 << 24) - 1;
/// The deepest nesting of decoders that is looked into.
const MAX_DECODERS: usize = 8;

/// The bytes of every token, and the tree of them that grammars walk.
#[derive(Clone)]
pub struct Vocabulary(Arc<Tree>);

impl fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vocabulary")
    }
}

/// Says of no text that it is cut into tokens in one way only: a grammar then takes any tokens whose text fits.
struct Tree(TokTrie);

impl TokenizerEnv for Tree {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, bytes: &[u8]) -> Vec<TokenId> {
        self.0.greedy_tokenize(bytes)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Vocabulary {
    /// Of a tokenizer with at most `size` tokens, `ends` among them. `None` where it cannot be told which bytes a token stands for:
    /// its decoder is neither byte-level nor one that falls back to bytes.
    pub(crate) fn new(tokenizer: &Tokenizer, size: usize, ends: &[TokenId]) -> Option<Self> {
        let spelling = Spelling::of(&serde_json::to_value(tokenizer.get_decoder()?).ok()?)?;
        if size > MAX_TOKENS {
            return None;
        }
        let added = tokenizer.get_added_tokens_decoder();
        let words = (0..u32::try_from(size).ok()?).map(|id| {
            let bytes = match (added.get(&id), tokenizer.id_to_token(id)) {
                (Some(token), _) if !token.special => token.content.clone().into_bytes(),
                (Some(token), _) => marked(&token.content),
                (None, Some(token)) if !ends.contains(&id) => spelling.bytes(&token),
                (None, Some(token)) => marked(&token),
                // The model has more places than the tokenizer has tokens.
                (None, None) => Vec::new(),
            };
            if bytes.len() > MAX_TOKEN_BYTES { Vec::new() } else { bytes }
        });
        let words: Vec<Vec<u8>> = words.collect();
        // The words are the package's; whatever the tree does not like about them is not to end the process.
        let build = || {
            let end = ends.first().copied().unwrap_or(0);
            TokTrie::from(&TokRxInfo::new(u32::try_from(size).unwrap_or(0), end), &words)
                .with_eos_tokens(ends)
        };
        catch_unwind(AssertUnwindSafe(build)).ok().map(|tree| Self(Arc::new(Tree(tree))))
    }

    /// The bytes of a token: of a special token those of its name, of an unknown one none.
    #[must_use]
    pub fn bytes(&self, token: TokenId) -> &[u8] {
        let known = usize::try_from(token).is_ok_and(|token| token < self.0.0.vocab_size());
        let bytes = if known { self.0.0.token(token) } else { &[] };
        match bytes.split_first() {
            Some((&TokTrie::SPECIAL_TOKEN_MARKER, name)) if !name.is_empty() => name,
            _ => bytes,
        }
    }

    pub(crate) fn tree(&self) -> Arc<dyn TokenizerEnv + Sync> {
        Arc::clone(&self.0) as Arc<dyn TokenizerEnv + Sync>
    }
}

/// The name of a special token, after the byte by which the tree tells it from text.
fn marked(name: &str) -> Vec<u8> {
    [&[TokTrie::SPECIAL_TOKEN_MARKER], name.as_bytes()].concat()
}

/// How a tokenizer writes bytes into the names of its tokens.
enum Spelling {
    /// Every byte is a character of its own, as in GPT-2.
    ByteLevel(HashMap<char, u8>),
    /// Text with another character in place of the space; `<0x0A>` is a byte.
    ByteFallback { space: char },
}

impl Spelling {
    /// From the decoder in its JSON form.
    fn of(decoder: &Value) -> Option<Self> {
        let (mut byte_level, mut fallback, mut space) = (false, false, ' ');
        let mut left = vec![(decoder, 0)];
        while let Some((decoder, depth)) = left.pop() {
            match decoder.get("type")?.as_str()? {
                "ByteLevel" => byte_level = true,
                "ByteFallback" => fallback = true,
                "Replace" if decoder.get("content").and_then(Value::as_str) == Some(" ") => {
                    space = one_character(decoder.get("pattern")?.get("String")?)?;
                }
                "Metaspace" => space = one_character(decoder.get("replacement")?)?,
                "Sequence" if depth < MAX_DECODERS => {
                    left.extend(decoder.get("decoders")?.as_array()?.iter().map(|inner| (inner, depth + 1)));
                }
                "Sequence" => return None,
                _ => {}
            }
        }
        match (byte_level, fallback) {
            (true, false) => Some(Self::ByteLevel(byte_characters())),
            (false, true) => Some(Self::ByteFallback { space }),
            _ => None,
        }
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(bytes) => {
                let known: Option<Vec<u8>> = token.chars().map(|one| bytes.get(&one).copied()).collect();
                // As the decoder does with what is not of its alphabet.
                known.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::ByteFallback { space } => {
                let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                let byte = hex.filter(|hex| hex.len() == 2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                byte.map_or_else(|| token.replace(*space, " ").into_bytes(), |byte| vec![byte])
            }
        }
    }
}

fn one_character(value: &Value) -> Option<char> {
    let mut characters = value.as_str()?.chars();
    characters.next().filter(|_| characters.next().is_none())
}

/// The alphabet of byte-level tokenizers: printable bytes stand for themselves, the others for the characters from U+0100 on, in order.
fn byte_characters() -> HashMap<char, u8> {
    let mut next = 0x100;
    (0..=u8::MAX)
        .filter_map(|byte| {
            let character = match byte {
                b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
                _ => {
                    next += 1;
                    char::from_u32(next - 1)?
                }
            };
            Some((character, byte))
        })
        .collect()
}
