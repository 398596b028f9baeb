//! `GET /`: for people, in plain words, what is served here and how to verify it. A page without scripts, of which the browser may load
//! nothing and apply no style but the one in it.
//!
//! What the page says is worth what the server is worth: it proves nothing, and says so.

use crate::App;
use crate::words::hex;
use anchorhold_ipc::{GuestCard, ModelInfo, ModelKind};
use axum::extract::State;
use axum::response::Response;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use std::fmt::Write as _;
use std::sync::{Arc, LazyLock};

const STYLE: &str = include_str!("status/style.css");

/// The policy under which browsers show the page: nothing is loaded, framed or sent, and this one style is applied.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let digest = ring::digest::digest(&ring::digest::SHA256, STYLE.as_bytes());
    let style = STANDARD.encode(digest);
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// What the page tells.
struct Shown<'a> {
    guest: &'a GuestCard,
    /// Entries that the log is known to have.
    entries: u64,
    address: &'a str,
    /// Each model, and whether it answers now.
    models: Vec<(ModelInfo, bool)>,
}

pub(crate) async fn page(State(app): State<Arc<App>>) -> Response {
    let guest = &app.guest;
    let shown = Shown {
        guest,
        entries: app.keeper.entries().max(guest.log_size),
        address: &app.address,
        models: app.pool.states(),
    };
    let mut response = Response::new(shown.html().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A digest in base64 and fixed words are always a header's value.
    headers.extend(HeaderValue::from_str(&POLICY).ok().map(|policy| (CONTENT_SECURITY_POLICY, policy)));
    response
}

impl Shown<'_> {
    fn html(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\"><title>Anchorhold</title>\
             <style>{STYLE}</style></head><body>\n<header><h1>Anchorhold <small>{version}</small></h1>\
             <p>Models that run inside a confidential virtual machine</p></header>\n\
             <main>\n{}<section><h2>What you can rely on</h2>\n\
             <p>Whoever operates the machine cannot read requests or answers, if this server's evidence is genuine and its \
             measurement is one that you trust. This page is no evidence: anybody can write one. Verify the server as shown below.</p></section>\n{}{}{}</main>\n\
             <footer>This page has no scripts and sets no cookies, and your browser loads nothing for it from anywhere.</footer>\
             </body></html>\n",
            self.simulated(),
            self.models(),
            self.identity(),
            self.commands(),
        )
    }

    fn simulated(&self) -> &'static str {
        if self.guest.is_simulated {
            "<section class=\"warning\"><p><strong>Simulated.</strong> No security processor stands behind this server: its evidence is \
             signed by a simulated root, and it protects nothing from whoever runs the machine. It is for trying things \
             out.</p></section>\n"
        } else {
            ""
        }
    }

    fn models(&self) -> String {
        let mut rows = String::new();
        for (info, answers) in &self.models {
            let does = match info.kind {
                ModelKind::Chat => "generates text",
                ModelKind::Embedding => "makes embeddings",
                ModelKind::Rerank => "ranks documents",
            };
            let (class, state) =
                if *answers { ("ready", "answers") } else { ("away", "does not answer now") };
            // Writing to a string does not fail.
            let _ = writeln!(
                rows,
                "<tr><td><code>{}</code><br><small>version {}</small></td><td>{does}</td><td class=\"{class}\">{state}</td>\
                 <td><code>{}</code></td></tr>",
                escaped(&info.id),
                info.version,
                hex(&info.manifest_digest),
            );
        }
        if rows.is_empty() {
            rows.push_str("<tr><td colspan=\"4\">No model is loaded.</td></tr>\n");
        }
        format!(
            "<section><h2>What is served</h2>\n<table><tr class=\"heads\"><th>Model</th><th>What it does</th><th>State</th>\
             <th>SHA-256 of its signed manifest</th></tr>\n{rows}</table></section>\n"
        )
    }

    fn identity(&self) -> String {
        let GuestCard { platform, measurement, log_origin, .. } = self.guest;
        let simulated = if self.guest.is_simulated { ", simulated" } else { "" };
        format!(
            "<section><h2>What it claims to be</h2>\n<table>\n<tr><th>Platform</th><td>{}{simulated}</td></tr>\n\
             <tr><th>Measurement</th><td><code>{}</code><br><small>What was started, down to the last byte: another image has another \
             measurement.</small></td></tr>\n\
             <tr><th>Audit log</th><td><code>{}</code><br><small>at least {} entries; the signed head is in the attestation \
             document</small></td></tr>\n</table></section>\n",
            escaped(platform),
            escaped(measurement),
            escaped(log_origin),
            self.entries,
        )
    }

    fn commands(&self) -> String {
        let address = escaped(self.address);
        let measurement = escaped(&self.guest.measurement);
        let root = if self.guest.is_simulated { " \\\n  --dangerous-simulated-root root.der" } else { "" };
        format!(
            "<section><h2>How to verify it</h2>\n<p>With the measurement from whoever published this server's image, not from this \
             page:</p>\n<pre>anchorhold verify {address} \\\n  --measurement {measurement}{root}</pre>\n\
             <p>The evidence itself, over 32 random bytes that you choose:</p>\n\
             <pre>curl --insecure '{address}/.well-known/anchorhold-attestation?nonce='$(openssl rand -hex 32)</pre>\n\
             <p>The audit log, as the operator exports it:</p>\n\
             <pre>anchorhold audit verify bundle.tar \\\n  --measurement {measurement}</pre>\n\
             <p>For programs: <a href=\"/openapi.json\">the API</a>, <a href=\"/readyz\">whether every model can answer</a>.</p></section>\n"
        )
    }
}

/// Text between tags, or in an attribute within quotation marks.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}
