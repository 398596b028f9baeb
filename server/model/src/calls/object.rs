//! A call's JSON object, character by character: strict JSON (RFC 8259) of bounded depth, of which the top level is told apart.

/// The deepest nesting.
const MAX_DEPTH: usize = 64;

/// This is no call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// To what of the outermost object a character belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A key, its quotes too.
    Key,
    /// A value, however deep.
    Value,
    /// What is between them.
    Between,
    /// The last brace.
    End,
}

/// What may come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expect {
    /// The first brace.
    Open,
    Value,
    ValueOrEnd,
    Key,
    KeyOrEnd,
    Colon,
    CommaOrEnd,
    /// Within a text; of a key or of a value.
    Text {
        is_key: bool,
        escape: Escape,
    },
    Number(Number),
    /// The rest of `true`, `false` or `null`.
    Word(&'static str),
    Nothing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Escape {
    None,
    Begun,
    /// So many hex digits follow.
    Hex(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Whole,
    Point,
    Fraction,
    Exponent,
    Sign,
    Power,
}

impl Number {
    /// The number with this character too; `None` where it ends before it.
    fn push(self, character: char) -> Result<Option<Self>, Broken> {
        use Number::{Exponent, Fraction, Minus, Point, Power, Sign, Whole, Zero};
        let next = match (self, character) {
            (Minus, '0') => Zero,
            (Minus | Whole, '0'..='9') => Whole,
            (Zero | Whole, '.') => Point,
            (Point | Fraction, '0'..='9') => Fraction,
            (Zero | Whole | Fraction, 'e' | 'E') => Exponent,
            (Exponent, '+' | '-') => Sign,
            (Exponent | Sign | Power, '0'..='9') => Power,
            (Zero | Whole | Fraction | Power, _) => return Ok(None),
            _ => return Err(Broken),
        };
        Ok(Some(next))
    }
}

/// Reads one object.
#[derive(Debug, Clone)]
struct Scanner {
    expect: Expect,
    /// Of each list or object that is open, whether it is an object.
    open: Vec<bool>,
}

impl Scanner {
    fn push(&mut self, character: char) -> Result<Place, Broken> {
        let outer = self.open.len() <= 1;
        if let Expect::Number(number) = self.expect {
            if let Some(number) = number.push(character)? {
                self.expect = Expect::Number(number);
                return Ok(Place::Value);
            }
            self.expect = Expect::CommaOrEnd;
        }
        let was = self.expect;
        self.expect = self.after(was, character)?;
        Ok(match was {
            _ if self.open.is_empty() => Place::End,
            _ if !outer => Place::Value,
            Expect::Text { is_key: true, .. } => Place::Key,
            Expect::Key | Expect::KeyOrEnd if character == '"' => Place::Key,
            Expect::Text { .. } | Expect::Word(_) => Place::Value,
            Expect::Value if !is_space(character) => Place::Value,
            _ => Place::Between,
        })
    }

    /// What may come after this character, where `expect` might come.
    fn after(&mut self, expect: Expect, character: char) -> Result<Expect, Broken> {
        match (expect, character) {
            (Expect::Text { is_key, escape }, _) => text(is_key, escape, character),
            (Expect::Word(rest), _) => match rest.strip_prefix(character) {
                Some("") => Ok(Expect::CommaOrEnd),
                Some(rest) => Ok(Expect::Word(rest)),
                None => Err(Broken),
            },
            (_, space) if is_space(space) && expect != Expect::Nothing => Ok(expect),
            (Expect::Open, '{') => self.open(true),
            (Expect::Key | Expect::KeyOrEnd, '"') => Ok(Expect::Text { is_key: true, escape: Escape::None }),
            (Expect::Colon, ':') => Ok(Expect::Value),
            (Expect::KeyOrEnd | Expect::CommaOrEnd, '}') => self.close(true),
            (Expect::ValueOrEnd | Expect::CommaOrEnd, ']') => self.close(false),
            (Expect::CommaOrEnd, ',') => match self.open.last() {
                Some(true) => Ok(Expect::Key),
                _ => Ok(Expect::Value),
            },
            (Expect::Value | Expect::ValueOrEnd, _) => match character {
                '{' => self.open(true),
                '[' => self.open(false),
                '"' => Ok(Expect::Text { is_key: false, escape: Escape::None }),
                '-' => Ok(Expect::Number(Number::Minus)),
                '0' => Ok(Expect::Number(Number::Zero)),
                '1'..='9' => Ok(Expect::Number(Number::Whole)),
                't' => Ok(Expect::Word("rue")),
                'f' => Ok(Expect::Word("alse")),
                'n' => Ok(Expect::Word("ull")),
                _ => Err(Broken),
            },
            _ => Err(Broken),
        }
    }

    fn open(&mut self, is_object: bool) -> Result<Expect, Broken> {
        if self.open.len() >= MAX_DEPTH {
            return Err(Broken);
        }
        self.open.push(is_object);
        Ok(if is_object { Expect::KeyOrEnd } else { Expect::ValueOrEnd })
    }

    fn close(&mut self, is_object: bool) -> Result<Expect, Broken> {
        if self.open.pop() != Some(is_object) {
            return Err(Broken);
        }
        Ok(if self.open.is_empty() { Expect::Nothing } else { Expect::CommaOrEnd })
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\r')
}

fn text(is_key: bool, escape: Escape, character: char) -> Result<Expect, Broken> {
    let escape = match (escape, character) {
        (Escape::None, '"') if is_key => return Ok(Expect::Colon),
        (Escape::None, '"') => return Ok(Expect::CommaOrEnd),
        (Escape::None, '\\') => Escape::Begun,
        (Escape::None, '\0'..='\x1f') => return Err(Broken),
        (Escape::None, _) => Escape::None,
        (Escape::Begun, 'u') => Escape::Hex(4),
        (Escape::Begun, '"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't') => Escape::None,
        (Escape::Hex(1), digit) if digit.is_ascii_hexdigit() => Escape::None,
        (Escape::Hex(left), digit) if digit.is_ascii_hexdigit() => Escape::Hex(left - 1),
        _ => return Err(Broken),
    };
    Ok(Expect::Text { is_key, escape })
}

/// What the value that is being read is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Arguments,
    Other,
}

/// A call's object: its name, and its arguments as they come.
#[derive(Debug, Clone)]
pub(super) struct CallObject {
    scanner: Scanner,
    /// The key or the name that is being read.
    raw: String,
    field: Option<Field>,
    /// The name, once it is whole.
    pub(super) name: Option<String>,
    /// Whether arguments began.
    pub(super) has_arguments: bool,
    /// Text of the arguments that was not taken yet.
    pub(super) waiting: String,
    pub(super) is_whole: bool,
}

impl CallObject {
    pub(super) fn new() -> Self {
        Self {
            scanner: Scanner { expect: Expect::Open, open: Vec::new() },
            raw: String::new(),
            field: None,
            name: None,
            has_arguments: false,
            waiting: String::new(),
            is_whole: false,
        }
    }

    pub(super) fn push(&mut self, character: char) -> Result<(), Broken> {
        let place = self.scanner.push(character)?;
        match place {
            Place::Key => self.raw.push(character),
            Place::Value => {
                let field = match self.field {
                    Some(field) => field,
                    None => self.begin_value(character)?,
                };
                match field {
                    Field::Name => self.raw.push(character),
                    Field::Arguments => self.waiting.push(character),
                    Field::Other => {}
                }
            }
            Place::Between | Place::End => {
                if self.field.take() == Some(Field::Name) {
                    let name = serde_json::from_str(&std::mem::take(&mut self.raw)).map_err(|_| Broken)?;
                    self.name = Some(name);
                }
                self.is_whole = place == Place::End;
            }
        }
        Ok(())
    }

    /// What the value is for whose first character this is.
    fn begin_value(&mut self, first: char) -> Result<Field, Broken> {
        let key: String = serde_json::from_str(&std::mem::take(&mut self.raw)).map_err(|_| Broken)?;
        // Models that learned several syntaxes mix the words of them.
        let field = match (key.as_str(), first) {
            ("name", '"') if self.name.is_none() => Field::Name,
            ("arguments" | "parameters", '{') if !self.has_arguments => Field::Arguments,
            ("name" | "arguments" | "parameters", _) => return Err(Broken),
            _ => Field::Other,
        };
        self.has_arguments |= field == Field::Arguments;
        self.field = Some(field);
        Ok(field)
    }
}
