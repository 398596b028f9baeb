//! The access key of an S3 store.

use std::fmt;

use zeroize::Zeroizing;

/// The longest key id, secret or token, in bytes; session tokens have some 1,000.
const MAX_LEN: usize = 8 * 1024;

/// Why a text holds no access key. Never quotes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// A part that must be there is not.
    #[error("no {0}")]
    Missing(&'static str),
    /// A part is there twice, empty, too long, or not of visible ASCII characters.
    #[error("{0} is there twice or not valid")]
    Invalid(&'static str),
    /// A line is not `name = value` with a known name.
    #[error("line {0} is not understood")]
    Line(usize),
}

/// An access key. Wiped on drop; prints the key id alone, which S3 logs as well.
#[derive(Clone)]
pub struct S3Credentials {
    key_id: String,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl S3Credentials {
    const KEY_ID: &'static str = "aws_access_key_id";
    const SECRET: &'static str = "aws_secret_access_key";
    const TOKEN: &'static str = "aws_session_token";

    /// # Errors
    /// [`CredentialsError::Invalid`] for what cannot stand in a header.
    pub fn new(
        key_id: String,
        secret: Zeroizing<String>,
        token: Option<Zeroizing<String>>,
    ) -> Result<Self, CredentialsError> {
        check(Self::KEY_ID, &key_id)?;
        check(Self::SECRET, &secret)?;
        token.as_ref().map_or(Ok(()), |token| check(Self::TOKEN, token))?;
        Ok(Self { key_id, secret, token })
    }

    /// Reads the text of a file as the AWS tools write it: `name = value` lines below one `[profile]` line or none.
    ///
    /// # Errors
    /// [`CredentialsError`].
    pub fn parse(text: &str) -> Result<Self, CredentialsError> {
        let (mut key_id, mut secret, mut token) = (None, None, None);
        let mut profiles = 0;
        for (at, line) in text.lines().map(str::trim).enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with('[') && line.ends_with(']') && profiles == 0 {
                profiles += 1;
                continue;
            }
            let (name, value) = line.split_once('=').ok_or(CredentialsError::Line(at + 1))?;
            let (slot, name) = match name.trim() {
                Self::KEY_ID => (&mut key_id, Self::KEY_ID),
                Self::SECRET => (&mut secret, Self::SECRET),
                Self::TOKEN => (&mut token, Self::TOKEN),
                _ => return Err(CredentialsError::Line(at + 1)),
            };
            if slot.replace(Zeroizing::new(value.trim().to_owned())).is_some() {
                return Err(CredentialsError::Invalid(name));
            }
        }
        Self::of_parts(key_id, secret, token)
    }

    /// Reads the variables that the AWS tools use, through `variable`, which finds one by its name. `None` when neither of the
    /// two that are needed is set.
    ///
    /// # Errors
    /// [`CredentialsError`] when one of the two is missing, or any is not valid.
    pub fn from_variables(
        variable: impl Fn(&str) -> Option<String>,
    ) -> Option<Result<Self, CredentialsError>> {
        let read = |name: &str| variable(&name.to_ascii_uppercase()).map(Zeroizing::new);
        let (key_id, secret) = (read(Self::KEY_ID), read(Self::SECRET));
        if key_id.is_none() && secret.is_none() {
            return None;
        }
        Some(Self::of_parts(key_id, secret, read(Self::TOKEN)))
    }

    fn of_parts(
        key_id: Option<Zeroizing<String>>,
        secret: Option<Zeroizing<String>>,
        token: Option<Zeroizing<String>>,
    ) -> Result<Self, CredentialsError> {
        let key_id = key_id.ok_or(CredentialsError::Missing(Self::KEY_ID))?;
        let secret = secret.ok_or(CredentialsError::Missing(Self::SECRET))?;
        Self::new(key_id.to_string(), secret, token)
    }

    /// The public part.
    #[must_use]
    pub fn key_id(&self) -> &str {
        &self.key_id
    }

    /// The secret part, for whoever signs with it or hands it on.
    #[must_use]
    pub fn expose_secret(&self) -> &str {
        &self.secret
    }

    /// The token of a key that is lent for a while.
    #[must_use]
    pub fn expose_token(&self) -> Option<&str> {
        self.token.as_ref().map(|token| token.as_str())
    }
}

fn check(name: &'static str, value: &str) -> Result<(), CredentialsError> {
    let good = (1..=MAX_LEN).contains(&value.len()) && value.bytes().all(|byte| byte.is_ascii_graphic());
    if good { Ok(()) } else { Err(CredentialsError::Invalid(name)) }
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "S3Credentials({})", self.key_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "# made for tests\n[default]\naws_access_key_id = AKIDTEST\n\naws_secret_access_key=s3cret/+=\n";

    #[test]
    fn reads_what_the_aws_tools_write_and_never_prints_the_secret() {
        let read = S3Credentials::parse(GOOD).unwrap();
        assert_eq!(
            (read.key_id(), read.expose_secret(), read.expose_token()),
            ("AKIDTEST", "s3cret/+=", None)
        );
        assert_eq!(format!("{read:?}"), "S3Credentials(AKIDTEST)");
        let with_token = S3Credentials::parse(&format!("{GOOD}aws_session_token = tok")).unwrap();
        assert_eq!(with_token.expose_token(), Some("tok"));
    }

    #[test]
    fn refuses_what_is_missing_twice_or_unknown() {
        use CredentialsError::{Invalid, Line, Missing};
        let id = "aws_access_key_id = a\n";
        let secret = "aws_secret_access_key = b\n";
        for (text, refused) in [
            (String::new(), Missing("aws_access_key_id")),
            (id.to_owned(), Missing("aws_secret_access_key")),
            (format!("{id}{id}{secret}"), Invalid("aws_access_key_id")),
            (format!("{id}aws_secret_access_key =\n"), Invalid("aws_secret_access_key")),
            (format!("{id}aws_secret_access_key = a b\n"), Invalid("aws_secret_access_key")),
            (format!("{id}{secret}aws_session_token = \u{e9}\n"), Invalid("aws_session_token")),
            (format!("{id}{secret}region = x\n"), Line(3)),
            (format!("[a]\n{id}[b]\n{secret}"), Line(3)),
            ("nothing".to_owned(), Line(1)),
        ] {
            assert_eq!(S3Credentials::parse(&text).unwrap_err(), refused, "{text}");
        }
    }

    #[test]
    fn reads_variables_or_says_that_there_are_none() {
        let set = |pairs: &'static [(&str, &str)]| {
            S3Credentials::from_variables(move |name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(set(&[]).is_none());
        assert!(set(&[("AWS_SESSION_TOKEN", "t")]).is_none());
        let half = set(&[("AWS_ACCESS_KEY_ID", "a")]).unwrap();
        assert_eq!(half.unwrap_err(), CredentialsError::Missing("aws_secret_access_key"));
        let both = set(&[("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")]).unwrap().unwrap();
        assert_eq!(both.expose_secret(), "b");
    }
}
