//! Prometheus text, version 0.0.4, as far as a reader of one server's numbers needs it.

use std::collections::BTreeMap;

/// The most samples of one text.
const MAX_SAMPLES: usize = 20_000;

/// A text that is not what a gateway writes. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Malformed {
    /// The line of this number is no sample.
    Line(usize),
    TooMany,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line(line) => write!(f, "/metrics: line {line} is no sample"),
            Self::TooMany => write!(f, "/metrics: more than {MAX_SAMPLES} samples"),
        }
    }
}

/// The samples of one text, in order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Samples(Vec<Sample>);

#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Samples {
    pub(super) fn parse(text: &str) -> Result<Self, Malformed> {
        let mut samples = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if samples.len() == MAX_SAMPLES {
                return Err(Malformed::TooMany);
            }
            samples.push(sample(line).ok_or(Malformed::Line(at + 1))?);
        }
        Ok(Self(samples))
    }

    /// The samples of this name.
    fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| sample.name == name)
    }

    /// The sum of the samples of this name that have this label, if it is given; `None` when there are none.
    pub(super) fn sum(&self, name: &str, label: Option<(&str, &str)>) -> Option<f64> {
        let mut values =
            self.of(name).filter(|sample| sample.has(label)).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The values of a label among the samples of this name, with the sum of each.
    pub(super) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name) {
            if let Some(value) = sample.labels.get(label) {
                *sums.entry(value.clone()).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    /// A quantile of a histogram, between 0 and 1, as Prometheus computes it: evenly spread within a bucket. `None` of nothing, and
    /// where it lies above the highest bound.
    pub(super) fn quantile(&self, name: &str, label: (&str, &str), quantile: f64) -> Option<f64> {
        let bucket = |sample: &Sample| Some((sample.labels.get("le")?.parse::<f64>().ok()?, sample.value));
        let buckets = format!("{name}_bucket");
        let mut buckets: Vec<(f64, f64)> =
            self.of(&buckets).filter(|sample| sample.has(Some(label))).filter_map(bucket).collect();
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted = buckets.last().map(|(_, all)| all * quantile).filter(|wanted| *wanted > 0.0)?;
        let at = buckets.iter().position(|(_, below)| *below >= wanted)?;
        let (end, below) = *buckets.get(at)?;
        let (start, before) = at.checked_sub(1).and_then(|at| buckets.get(at)).copied().unwrap_or((0.0, 0.0));
        (end.is_finite() && below > before)
            .then(|| start + (end - start) * (wanted - before) / (below - before))
    }
}

impl Sample {
    fn has(&self, label: Option<(&str, &str)>) -> bool {
        label.is_none_or(|(name, value)| self.labels.get(name).is_some_and(|own| own == value))
    }
}

/// `name{label="value",..} number`.
fn sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at_checked(end)?;
    let mut labels = BTreeMap::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        while !rest.starts_with('}') {
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.to_owned(), value);
            rest = after.strip_prefix(',').unwrap_or(after);
        }
        rest = rest.strip_prefix('}')?;
    }
    let value = rest.strip_prefix(' ')?.parse().ok()?;
    (!name.is_empty()).then(|| Sample { name: name.to_owned(), labels, value })
}

/// Text up to a quotation mark, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP a b\n# TYPE a gauge\na 3\nb_total{x=\"1\",y=\"p\\\"q}\"} 2.5\nb_total{x=\"2\",y=\"r\"} 1\n\
        h_bucket{le=\"1.0\",m=\"k\"} 4\nh_bucket{le=\"2.0\",m=\"k\"} 8\nh_bucket{le=\"+Inf\",m=\"k\"} 10\n";

    #[test]
    fn reads_names_labels_and_values() {
        let samples = Samples::parse(TEXT).unwrap();
        assert_eq!(samples.sum("a", None), Some(3.0));
        assert_eq!(samples.sum("b_total", None), Some(3.5));
        assert_eq!(samples.sum("b_total", Some(("y", "p\"q}"))), Some(2.5));
        assert_eq!(samples.sum("b_total", Some(("y", "p"))), None);
        assert_eq!(
            samples.by("b_total", "x"),
            BTreeMap::from([("1".to_owned(), 2.5), ("2".to_owned(), 1.0)])
        );
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let samples = Samples::parse(TEXT).unwrap();
        let quantile = |quantile| samples.quantile("h", ("m", "k"), quantile);
        assert_eq!((quantile(0.2), quantile(0.5)), (Some(0.5), Some(1.25)));
        assert_eq!(quantile(0.99), None, "above the highest bound nothing is known");
        assert_eq!(samples.quantile("h", ("m", "none"), 0.5), None);
    }

    #[test]
    fn refuses_what_is_no_sample_without_quoting_it() {
        for line in ["a", "a x", "{} 1", "a{x} 1", "a{x=\"1} 1", "a{x=\"1\"", "a{x=\"1\"}1", "a{x=\"\\", " 1"]
        {
            assert_eq!(Samples::parse(&format!("ok 1\n{line}\n")), Err(Malformed::Line(2)), "{line}");
        }
        let many = "a 1\n".repeat(MAX_SAMPLES);
        assert!(Samples::parse(&many).is_ok());
        assert_eq!(Samples::parse(&format!("{many}a 1\n")), Err(Malformed::TooMany));
    }
}
