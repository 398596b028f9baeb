//! Building HTML where text cannot become markup.

use std::fmt::Display;

/// Heads of columns of numbers.
const NUMBERS: [&str; 5] = ["entries", "not successful", "requests", "prompt tokens", "generated tokens"];

/// A page in the making. [`raw`](Self::raw) takes markup that stands in this crate; everything else goes through
/// [`text`](Self::text).
pub(super) struct Html(String);

impl Html {
    pub(super) const fn new() -> Self {
        Self(String::new())
    }

    /// Markup of our own.
    pub(super) fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Text, as text.
    pub(super) fn text(&mut self, value: impl Display) {
        for c in value.to_string().chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Marks that turn the direction of text could make a line read as another.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' => {
                    self.0.push('\u{fffd}')
                }
                c if c.is_control() && c != '\n' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
    }

    /// Text inside one element without attributes.
    pub(super) fn element(&mut self, name: &'static str, value: impl Display) {
        self.raw("<");
        self.raw(name);
        self.raw(">");
        self.text(value);
        self.raw("</");
        self.raw(name);
        self.raw(">");
    }

    /// A table with these heads, those of [`NUMBERS`] to the right as what stands below them; `rows` fills it.
    pub(super) fn table(&mut self, heads: &[&'static str], rows: impl FnOnce(&mut Self)) {
        self.raw("<table><thead><tr>");
        for head in heads {
            self.raw(if NUMBERS.contains(head) { "<th class=\"n\">" } else { "<th>" });
            self.text(head);
            self.raw("</th>");
        }
        self.raw("</tr></thead><tbody>");
        rows(self);
        self.raw("</tbody></table>");
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_33_text_stays_text() {
        let mut html = Html::new();
        html.text("<script>alert('x')</script>&\"\u{1b}[31m\u{202e}gpj\0");
        assert_eq!(
            html.finish(),
            "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\u{fffd}[31m\u{fffd}gpj\u{fffd}"
        );
    }
}
