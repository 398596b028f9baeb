//! From token vectors to one vector, as the sentence-transformers files of the package say.

use crate::config;
use crate::error::LoadError;
use anchorhold_sealed_weights::Role;
use serde::Deserialize;
use serde_json::Value;

/// How the vector of an input is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    mode: Mode,
    normalise: bool,
    /// The most tokens that the model was made for, if the package says so.
    pub(crate) max_tokens: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Mean,
    First,
    Last,
}

/// The files of sentence-transformers; absent ones are `None`.
pub(crate) struct Files<'a> {
    /// `modules.json`.
    pub(crate) modules: &'a [u8],
    /// `1_Pooling/config.json`.
    pub(crate) pooling: &'a [u8],
    /// `sentence_bert_config.json`.
    pub(crate) sentence: Option<&'a [u8]>,
    /// `config_sentence_transformers.json`.
    pub(crate) transformers: Option<&'a [u8]>,
}

#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
}

impl Pooling {
    /// Reads the files.
    ///
    /// # Errors
    /// A file is not of its form, or asks for something other than mean, first-token or last-token pooling of `hidden` features, with or without
    /// normalisation, of the text as it is.
    pub(crate) fn read(files: &Files<'_>, hidden: usize) -> Result<Self, LoadError> {
        let modules: Vec<Module> =
            serde_json::from_slice(files.modules).map_err(|_| LoadError::Form(Role::Modules))?;
        let kinds: Vec<&str> = modules.iter().filter_map(|module| module.kind.rsplit('.').next()).collect();
        let normalise = match kinds.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => return Err(LoadError::Config("modules are not Transformer, Pooling and perhaps Normalize")),
        };
        let mode = mode(files.pooling, hidden)?;
        let max_tokens = files.sentence.map(max_tokens).transpose()?.flatten();
        if let Some(bytes) = files.transformers {
            let object = config::object(Role::SentenceTransformers, bytes)?;
            if object.get("default_prompt_name").is_some_and(|name| !name.is_null()) {
                return Err(LoadError::Config("a default prompt is set"));
            }
        }
        Ok(Self { mode, normalise, max_tokens })
    }

    /// The vector of one input, from its token vectors of `hidden` features.
    pub(crate) fn pool(&self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut lines = states.chunks_exact(hidden.max(1));
        let count = lines.len();
        let one = if self.mode == Mode::Last { lines.next_back() } else { lines.next() };
        let mut vector = one.map(<[f32]>::to_vec).unwrap_or_default();
        if self.mode == Mode::Mean {
            for line in lines {
                for (sum, value) in vector.iter_mut().zip(line) {
                    *sum += value;
                }
            }
            #[expect(clippy::cast_precision_loss, reason = "a context is shorter than 2^24")]
            let count = count.max(1) as f32;
            vector.iter_mut().for_each(|sum| *sum /= count);
        }
        if self.normalise {
            // The same floor as torch's `normalize`.
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|value| *value /= length);
        }
        vector
    }
}

/// The pooling mode, in the form of one switch for each mode or of one name.
fn mode(bytes: &[u8], hidden: usize) -> Result<Mode, LoadError> {
    let object = config::object(Role::Pooling, bytes)?;
    let mut modes = Vec::new();
    for (key, value) in &object {
        match (key.as_str(), value) {
            ("word_embedding_dimension" | "embedding_dimension", Value::Number(number)) => {
                if number.as_u64() != Some(hidden as u64) {
                    return Err(LoadError::Config("pooling and config have different dimensions"));
                }
            }
            ("include_prompt", Value::Bool(true)) => {}
            ("pooling_mode", Value::String(name)) => modes.push(name.as_str()),
            (switch, Value::Bool(on)) if switch.starts_with("pooling_mode_") => {
                if *on {
                    modes.push(
                        switch
                            .trim_start_matches("pooling_mode_")
                            .trim_end_matches("_tokens")
                            .trim_end_matches("_token"),
                    );
                }
            }
            _ => return Err(LoadError::ConfigKey),
        }
    }
    match modes.as_slice() {
        ["mean"] => Ok(Mode::Mean),
        ["cls"] => Ok(Mode::First),
        ["lasttoken"] => Ok(Mode::Last),
        _ => Err(LoadError::Config("pooling mode is not mean, cls or lasttoken")),
    }
}

fn max_tokens(bytes: &[u8]) -> Result<Option<usize>, LoadError> {
    let object = config::object(Role::SentenceConfig, bytes)?;
    if object.get("do_lower_case").is_some_and(|lower| lower != &Value::Bool(false)) {
        return Err(LoadError::Config("sentence config asks for lower case"));
    }
    match object.get("max_seq_length") {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match value.as_u64().and_then(|value| usize::try_from(value).ok()) {
            Some(value) if value > 0 => Ok(Some(value)),
            _ => Err(LoadError::Form(Role::SentenceConfig)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: &str = r#"[{"idx":0,"name":"0","path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"name":"1","path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"idx":2,"name":"2","path":"2_Normalize","type":"sentence_transformers.models.Normalize"}]"#;
    const MEAN: &str =
        r#"{"word_embedding_dimension":2,"pooling_mode_cls_token":false,"pooling_mode_mean_tokens":true}"#;

    fn read(modules: &str, pooling: &str, sentence: &str, transformers: &str) -> Result<Pooling, LoadError> {
        let files = Files {
            modules: modules.as_bytes(),
            pooling: pooling.as_bytes(),
            sentence: Some(sentence.as_bytes()),
            transformers: Some(transformers.as_bytes()),
        };
        Pooling::read(&files, 2)
    }

    #[test]
    fn mean_first_and_last_token_are_pooled() {
        let mean = read(MODULES, MEAN, r#"{"max_seq_length":7}"#, "{}").unwrap();
        assert_eq!(mean.max_tokens, Some(7));
        assert_eq!(mean.pool(&[3.0, 0.0, 3.0, 8.0], 2), [0.6, 0.8]);
        let first = r#"{"embedding_dimension":2,"pooling_mode":"cls","include_prompt":true}"#;
        let plain = MODULES.replace("sentence_transformers.models.Normalize", "x.Normalize");
        assert_eq!(read(&plain, first, "{}", "{}").unwrap().pool(&[0.0, 5.0, 9.0, 9.0], 2), [0.0, 1.0]);
        for last in [
            r#"{"word_embedding_dimension":2,"pooling_mode_mean_tokens":false,"pooling_mode_lasttoken":true}"#,
            r#"{"embedding_dimension":2,"pooling_mode":"lasttoken"}"#,
        ] {
            assert_eq!(read(&plain, last, "{}", "{}").unwrap().pool(&[9.0, 9.0, 0.0, 5.0], 2), [0.0, 1.0]);
        }
    }

    #[test]
    fn refuses_what_it_does_not_do() {
        let dense = MODULES.replace("Normalize", "Dense");
        let max = r#"{"word_embedding_dimension":2,"pooling_mode_max_tokens":true}"#;
        let both =
            r#"{"word_embedding_dimension":2,"pooling_mode_cls_token":true,"pooling_mode_mean_tokens":true}"#;
        let unknown = r#"{"word_embedding_dimension":2,"pooling_mode_mean_tokens":true,"weights":[1]}"#;
        let wide = MEAN.replace(":2,", ":3,");
        for (modules, pooling, sentence, transformers) in [
            (dense.as_str(), MEAN, "{}", "{}"),
            ("[]", MEAN, "{}", "{}"),
            (MODULES, max, "{}", "{}"),
            (MODULES, both, "{}", "{}"),
            (MODULES, unknown, "{}", "{}"),
            (MODULES, wide.as_str(), "{}", "{}"),
            (MODULES, MEAN, r#"{"do_lower_case":true}"#, "{}"),
            (MODULES, MEAN, r#"{"max_seq_length":0}"#, "{}"),
            (MODULES, MEAN, "{}", r#"{"default_prompt_name":"query"}"#),
        ] {
            assert!(read(modules, pooling, sentence, transformers).is_err());
        }
        assert!(read(MODULES, MEAN, "{}", r#"{"default_prompt_name":null}"#).is_ok());
    }
}
