//! What the demonstration prints, and the same as JSON.

use super::number;
use anchorhold_e2e::guest::{Guest, Settings};
use anchorhold_e2e::models::{CHAT, EMBEDDING};
use anchorhold_e2e::refusals::Stand;
use serde_json::{Value, json};
use std::io::Write as _;
use std::time::Instant;

const BANNER: &str = "\
+----------------------------------------------------------------------------+
|  SIMULATED TEE. This machine's memory is not encrypted, and the evidence   |
|  is signed by a root whose key is published with the source. Everything    |
|  you see is the real path: formats, checks, keys, processes. It protects   |
|  nothing from whoever runs this machine. The production key broker         |
|  refuses this root: `make demo-refuse` shows it.                           |
+----------------------------------------------------------------------------+";

/// Prints stages with their times and keeps them.
pub(crate) struct Show {
    begun: Instant,
    stages: Vec<Value>,
}

impl Show {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), stages: Vec::new() }
    }

    pub(crate) fn line(&self, text: &str) {
        // A reader who left wants no more lines.
        let _ = writeln!(std::io::stdout(), "{text}");
    }

    pub(crate) fn banner(&self) {
        self.line(BANNER);
    }

    pub(crate) fn error(&self, error: &anyhow::Error) {
        let _ = writeln!(std::io::stderr(), "anchorhold-demo: error: {error:#}");
    }

    fn keep(&mut self, name: &str, model: Option<&str>, millis: f64, text: &str) {
        self.line(&format!("{name:<9} {millis:>9.1} ms  {text}"));
        self.stages.push(json!({"stage": name, "model": model, "ms": millis, "text": text}));
    }

    /// Runs and shows one stage.
    pub(crate) fn stage<T>(
        &mut self,
        name: &str,
        text: &str,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        self.begin();
        let outcome = work()?;
        self.end(name, text);
        Ok(outcome)
    }

    pub(crate) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    pub(crate) fn end(&mut self, name: &str, text: &str) {
        let millis = self.begun.elapsed().as_secs_f64() * 1e3;
        self.keep(name, None, millis, text);
    }

    pub(crate) fn detail(&self, text: &str) {
        self.line(&format!("{:<23} {text}", ""));
    }

    /// A piece of a streamed answer, shown as it comes.
    pub(crate) fn piece(&self, piece: &str) {
        let mut out = std::io::stdout();
        let _ = write!(out, "{piece}").and_then(|()| out.flush());
    }

    pub(crate) fn end_of_pieces(&self) {
        self.line("");
    }

    /// One stage of the guest's start, as the keeper told it.
    pub(crate) fn guest_stage(&mut self, stage: &Value) {
        let took = number(stage, "took_ms");
        let text = |key: &str| stage[key].as_str().unwrap_or_default().to_owned();
        let model = text("model");
        let layers = || stage["layers"].as_array().map_or(0, Vec::len);
        let told = text("stage");
        let (name, millis, shown) = match told.as_str() {
            "gateway" => ("gateway", took, format!("started, TLS key made, held by {} layers", layers())),
            "evidence" => {
                let since = number(stage, "at_ms");
                ("evidence", took, format!("for {model}, {since:.0} ms after the keeper started"))
            }
            "release" => {
                let (lease, since) = (number(stage, "lease_s"), number(stage, "at_ms"));
                let shown = format!(
                    "weights key of {model}, lease {lease} s; attested {since:.0} ms after the start"
                );
                ("release", took, shown)
            }
            "worker" => ("worker", took, format!("for {model}, held by {} layers", layers())),
            "loaded" => {
                let (megabytes, rate) = (number(stage, "bytes") / 1e6, number(stage, "gigabytes_per_s"));
                let shown =
                    format!("{model}: {megabytes:.1} MB verified, decrypted and ready at {rate:.2} GB/s");
                ("load", number(stage, "load_ms"), shown)
            }
            "ready" => (
                "ready",
                number(stage, "at_ms"),
                format!("https://{} (since the keeper started)", text("address")),
            ),
            other => (other, took, model.clone()),
        };
        let of_model = Some(model.as_str()).filter(|model| !model.is_empty());
        self.keep(name, of_model, millis, &shown);
    }

    /// All of it, and how many sentences a second came back where that was asked for.
    pub(crate) fn to_json(&self, rate: Option<f64>) -> Value {
        json!({"simulated": true, "stages": self.stages, "sentences_per_s": rate})
    }

    /// How to go on from here.
    pub(crate) fn invitation(&self, guest: &Guest, stand: &Stand, settings: &Settings) {
        let (address, key) = (&guest.address, &settings.api_key);
        let certificate = guest.certificate.display();
        let root = stand.path().join("simulated-root.der");
        let anchorhold = stand.programs.path("anchorhold");
        let anchorhold = anchorhold.display();
        // Only the demonstration's own verify line needs the root in a file.
        let _ = std::fs::write(&root, anchorhold_attester::software::simulated_ark_der());
        self.line(&format!(
            r#"
The server stays up until you interrupt it. In another terminal:

  curl --cacert {certificate} https://{address}/v1/embeddings \
    -H 'authorization: Bearer {key}' -H 'content-type: application/json' \
    -d '{{"model": "{EMBEDDING}", "input": ["hello"]}}'

  {anchorhold} verify https://{address} \
    --dangerous-simulated-root {root} --measurement {measurement}

  SSL_CERT_FILE={certificate} python3 - <<'END'      # pip install openai
  import openai
  client = openai.OpenAI(base_url="https://{address}/v1", api_key="{key}")
  for chunk in client.chat.completions.create(model="{CHAT}", stream=True, temperature=0, max_tokens=64,
          messages=[{{"role": "user", "content": "What is sealed?"}}]):
      print(chunk.choices[0].delta.content or "", end="", flush=True)
  print()
  END
"#,
            root = root.display(),
            measurement = stand.measurement,
        ));
    }
}
