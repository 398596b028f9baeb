//! Reads a TOML table key by key, so that every error names the key by its path and no key goes unread.

use crate::{MAX_POLICY_BYTES, PolicyError};
use toml::{Table, Value};

/// The most items of one list, tables included.
pub const MAX_LIST_ITEMS: usize = 4096;
const MAX_SHOWN_KEY_CHARS: usize = 64;
const TOO_MANY: &str = "a list of at most 4096 items";
const A_NAME: &str = "a name of 1 to 64 letters, digits and \"._:/-\"";
const MAX_NAME_BYTES: usize = 64;
const MAX_SENTENCE_BYTES: usize = 1024;

/// One table with its path. Keys are taken out; [`finish`](Self::finish) refuses what is left.
#[derive(Debug)]
pub struct Reader {
    path: String,
    table: Table,
}

impl Reader {
    /// Reads the whole file.
    ///
    /// # Errors
    /// [`PolicyError`] when it is too long or not TOML; a key that stands twice is not TOML.
    pub fn of_file(text: &str) -> Result<Self, PolicyError> {
        if text.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong { observed_bytes: text.len() });
        }
        let table = text.parse::<Table>().map_err(|error| {
            let end = error.span().map_or(0, |span| span.start);
            PolicyError::Syntax { line: 1 + text.bytes().take(end).filter(|byte| *byte == b'\n').count() }
        })?;
        Ok(Self { path: String::new(), table })
    }

    /// Whether `key` is there and was not read yet.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Establishes that each of these keys is there. For tables whose other readers have defaults for them.
    ///
    /// # Errors
    /// [`PolicyError::Missing`] with the first that is not.
    pub fn require(&self, keys: &[&str]) -> Result<(), PolicyError> {
        match keys.iter().find(|key| !self.has(key)) {
            Some(key) => Err(PolicyError::Missing { path: self.path_of(key) }),
            None => Ok(()),
        }
    }

    /// Establishes that the table `key` is there and has the key `inner`.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing, no table, or without that key.
    pub fn require_in(&self, key: &str, inner: &str) -> Result<(), PolicyError> {
        self.require(&[key])?;
        let Some(Value::Table(table)) = self.table.get(key) else { return Err(self.wrong(key, "a table")) };
        if table.contains_key(inner) {
            return Ok(());
        }
        Err(PolicyError::Missing { path: format!("{}.{inner}", self.path_of(key)) })
    }

    /// Whether the value of `key` is exactly `word`; if so, it counts as read.
    pub fn take_word(&mut self, key: &str, word: &str) -> bool {
        let is_word = self.table.get(key).and_then(Value::as_str) == Some(word);
        if is_word {
            self.table.remove(key);
        }
        is_word
    }

    /// What `read` reads, or `default` when `key` is not there. The default must not be looser than any word for it.
    ///
    /// # Errors
    /// Those of `read`.
    pub fn or<T>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(&mut Self, &str) -> Result<T, PolicyError>,
    ) -> Result<T, PolicyError> {
        if self.has(key) { read(self, key) } else { Ok(default) }
    }

    /// The path of `key` in this table. An unknown key comes from outside, so it is shown short and in ASCII.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        let key: String = key
            .chars()
            .take(MAX_SHOWN_KEY_CHARS)
            .map(|c| if c.is_ascii_graphic() { c } else { '?' })
            .collect();
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// The value of a mandatory key.
    ///
    /// # Errors
    /// [`PolicyError::Missing`].
    pub fn value(&mut self, key: &str) -> Result<Value, PolicyError> {
        self.table.remove(key).ok_or_else(|| PolicyError::Missing { path: self.path_of(key) })
    }

    /// The error for a value that is not `wanted`.
    #[must_use]
    pub fn wrong(&self, key: &str, wanted: &'static str) -> PolicyError {
        PolicyError::Value { path: self.path_of(key), wanted }
    }

    /// A string.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or no string.
    pub fn text(&mut self, key: &str) -> Result<String, PolicyError> {
        match self.value(key)? {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong(key, "a string")),
        }
    }

    /// A string that parses as `T`.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or not `wanted`.
    pub fn parsed<T: std::str::FromStr>(
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
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or no boolean.
    pub fn truth(&mut self, key: &str) -> Result<bool, PolicyError> {
        match self.value(key)? {
            Value::Boolean(value) => Ok(value),
            _ => Err(self.wrong(key, "true or false")),
        }
    }

    /// A non-negative whole number of type `T`.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or not `wanted`.
    pub fn number<T: TryFrom<i64>>(&mut self, key: &str, wanted: &'static str) -> Result<T, PolicyError> {
        match self.value(key)? {
            Value::Integer(value) => T::try_from(value).map_err(|_| self.wrong(key, wanted)),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// A key that may only be `false`.
    ///
    /// # Errors
    /// [`PolicyError::Denied`] with `reason` when it is `true`.
    pub fn must_be_false(&mut self, key: &str, reason: &'static str) -> Result<(), PolicyError> {
        if self.truth(key)? { Err(PolicyError::Denied { path: self.path_of(key), reason }) } else { Ok(()) }
    }

    /// A table.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or no table.
    pub fn table(&mut self, key: &str) -> Result<Self, PolicyError> {
        match self.value(key)? {
            Value::Table(table) => Ok(Self { path: self.path_of(key), table }),
            _ => Err(self.wrong(key, "a table")),
        }
    }

    /// A list of tables, at least one.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing, empty, too long, or not of tables.
    pub fn tables(&mut self, key: &str) -> Result<Vec<Self>, PolicyError> {
        let path = self.path_of(key);
        let items = self.items(key, "a list of tables")?;
        let one = |(index, item)| match item {
            Value::Table(table) => Ok(Self { path: format!("{path}[{index}]"), table }),
            _ => Err(PolicyError::Value { path: format!("{path}[{index}]"), wanted: "a table" }),
        };
        items.into_iter().enumerate().map(one).collect()
    }

    /// A list of at least one string, each of which parses as `T`; none twice.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing, empty, too long, or an item is not `wanted`.
    pub fn list<T, E>(
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

    /// A list as in [`list`](Self::list) that may hold nothing, where nothing is what accepts nothing.
    ///
    /// # Errors
    /// Those of [`list`](Self::list) but for an empty list.
    pub fn list_or_nothing<T: PartialEq, E>(
        &mut self,
        key: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, PolicyError> {
        match self.list(key, wanted, parse) {
            Err(PolicyError::Empty { .. }) => Ok(Vec::new()),
            other => other,
        }
    }

    /// A list of at least one whole number of type `T`; none twice.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing, empty, too long, or an item is not `wanted`.
    pub fn numbers<T: TryFrom<i64> + PartialEq>(
        &mut self,
        key: &str,
        wanted: &'static str,
    ) -> Result<Vec<T>, PolicyError> {
        let path = self.path_of(key);
        let mut out: Vec<T> = Vec::new();
        for (index, item) in self.items(key, wanted)?.into_iter().enumerate() {
            let wrong = |wanted| PolicyError::Value { path: format!("{path}[{index}]"), wanted };
            let value = item.as_integer().and_then(|value| T::try_from(value).ok());
            let value = value.ok_or_else(|| wrong(wanted))?;
            if out.contains(&value) {
                return Err(wrong("named only once"));
            }
            out.push(value);
        }
        Ok(out)
    }

    /// A name as the audit log takes it, which holds identifiers and no sentences.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing or no name of 1 to 64 letters, digits and `._:/-`.
    pub fn name(&mut self, key: &str) -> Result<String, PolicyError> {
        let text = self.text(key)?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || b"._:/-".contains(&c);
        let begins_well = text.bytes().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if !begins_well || text.len() > MAX_NAME_BYTES || !text.bytes().all(plain) {
            return Err(self.wrong(key, A_NAME));
        }
        Ok(text)
    }

    /// A text for people: one line that is not empty.
    ///
    /// # Errors
    /// [`PolicyError`] when it is missing, blank, over 1024 bytes, or holds control characters.
    pub fn sentence(&mut self, key: &str) -> Result<String, PolicyError> {
        let text = self.text(key)?;
        let fits = text.len() <= MAX_SENTENCE_BYTES && !text.chars().any(char::is_control);
        if !fits || text.trim().is_empty() {
            return Err(self.wrong(key, "one line of text, 1 to 1024 bytes"));
        }
        Ok(text)
    }

    /// A list as in [`list`](Self::list), or the one word `open` that stands for no list: `None`.
    ///
    /// # Errors
    /// Those of [`list`](Self::list).
    pub fn list_or<T, E>(
        &mut self,
        key: &str,
        open: &str,
        wanted: &'static str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<Vec<T>>, PolicyError>
    where
        T: PartialEq,
    {
        if self.take_word(key, open) {
            return Ok(None);
        }
        self.list(key, wanted, parse).map(Some)
    }

    fn items(&mut self, key: &str, wanted: &'static str) -> Result<Vec<Value>, PolicyError> {
        match self.value(key)? {
            Value::Array(items) if items.is_empty() => Err(PolicyError::Empty { path: self.path_of(key) }),
            Value::Array(items) if items.len() > MAX_LIST_ITEMS => Err(self.wrong(key, TOO_MANY)),
            Value::Array(items) => Ok(items),
            _ => Err(self.wrong(key, wanted)),
        }
    }

    /// Establishes that every key was read.
    ///
    /// # Errors
    /// [`PolicyError::Unknown`] with a key that was not.
    pub fn finish(self) -> Result<(), PolicyError> {
        match self.table.keys().next() {
            Some(key) => Err(PolicyError::Unknown { path: self.path_of(key) }),
            None => Ok(()),
        }
    }
}
