// What the npm package says of the vectors. usage: node bindings_verdicts.mjs PACKAGE INPUTS CASES; see bindings.sh.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [packageFolder, inputs, cases] = process.argv.slice(2);
const anchorhold = await import(pathToFileURL(`${packageFolder}/index.js`));
const hex = text => new Uint8Array(Buffer.from(text, "hex"));
const failed = checks => checks.filter(check => check.outcome === "failed").map(check => check.code).join(",");

async function judge(given) {
    const { kind, accepted } = given;
    const at = given.at && new Date(given.at);
    let found;
    if (kind === "note") {
        const { signed, checkpoint } = await anchorhold.verifyNote(hex(given.note), { key: given.key });
        return `signed=${signed} checkpoint=${checkpoint}`;
    }
    if (kind === "receipt") {
        const [request, response, receiptKey] = (given.bodies ?? []).map(hex);
        const options = { auditKey: given.audit_key, request, response, receiptKey };
        found = await anchorhold.verifyReceipt(given.receipt, options);
    } else if (kind === "document") {
        const { nonce, tls_key } = given;
        found = await anchorhold.verifyDocument(hex(given.document), { nonce, tlsKey: tls_key ?? undefined, accepted, at });
    } else {
        found = await anchorhold.verifyEvidence(hex(given.bundle), { reportData: given.report_data, accepted, at });
    }
    return `${found.verdict} ${failed(found.checks)}`;
}

async function judged(judgement) {
    try {
        return await judgement();
    } catch (error) {
        // A trap of the module is no verdict.
        if (error instanceof WebAssembly.RuntimeError) throw error;
        return `error ${error.message}`;
    }
}

const lines = [];
for (const line of readFileSync(inputs, "utf8").trimEnd().split("\n")) {
    const given = JSON.parse(line);
    lines.push(`${given.kind} ${given.id} ${await judged(() => judge(given))}`);
}
for (const entry of JSON.parse(readFileSync(`${cases}/manifest.json`, "utf8")).cases) {
    const files = {};
    for (const [role, path] of Object.entries(entry.files)) files[role] = new Uint8Array(readFileSync(`${cases}/${path}`));
    const found = await judged(async () => {
        const codes = failed(await anchorhold.judgeCase(entry, files));
        return `${codes ? "reject" : "accept"} ${codes}`;
    });
    lines.push(`case ${entry.id} ${found}`);
}
console.log(lines.join("\n"));
