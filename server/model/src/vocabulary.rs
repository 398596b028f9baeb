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
    /// Of a tokenizer with at most `size` tokens, `ends` among them. `None` where it cannot be told which bytes a token stands for: its
    /// decoder does more than to put together what tokens stand for.
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

    /// A token for each byte, and the end, 256.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn of_bytes() -> Self {
        let mut words: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        words.push(marked("<end>"));
        Self(Arc::new(Tree(TokTrie::from(&TokRxInfo::new(257, 256), &words))))
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
    /// Text, with this character in place of the space; `<0x0A>` may be a byte.
    Text { space: char, has_bytes: bool },
}

impl Spelling {
    /// From the decoder in its JSON form.
    fn of(decoder: &Value) -> Option<Self> {
        let (mut byte_level, mut has_bytes, mut space) = (false, false, ' ');
        let mut left = vec![(decoder, 0)];
        while let Some((decoder, depth)) = left.pop() {
            match decoder.get("type")?.as_str()? {
                "ByteLevel" => byte_level = true,
                "ByteFallback" => has_bytes = true,
                "Replace" if decoder.get("content").and_then(Value::as_str) == Some(" ") => {
                    space = one_character(decoder.get("pattern")?.get("String")?)?;
                }
                "Metaspace" => space = one_character(decoder.get("replacement")?)?,
                "Sequence" if depth < MAX_DECODERS => {
                    left.extend(decoder.get("decoders")?.as_array()?.iter().map(|inner| (inner, depth + 1)));
                }
                // Neither changes what a token within a text is.
                "Fuse" | "Strip" => {}
                _ => return None,
            }
        }
        Some(if byte_level { Self::ByteLevel(byte_characters()) } else { Self::Text { space, has_bytes } })
    }

    fn bytes(&self, token: &str) -> Vec<u8> {
        match self {
            Self::ByteLevel(bytes) => {
                let known: Option<Vec<u8>> = token.chars().map(|one| bytes.get(&one).copied()).collect();
                // As the decoder does with what is not of its alphabet.
                known.unwrap_or_else(|| token.as_bytes().to_vec())
            }
            Self::Text { space, has_bytes } => {
                let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                let byte = hex
                    .filter(|hex| *has_bytes && hex.len() == 2)
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer as Llama 2 and Gemma have it: `▁` for the space, bytes for what is not in the vocabulary.
    fn sentencepiece() -> Tokenizer {
        let mut entries = vec!["\"<s>\":0".to_owned(), "\"</s>\":1".to_owned()];
        entries.extend((0..=255).map(|byte| format!("\"<0x{byte:02X}>\":{}", byte + 2)));
        entries.extend([r#""▁":258"#, r#""▁a":259"#, r#""é":260"#, r#""b":261"#].map(str::to_owned));
        let json = format!(
            r#"{{"version":"1.0","truncation":null,"padding":null,"normalizer":null,"pre_tokenizer":null,"post_processor":null,
            "added_tokens":[
              {{"id":0,"content":"<s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}},
              {{"id":1,"content":"</s>","special":true,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}},
              {{"id":262,"content":" <x>","special":false,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}}],
            "decoder":{{"type":"Sequence","decoders":[
              {{"type":"Replace","pattern":{{"String":"▁"}},"content":" "}},{{"type":"ByteFallback"}},{{"type":"Fuse"}},
              {{"type":"Strip","content":" ","start":1,"stop":0}}]}},
            "model":{{"type":"BPE","dropout":null,"unk_token":null,"continuing_subword_prefix":null,"end_of_word_suffix":null,
            "fuse_unk":false,"byte_fallback":true,"vocab":{{{}}},"merges":[]}}}}"#,
            entries.join(",")
        );
        Tokenizer::from_bytes(json.as_bytes()).unwrap()
    }

    #[test]
    fn spells_the_tokens_of_sentencepiece() {
        let vocabulary = Vocabulary::new(&sentencepiece(), 300, &[1]).unwrap();
        for (token, bytes) in [
            (0, &b"<s>"[..]),
            (1, b"</s>"),
            (12, b"\n"),
            (257, b"\xFF"),
            (258, b" "),
            (259, b" a"),
            (260, "é".as_bytes()),
            (262, b" <x>"),
            (280, b""),
            (300, b""),
            (u32::MAX, b""),
        ] {
            assert_eq!(vocabulary.bytes(token), bytes, "token {token}");
        }
    }

    #[test]
    fn what_a_decoder_makes_of_tokens_is_what_they_are_spelled_as() {
        let tokenizer = sentencepiece();
        let vocabulary = Vocabulary::new(&tokenizer, 263, &[1]).unwrap();
        // The first token is left out: a space at the beginning is dropped.
        let tokens = [261, 259, 258, 260, 12, 197, 171, 262, 261];
        let spelled: Vec<u8> = tokens.iter().flat_map(|token| vocabulary.bytes(*token).to_vec()).collect();
        assert_eq!(String::from_utf8(spelled).unwrap(), tokenizer.decode(&tokens, true).unwrap());
    }

    #[test]
    fn tells_nothing_where_a_decoder_does_more() {
        let decoder = |json: &str| Spelling::of(&serde_json::from_str(json).unwrap()).is_some();
        assert!(decoder(r#"{"type":"Fuse"}"#) && decoder(r#"{"type":"ByteLevel"}"#));
        assert!(decoder(r#"{"type":"Metaspace","replacement":"_"}"#));
        for other in [
            r#"{"type":"WordPiece","prefix":"@"}"#,
            r#"{"type":"Sequence","decoders":[{"type":"CTC"}]}"#,
            r#"{"type":"Metaspace","replacement":"ab"}"#,
            r#"{"type":"Replace","pattern":{"Regex":"a"},"content":" "}"#,
        ] {
            assert!(!decoder(other), "{other}");
        }
        let deep = (0..20).fold(r#"{"type":"Fuse"}"#.to_owned(), |inner, _| {
            format!(r#"{{"type":"Sequence","decoders":[{inner}]}}"#)
        });
        assert!(!decoder(&deep));
    }

    #[test]
    fn a_word_that_the_tree_cannot_hold_is_left_out() {
        let long = "a".repeat(MAX_TOKEN_BYTES + 1);
        let mut tokenizer = sentencepiece();
        tokenizer.add_tokens([tokenizers::AddedToken::from(long, false)]).unwrap();
        let vocabulary = Vocabulary::new(&tokenizer, 264, &[1]).unwrap();
        assert_eq!(vocabulary.bytes(263), b"");
        assert!(Vocabulary::new(&tokenizer, MAX_TOKENS + 1, &[1]).is_none());
    }
}
