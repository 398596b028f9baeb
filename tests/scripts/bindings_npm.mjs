// Tests of the npm package. usage: node bindings_npm.mjs PACKAGE SERVER; SERVER is the example `attested_server`. JSON=FILE writes the
// size of the module and the times of a verification.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const [packageFolder, program] = process.argv.slice(2);
const { Client, Refused, freshNonce, fromHex, judgeCase, load, sealRequest, toHex, verifyDocument, verifyEvidence } = await import(
    pathToFileURL(`${packageFolder}/index.js`)
);
const module = await import(pathToFileURL(`${packageFolder}/anchorhold_wasm.js`));
const vectors = new URL("../vectors/", import.meta.url);
const json = path => JSON.parse(readFileSync(new URL(path, vectors)));
const text = bytes => new TextDecoder().decode(bytes);
await load();

/** A software guest behind TLS, for the time of `use`. */
async function serving(use, ...words) {
    const server = spawn(program, words, { stdio: ["pipe", "pipe", "inherit"] });
    const ended = new Promise(resolve => server.once("exit", resolve));
    try {
        for await (const line of createInterface(server.stdout)) {
            const said = JSON.parse(line);
            return await use(said, { measurements: [said.measurement], dangerous_simulated_roots: said.roots });
        }
    } finally {
        server.stdin.end();
        await ended;
    }
    throw new Error("the server did not start");
}

const tests = {
    "the vectors of body encryption are sealed and opened byte for byte"() {
        let count = 0;
        for (const { kem, public_key, request, response } of json("body-encryption/anchorhold-body-1.json")) {
            if (request.buckets || request.chunks?.length > 1) continue;
            const body = request.chunks?.length ? fromHex(request.chunks[0]) : undefined;
            const { method, target, content_type, head, entropy } = request;
            const sealed = module.sealRequest(
                `${kem}:${public_key}`, method, target, content_type, fromHex(head), body, fromHex(entropy),
            );
            assert.equal(sealed.header(), request.header);
            assert.equal(toHex(sealed.body()), request.body ?? "");
            assert.equal(toHex(sealed.open(response.status, response.content_type, response.header)), response.head);
            let plain = "";
            for (const byte of fromHex(response.body ?? "")) plain += toHex(sealed.push(Uint8Array.of(byte)));
            sealed.finish();
            assert.equal(plain, (response.chunks ?? []).join(""));
            count += 1;
        }
        assert.ok(count >= 2, `${count} exchanges`);
    },

    "a response that was changed, cut off or is for another request gives nothing more"() {
        const [{ kem, public_key, request, response }] = json("body-encryption/anchorhold-body-1.json");
        const seal = () => {
            const { method, target, content_type, entropy } = request;
            return module.sealRequest(
                `${kem}:${public_key}`, method, target, content_type, new Uint8Array(), fromHex(request.chunks[0]), fromHex(entropy),
            );
        };
        assert.throws(() => seal().open(response.status + 1, response.content_type, response.header));
        const cut = seal();
        cut.open(response.status, response.content_type, response.header);
        cut.push(fromHex(response.body).subarray(0, -1));
        assert.throws(() => cut.finish());
        const changed = seal();
        changed.open(response.status, response.content_type, response.header);
        const bytes = fromHex(response.body);
        bytes[bytes.length - 1] ^= 1;
        assert.throws(() => changed.push(bytes));
        assert.throws(() => changed.push(fromHex(response.body)));
        assert.throws(() => changed.finish());
    },

    async "entropy is fresh for each request"() {
        const [{ kem, public_key }] = json("body-encryption/anchorhold-body-1.json");
        const options = { method: "POST", target: "/", contentType: "a/b", body: Uint8Array.of(1) };
        const [one, other] = [await sealRequest(`${kem}:${public_key}`, options), await sealRequest(`${kem}:${public_key}`, options)];
        assert.notEqual(one.header, other.header);
    },

    async "case_47: what is no document is not authentic, and no input stops the module"() {
        for (const document of [new Uint8Array(), new TextEncoder().encode("{}"), new Uint8Array(600_000), new TextEncoder().encode("[".repeat(100_000))]) {
            const outcome = await verifyDocument(document, { nonce: freshNonce(), accepted: { measurements: ["00".repeat(48)] } });
            assert.equal(outcome.verdict, "not_authentic");
            assert.deepEqual(outcome.checks.map(check => check.code), ["document_format"]);
        }
    },

    async "misspelt options and policies are refused"() {
        const accepted = { measurements: ["00".repeat(48)] };
        await assert.rejects(verifyDocument(new Uint8Array(), { nonce: freshNonce(), tlskey: "00", accepted }), TypeError);
        await assert.rejects(verifyDocument(new Uint8Array(), { nonce: freshNonce(), accepted: { measurement: [] } }));
        await assert.rejects(verifyDocument(new Uint8Array(), { nonce: freshNonce(), accepted: {} }));
        await assert.rejects(verifyDocument(new Uint8Array(), { nonce: freshNonce() }));
        await assert.rejects(verifyEvidence(new Uint8Array(), { reportData: "00", accepted }));
    },

    "a client attests, asks and reads over encrypted bodies, whoever ends TLS": () =>
        serving(async ({ url, measurement }, accepted) => {
            const sent = [];
            const spying = (target, options) => {
                sent.push(options);
                return fetch(target, options);
            };
            const client = new Client(url, { accepted, apiKey: "test", fetch: spying });
            const question = { model: "echo", messages: [{ role: "user", content: "a secret question" }] };
            const body = new TextEncoder().encode(JSON.stringify(question));
            const answer = await client.request("POST", "/v1/chat/completions", { contentType: "application/json", body });
            assert.equal(answer.status, 200);
            assert.equal((await answer.json()).choices[0].message.content, "a secret question");
            assert.equal((await (await client.request("GET", "/v1/models")).json()).data[0].id, "echo");
            assert.equal((await client.attest()).measurement, measurement);
            const onTheWire = sent.map(options => `${JSON.stringify(options.headers)} ${text(options.body ?? new Uint8Array())}`).join();
            assert.ok(!onTheWire.includes("secret") && !onTheWire.includes("Bearer"), "only ciphertext is sent");
        }),

    "a client takes no answer that is not the guest's": () =>
        serving(async ({ url }, accepted) => {
            const forging = async (target, options) => {
                const answer = await fetch(target, options);
                return target.pathname.startsWith("/v1") ? new Response("{}", { status: 200 }) : answer;
            };
            const client = new Client(url, { accepted, fetch: forging });
            await assert.rejects(client.request("GET", "/v1/models"), /not the guest's/);
        }),

    "a client refuses another measurement, an old document and the simulated root unless it is named": () =>
        serving(async ({ url, measurement }, accepted) => {
            const refuses = async (options, code) => {
                const refused = await new Client(url, options).request("GET", "/v1/models").then(() => undefined, error => error);
                assert.ok(refused instanceof Refused, String(refused));
                assert.ok(refused.message.includes(code), refused.message);
            };
            await refuses({ accepted: { ...accepted, measurements: ["00".repeat(48)] } }, "snp_measurement");
            await refuses({ accepted: { measurements: [measurement] } }, "anchor");
            const first = await (await fetch(`${url}/.well-known/anchorhold-attestation?nonce=${"07".repeat(32)}`)).arrayBuffer();
            await refuses({ accepted, fetch: async () => new Response(first) }, "document_nonce");
        }),
};

let failed = 0;
for (const [name, test] of Object.entries(tests)) {
    try {
        await test();
        console.log(`ok ${name}`);
    } catch (error) {
        failed += 1;
        console.log(`NOT OK ${name}\n${error.stack}`);
    }
}

/** The median time of a verification, in microseconds. */
async function micros(id) {
    const entry = json("rejection/manifest.json").cases.find(found => found.id === id);
    const files = {};
    for (const [role, path] of Object.entries(entry.files)) files[role] = new Uint8Array(readFileSync(new URL(`rejection/${path}`, vectors)));
    const times = [];
    for (let round = 0; round < 60; round += 1) {
        const start = process.hrtime.bigint();
        await judgeCase(entry, files);
        times.push(Number(process.hrtime.bigint() - start) / 1000);
    }
    return Math.round(times.sort((one, other) => one - other)[30]);
}

const figures = [
    ["WebAssembly module, verifier and body encryption", Math.round(statSync(`${packageFolder}/anchorhold_wasm_bg.wasm`).size / 1024), "KiB"],
    ["WebAssembly verification of SEV-SNP in Node.js, p50", await micros("snp-real-good-milan"), "us"],
    ["WebAssembly verification of TDX in Node.js, p50", await micros("tdx-good-v4"), "us"],
];
for (const [name, value, unit] of figures) console.log(`${name}: ${value} ${unit}`);
if (process.env.JSON) writeFileSync(process.env.JSON, JSON.stringify(figures.map(([name, value, unit]) => ({ name, value, unit }))));
process.exitCode = failed ? 1 : 0;
