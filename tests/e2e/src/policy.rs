//! The release policy of the demonstration: one image, one grant for each model.

use std::fmt::Write as _;

/// What the policy asks for.
#[derive(Debug, Clone)]
pub struct Policy<'a> {
    /// The policy's own version.
    pub version: u64,
    /// The launch digest, hex.
    pub measurement: &'a str,
    /// Each model and its lowest version.
    pub models: &'a [(&'a str, u64)],
    /// How long a key may be used, such as `60m`.
    pub lease: &'a str,
    /// How many guests may hold a key of one model at a time.
    pub max_instances: u32,
}

impl Policy<'_> {
    /// The policy as the owner signs off on it, TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let Self { models, lease, max_instances, .. } = self;
        let mut text = self.head();
        for (id, version_min) in *models {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", grant(id, *version_min, lease, *max_instances));
            text.push_str(&self.platform("grant"));
        }
        text
    }

    /// The same for TDs whose MRTD is the measurement, with one of these sets of RTMR0 to RTMR3, TOML.
    #[must_use]
    pub fn to_toml_for_tds(&self, rtmrs: &[[[u8; 48]; 4]]) -> String {
        let Self { measurement, models, lease, max_instances, .. } = self;
        let mut text = self.head();
        for (id, version_min) in *models {
            // Writing to a string cannot fail.
            let _ = write!(text, "{}", grant(id, *version_min, lease, *max_instances));
            for registers in rtmrs {
                let _ = write!(text, "\n[[grant.image.tdx]]\nmrtd = \"sha384:{measurement}\"\n");
                for (number, value) in registers.iter().enumerate() {
                    let _ = writeln!(text, "rtmr{number} = \"sha384:{}\"", anchorhold_rats::hex(value));
                }
            }
            text.push_str(TDX);
        }
        text
    }

    /// The same for guests with so many GPUs and switches in this confidential mode, TOML.
    #[must_use]
    pub fn to_toml_with_gpus(&self, mode: &str, gpus: usize, switches: usize) -> String {
        let mut text = self.to_toml();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"
[grant.gpu]
debug              = false
mode               = "{mode}"
gpus               = {gpus}
switches           = {switches}
architectures      = ["hopper", "ls10"]
machines           = "any"
min_driver_version = "580.95"
min_vbios_version  = "96.00.A5.00.01"
require_rims       = true
ocsp               = {{ require = true, max_age_seconds = 86400 }}
"#
        );
        text
    }

    /// The same with a grant of one resource in place of those of models, TOML.
    #[must_use]
    pub fn to_toml_for_resource(&self, resource: &str) -> String {
        let grant = format!("\n[[resource]]\nname  = \"guests\"\npaths = [\"{resource}\"]\n");
        self.head() + &grant + &self.platform("resource")
    }

    fn head(&self) -> String {
        let version = self.version;
        format!(
            "policy = \"demo\"\nversion = {version}\nexpires = \"2100-01-01T00:00:00Z\"\nexplain_to_guest = true\n\
             cedar = \"none\"\n\n[revoked]\nmeasurements = \"none\"\nchips = \"none\"\nplatforms = \"none\"\n\
             devices = \"none\"\nmanifests = \"none\"\nkids = \"none\"\n"
        )
    }

    /// What the guest of a grant must be.
    fn platform(&self, table: &str) -> String {
        let measurement = self.measurement;
        format!(
            r#"
[{table}.image]
measurements = ["sha384:{measurement}"]

[{table}.snp]
products            = ["genoa"]
debug               = false
migration           = false
machines            = "any"
signers             = ["vcek"]
vmpls               = [0]
host_data           = "any"
require_crl         = false
require_alias_check = true
guest_policy        = {{ smt_allowed = "any" }}
platform            = {{ ciphertext_hiding_enabled = "any" }}
min_tcb             = {{ genoa = {{ bl = 10, tee = 0, snp = 23, ucode = 84 }} }}
"#
        )
    }
}

/// A grant of one model, up to what its guest must be.
fn grant(id: &str, version_min: u64, lease: &str, max_instances: u32) -> String {
    format!(
        r#"
[[grant]]
name          = "{id}"
model         = {{ id = "{id}", version_min = {version_min}, manifest = "any" }}
purpose       = ["serve"]
lease         = "{lease}"
max_instances = {max_instances}
kem           = ["x25519", "x-wing"]
audit         = {{ anchor_max = "any", witnesses = 0 }}
"#
    )
}

/// What a TD must be beside its image.
const TDX: &str = r#"
[grant.tdx]
debug                     = false
profiling                 = false
migration                 = false
statuses                  = ["UpToDate"]
grace                     = "none"
accepted_advisories       = "none"
min_tcb_evaluation_number = 1
machines                  = "any"
mr_config_id              = "any"
allowed_service_tds       = "none"
attributes                = { require_sept_ve_disable = true, allow_perfmon = false }
platform                  = { smt = "any" }
"#;
