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
    attention_factor: Option<f64>,
    beta_fast: Option<f64>,
    beta_slow: Option<f64>,
    mscale: Option<f64>,
    mscale_all_dim: Option<f64>,
    truncate: Option<bool>,
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
    /// Multiplies cosines and sines, as YaRN does so that scores stay as sharp over a long context.
    sharpness: f32,
}

impl Rope {
    /// The frequencies for heads of `head` features and a context of `positions`.
    ///
    /// # Errors
    /// The type is not `default`, `linear`, `dynamic`, `llama3` or `yarn`, a parameter of the type is missing or out of range, or one of
    /// another type is there.
    pub(crate) fn new(head: usize, positions: usize, settings: &RopeSettings) -> Result<Self, LoadError> {
        let RopeSettings { theta, parameters } = settings;
        let config = parameters.as_ref();
        let theta = config.and_then(|config| config.rope_theta).unwrap_or(*theta);
        if !(1.0..=1e12).contains(&theta) || head == 0 || !head.is_multiple_of(2) {
            return Err(LoadError::Config("rope_theta and head_dim must allow a rotation"));
        }
        let head = u32::try_from(head).map_err(|_| LoadError::Config("head_dim is too large"))?;
        let scaling = match config {
            None => Scaling::None,
            Some(config) => config.scaling(f64::from(head), theta, positions)?,
        };
        let frequency = |i: u32| {
            let plain = 1.0 / theta.powf(f64::from(2 * i) / f64::from(head));
            #[expect(clippy::cast_possible_truncation, reason = "transformers keeps the frequencies in f32")]
            let scaled = scaling.apply(i, plain) as f32;
            scaled
        };
        let frequencies = (0..head / 2).map(frequency).collect();
        #[expect(clippy::cast_possible_truncation, reason = "the computation is in f32")]
        let sharpness = if let Scaling::Yarn(yarn) = &scaling { yarn.sharpness as f32 } else { 1.0 };
        Ok(Self { frequencies, sharpness })
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
    pub(crate) fn angles(&self, position: usize) -> impl Iterator<Item = (f32, f32)> {
        self.frequencies.iter().map(move |frequency| {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            (cos * self.sharpness, sin * self.sharpness)
        })
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
    /// Nothing.
    None,
    /// All are slowed by a factor.
    Linear(f64),
    Llama3(Llama3),
    Yarn(Yarn),
}

impl Scaling {
    /// The frequency of pair `index`.
    fn apply(&self, index: u32, frequency: f64) -> f64 {
        match self {
            Self::None => frequency,
            Self::Linear(factor) => frequency / factor,
            Self::Llama3(scaling) => scaling.apply(frequency),
            Self::Yarn(scaling) => scaling.apply(index, frequency),
        }
    }
}

/// YaRN (Peng et al. 2023): pairs that turn often are kept, those that turn seldom are slowed by `factor`, and there is a ramp between.
struct Yarn {
    factor: f64,
    /// The pairs where the ramp begins and ends.
    ramp: (f64, f64),
    sharpness: f64,
}

impl Yarn {
    fn apply(&self, index: u32, frequency: f64) -> f64 {
        let (low, high) = self.ramp;
        let slowed = ((f64::from(index) - low) / (high - low)).clamp(0.0, 1.0);
        frequency / self.factor * slowed + frequency * (1.0 - slowed)
    }

    /// As transformers computes it for heads of `head` features.
    fn read(config: &RopeConfig, head: f64, theta: f64, positions: usize) -> Result<Self, LoadError> {
        let amiss = LoadError::Config("rope scaling has a value out of range");
        let factor = sound_factor(config.factor.ok_or(LACKS)?)?;
        // Where it is absent, transformers takes the context itself.
        let original = config.original_max_position_embeddings.map(f64::from);
        let original = original.map_or_else(|| u32::try_from(positions).map(f64::from), Ok);
        let original = original.map_err(|_| amiss.clone())?;
        let (fast, slow) = (config.beta_fast.unwrap_or(32.0), config.beta_slow.unwrap_or(1.0));
        // The pair that turns so often over the original context.
        let pair = |turns: f64| head * (original / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln());
        let (low, high) = match config.truncate {
            None | Some(true) => (pair(fast).floor(), pair(slow).ceil()),
            Some(false) => (pair(fast), pair(slow)),
        };
        let low = low.max(0.0);
        let high = high.min(head - 1.0);
        // Transformers adds as much, so that the ramp is not a step.
        let high = if low == high { high + 0.001 } else { high };
        let sharper = |scale: f64| 0.1 * scale * factor.ln() + 1.0;
        let sharpness = match (config.attention_factor, config.mscale, config.mscale_all_dim) {
            (Some(given), _, _) => given,
            (None, Some(one), Some(all)) if one != 0.0 && all != 0.0 => sharper(one) / sharper(all),
            _ => sharper(1.0),
        };
        let sound =
            theta > 1.0 && fast >= slow && slow > 0.0 && original >= 1.0 && high > low && high.is_finite();
        if !(sound && low.is_finite() && (1e-3..=1e3).contains(&sharpness)) {
            return Err(amiss);
        }
        Ok(Self { factor, ramp: (low, high), sharpness })
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

const LACKS: LoadError = LoadError::Config("rope scaling lacks a value or has one too many");

impl RopeConfig {
    fn scaling(&self, head: f64, theta: f64, positions: usize) -> Result<Scaling, LoadError> {
        let parameters =
            (self.factor, self.low_freq_factor, self.high_freq_factor, self.original_max_position_embeddings);
        let kind = match (self.rope_type.as_deref(), self.r#type.as_deref()) {
            (Some(kind), None) | (None, Some(kind)) => kind,
            (Some(kind), Some(old)) if kind == old => kind,
            _ => return Err(LoadError::Config("rope has no type, or two")),
        };
        let of_yarn =
            [self.attention_factor, self.beta_fast, self.beta_slow, self.mscale, self.mscale_all_dim];
        if kind != "yarn" && (of_yarn.iter().any(Option::is_some) || self.truncate.is_some()) {
            return Err(LACKS);
        }
        match (kind, parameters) {
            ("default", (None, None, None, None)) => Ok(Scaling::None),
            ("linear", (Some(factor), None, None, None)) => Ok(Scaling::Linear(sound_factor(factor)?)),
            // It changes the frequencies of sequences that are longer than the context, of which there are none.
            ("dynamic", (Some(factor), None, None, None)) => sound_factor(factor).map(|_| Scaling::None),
            ("llama3", (Some(factor), Some(low), Some(high), Some(original))) => {
                let factor = sound_factor(factor)?;
                if !(low > 0.0 && high > low && high.is_finite() && original > 0) {
                    return Err(LoadError::Config("rope scaling has a value out of range"));
                }
                Ok(Scaling::Llama3(Llama3 { factor, low, high, original: f64::from(original) }))
            }
            ("yarn", (Some(_), None, None, _)) => Yarn::read(self, head, theta, positions).map(Scaling::Yarn),
            ("default" | "linear" | "dynamic" | "llama3" | "yarn", _) => Err(LACKS),
            _ => Err(LoadError::Config("rope type is not default, linear, dynamic, llama3 or yarn")),
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
        Rope::new(head, 128, &RopeSettings { theta, parameters })
    }

    #[test]
    fn refuses_unknown_rope_types_and_missing_values() {
        for json in [
            r#"{"rope_type":"longrope","factor":8.0}"#,
            r#"{"rope_type":"dynamic"}"#,
            r#"{"rope_type":"dynamic","factor":0.5}"#,
            r#"{"rope_type":"dynamic","factor":2.0,"original_max_position_embeddings":64}"#,
            r#"{"rope_type":"linear","factor":2.0,"beta_fast":32.0}"#,
            r#"{"rope_type":"default","truncate":false}"#,
            r#"{"rope_type":"yarn"}"#,
            r#"{"rope_type":"yarn","factor":0.5}"#,
            r#"{"rope_type":"yarn","factor":2.0,"low_freq_factor":1.0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"beta_fast":1.0,"beta_slow":2.0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"beta_slow":0.0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"attention_factor":0.0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"attention_factor":1e300}"#,
            r#"{"rope_type":"yarn","factor":2.0,"mscale":-1e300,"mscale_all_dim":1.0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":0}"#,
            r#"{"rope_type":"yarn","factor":2.0,"rope_theta":1.0}"#,
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
    fn yarn_keeps_quick_pairs_and_slows_slow_ones() {
        let plain = rope(64, 1e4, "null").unwrap().frequencies;
        let yarn =
            rope(64, 1e4, r#"{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":4096}"#);
        let yarn = yarn.unwrap();
        assert_eq!(yarn.frequencies[0], plain[0]);
        assert!((yarn.frequencies[31] * 4.0 / plain[31] - 1.0).abs() < 1e-6);
        assert!((yarn.sharpness - 1.138_629_4).abs() < 1e-6);
        let dynamic = rope(64, 1e4, r#"{"type":"dynamic","factor":4.0}"#).unwrap();
        assert!(dynamic.frequencies == plain && dynamic.sharpness == 1.0);
    }

    #[test]
    fn rotation_keeps_length_and_turns_by_the_position() {
        let rope = rope(4, 1e4, "null").unwrap();
        let mut head = [1.0, 0.0, 0.0, 1.0];
        rotate(&mut head, &rope.angles(1).collect::<Vec<_>>());
        assert!((head[0] - 1.0_f32.cos()).abs() < 1e-6 && (head[2] - 1.0_f32.sin()).abs() < 1e-6);
        assert!((head[3] - 0.01_f32.cos()).abs() < 1e-6 && (head[1] + 0.01_f32.sin()).abs() < 1e-6);
    }
}
