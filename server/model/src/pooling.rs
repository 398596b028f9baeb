//! From token vectors to one vector, as the sentence-transformers files of the package say.

use crate::config;
use crate::error::LoadError;
use anchorhold_sealed_weights::Role;
use serde::Deserialize;
use serde_json::Value;

/// How the vector of an input is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pooling {
    /// At least one; of several the vectors stand one after the other.
    modes: Vec<Mode>,
    normalise: bool,
    /// The most tokens that the model was made for, if the package says so.
    pub(crate) max_tokens: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    First,
    Max,
    Mean,
    /// The sum divided by the root of the count.
    MeanSqrtLen,
    /// A mean in which a token weighs its place, from one on.
    WeightedMean,
    Last,
}

impl Mode {
    /// All, in the order in which the form of switches lays vectors of several, with their names in both forms.
    const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::First, "cls", "pooling_mode_cls_token"),
        (Self::Max, "max", "pooling_mode_max_tokens"),
        (Self::Mean, "mean", "pooling_mode_mean_tokens"),
        (Self::MeanSqrtLen, "mean_sqrt_len_tokens", "pooling_mode_mean_sqrt_len_tokens"),
        (Self::WeightedMean, "weightedmean", "pooling_mode_weightedmean_tokens"),
        (Self::Last, "lasttoken", "pooling_mode_lasttoken"),
    ];

    fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, own, _)| *own == name).map(|(mode, _, _)| *mode)
    }

    /// The vector of some tokens, each of `hidden` features.
    fn pool(self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut lines = states.chunks_exact(hidden.max(1));
        let weights = 1..=lines.len();
        let one = if self == Self::Last { lines.next_back() } else { lines.next() };
        let mut vector = one.map(<[f32]>::to_vec).unwrap_or_default();
        let divisor = match self {
            Self::First | Self::Last => 1.0,
            Self::Max => {
                lines.for_each(|line| blend(&mut vector, line, f32::max));
                1.0
            }
            Self::Mean | Self::MeanSqrtLen => {
                lines.for_each(|line| blend(&mut vector, line, |sum, value| sum + value));
                let count = float(*weights.end());
                if self == Self::Mean { count } else { count.sqrt() }
            }
            Self::WeightedMean => {
                for (line, weight) in lines.zip(weights.clone().skip(1)) {
                    let weight = float(weight);
                    blend(&mut vector, line, |sum, value| sum + value * weight);
                }
                weights.map(float).sum()
            }
        };
        vector.iter_mut().for_each(|value| *value /= divisor);
        vector
    }
}

fn blend(vector: &mut [f32], line: &[f32], with: impl Fn(f32, f32) -> f32) {
    for (own, value) in vector.iter_mut().zip(line) {
        *own = with(*own, *value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "a context is shorter than 2^24")]
fn float(count: usize) -> f32 {
    count as f32
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
    /// A file is not of its form, or asks for something other than pooling of `hidden` features, with or without normalisation, of the text as
    /// it is.
    pub(crate) fn read(files: &Files<'_>, hidden: usize) -> Result<Self, LoadError> {
        let modules: Vec<Module> =
            serde_json::from_slice(files.modules).map_err(|_| LoadError::Form(Role::Modules))?;
        let kinds: Vec<&str> = modules.iter().filter_map(|module| module.kind.rsplit('.').next()).collect();
        let normalise = match kinds.as_slice() {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            kinds if kinds.contains(&"Dense") => {
                return Err(LoadError::Config("modules have Dense, which is not supported"));
            }
            _ => return Err(LoadError::Config("modules are not Transformer, Pooling and perhaps Normalize")),
        };
        let modes = modes(files.pooling, hidden)?;
        let max_tokens = files.sentence.map(max_tokens).transpose()?.flatten();
        if let Some(bytes) = files.transformers {
            let object = config::object(Role::SentenceTransformers, bytes)?;
            if object.get("default_prompt_name").is_some_and(|name| !name.is_null()) {
                return Err(LoadError::Config("a default prompt is set"));
            }
        }
        Ok(Self { modes, normalise, max_tokens })
    }

    /// The length of a vector that is made of token vectors of `hidden` features.
    pub(crate) fn dimensions(&self, hidden: usize) -> usize {
        self.modes.len() * hidden
    }

    /// The vector of one input, from its token vectors of `hidden` features.
    pub(crate) fn pool(&self, states: &[f32], hidden: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = self.modes.iter().flat_map(|mode| mode.pool(states, hidden)).collect();
        if self.normalise {
            // The same floor as torch's `normalize`.
            let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
            vector.iter_mut().for_each(|value| *value /= length);
        }
        vector
    }
}

/// The pooling modes, in the form of one switch for each, of one name, or of a list of names.
fn modes(bytes: &[u8], hidden: usize) -> Result<Vec<Mode>, LoadError> {
    let object = config::object(Role::Pooling, bytes)?;
    let mut names = Vec::new();
    let mut switches = Vec::new();
    for (key, value) in &object {
        match (key.as_str(), value) {
            ("word_embedding_dimension" | "embedding_dimension", Value::Number(number)) => {
                if number.as_u64() != Some(hidden as u64) {
                    return Err(LoadError::Config("pooling and config have different dimensions"));
                }
            }
            ("include_prompt", Value::Bool(true)) => {}
            ("pooling_mode", Value::String(name)) => names.push(Mode::named(name)),
            ("pooling_mode", Value::Array(list)) => {
                names.extend(list.iter().map(|name| name.as_str().and_then(Mode::named)));
            }
            (switch, Value::Bool(on)) if Mode::ALL.iter().any(|(_, _, own)| *own == switch) => {
                switches.extend(on.then_some(switch));
            }
            _ => return Err(LoadError::ConfigKey),
        }
    }
    let switched =
        Mode::ALL.iter().filter(|(_, _, own)| switches.contains(own)).map(|(mode, _, _)| Some(*mode));
    let modes: Option<Vec<Mode>> =
        if names.is_empty() { switched.collect() } else { names.into_iter().collect() };
    match modes {
        Some(modes) if (1..=Mode::ALL.len()).contains(&modes.len()) => Ok(modes),
        _ => Err(LoadError::Config("pooling mode is not one that sentence-transformers has")),
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
    fn vectors_of_several_modes_stand_in_the_order_of_the_form() {
        let plain =
            MODULES.replace(r#","type":"sentence_transformers.models.Normalize"#, r#","type":"x.Normalize"#);
        let switches =
            r#"{"word_embedding_dimension":2,"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#;
        let names = r#"{"embedding_dimension":2,"pooling_mode":["mean","cls"]}"#;
        let states = [3.0, 0.0, 1.0, 0.0];
        let pooled = |pooling| {
            let pooling = read(&plain, pooling, "{}", "{}").unwrap();
            assert_eq!(pooling.dimensions(2), 4);
            pooling.pool(&states, 2).iter().map(|value| value * 13.0_f32.sqrt()).collect::<Vec<_>>()
        };
        let near =
            |got: Vec<f32>, wanted: [f32; 4]| got.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(near(pooled(switches), [3.0, 0.0, 2.0, 0.0]));
        assert!(near(pooled(names), [2.0, 0.0, 3.0, 0.0]));
    }

    #[test]
    fn refuses_what_it_does_not_do() {
        let dense = MODULES.replace("Normalize", "Dense");
        let none = r#"{"word_embedding_dimension":2,"pooling_mode_max_tokens":false}"#;
        let other = r#"{"embedding_dimension":2,"pooling_mode":"median"}"#;
        let many = format!(r#"{{"embedding_dimension":2,"pooling_mode":{:?}}}"#, vec!["cls"; 7]);
        let unknown = r#"{"word_embedding_dimension":2,"pooling_mode_mean_tokens":true,"weights":[1]}"#;
        let wide = MEAN.replace(":2,", ":3,");
        for (modules, pooling, sentence, transformers) in [
            (dense.as_str(), MEAN, "{}", "{}"),
            ("[]", MEAN, "{}", "{}"),
            (MODULES, none, "{}", "{}"),
            (MODULES, other, "{}", "{}"),
            (MODULES, many.as_str(), "{}", "{}"),
            (MODULES, unknown, "{}", "{}"),
            (MODULES, wide.as_str(), "{}", "{}"),
            (MODULES, MEAN, r#"{"do_lower_case":true}"#, "{}"),
            (MODULES, MEAN, r#"{"max_seq_length":0}"#, "{}"),
            (MODULES, MEAN, "{}", r#"{"default_prompt_name":"query"}"#),
        ] {
            assert!(read(modules, pooling, sentence, transformers).is_err());
        }
        assert!(read(MODULES, MEAN, "{}", r#"{"default_prompt_name":null}"#).is_ok());
        let refused = read(&dense, MEAN, "{}", "{}");
        assert_eq!(refused, Err(LoadError::Config("modules have Dense, which is not supported")));
    }
}
