// Runs the verifier as a WebAssembly module on real evidence. usage: node verify_wasm.mjs MODULE.wasm [EVIDENCE FOLDER]
//
// A real Milan report of the rejection suite is authentic and not acceptable, since the module's policy does not name Milan;
// with a changed bit it is not authentic. Where the folder of real samples is given, a Genoa report with its revocation
// list is accepted.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

const [ACCEPTED, NOT_ACCEPTABLE, NOT_AUTHENTIC, UNREADABLE] = [0, 1, 2, 3];
const [path, samples] = process.argv.slice(2);
const module = new WebAssembly.Module(readFileSync(path));
assert.deepEqual(WebAssembly.Module.imports(module), [], "the module imports something");
const verifier = new WebAssembly.Instance(module).exports;

function judge(bundle, measurement, at) {
    for (const byte of Buffer.from(bundle)) verifier.bundle(byte);
    for (const byte of measurement) verifier.measurement(byte);
    return verifier.judge(BigInt(Date.parse(at) / 1000));
}

// The places of REPORT_DATA and MEASUREMENT: AMD 56860, table 23.
function judgeSnp({ report, certificates, lists = [] }, at) {
    const base64 = bytes => bytes.toString("base64");
    const bundle = {
        format: "urn:anchorhold:evidence:v1",
        evidence: { tee: "snp", report: base64(report), certificates: certificates.map(base64), gpus: [] },
        endorsements: { snp_crls: lists.map(base64) },
        report_data: report.subarray(0x50, 0x90).toString("hex"),
    };
    return judge(JSON.stringify(bundle), report.subarray(0x90, 0xc0), at);
}

const suite = new URL("../vectors/rejection/", import.meta.url);
const { cases } = JSON.parse(readFileSync(new URL("manifest.json", suite)));
const { files, at } = cases.find(({ id }) => id === "snp-real-good-milan");
const read = role => readFileSync(new URL(files[role], suite));
const milan = { report: read("report"), certificates: ["vek", "ask", "ark"].map(read) };
assert.equal(judgeSnp(milan, at), NOT_ACCEPTABLE);
milan.report[0x90] ^= 1;
assert.equal(judgeSnp(milan, at), NOT_AUTHENTIC);
assert.equal(judge("{}", [], at), UNREADABLE);
let judged = 3;

if (samples) {
    const sample = file => readFileSync(`${samples}/snp/${file}`);
    const genoa = {
        report: sample("genoa-v5-oak/report.bin"),
        certificates: ["genoa-v5-oak/vcek.der", "ca/genoa-ask.der", "ca/genoa-ark.der"].map(sample),
        lists: [sample("crl/genoa.crl")],
    };
    assert.equal(judgeSnp(genoa, "2025-10-01T00:00:00Z"), ACCEPTED);
    judged += 1;
}
console.log(`verifier for wasm32-unknown-unknown: imports nothing, ${judged} bundles judged as expected`);
