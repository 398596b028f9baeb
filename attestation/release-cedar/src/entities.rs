//! Claims as Cedar's entities.

use crate::{Granted, said};
use anchorhold_audit_log::Hex;
use anchorhold_audit_log::claims::{
    Claims, GpuArchitecture, GpuClaims, GpuMode, ParavisorClaims, SnpClaims, SnpProduct, SnpSigner,
    TdxClaims, TeeClaims,
};
use anchorhold_verifier::snp::{Product, RawTcb, Tcb};
use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Request, RestrictedExpression as Value,
    Schema,
};
use std::collections::{BTreeSet, HashMap, HashSet};

type Pairs = Vec<(&'static str, Value)>;

fn text(text: impl ToString) -> Value {
    Value::new_string(text.to_string())
}

fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    // A set holds each once; sorted, so that equal claims make equal entities.
    let texts: BTreeSet<String> = texts.into_iter().collect();
    Value::new_set(texts.into_iter().map(Value::new_string))
}

fn number(number: u64) -> Result<Value, String> {
    i64::try_from(number).map(Value::new_long).map_err(|_| "a number of the claims is over 2^63".to_owned())
}

fn record(pairs: Pairs) -> Result<Value, String> {
    Value::new_record(pairs.into_iter().map(|(name, value)| (name.to_owned(), value))).map_err(|e| said(&e))
}

/// Adds what there is.
fn put(pairs: &mut Pairs, name: &'static str, value: Option<Value>) {
    pairs.extend(value.map(|value| (name, value)));
}

fn entity(kind: &str, id: &str, attributes: Pairs) -> Result<Entity, String> {
    let attributes: HashMap<String, Value> =
        attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Entity::new(uid(kind, id)?, attributes, HashSet::new()).map_err(|e| said(&e))
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, String> {
    let kind: EntityTypeName = kind.parse().map_err(|e: cedar_policy::ParseErrors| said(&e))?;
    Ok(EntityUid::from_type_name_and_id(kind, EntityId::new(id)))
}

/// The request and the entities that it is about. Both are held to the schema.
pub(crate) fn of(granted: &Granted<'_>, schema: &Schema) -> Result<(Request, Entities), String> {
    let Granted { grant, model: (model, version, kid), manifest, claims, at } = *granted;
    let claims = claims.ok_or("the decision has no claims")?;
    let guest = entity("Guest", "guest", guest(claims)?)?;
    let attributes = vec![("version", number(version)?), ("kid", text(kid)), ("manifest", text(manifest))];
    let model = entity("Model", model, attributes)?;
    let asked = &claims.asked;
    let mut context = vec![
        ("grant", text(grant)),
        ("purpose", text(&asked.purpose)),
        ("kem", text(&asked.kem)),
        ("min_version", number(asked.min_version)?),
        ("witnesses", number(asked.witnesses)?),
        ("now", Value::new_long(at.unix_seconds())),
    ];
    put(&mut context, "anchor_ms", asked.anchor_ms.map(number).transpose()?);
    let context = context.into_iter().map(|(name, value)| (name.to_owned(), value));
    let context = Context::from_pairs(context).map_err(|e| said(&e))?;
    let (principal, resource) = (guest.uid(), model.uid());
    let action = uid("Action", "release")?;
    let request = Request::new(principal, action, resource, context, Some(schema)).map_err(|e| said(&e))?;
    let entities = Entities::from_entities([guest, model], Some(schema)).map_err(|e| said(&e))?;
    Ok((request, entities))
}

fn guest(claims: &Claims) -> Result<Pairs, String> {
    let mut out =
        vec![("simulated", Value::new_bool(claims.simulated)), ("gpus", record(gpus(&claims.gpus)?)?)];
    match &claims.tee {
        TeeClaims::Snp(claims) => {
            out.push(("measurement", text(claims.measurement)));
            out.push(("snp", record(snp(claims)?)?));
        }
        TeeClaims::Tdx(claims) => {
            out.push(("measurement", text(claims.mrtd)));
            out.push(("tdx", record(tdx(claims))?));
        }
    }
    let paravisor = claims.paravisor.as_ref().map(|claims| record(paravisor(claims))).transpose()?;
    put(&mut out, "paravisor", paravisor);
    Ok(out)
}

fn snp(claims: &SnpClaims) -> Result<Pairs, String> {
    let product = match claims.product {
        SnpProduct::Milan => Product::Milan,
        SnpProduct::Genoa => Product::Genoa,
        SnpProduct::Turin => Product::Turin,
    };
    let signer = match claims.signer {
        SnpSigner::Vcek => "vcek",
        SnpSigner::Vlek => "vlek",
    };
    let mut out = vec![
        ("product", text(product.to_string().to_lowercase())),
        ("signer", text(signer)),
        ("vmpl", number(claims.vmpl.into())?),
        ("guest_svn", number(claims.guest_svn.into())?),
        ("guest_policy", number(claims.guest_policy)?),
        ("platform_info", number(claims.platform_info)?),
        ("host_data", text(claims.host_data)),
        ("id_key", text(claims.id_key)),
        ("author_key", text(claims.author_key)),
        ("crl_judged", Value::new_bool(claims.crl_judged)),
        ("reported_tcb", tcb(product, claims.reported_tcb)?),
        ("committed_tcb", tcb(product, claims.committed_tcb)?),
        ("launch_tcb", tcb(product, claims.launch_tcb)?),
    ];
    put(&mut out, "provider", claims.provider.as_ref().map(text));
    put(&mut out, "chip", claims.chip.map(text));
    Ok(out)
}

fn tcb(product: Product, raw: Hex<8>) -> Result<Value, String> {
    let tcb = Tcb::decode(product, RawTcb(*raw.as_bytes()));
    let tcb = tcb.ok_or_else(|| "a TCB of the claims is none of its product".to_owned())?;
    let long = |byte: u8| Value::new_long(byte.into());
    let (bootloader, tee, snp, microcode, fmc) = match tcb {
        Tcb::Milan(tcb) => (tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode, None),
        Tcb::Genoa(tcb) => (tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode, None),
        Tcb::Turin(tcb) => (tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode, Some(tcb.fmc)),
    };
    let mut out = vec![
        ("bootloader", long(bootloader)),
        ("tee", long(tee)),
        ("snp", long(snp)),
        ("microcode", long(microcode)),
    ];
    put(&mut out, "fmc", fmc.map(long));
    record(out)
}

fn tdx(claims: &TdxClaims) -> Pairs {
    let [rtmr0, rtmr1, rtmr2, rtmr3] = claims.rtmrs.map(text);
    let mut out = vec![
        ("platform", text(claims.platform)),
        ("fmspc", text(claims.fmspc)),
        ("status", text(&claims.status)),
        ("advisories", texts(claims.advisories.iter().map(ToString::to_string))),
        ("tcb_evaluation", Value::new_long(claims.tcb_evaluation.into())),
        ("qe_evaluation", Value::new_long(claims.qe_evaluation.into())),
        ("attributes", text(format!("{:016x}", claims.attributes))),
        ("xfam", text(format!("{:016x}", claims.xfam))),
        ("mr_seam", text(claims.mr_seam)),
        ("mr_config_id", text(claims.mr_config_id)),
        ("mr_owner", text(claims.mr_owner)),
        ("mr_owner_config", text(claims.mr_owner_config)),
        ("rtmr0", rtmr0),
        ("rtmr1", rtmr1),
        ("rtmr2", rtmr2),
        ("rtmr3", rtmr3),
    ];
    put(&mut out, "smt", claims.smt.map(Value::new_bool));
    out
}

fn gpus(claims: &[GpuClaims]) -> Result<Pairs, String> {
    let architecture = |claims: &GpuClaims| match claims.architecture {
        GpuArchitecture::Hopper => "hopper".to_owned(),
        GpuArchitecture::Blackwell => "blackwell".to_owned(),
        GpuArchitecture::Ls10 => "ls10".to_owned(),
    };
    let mode = |mode: GpuMode| match mode {
        GpuMode::Single => "single".to_owned(),
        GpuMode::Multi => "multi".to_owned(),
        GpuMode::ProtectedPcie => "protected-pcie".to_owned(),
    };
    Ok(vec![
        ("count", number(claims.len() as u64)?),
        ("devices", texts(claims.iter().map(|claims| claims.device.to_string()))),
        ("architectures", texts(claims.iter().map(architecture))),
        (
            "drivers",
            texts(claims.iter().filter_map(|claims| claims.driver.as_ref()).map(ToString::to_string)),
        ),
        ("firmwares", texts(claims.iter().map(|claims| claims.vbios.to_string()))),
        ("modes", texts(claims.iter().filter_map(|claims| claims.mode).map(mode))),
    ])
}

fn paravisor(claims: &ParavisorClaims) -> Pairs {
    let mut out = Vec::new();
    put(&mut out, "vm", claims.vm.map(text));
    put(&mut out, "secure_boot", claims.secure_boot.map(Value::new_bool));
    put(&mut out, "console", claims.console.map(Value::new_bool));
    out
}
