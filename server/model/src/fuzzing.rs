//! Doors for fuzz targets, which `cargo fuzz` builds with `--cfg fuzzing`: readers that otherwise see only what was decrypted.

use crate::bert;
use crate::config;
use crate::decoder::DecoderPlan;
use crate::error::LoadError;
use crate::gguf;
use crate::grammar::Grammars;
use crate::load::{decoder_of, encoder_of, special_tokens, token_ids};
use crate::template::ChatTemplate;
use crate::text::{Codec, Use};
use anchorhold_sealed_weights::{Gguf, Role, fuzzing};
use serde_json::Value;

/// Reads all that a GGUF file says before its tensors, as far as [`crate::load()`] does without them, and cuts `text` into tokens.
///
/// # Errors
/// Those of a load.
pub fn gguf_metadata(head: &[u8], file_len: u64, text: &str) -> Result<(), LoadError> {
    let header = Gguf::parse(head, file_len)?;
    let index = fuzzing::index(header.table().clone())?;
    let described = gguf::describe_header(&header, &index)?;
    let read = decoder_of(&described.config).ok_or(LoadError::Architecture)?;
    let ends = token_ids(described.config.get("eos_token_id"))?;
    let config = read(described.config)?.laid_out(described.layout);
    let needs = config.needs().0;
    for (index, need) in needs.iter().enumerate() {
        // As a load refuses it: the metadata asks for a part that this kind of file has no name for.
        config.locate(&need.name).ok_or(LoadError::Tensor { index, expected: needs.len() })?;
    }
    if let Some(Value::String(source)) = described.tokenizer_config.get("chat_template") {
        let _template = ChatTemplate::new(source.as_str(), special_tokens(&described.tokenizer_config))?;
    }
    let codec = Codec::read(&described.tokenizer?, config.vocabulary(), Use::Chat)?;
    if let Ok(tokens) = codec.encode(text) {
        assert!(tokens.iter().all(|token| (*token as usize) < config.vocabulary()), "a token that is none");
        let _text = codec.decode(&tokens);
    }
    let _grammars = Grammars::new(codec.vocabulary(config.vocabulary(), &ends).as_ref());
    Ok(())
}

/// Reads a `config.json`.
///
/// # Errors
/// Those of a load.
pub fn model_config(bytes: &[u8]) -> Result<(), LoadError> {
    let object = config::object(Role::Config, bytes)?;
    token_ids(object.get("eos_token_id"))?;
    if let Some((family, purpose)) = encoder_of(&object) {
        let config = bert::Config::read(object, family)?;
        assert!(!config.needs(config.prefix(), purpose).0.is_empty(), "a model without tensors");
        return Ok(());
    }
    let config = decoder_of(&object).ok_or(LoadError::Architecture)?(object)?;
    let (needs, _) = config.needs();
    assert!(!needs.is_empty(), "a model without tensors");
    let _plan = DecoderPlan::new(&config, &needs);
    Ok(())
}
