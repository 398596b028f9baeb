//! A classifier of one label on the first token: the score of a pair of texts.

use super::config::Config;
use crate::config;
use crate::error::LoadError;
use crate::kernel::Isa;
use crate::ops::Linear;
use crate::packed::Then;
use crate::rows::{Input, Sheet, copy_into};
use crate::threads::Team;
use crate::weights::Weights;
use anchorhold_sealed_weights::Role;
use serde_json::{Map, Value};

/// What becomes of the label's value, as `sentence_transformers.CrossEncoder` reads it from the package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bend {
    /// `1 / (1 + e^-x)`, also where nothing is said.
    Sigmoid,
    /// The value itself.
    Identity,
}

impl Bend {
    /// Reads it from `config_sentence_transformers.json`, else from `config.json`, where two versions left it.
    ///
    /// # Errors
    /// It is another function, or a file is not of its form.
    pub(crate) fn read(own: Option<&[u8]>, config: &Map<String, Value>) -> Result<Self, LoadError> {
        let own = own.map(|bytes| config::object(Role::SentenceTransformers, bytes)).transpose()?;
        let own = own.as_ref().and_then(|own| own.get("activation_fn"));
        let later = config.get("sentence_transformers").and_then(|own| own.get("activation_fn"));
        let first = config.get("sbert_ce_default_activation_function");
        match own.or(later).or(first).filter(|name| !name.is_null()) {
            None => Ok(Self::Sigmoid),
            Some(Value::String(name)) if name == "torch.nn.modules.activation.Sigmoid" => Ok(Self::Sigmoid),
            Some(Value::String(name)) if name == "torch.nn.modules.linear.Identity" => Ok(Self::Identity),
            Some(_) => Err(LoadError::Config("activation of the score is not a sigmoid or the identity")),
        }
    }

    fn apply(self, value: f32) -> f32 {
        match self {
            Self::Sigmoid => 1.0 / (1.0 + (-value).exp()),
            Self::Identity => value,
        }
    }
}

/// The two layers of the classifier.
pub(super) struct Classifier {
    dense: Linear,
    out: Linear,
    bend: Bend,
}

impl Classifier {
    /// Takes its tensors. They are few, and stay exact.
    ///
    /// # Errors
    /// A tensor is not there, which [`Weights::load`] rules out.
    pub(super) fn new(config: &Config, bend: Bend, weights: &mut Weights) -> Result<Self, LoadError> {
        let mut linear = |name: &str| -> Result<_, LoadError> {
            let tensor = weights.passing(&format!("{name}.weight"))?;
            let bias = weights.take(&format!("{name}.bias"))?;
            let packed = weights.pack_exact(&tensor, config.hidden);
            Ok(Linear::new(Isa::detect(), packed, bias, Then::Store))
        };
        let [dense, out] = config.classifier();
        Ok(Self { dense: linear(dense)?, out: linear(out)?, bend })
    }

    /// The score of an input, from the state of its first token.
    pub(super) fn score(&self, first: &[f32]) -> f32 {
        let (mut input, mut wide, mut label) = (Input::default(), Sheet::default(), Sheet::default());
        let here = Team::Alone(0);
        self.dense.fill(&mut input, here, 1, |_, line| copy_into(line, first));
        self.dense.forward(here, &input, &mut wide);
        self.out.fill(&mut input, here, 1, |_, line| {
            wide.copy_row(0, line);
            line.iter_mut().for_each(|value| *value = value.tanh());
        });
        self.out.forward(here, &input, &mut label);
        let mut value = [0.0];
        label.copy_row(0, &mut value);
        let [value] = value;
        self.bend.apply(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(own: Option<&str>, config: &Value) -> Result<Bend, LoadError> {
        Bend::read(own.map(str::as_bytes), config.as_object().unwrap())
    }

    #[test]
    fn the_activation_is_read_where_each_version_left_it() {
        let (sigmoid, identity) = ("torch.nn.modules.activation.Sigmoid", "torch.nn.modules.linear.Identity");
        assert_eq!(read(None, &json!({})), Ok(Bend::Sigmoid));
        assert_eq!(
            read(None, &json!({"sbert_ce_default_activation_function": identity})),
            Ok(Bend::Identity)
        );
        let later = json!({"sentence_transformers": {"activation_fn": identity, "version": "4.1.0"}});
        assert_eq!(read(None, &later), Ok(Bend::Identity));
        let own = format!("{{\"activation_fn\":\"{sigmoid}\"}}");
        assert_eq!(read(Some(&own), &later), Ok(Bend::Sigmoid));
        for other in ["torch.nn.modules.activation.Tanh", "x.Y", ""] {
            let refused = read(None, &json!({"sbert_ce_default_activation_function": other}));
            assert!(matches!(refused, Err(LoadError::Config(_))), "{other}");
        }
        assert_eq!(read(Some("["), &json!({})), Err(LoadError::Form(Role::SentenceTransformers)));
    }
}
