//! Rotary position embedding, with the frequencies as transformers computes them.

use crate::error::LoadError;
use serde::Deserialize;

/// The rope part of a config: `rope_parameters` of transformers 5, or `rope_scaling` beside `rope_theta` of transformers 4.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RopeConfig {
    #[serde(alias = "type")]
    rope_type: String,
    rope_theta: Option<f64>,
    factor: Option<f64>,
    low_freq_factor: Option<f64>,
    high_freq_factor: Option<f64>,
    original_max_position_embeddings: Option<u32>,
}

/// The rotation of each pair of features per position.
#[derive(Debug, Clone)]
pub(crate) struct Rope {
    frequencies: Vec<f32>,
}

impl Rope {
    /// The frequencies for heads of `head` features.
    ///
    /// # Errors
    /// The type is not `default` or `llama3`, a parameter of the type is missing or out of range, or one of another type is there.
    pub(crate) fn new(head: usize, theta: f64, config: Option<&RopeConfig>) -> Result<Self, LoadError> {
        let theta = config.and_then(|config| config.rope_theta).unwrap_or(theta);
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
    fn scale(&self) -> Result<Option<Llama3>, LoadError> {
        let parameters =
            (self.factor, self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings);
        match (self.rope_type.as_str(), parameters) {
            ("default", (None, None, None, None)) => Ok(None),
            ("llama3", (Some(factor), Some(low), Some(high), Some(original))) => {
                let sound = factor >= 1.0 && low > 0.0 && high > low && original > 0;
                if !sound || !factor.is_finite() || !high.is_finite() {
                    return Err(LoadError::Config("llama3 rope scaling has a value out of range"));
                }
                Ok(Some(Llama3 { factor, low, high, original: f64::from(original) }))
            }
            ("default" | "llama3", _) => {
                Err(LoadError::Config("rope scaling lacks a value or has one too many"))
            }
            _ => Err(LoadError::Config("rope type is not default or llama3")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: &str) -> RopeConfig {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn refuses_unknown_rope_types_and_missing_values() {
        for json in [
            r#"{"rope_type":"yarn","factor":8.0}"#,
            r#"{"rope_type":"llama3","factor":8.0}"#,
            r#"{"rope_type":"default","factor":8.0}"#,
            r#"{"rope_type":"llama3","factor":8.0,"low_freq_factor":4.0,"high_freq_factor":1.0,"original_max_position_embeddings":64}"#,
        ] {
            assert!(Rope::new(32, 1e4, Some(&config(json))).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<RopeConfig>(r#"{"rope_type":"default","partial":1}"#).is_err());
        assert!(Rope::new(33, 1e4, None).is_err());
        assert!(Rope::new(32, f64::NAN, None).is_err());
    }

    #[test]
    fn rotation_keeps_length_and_turns_by_the_position() {
        let rope = Rope::new(4, 1e4, None).unwrap();
        let mut head = [1.0, 0.0, 0.0, 1.0];
        rotate(&mut head, &rope.angles(1));
        assert!((head[0] - 1.0_f32.cos()).abs() < 1e-6 && (head[2] - 1.0_f32.sin()).abs() < 1e-6);
        assert!((head[3] - 0.01_f32.cos()).abs() < 1e-6 && (head[1] + 0.01_f32.sin()).abs() < 1e-6);
    }
}
