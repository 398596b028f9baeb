//! Reads a TOML table key by key, so that every error names the key by its path and no key goes unread.

use std::fmt;
use toml::{Table, Value};

/// The longest policy file, in bytes.
pub const MAX_POLICY_BYTES: usize = 256 * 1024;
const MAX_SHOWN_KEY_CHARS: usize = 64;

/// Why a policy file was refused. Paths look like `grant[0].snp.min_tcb.genoa.bl`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyError {
    /// Over [`MAX_POLICY_BYTES`].
    TooLong {
        /// The length that came.
        observed_bytes: usize,
    },
    /// Not TOML.
    Syntax {
        /// Line, from 1, where reading stopped.
        line: usize,
    },
    /// A mandatory key is missing.
    Missing {
        /// Its path.
        path: String,
    },
    /// A key that no policy has.
    Unknown {
        /// Its path.
        path: String,
    },
    /// An empty list. What is meant to allow everything says `"any"`, where that is allowed.
    Empty {
        /// Its path.
        path: String,
    },
    /// A value of the wrong type, form or range.
    Value {
        /// The key's path.
        path: String,
        /// What it must be.
        wanted: &'static str,
    },
    /// A value that no policy may have.
    Denied {
        /// The key's path.
        path: String,
        /// Why.
        reason: &'static str,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { observed_bytes } => {
                write!(f, "policy is {observed_bytes} bytes, the limit is {MAX_POLICY_BYTES}")
            }
            Self::Syntax { line } => write!(f, "not TOML (line {line})"),
            Self::Missing { path } => write!(f, "{path} is missing"),
            Self::Unknown { path } => write!(f, "{path} is no key of a release policy"),
            Self::Empty { path } => write!(f, "{path} is an empty list"),
            Self::Value { path, wanted } => write!(f, "{path} is not {wanted}"),
            Self::Denied { path, reason } => write!(f, "{path} is refused: {reason}"),
        }
    }
}

impl std::error::Error for PolicyError {}

/// One table with its path. Keys are taken out; [`finish`](Self::finish) refuses what is left.
pub(super) struct Reader {
    path: String,
    table: Table,
}

impl Reader {
    /// Reads the whole file.
    pub(super) fn of_file(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong { observed_bytes: text.len() });
        }
        let table = text.parse::<Table>().map_err(|error| {
            let end = error.span().map_or(0, |span| span.start);
            PolicyError::Syntax { line: 1 + text.bytes().take(end).filter(|byte| *byte == b'\n').count() }
        })?;
        Ok(Self { path: String::new(), table })
    }

    /// The path of `key` in this table. An unknown key comes from outside, so it is shown short and in ASCII.
    pub(super) fn path_of(&self, key: &str) -> String {
        let key: String = key
            .chars()
            .take(MAX_SHOWN_KEY_CHARS)
            .map(|c| if c.is_ascii_graphic() { c } else { '?' })
            .collect();
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// The value of a mandatory key.
    pub(super) fn value(&mut self, key: &str) -> Result<Value, PolicyError> {
        self.table.remove(key).ok_or_else(|| PolicyError::Missing { path: self.path_of(key) })
    }

    /// The error for a value that is not `wanted`.
    pub(super) fn wrong(&self, key: &str, wanted: &'static str) -> PolicyError {
        PolicyError::Value { path: self.path_of(key), wanted }
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str) -> Result<String, PolicyError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(key, "a string")),
        }
    }

    /// A string that parses as `T`.
    pub(super) fn parsed<T: std::str::FromStr>(
        &mut self,
        key: &str,
        wanted: &'static str,
    ) -> Result<T, PolicyError> {
        match self.value(key)? {
            Value::String(text) => text.parse().map_err(|_| self.wrong(key, wanted)),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// A boolean.
    pub(super) fn truth(&mut self, key: &str) -> Result<bool, PolicyError> {
        match self.value(key)? {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    /// A non-negative whole number of type `T`.
    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        key: &str,
        wanted: &'static str,
    ) -> Result<T, PolicyError> {
        match self.value(key)? {
            Value::Integer(value) => T::try_from(value).map_err(|_| self.wrong(key, wanted)),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// A key that may only be `false`.
    pub(super) fn must_be_false(&mut self, key: &str, reason: &'static str) -> Result<(), PolicyError> {
        if self.truth(key)? { Err(PolicyError::Denied { path: self.path_of(key), reason }) } else { Ok(()) }
    }

    /// A table.
    pub(super) fn table(&mut self, key: &str) -> Result<Self, PolicyError> {
        match self.value(key)? {
            Value::Table(table) => Ok(Self { path: self.path_of(key), table }),
            _ => Err(self.wrong(key, "a table")),
        }
    }

    /// A list of tables, at least one.
    pub(super) fn tables(&mut self, key: &str) -> Result<Vec<Self>, PolicyError> {
        let path = self.path_of(key);
        let items = self.items(key, "a list of tables")?;
        let one = |(index, item)| match item {
            Value::Table(table) => Ok(Self { path: format!("{path}[{index}]"), table }),
            _ => Err(PolicyError::Value { path: format!("{path}[{index}]"), wanted: "a table" }),
        };
        items.into_iter().enumerate().map(one).collect()
    }

    /// A list of at least one string, each of which parses as `T`; none twice.
    pub(super) fn list<T, E>(
        &mut self,
        key: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, PolicyError>
    where
        T: PartialEq,
    {
        let path = self.path_of(key);
        let mut out: Vec<T> = Vec::new();
        for (index, item) in self.items(key, wanted)?.into_iter().enumerate() {
            let wrong = || PolicyError::Value { path: format!("{path}[{index}]"), wanted };
            let value = item.as_str().and_then(|text| parse(text).ok()).ok_or_else(wrong)?;
            if out.contains(&value) {
                return Err(PolicyError::Value {
                    path: format!("{path}[{index}]"),
                    wanted: "named only once",
                });
            }
            out.push(value);
        }
        Ok(out)
    }

    /// A list as in [`list`](Self::list), or the one word `open` that stands for no list: `None`.
    pub(super) fn list_or<T, E>(
        &mut self,
        key: &str,
        open: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, PolicyError>
    where
        T: PartialEq,
    {
        if self.table.get(key).and_then(Value::as_str) == Some(open) {
            self.table.remove(key);
            return Ok(None);
        }
        self.list(key, wanted, parse).map(Some)
    }

    fn items(&mut self, key: &str, wanted: &'static str) -> Result<Vec<Value>, PolicyError> {
        match self.value(key)? {
            Value::Array(items) if items.is_empty() => Err(PolicyError::Empty { path: self.path_of(key) }),
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// Establishes that every key was read.
    pub(super) fn finish(self) -> Result<(), PolicyError> {
        match self.table.keys().next() {
            Some(key) => Err(PolicyError::Unknown { path: self.path_of(key) }),
            None => Ok(()),
        }
    }
}
