//! Which layers see only a window of the positions before a token.

use crate::config::{Keys, MAX_CONTEXT, dimension};
use crate::error::LoadError;
use serde::Deserialize;

/// Which layers see a window only, and how many positions it has, as an architecture writes it.
pub(crate) enum Windows {
    /// Every layer sees everything.
    None,
    /// Every layer sees this many positions.
    Every(usize),
    /// These are the keys of Qwen.
    Qwen(QwenWindow),
    /// These are the keys of Gemma; where they do not say which layers see everything, it is each of this place.
    Gemma(GemmaWindow, usize),
}

impl Windows {
    /// The window of each of `count` layers.
    ///
    /// # Errors
    /// A window is zero or above its limit, or the keys contradict themselves.
    pub(crate) fn layers(&self, count: usize) -> Result<Vec<Option<usize>>, LoadError> {
        match self {
            Self::None => Ok(vec![None; count]),
            Self::Every(window) => Ok(vec![Some(dimension(*window, MAX_CONTEXT)?); count]),
            Self::Qwen(keys) => keys.layers(count),
            Self::Gemma(keys, every) => keys.layers(count, *every),
        }
    }
}

/// How Qwen2 and Qwen3 write it.
#[derive(Debug, Deserialize)]
pub(crate) struct QwenWindow {
    #[serde(default)]
    use_sliding_window: bool,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
}

/// The keys of [`QwenWindow`].
pub(crate) const QWEN_KEYS: Keys =
    Keys { used: &["use_sliding_window", "sliding_window", "max_window_layers", "layer_types"], off: &[] };

impl QwenWindow {
    /// As transformers reads the keys: a window counts only when it is switched on, and `layer_types` says which layers have it; without
    /// that, those from `max_window_layers` on.
    fn layers(&self, count: usize) -> Result<Vec<Option<usize>>, LoadError> {
        let window = self.sliding_window.map(|window| dimension(window, MAX_CONTEXT)).transpose()?;
        let window = window.filter(|_| self.use_sliding_window);
        match (&self.layer_types, window) {
            (Some(types), window) => by_types(types, window, count),
            (None, None) => Ok(vec![None; count]),
            (None, Some(_)) => {
                let first = self.max_window_layers.ok_or(LoadError::Config(
                    "use_sliding_window is on without layer_types or max_window_layers",
                ))?;
                Ok((0..count).map(|layer| window.filter(|_| layer >= first)).collect())
            }
        }
    }
}

/// How Gemma 2 and 3 write it.
#[derive(Debug, Deserialize)]
pub(crate) struct GemmaWindow {
    sliding_window: usize,
    layer_types: Option<Vec<String>>,
    /// How Gemma 3 said it before `layer_types`.
    sliding_window_pattern: Option<usize>,
    /// The same, as later versions save it beside `layer_types`.
    #[serde(rename = "_sliding_window_pattern")]
    saved_pattern: Option<usize>,
}

/// The keys of [`GemmaWindow`].
pub(crate) const GEMMA_KEYS: Keys = Keys {
    used: &["sliding_window", "layer_types", "sliding_window_pattern", "_sliding_window_pattern"],
    off: &[],
};

impl GemmaWindow {
    /// Whether the window has this many positions.
    pub(crate) fn is(&self, positions: usize) -> bool {
        self.sliding_window == positions
    }

    fn layers(&self, count: usize, every: usize) -> Result<Vec<Option<usize>>, LoadError> {
        let window = dimension(self.sliding_window, MAX_CONTEXT)?;
        match &self.layer_types {
            Some(types) => by_types(types, Some(window), count),
            None if self.saved_pattern.is_some() => {
                Err(LoadError::Config("_sliding_window_pattern stands without layer_types"))
            }
            None => {
                let every = dimension(self.sliding_window_pattern.unwrap_or(every), MAX_CONTEXT)?;
                let layer = |place: usize| (!place.is_multiple_of(every)).then_some(window);
                Ok((1..=count).map(layer).collect())
            }
        }
    }
}

/// The window of each layer by its `layer_types`.
fn by_types(types: &[String], window: Option<usize>, count: usize) -> Result<Vec<Option<usize>>, LoadError> {
    if types.len() != count {
        return Err(LoadError::Config("layer_types is not as long as num_hidden_layers"));
    }
    let layer = |kind: &String| match (kind.as_str(), window) {
        ("full_attention", _) => Ok(None),
        ("sliding_attention", Some(window)) => Ok(Some(window)),
        ("sliding_attention", None) => Err(LoadError::Config("layer_types asks for a window that is off")),
        _ => Err(LoadError::Config("layer_types names an attention that is not full or sliding")),
    };
    types.iter().map(layer).collect()
}
