//! The same settings by three ways: the file, `ANCHORHOLD_GATEWAY_*` variables, and `--set`. The later one wins.

use super::ConfigError;
use toml::{Table, Value};

/// What variables of the environment begin with. The rest names a key in upper case, with `__` where a table begins:
/// `ANCHORHOLD_GATEWAY_LIMITS__BODY_BYTES` is `body_bytes` of `[limits]`.
pub const ENVIRONMENT: &str = "ANCHORHOLD_GATEWAY_";
/// How many letters a name may be away from the one that is suggested instead.
const NEAR: usize = 3;
/// How much of a digest is shown.
const SHOWN_DIGITS: usize = 12;

/// What stands beside the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(Vec<Override>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Override {
    /// As it was written, for whoever must mend it.
    from: String,
    path: Vec<String>,
    value: String,
}

impl Overrides {
    /// Out of variables of the environment, of which others are passed over, and `KEY=VALUE` texts.
    ///
    /// # Errors
    /// A text without `=`.
    pub fn new(
        environment: impl IntoIterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut all: Vec<Override> = environment
            .into_iter()
            .filter_map(|(name, value)| {
                let path = name.strip_prefix(ENVIRONMENT)?.to_lowercase();
                let path = path.split("__").map(str::to_owned).collect();
                Some(Override { from: name, path, value })
            })
            .collect();
        // The environment has no order.
        all.sort_by(|one, other| one.from.cmp(&other.from));
        for set in sets {
            let reason = "expected KEY=VALUE, such as limits.body_bytes=1048576";
            let Some((path, value)) = set.split_once('=') else {
                return Err(ConfigError::Override { from: format!("--set {set}"), reason });
            };
            let path = path.split('.').map(|part| part.trim().to_owned()).collect();
            all.push(Override { from: format!("--set {set}"), path, value: value.trim().to_owned() });
        }
        Ok(Self(all))
    }

    /// The text of settings with all of this in it. Without any, it is the text itself, so that faults are told by its own lines.
    ///
    /// # Errors
    /// The text is no TOML, or something is set where there can be nothing.
    pub fn apply(&self, text: &str) -> Result<String, ConfigError> {
        if self.0.is_empty() {
            return Ok(text.to_owned());
        }
        let mut table: Table = toml::from_str(text)?;
        for Override { from, path, value } in &self.0 {
            let reason = "there is no such place: tables are named by their keys, and lists only as a whole";
            let wrong = || ConfigError::Override { from: from.clone(), reason };
            let (last, tables) = path.split_last().filter(|(last, _)| !last.is_empty()).ok_or_else(wrong)?;
            let mut place = &mut table;
            for name in tables {
                let next = place.entry(name.clone()).or_insert_with(|| Value::Table(Table::new()));
                place = next.as_table_mut().ok_or_else(wrong)?;
            }
            place.insert(last.clone(), read(value));
        }
        toml::to_string(&table).map_err(|_| ConfigError::Override {
            from: "settings".to_owned(),
            reason: "they cannot be written as TOML",
        })
    }
}

/// A TOML value, or else the text itself, so that addresses and names need no quotes.
fn read(text: &str) -> Value {
    let table: Result<Table, _> = toml::from_str(&format!("value = {text}"));
    let only = table.ok().filter(|table| table.len() == 1).and_then(|mut table| table.remove("value"));
    only.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Settings for a person to look at: without comments, and with no more of a key's digest than names it, because the digest of a
/// key that can be guessed gives it away.
///
/// # Errors
/// The text is no TOML.
pub fn shown(text: &str) -> Result<String, ConfigError> {
    let mut table: Table = toml::from_str(text)?;
    table.iter_mut().for_each(|(name, value)| shorten(name, value));
    Ok(toml::to_string(&table).unwrap_or_default())
}

fn shorten(name: &str, value: &mut Value) {
    match value {
        Value::String(text) if name == "sha256" => {
            *text = text.chars().take(SHOWN_DIGITS).chain("...".chars()).collect();
        }
        Value::Array(values) => values.iter_mut().for_each(|value| shorten(name, value)),
        Value::Table(table) => table.iter_mut().for_each(|(name, value)| shorten(name, value)),
        _ => {}
    }
}

/// The name that was meant, out of the text that serde gives for a key that is not known.
pub(super) fn meant(message: &str) -> Option<&str> {
    let (unknown, expected) = message.split_once(", expected")?;
    let unknown = unknown.strip_prefix("unknown field `")?.strip_suffix('`')?;
    let names = expected.split('`').skip(1).step_by(2);
    let near = names.map(|name| (distance(unknown, name), name)).min_by_key(|(distance, _)| *distance)?;
    (near.0 <= NEAR && near.0 < unknown.chars().count()).then_some(near.1)
}

/// How many letters must be put in, taken out or changed (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = at;
        let mut left = at + 1;
        let mut next = vec![left];
        for (above, other) in row.iter().skip(1).zip(other.chars()) {
            let here = (diagonal + usize::from(letter != other)).min(above + 1).min(left + 1);
            diagonal = *above;
            left = here;
            next.push(here);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(environment: &[(&str, &str)], sets: &[&str]) -> Overrides {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Overrides::new(environment, &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn applied(overrides: &Overrides, text: &str) -> Table {
        toml::from_str(&overrides.apply(text).unwrap()).unwrap()
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let text =
            "listen = \"a:1\"\n[limits]\nbody_bytes = 1\ndrain_seconds = 2\n[[tenant]]\nname = \"a\"\n";
        let environment = [
            ("ANCHORHOLD_GATEWAY_LIMITS__BODY_BYTES", "3"),
            ("ANCHORHOLD_GATEWAY_LIMITS__DRAIN_SECONDS", "4"),
            ("ANCHORHOLD_GATEWAY_LISTEN", "127.0.0.1:8443"),
            ("PATH", "/bin"),
        ];
        let table = applied(&overrides(&environment, &["limits.body_bytes=5", "names=[\"x\", \"y\"]"]), text);
        let wanted = "listen = \"127.0.0.1:8443\"\nnames = [\"x\", \"y\"]\n[limits]\nbody_bytes = 5\n\
                      drain_seconds = 4\n[[tenant]]\nname = \"a\"\n";
        assert_eq!(table, toml::from_str(wanted).unwrap());
        assert_eq!(overrides(&[("PATH", "/bin")], &[]).apply("# as it is").unwrap(), "# as it is");
    }

    #[test]
    fn a_value_is_one_value() {
        let set = |value: &str| applied(&overrides(&[], &[&format!("a.b={value}")]), "");
        for (value, wanted) in [
            ("true", Value::Boolean(true)),
            ("7", Value::Integer(7)),
            ("\"7\"", Value::String("7".to_owned())),
            ("plain text", Value::String("plain text".to_owned())),
            ("1\nc = 2", Value::String("1\nc = 2".to_owned())),
            ("", Value::String(String::new())),
        ] {
            assert_eq!(set(value)["a"]["b"], wanted, "{value}");
        }
    }

    #[test]
    fn refuses_what_names_no_place() {
        for set in ["limits", "=1", "limits.=1", "tenant.name=x", "listen.port=1"] {
            let text = "listen = \"a\"\n[[tenant]]\nname = \"a\"\n";
            let refused = Overrides::new([], &[set.to_owned()]).and_then(|overrides| overrides.apply(text));
            let error = refused.unwrap_err().to_string();
            assert!(error.starts_with(&format!("--set {set}: ")), "{error}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        let three =
            "unknown field `drain_second`, expected one of `body_bytes`, `drain_seconds`, `answer_seconds`";
        assert_eq!(meant(three), Some("drain_seconds"));
        assert_eq!(meant("unknown field `nam`, expected `name` or `share`"), Some("name"));
        assert_eq!(meant("unknown field `nonsense`, expected `name`"), None);
        assert_eq!(meant("missing field `name`"), None);
        assert_eq!((distance("kitten", "sitting"), distance("", "ab"), distance("a", "a")), (3, 2, 0));
    }

    #[test]
    fn no_digest_is_shown_whole() {
        let text = format!("# a comment\nlisten = \"x\"\n[[key]]\nsha256 = \"{}\"\n", "ab".repeat(32));
        assert_eq!(shown(&text).unwrap(), "listen = \"x\"\n\n[[key]]\nsha256 = \"abababababab...\"\n");
    }
}
