//! Builds the JSON Schema of requests and answers. A request's schema stands beside its parser, with the same constants.

use serde_json::{Map, Value, json};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// One schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Schema(Map<String, Value>);

/// A field of an object: its name and its schema.
pub(crate) type Field = (&'static str, Schema);

impl Schema {
    pub(crate) fn new(value: Value) -> Self {
        match value {
            Value::Object(map) => Self(map),
            other => Self(Map::from_iter([("const".to_owned(), other)])),
        }
    }

    /// Text of so many bytes of UTF-8. JSON Schema counts characters, of which there are no more than bytes.
    pub(crate) fn text(bytes: RangeInclusive<usize>) -> Self {
        let mut schema = Self::new(json!({"type": "string", "maxLength": bytes.end()}));
        if *bytes.start() > 0 {
            // A text that is not empty has a character.
            schema.set("minLength", json!(1));
        }
        schema
    }

    /// Text of an answer.
    pub(crate) fn words() -> Self {
        Self::new(json!({"type": "string"}))
    }

    pub(crate) fn flag() -> Self {
        Self::new(json!({"type": "boolean"}))
    }

    /// A whole number within `range`.
    pub(crate) fn integer<N: Into<i128> + Copy>(range: &RangeInclusive<N>) -> Self {
        let number = |bound: &N| {
            let bound: i128 = (*bound).into();
            i64::try_from(bound).map(Value::from).or_else(|_| u64::try_from(bound).map(Value::from))
        };
        let mut schema = Self::new(json!({"type": "integer"}));
        for (word, bound) in [("minimum", range.start()), ("maximum", range.end())] {
            if let Ok(bound) = number(bound) {
                schema.set(word, bound);
            }
        }
        schema
    }

    /// A count in an answer.
    pub(crate) fn count() -> Self {
        Self::new(json!({"type": "integer", "minimum": 0}))
    }

    /// A number within `range`.
    pub(crate) fn number(range: &RangeInclusive<f32>) -> Self {
        Self::new(
            json!({"type": "number", "minimum": decimal(*range.start()), "maximum": decimal(*range.end())}),
        )
    }

    /// A number of an answer.
    pub(crate) fn real() -> Self {
        Self::new(json!({"type": "number"}))
    }

    pub(crate) fn null() -> Self {
        Self::new(json!({"type": "null"}))
    }

    /// One of these texts.
    pub(crate) fn one_of_words(words: &[&str]) -> Self {
        Self::new(json!({"type": "string", "enum": words}))
    }

    /// Exactly this.
    pub(crate) fn only(value: &Value) -> Self {
        Self(Map::from_iter([("const".to_owned(), value.clone())]))
    }

    pub(crate) fn list(of: Self, count: &RangeInclusive<usize>) -> Self {
        let mut schema = Self::new(json!({"type": "array", "items": of.value(), "maxItems": count.end()}));
        if *count.start() > 0 {
            schema.set("minItems", json!(count.start()));
        }
        schema
    }

    /// A list of an answer.
    pub(crate) fn all(of: Self) -> Self {
        Self::new(json!({"type": "array", "items": of.value()}))
    }

    pub(crate) fn any_of(schemas: impl IntoIterator<Item = Self>) -> Self {
        let schemas: Vec<Value> = schemas.into_iter().map(Self::value).collect();
        Self::new(json!({"anyOf": schemas}))
    }

    /// An object of a request: `needed` fields, and others that may be left out or null. What else it holds is passed over.
    pub(crate) fn request(needed: Vec<Field>, optional: Vec<Field>) -> Self {
        let required: Vec<&str> = needed.iter().map(|(name, _)| *name).collect();
        let fields =
            needed.into_iter().chain(optional.into_iter().map(|(name, schema)| (name, schema.or_null())));
        let properties: Map<String, Value> =
            fields.map(|(name, schema)| (name.to_owned(), schema.value())).collect();
        Self::new(json!({"type": "object", "properties": properties, "required": required}))
    }

    /// The same, which holds nothing else.
    pub(crate) fn closed(mut self) -> Self {
        self.set("additionalProperties", json!(false));
        self
    }

    /// An object of an answer, which has all of these fields and no others.
    pub(crate) fn answer(fields: Vec<Field>) -> Self {
        Self::request(fields, Vec::new()).closed()
    }

    /// An object with any keys, up to `most`, and values of one kind.
    pub(crate) fn map(of: Self, most: usize) -> Self {
        Self::new(json!({"type": "object", "additionalProperties": of.value(), "maxProperties": most}))
    }

    /// A JSON object that is passed on as it is.
    pub(crate) fn object() -> Self {
        Self::new(json!({"type": "object"}))
    }

    /// The schema of this name.
    pub(crate) fn named(name: &str) -> Self {
        Self::new(json!({"$ref": format!("#/components/schemas/{name}")}))
    }

    /// What it means.
    pub(crate) fn about(mut self, text: impl Display) -> Self {
        self.set("description", json!(text.to_string()));
        self
    }

    /// What holds when it is not given.
    pub(crate) fn default(mut self, value: impl Into<Value>) -> Self {
        self.set("default", value.into());
        self
    }

    /// It is known and not offered: taken only with the values that ask for nothing.
    pub(crate) fn not_offered(mut self) -> Self {
        self.set("x-anchorhold-offered", json!(false));
        self.about("Not offered: taken only with the value that asks for nothing")
    }

    /// It may be null, which is the same as a field that is not there.
    pub(crate) fn or_null(mut self) -> Self {
        match self.0.get("type").cloned() {
            // The type may be widened alone where no other word narrows the value.
            Some(Value::String(kind)) if kind != "null" && !self.0.contains_key("enum") => {
                self.set("type", json!([kind, "null"]));
                self
            }
            Some(Value::String(kind)) if kind == "null" => self,
            _ => {
                let kept = ["description", "default", "x-anchorhold-offered"];
                let outer = kept.into_iter().filter_map(|word| Some((word.to_owned(), self.0.remove(word)?)));
                let outer: Map<String, Value> = outer.collect();
                let mut alternatives = match self.0.remove("anyOf") {
                    Some(Value::Array(alternatives)) if self.0.is_empty() => alternatives,
                    Some(alternatives) => {
                        self.0.insert("anyOf".to_owned(), alternatives);
                        vec![Value::Object(self.0)]
                    }
                    None => vec![Value::Object(self.0)],
                };
                if !alternatives.contains(&json!({"type": "null"})) {
                    alternatives.push(json!({"type": "null"}));
                }
                let mut schema = Self(outer);
                schema.set("anyOf", Value::Array(alternatives));
                schema
            }
        }
    }

    pub(crate) fn value(self) -> Value {
        Value::Object(self.0)
    }

    fn set(&mut self, word: &str, value: Value) {
        self.0.insert(word.to_owned(), value);
    }
}

/// The shortest decimal number that is this one: as f64, 0.01 would be written with all the digits that f32 lacks.
fn decimal(number: f32) -> Value {
    number.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}
