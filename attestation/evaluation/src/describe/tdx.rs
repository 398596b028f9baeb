//! Intel's quote.

use super::{Builder, Part};
use anchorhold_verifier::tdx::{Pck, Quote, Td15, Td15Extended, TdBody};
use anchorhold_verifier::{pem, x509::Certificate};

/// PCK certificate, its CA and the root.
const MAX_CHAIN: usize = 4;
/// Places in the report of an enclave (`sgx_report_body_t`).
const MRENCLAVE: std::ops::Range<usize> = 64..96;
const MRSIGNER: std::ops::Range<usize> = 128..160;
const ISVPRODID: std::ops::Range<usize> = 256..258;
const ISVSVN: std::ops::Range<usize> = 258..260;

/// A quote: its header, the body by the names of the TDX module, the quoting enclave, and the platform.
pub(super) fn quote(quote: &Quote) -> Vec<Part> {
    let mut header = Builder::new("TDX quote");
    header.field("VERSION", quote.version);
    header.field("BODY", format!("{:?}", quote.kind));
    header.bytes("USER_DATA", &quote.user_data);
    header.field("PADDING", format!("{} bytes", quote.padding));
    vec![header.0, body(&quote.body), enclave(quote.qe_report()), platform(quote.pck_chain())]
}

fn body(body: &TdBody) -> Part {
    let mut part = Builder::new("TD report");
    part.bytes("TEE_TCB_SVN", &body.tee_tcb_svn);
    part.bytes("MRSEAM", &body.mr_seam);
    part.bytes("MRSIGNERSEAM", &body.mr_signer_seam);
    part.bytes("SEAMATTRIBUTES", &body.seam_attributes);
    part.field("TDATTRIBUTES", format!("{:#x}", body.td_attributes.0));
    part.field("XFAM", format!("{:#x}", body.xfam.0));
    part.field("MRTD", body.mrtd);
    part.bytes("MRCONFIGID", &body.mr_config_id);
    part.bytes("MROWNER", &body.mr_owner);
    part.bytes("MROWNERCONFIG", &body.mr_owner_config);
    for (index, register) in body.rtmrs.iter().enumerate() {
        part.bytes(&format!("RTMR{index}"), register);
    }
    part.field("REPORTDATA", body.report_data);
    if let Some(td15) = &body.td15 {
        add_td15(&mut part, td15);
    }
    part.0
}

fn add_td15(part: &mut Builder, td15: &Td15) {
    part.bytes("TEE_TCB_SVN2", &td15.tee_tcb_svn2);
    part.bytes("MRSERVICETD", &td15.mr_service_td);
    let Some(extended) = &td15.extended else { return };
    let Td15Extended { vm_index, td_id, device_info, initial_service_td, current_service_td, .. } = extended;
    part.field("VM_INDEX", vm_index);
    part.bytes("TD_ID", td_id);
    part.bytes("DEVICE_INFO", device_info);
    part.bytes("INITIAL_SERVICETD", initial_service_td);
    part.bytes("INITIAL_SERVICETD_ATTR", &extended.initial_service_td_attributes);
    part.bytes("INITIAL_CPUSVN", &extended.initial_cpu_svn);
    part.bytes("INITIAL_TEE_TCB_SVN", &extended.initial_tee_tcb_svn);
    part.bytes("INITIAL_FMSPC", &extended.initial_fmspc);
    part.bytes("CURRENT_SERVICETD", current_service_td);
    part.bytes("CURRENT_SERVICETD_ATTR", &extended.current_service_td_attributes);
}

fn enclave(report: &[u8]) -> Part {
    let mut part = Builder::new("quoting enclave");
    for (name, place) in [("MRENCLAVE", MRENCLAVE), ("MRSIGNER", MRSIGNER)] {
        part.bytes(name, report.get(place).unwrap_or_default());
    }
    for (name, place) in [("ISVPRODID", ISVPRODID), ("ISVSVN", ISVSVN)] {
        if let Some([low, high]) = report.get(place) {
            part.field(name, u16::from_le_bytes([*low, *high]));
        }
    }
    part.0
}

/// What the PCK certificate says of the platform, as far as it reads.
fn platform(chain: &[u8]) -> Part {
    let mut part = Builder::new("PCK certificate chain");
    let read = std::str::from_utf8(chain).ok().and_then(|text| pem::read(text, MAX_CHAIN).ok());
    let Some(certificates) = read else {
        part.unreadable("no PEM certificates");
        return part.0;
    };
    for (index, certificate) in certificates.iter().enumerate() {
        part.certificate(&format!("certificate {index}"), certificate);
    }
    let leaf = certificates.first().and_then(|leaf| Certificate::parse(leaf).ok());
    let Some(pck) = leaf.and_then(|leaf| Pck::read(&leaf).ok()) else { return part.0 };
    part.field("PPID", pck.platform_id);
    part.bytes("FMSPC", &pck.fmspc);
    part.bytes("PCEID", &pck.pce_id);
    part.field("PCESVN", pck.pce_svn);
    part.bytes("CPUSVN", &pck.cpu_svn);
    part.field("SGX type", format!("{:?}", pck.sgx_type));
    part.optional("platform instance", pck.platform_instance_id.map(|id| super::hex(&id)));
    part.optional("dynamic platform", pck.dynamic_platform);
    part.optional("cached keys", pck.cached_keys);
    part.optional("SMT enabled", pck.smt_enabled);
    part.0
}
