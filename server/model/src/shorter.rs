//! Whether a model's vectors may be cut, by its own `config.json`: `is_matryoshka` and `matryoshka_dimensions`, the keys that vLLM reads.

use crate::error::LoadError;
use anchorhold_engine::Shorter;
use serde_json::{Map, Value};

/// The most lengths that a model may name.
const MAX_LENGTHS: usize = 64;

/// Takes the two keys out of a config; null is as good as absent.
///
/// # Errors
/// [`LoadError::Config`] when they are not a flag and a list of lengths, or contradict each other.
pub(crate) fn take(object: &mut Map<String, Value>) -> Result<Shorter, LoadError> {
    let wrong = || LoadError::Config("is_matryoshka or matryoshka_dimensions cannot be read");
    let mut taken = |key: &str| object.remove(key).filter(|value| !value.is_null());
    let flag = match taken("is_matryoshka") {
        None => None,
        Some(Value::Bool(flag)) => Some(flag),
        Some(_) => return Err(wrong()),
    };
    let lengths = match taken("matryoshka_dimensions") {
        None => None,
        Some(Value::Array(list)) if (1..=MAX_LENGTHS).contains(&list.len()) => Some(list),
        Some(_) => return Err(wrong()),
    };
    match (flag, lengths) {
        (None | Some(false), None) => Ok(Shorter::No),
        (Some(true), None) => Ok(Shorter::Any),
        (Some(false), Some(_)) => Err(wrong()),
        (_, Some(list)) => {
            let length = |value: &Value| {
                value.as_u64().and_then(|length| u32::try_from(length).ok()).filter(|length| *length > 0)
            };
            let lengths: Option<Vec<u32>> = list.iter().map(length).collect();
            lengths.map(Shorter::To).ok_or_else(wrong)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn taken(config: Value) -> (Result<Shorter, LoadError>, usize) {
        let Value::Object(mut object) = config else { panic!() };
        (take(&mut object), object.len())
    }

    #[test]
    fn the_model_says_which_lengths() {
        for (config, wanted) in [
            (json!({"x": 1}), Shorter::No),
            (json!({"x": 1, "is_matryoshka": null}), Shorter::No),
            (json!({"x": 1, "is_matryoshka": false}), Shorter::No),
            (json!({"x": 1, "is_matryoshka": true}), Shorter::Any),
            (json!({"x": 1, "matryoshka_dimensions": [64, 128]}), Shorter::To(vec![64, 128])),
            (json!({"x": 1, "is_matryoshka": true, "matryoshka_dimensions": [2]}), Shorter::To(vec![2])),
        ] {
            assert_eq!(taken(config), (Ok(wanted), 1));
        }
    }

    #[test]
    fn refuses_what_is_no_length() {
        for config in [
            json!({"is_matryoshka": 1}),
            json!({"is_matryoshka": false, "matryoshka_dimensions": [2]}),
            json!({"matryoshka_dimensions": []}),
            json!({"matryoshka_dimensions": 64}),
            json!({"matryoshka_dimensions": [0]}),
            json!({"matryoshka_dimensions": [-1]}),
            json!({"matryoshka_dimensions": [u64::MAX]}),
            json!({"matryoshka_dimensions": vec![1; MAX_LENGTHS + 1]}),
        ] {
            assert!(taken(config).0.is_err());
        }
    }
}
