//! The names that files of weights may have, and which of them make a model.

use crate::dtype::Container;

/// The longest name of a file of weights, in bytes.
pub(crate) const MAX_FILE_NAME_LEN: usize = 128;

/// What the name of a file of weights says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WeightsName<'a> {
    pub(crate) container: Container,
    /// The name without number and extension.
    base: &'a str,
    /// Number and count of a numbered file, both from 1.
    pub(crate) number: Option<(u32, u32)>,
}

impl<'a> WeightsName<'a> {
    /// `None` when no file of weights is called so.
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.len() > MAX_FILE_NAME_LEN || name.starts_with('.') || !name.bytes().all(plain) {
            return None;
        }
        let (stem, container) = match (name.strip_suffix(".safetensors"), name.strip_suffix(".gguf")) {
            (Some(stem), _) => (stem, Container::Safetensors),
            (None, Some(stem)) => (stem, Container::Gguf),
            (None, None) => return None,
        };
        let (base, number) = match split_number(stem) {
            Some((base, number)) => (base, Some(number)),
            None => (stem, None),
        };
        let named = !base.is_empty() && (container == Container::Gguf || base == "model");
        named.then_some(Self { container, base, number })
    }
}

/// Takes `-NNNNN-of-NNNNN` off the end of a name.
fn split_number(stem: &str) -> Option<(&str, (u32, u32))> {
    let digits = |text: &str| {
        let five = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
        five.then(|| text.parse().ok()).flatten()
    };
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (base, number) = rest.rsplit_once('-')?;
    Some((base, (digits(number)?, digits(count)?)))
}

/// Why names do not make the weights of one model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SetRefusal {
    /// There is none.
    None,
    /// One is not a name of weights.
    Name,
    /// Of several containers.
    Containers,
    /// Several that are not numbered, or of several bases.
    Several,
    /// Not the numbers from 1 to the count that each names, in order.
    Numbers,
}

/// What the names of a model's weights have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WeightsSet {
    pub(crate) container: Container,
    /// Whether the files are numbered; then there may be one of one, too.
    pub(crate) numbered: bool,
}

impl WeightsSet {
    /// The set of these names, in order.
    pub(crate) fn of(names: &[&str]) -> Result<Self, SetRefusal> {
        let parsed: Option<Vec<WeightsName<'_>>> =
            names.iter().map(|name| WeightsName::parse(name)).collect();
        let parsed = parsed.ok_or(SetRefusal::Name)?;
        let first = *parsed.first().ok_or(SetRefusal::None)?;
        if parsed.iter().any(|name| name.container != first.container) {
            return Err(SetRefusal::Containers);
        }
        if parsed.iter().any(|name| name.base != first.base)
            || (parsed.len() > 1 && parsed.iter().any(|name| name.number.is_none()))
        {
            return Err(SetRefusal::Several);
        }
        let count = u32::try_from(parsed.len()).map_err(|_| SetRefusal::Numbers)?;
        let numbered = first.number.is_some();
        if numbered && !(1..=count).zip(&parsed).all(|(number, name)| name.number == Some((number, count))) {
            return Err(SetRefusal::Numbers);
        }
        Ok(Self { container: first.container, numbered })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_names_of_published_models() {
        let parse = |name: &'static str| {
            WeightsName::parse(name).map(|name| (name.container, name.base, name.number))
        };
        let numbers = Some((2, 163));
        assert_eq!(parse("model.safetensors"), Some((Container::Safetensors, "model", None)));
        assert_eq!(
            parse("model-00002-of-00163.safetensors"),
            Some((Container::Safetensors, "model", numbers))
        );
        assert_eq!(parse("Qwen3-8B-Q4_K_M.gguf"), Some((Container::Gguf, "Qwen3-8B-Q4_K_M", None)));
        assert_eq!(parse("R1-Q4_K_M-00002-of-00163.gguf"), Some((Container::Gguf, "R1-Q4_K_M", numbers)));
    }

    #[test]
    fn refuses_other_names() {
        let long = format!("{}.gguf", "a".repeat(MAX_FILE_NAME_LEN - 4));
        for name in [
            "",
            "model",
            ".gguf",
            ".model.gguf",
            "model.safetensors.index.json",
            "pytorch_model.bin",
            "other.safetensors",
            "model-1-of-2.safetensors",
            "model-000001-of-000002.safetensors",
            "model-00001.safetensors",
            "-00001-of-00002.gguf",
            "a/b.gguf",
            "a b.gguf",
            "\u{e9}.gguf",
            "a\0.gguf",
            &long,
        ] {
            assert_eq!(WeightsName::parse(name), None, "{name}");
        }
        assert!(WeightsName::parse(&long[1..]).is_some());
    }

    #[test]
    fn accepts_whole_sets_only() {
        let shard = |number: u32, count: u32| format!("model-{number:05}-of-{count:05}.safetensors");
        let of = |names: &[String]| {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            WeightsSet::of(&names)
        };
        let safetensors = Container::Safetensors;
        assert_eq!(
            WeightsSet::of(&["model.safetensors"]),
            Ok(WeightsSet { container: safetensors, numbered: false })
        );
        let numbered = Ok(WeightsSet { container: safetensors, numbered: true });
        assert_eq!(of(&[shard(1, 2), shard(2, 2)]), numbered);
        assert_eq!(of(&[shard(1, 1)]), numbered);
        for wrong in [
            vec![shard(1, 2)],
            vec![shard(2, 2), shard(1, 2)],
            vec![shard(1, 3), shard(2, 3)],
            vec![shard(1, 2), shard(1, 2)],
            vec![shard(0, 1)],
            vec![shard(1, 2), shard(2, 3)],
        ] {
            assert_eq!(of(&wrong), Err(SetRefusal::Numbers), "{wrong:?}");
        }
        assert_eq!(WeightsSet::of(&[]), Err(SetRefusal::None));
        assert_eq!(WeightsSet::of(&["config.json"]), Err(SetRefusal::Name));
        assert_eq!(WeightsSet::of(&["model.safetensors", "a.gguf"]), Err(SetRefusal::Containers));
        assert_eq!(WeightsSet::of(&["a.gguf", "b.gguf"]), Err(SetRefusal::Several));
        assert_eq!(WeightsSet::of(&["model.safetensors", &shard(1, 1)]), Err(SetRefusal::Several));
        assert_eq!(
            WeightsSet::of(&["a-00001-of-00002.gguf", "b-00002-of-00002.gguf"]),
            Err(SetRefusal::Several)
        );
    }
}
