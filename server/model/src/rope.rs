//! Rotary position embedding, with the frequencies as transformers computes them.

use crate::config::Keys;
use crate::error::LoadError;
use serde::Deserialize;

/// The rope part of a config: `rope_parameters` of transformers 5, or `rope_scaling` beside `rope_theta` of transformers 4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RopeConfig {
    rope_type: Option<String>,
    /// The old name of `rope_type`; some files have both.
    r#type: Option<String>,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
}

/// The keys of a config that say how positions are turned, in both forms.
#[derive(Debug, Deserialize)]
pub(crate) struct RopeKeys {
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeConfig>,
    rope_parameters: Option<RopeConfig>,
}

/// The keys of [`RopeKeys`].
pub(crate) const KEYS: Keys = Keys { used: &["rope_theta", "rope_scaling", "rope_parameters"], off: &[] };

/// How positions are turned, as a config says it; [`Rope`] is made of it once the heads are known.
#[derive(Debug)]
pub(crate) struct RopeSettings {
    pub(crate) theta: f64,
    pub(crate) parameters: Option<RopeConfig>,
}

impl RopeKeys {
    /// The settings, with the base of transformers where there is none.
    ///
    /// # Errors
    /// Both forms are used.
    pub(crate) fn settings(self) -> Result<RopeSettings, LoadError> {
        self.settings_with(THETA)
    }

    /// The settings, with this base where there is none.
    ///
    /// # Errors
    /// Both forms are used.
    pub(crate) fn settings_with(self, theta: f64) -> Result<RopeSettings, LoadError> {
        let Self { rope_theta, rope_scaling, rope_parameters } = self;
        if rope_parameters.is_some() && (rope_scaling.is_some() || rope_theta.is_some()) {
            return Err(LoadError::Config("rope is configured in two ways"));
        }
        Ok(RopeSettings { theta: rope_theta.unwrap_or(theta), parameters: rope_parameters.or(rope_scaling) })
    }
}

/// The base that transformers takes where the config has none.
pub(crate) const THETA: f64 = 10_000.0;

/// The rotation of each pair of features per position.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    frequencies: Vec<f32>,
}

impl Rope {
    /// The frequencies for heads of `head` features.
    ///
    /// # Errors
    /// The type is not `default`, `linear` or `llama3`, a parameter of the type is missing or out of range, or one of another type is there.
    pub(crate) fn new(head: usize, settings: &RopeSettings) -> Result<Self, LoadError> {
        let RopeSettings { theta, parameters } = settings;
        let config = parameters.as_ref();
        let theta = config.and_then(|config| config.rope_theta).unwrap_or(*theta);
        if !(1.0..=1e12).contains(&theta) || head == 0 || !head.is_multiple_of(2) {
            return Err(LoadError::Config("rope_theta and head_dim must allow a rotation"));
        }
        let head = u32::try_from(head).map_err(|_| LoadError::Config("head_dim is too large"))?;
        let plain = (0..head / 2).map(|i| 1.0 / theta.powf(f64::from(2 * i) / f64::from(head)));
        let scale = match config {
            None => None,
            Some(config) => config.scale()?,
        };
        #[expect(clippy::cast_possible_truncation, reason = "transformers keeps the frequencies in f32")]
        let frequencies = plain.map(|f| scale.as_ref().map_or(f, |scale| scale.apply(f)) as f32).collect();
        Ok(Self { frequencies })
    }

    /// The same with each frequency divided by its factor, as GGUF files store what the `llama3` type makes of them.
    ///
    /// # Errors
    /// There are not as many factors as frequencies, or one is out of range.
    pub(crate) fn slowed(mut self, factors: &[f32]) -> Result<Self, LoadError> {
        let sound = factors.iter().all(|&factor| sound_factor(f64::from(factor)).is_ok());
        if !sound || factors.len() != self.frequencies.len() {
            return Err(LoadError::Config("rope scaling has a value out of range"));
        }
        self.frequencies.iter_mut().zip(factors).for_each(|(frequency, factor)| *frequency /= factor);
        Ok(self)
    }

    /// The cosines and sines of one position.
    #[expect(clippy::cast_precision_loss, reason = "positions are below 2^24")]
    pub(crate) fn angles(&self, position: usize) -> Vec<(f32, f32)> {
        let angle = |frequency: &f32| {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            (cos, sin)
        };
        self.frequencies.iter().map(angle).collect()
    }
}

/// Turns one head: feature `i` of the first half with feature `i` of the second.
pub(crate) fn rotate(head: &mut [f32], angles: &[(f32, f32)]) {
    let (first, second) = head.split_at_mut(head.len() / 2);
    for ((a, b), (cos, sin)) in first.iter_mut().zip(second).zip(angles) {
        (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
    }
}

/// What becomes of the frequencies.
enum Scaling {
    /// All are slowed by a factor.
    Linear(f64),
    Llama3(Llama3),
}

impl Scaling {
    fn apply(&self, frequency: f64) -> f64 {
        match self {
            Self::Linear(factor) => frequency / factor,
            Self::Llama3(scaling) => scaling.apply(frequency),
        }
    }
}

/// The scaling of Llama 3.1: long waves are slowed by `factor`, short ones kept, those between blended.
struct Llama3 {
    factor: f64,
    low: f64,
    high: f64,
    original: f64,
}

impl Llama3 {
    fn apply(&self, frequency: f64) -> f64 {
        let wave = std::f64::consts::TAU / frequency;
        if wave < self.original / self.high {
            frequency
        } else if wave > self.original / self.low {
            frequency / self.factor
        } else {
            let blend = (self.original / wave - self.low) / (self.high - self.low);
            (1.0 - blend) * frequency / self.factor + blend * frequency
        }
    }
}

impl RopeConfig {
    fn scale(&self) -> Result<Option<Scaling>, LoadError> {
        let parameters =
            (self.factor, self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings);
        let kind = match (self.rope_type.as_deref(), self.r#type.as_deref()) {
            (Some(kind), None) | (None, Some(kind)) => kind,
            (Some(kind), Some(old)) if kind == old => kind,
            _ => return Err(LoadError::Config("rope has no type, or two")),
        };
        match (kind, parameters) {
            ("default", (None, None, None, None)) => Ok(None),
            ("linear", (Some(factor), None, None, None)) => Ok(Some(Scaling::Linear(sound_factor(factor)?))),
            ("llama3", (Some(factor), Some(low), Some(high), Some(original))) => {
                let factor = sound_factor(factor)?;
                if !(low > 0.0 && high > low && high.is_finite() && original > 0) {
                    return Err(LoadError::Config("rope scaling has a value out of range"));
                }
                Ok(Some(Scaling::Llama3(Llama3 { factor, low, high, original: f64::from(original) })))
            }
            ("default" | "linear" | "llama3", _) => {
                Err(LoadError::Config("rope scaling lacks a value or has one too many"))
            }
            _ => Err(LoadError::Config("rope type is not default, linear or llama3")),
        }
    }
}

fn sound_factor(factor: f64) -> Result<f64, LoadError> {
    if (1.0..=1e6).contains(&factor) {
        Ok(factor)
    } else {
        Err(LoadError::Config("rope scaling has a value out of range"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(head: usize, theta: f64, json: &str) -> Result<Rope, LoadError> {
        let parameters = serde_json::from_str(json).map_err(|_| LoadError::Threads)?;
        Rope::new(head, &RopeSettings { theta, parameters })
    }

    #[test]
    fn refuses_unknown_rope_types_and_missing_values() {
        for json in [
            r#"{"rope_type":"yarn","factor":8.0}"#,
            r#"{"rope_type":"linear"}"#,
            r#"{"rope_type":"linear","factor":0.5}"#,
            r#"{"rope_type":"linear","factor":1e300}"#,
            r#"{"rope_type":"linear","type":"default","factor":2.0}"#,
            r#"{"factor":2.0}"#,
            r#"{"rope_type":"llama3","factor":8.0}"#,
            r#"{"rope_type":"default","factor":8.0}"#,
            r#"{"rope_type":"llama3","factor":8.0,"low_freq_factor":4.0,"high_freq_factor":1.0,"original_max_position_embeddings":64}"#,
            r#"{"rope_type":"default","rope_theta":0.5}"#,
            r#"{"rope_type":"default","partial":1}"#,
        ] {
            assert!(rope(32, 1e4, json).is_err(), "{json}");
        }
        assert!(rope(33, 1e4, "null").is_err());
        assert!(rope(32, f64::NAN, "null").is_err());
    }

    #[test]
    fn linear_scaling_slows_every_frequency_under_either_name() {
        let plain = rope(4, 1e4, "null").unwrap().frequencies;
        for json in
            [r#"{"type":"linear","factor":4.0}"#, r#"{"rope_type":"linear","type":"linear","factor":4.0}"#]
        {
            let slow = rope(4, 1e4, json).unwrap().frequencies;
            assert!(slow.iter().zip(&plain).all(|(slow, plain)| (slow * 4.0 - plain).abs() < 1e-6));
        }
    }

    #[test]
    fn rotation_keeps_length_and_turns_by_the_position() {
        let rope = rope(4, 1e4, "null").unwrap();
        let mut head = [1.0, 0.0, 0.0, 1.0];
        rotate(&mut head, &rope.angles(1));
        assert!((head[0] - 1.0_f32.cos()).abs() < 1e-6 && (head[2] - 1.0_f32.sin()).abs() < 1e-6);
        assert!((head[3] - 0.01_f32.cos()).abs() < 1e-6 && (head[1] + 0.01_f32.sin()).abs() < 1e-6);
    }
}
