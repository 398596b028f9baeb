//! The keys `tokenizer.*` as the files of a tokenizer.
//!
//! Byte-level BPE (`gpt2`) has its merges and, by name, how a text is cut before them. SentencePiece (`llama`) has scores: a pair is
//! merged when the whole is a token, best score first, which is BPE with merges in the order of the scores.

use super::values::Metadata;
use crate::error::LoadError;
use crate::text::MAX_MERGES;
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// Kinds of tokens, `gguf.TokenType`.
const UNKNOWN: u32 = 2;
const CONTROL: u32 = 3;
const USER_DEFINED: u32 = 4;
/// The longest token whose parts are looked for, in bytes. Published vocabularies stay below a hundred.
const MAX_TOKEN_LEN: usize = 256;
/// The space in SentencePiece's tokens.
const SPACE: &str = "\u{2581}";

/// How GPT-4's tokenizer cuts, with as many digits at once as `DIGITS` is replaced by.
const CUT: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Keys that are read here, or that change no token: what a template may say, and what llama.cpp does beside the text.
const KEYS: &[&str] = &[
    "ggml.model",
    "ggml.pre",
    "ggml.tokens",
    "ggml.token_type",
    "ggml.token_type_count",
    "ggml.scores",
    "ggml.merges",
    "ggml.bos_token_id",
    "ggml.eos_token_id",
    "ggml.eot_token_id",
    "ggml.eom_token_id",
    "ggml.unknown_token_id",
    "ggml.padding_token_id",
    "ggml.seperator_token_id",
    "ggml.mask_token_id",
    "ggml.fim_pre_token_id",
    "ggml.fim_suf_token_id",
    "ggml.fim_mid_token_id",
    "ggml.fim_pad_token_id",
    "ggml.fim_rep_token_id",
    "ggml.fim_sep_token_id",
    "ggml.add_bos_token",
    "ggml.add_eos_token",
    "ggml.add_space_prefix",
    "huggingface.json",
    "chat_template",
];

/// What `tokenizer_config.json` would say: the texts of special tokens, and the template.
pub(super) fn config(metadata: &Metadata<'_>) -> Result<Map<String, Value>, LoadError> {
    let tokens = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
    let mut config = Map::new();
    for (key, name) in
        [("bos", "bos_token"), ("eos", "eos_token"), ("unknown", "unk_token"), ("padding", "pad_token")]
    {
        let id = metadata.count(&format!("tokenizer.ggml.{key}_token_id"))?;
        if let Some(token) = id.and_then(|id| tokens.get(usize::try_from(id).ok()?)) {
            config.insert(name.into(), json!(token));
        }
    }
    if let Some(template) = metadata.text("tokenizer.chat_template")? {
        config.insert("chat_template".into(), json!(template));
    }
    Ok(config)
}

/// What `tokenizer.json` would say.
///
/// # Errors
/// [`LoadError::Tokenizer`]: the kind of tokenizer, or how it cuts texts, is not known here, or the keys contradict each other.
pub(super) fn read(metadata: &Metadata<'_>) -> Result<Vec<u8>, LoadError> {
    let mut keys = metadata.keys().filter_map(|key| key.strip_prefix("tokenizer."));
    if !keys.all(|key| KEYS.contains(&key) || key.starts_with("chat_template.")) {
        return Err(LoadError::Tokenizer("metadata has a key of the tokenizer that is not known"));
    }
    if metadata.bool("tokenizer.ggml.add_eos_token")?.unwrap_or(false) {
        return Err(LoadError::Tokenizer("metadata asks for an end token after every text"));
    }
    let vocabulary = Vocabulary::read(metadata)?;
    let tokenizer = match metadata.text("tokenizer.ggml.model")? {
        Some("gpt2") => vocabulary.byte_level(metadata)?,
        Some("llama") => vocabulary.sentence_piece(metadata)?,
        _ => return Err(LoadError::Tokenizer("tokenizer.ggml.model is not gpt2 or llama")),
    };
    serde_json::to_vec(&tokenizer).map_err(|_| LoadError::Tokenizer("cannot be written as JSON"))
}

struct Vocabulary<'a> {
    tokens: Vec<&'a str>,
    kinds: Vec<u32>,
    ids: HashMap<&'a str, usize>,
    begin: Option<&'a str>,
    begin_id: usize,
}

impl<'a> Vocabulary<'a> {
    fn read(metadata: &Metadata<'a>) -> Result<Self, LoadError> {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?.unwrap_or_default();
        let kinds = metadata.counts("tokenizer.ggml.token_type")?.unwrap_or_else(|| vec![1; tokens.len()]);
        let ids: HashMap<&str, usize> = tokens.iter().enumerate().map(|(id, token)| (*token, id)).collect();
        if tokens.is_empty() || kinds.len() != tokens.len() || ids.len() != tokens.len() {
            return Err(LoadError::Tokenizer("tokens are missing, repeated, or not as many as their types"));
        }
        let begin_id = metadata.count("tokenizer.ggml.bos_token_id")?.map(usize::try_from);
        let begin_id = begin_id.transpose().map_err(|_| LoadError::Tokenizer("the first token is none"))?;
        let asked = metadata.bool("tokenizer.ggml.add_bos_token")?;
        // llama.cpp puts it before texts unless told otherwise, with SentencePiece.
        let wanted = asked.unwrap_or(metadata.text("tokenizer.ggml.model")? == Some("llama"));
        let begin = begin_id.filter(|_| wanted).map(|id| {
            tokens.get(id).copied().ok_or(LoadError::Tokenizer("the first token is not in the vocabulary"))
        });
        Ok(Self { kinds, ids, begin: begin.transpose()?, begin_id: begin_id.unwrap_or(0), tokens })
    }

    /// The parts that both kinds have.
    fn tokenizer(&self, parts: Value) -> Value {
        let added = self.tokens.iter().zip(&self.kinds).enumerate();
        let added = added.filter(|(_, (_, kind))| matches!(**kind, UNKNOWN | CONTROL | USER_DEFINED));
        let added: Vec<Value> = added
            .map(|(id, (token, kind))| {
                json!({
                    "id": id, "content": token, "special": *kind != USER_DEFINED,
                    "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let begins = self.begin.map(|begin| {
            let special = json!({"SpecialToken": {"id": begin, "type_id": 0}});
            json!({
                "type": "TemplateProcessing",
                "single": [special, text],
                "pair": [special, text, {"Sequence": {"id": "B", "type_id": 1}}],
                "special_tokens": { begin: {"id": begin, "ids": [self.begin_id], "tokens": [begin]} },
            })
        });
        let mut whole = json!({
            "version": "1.0", "truncation": null, "padding": null,
            "added_tokens": added, "post_processor": begins,
        });
        if let (Value::Object(whole), Value::Object(parts)) = (&mut whole, parts) {
            whole.extend(parts);
        }
        whole
    }

    /// Byte-level BPE.
    fn byte_level(&self, metadata: &Metadata<'_>) -> Result<Value, LoadError> {
        let merges = metadata.texts("tokenizer.ggml.merges")?;
        let merges = merges.ok_or(LoadError::Tokenizer("metadata has no merges"))?;
        let bytes = |cut: bool| json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": cut});
        let cut = |digits: &str| {
            let pattern = CUT.replace("DIGITS", digits);
            let split = json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            });
            json!({"type": "Sequence", "pretokenizers": [split, bytes(false)]})
        };
        let composed = json!({"type": "NFC"});
        let (cuts, normalizer, whole_first) = match metadata.text("tokenizer.ggml.pre")? {
            Some("gpt-2") => (bytes(true), Value::Null, false),
            Some("llama-bpe") => (cut("{1,3}"), Value::Null, true),
            Some("qwen2") => (cut(""), composed, false),
            _ => return Err(LoadError::Tokenizer("tokenizer.ggml.pre is not gpt-2, llama-bpe or qwen2")),
        };
        Ok(self.tokenizer(json!({
            "normalizer": normalizer,
            "pre_tokenizer": cuts,
            "decoder": bytes(true),
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                "ignore_merges": whole_first, "vocab": self.ids, "merges": merges,
            },
        })))
    }

    /// SentencePiece's BPE, with bytes for what is not a token.
    fn sentence_piece(&self, metadata: &Metadata<'_>) -> Result<Value, LoadError> {
        if self.tokens.iter().any(|token| token.len() > MAX_TOKEN_LEN) {
            return Err(LoadError::Tokenizer("a token is longer than 256 bytes"));
        }
        let scores = metadata.floats("tokenizer.ggml.scores")?.unwrap_or_default();
        if scores.len() != self.tokens.len() {
            return Err(LoadError::Tokenizer("scores are not as many as tokens"));
        }
        let unknown = metadata.count("tokenizer.ggml.unknown_token_id")?.unwrap_or(0);
        let unknown = usize::try_from(unknown).ok().and_then(|id| self.tokens.get(id));
        let prefixed = metadata.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let mut normalizers = vec![json!({"type": "Replace", "pattern": {"String": " "}, "content": SPACE})];
        let mut decoders = vec![
            json!({"type": "Replace", "pattern": {"String": SPACE}, "content": " "}),
            json!({"type": "ByteFallback"}),
            json!({"type": "Fuse"}),
        ];
        if prefixed {
            normalizers.insert(0, json!({"type": "Prepend", "prepend": SPACE}));
            decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
        }
        Ok(self.tokenizer(json!({
            "normalizer": {"type": "Sequence", "normalizers": normalizers},
            "pre_tokenizer": null,
            "decoder": {"type": "Sequence", "decoders": decoders},
            "model": {
                "type": "BPE", "dropout": null, "unk_token": unknown, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
                "ignore_merges": false, "vocab": self.ids, "merges": self.merges(&scores)?,
            },
        })))
    }

    /// Every pair of tokens whose whole is one, best score first.
    fn merges(&self, scores: &[f32]) -> Result<Vec<[&'a str; 2]>, LoadError> {
        let mut merges = Vec::new();
        for (token, score) in self.tokens.iter().zip(scores) {
            let mut pairs: Vec<(usize, usize, [&'a str; 2])> = Vec::new();
            for (at, _) in token.char_indices().skip(1) {
                let (left, right) = token.split_at(at);
                if let (Some(first), Some(second)) = (self.ids.get(left), self.ids.get(right)) {
                    pairs.push((*first, *second, [left, right]));
                }
            }
            pairs.sort_unstable_by_key(|(first, second, _)| (*first, *second));
            if merges.len() + pairs.len() > MAX_MERGES {
                return Err(LoadError::Tokenizer("tokens have too many parts that are tokens"));
            }
            merges.extend(pairs.into_iter().map(|(_, _, pair)| (*score, pair)));
        }
        // Stable, so that equal scores keep the order of the vocabulary.
        merges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Ok(merges.into_iter().map(|(_, pair)| pair).collect())
    }
}
