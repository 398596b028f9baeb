// Verifies Anchorhold servers and encrypts requests to them. The decisions are the Rust verifier's, in the WebAssembly module beside this
// file; here is only what JavaScript has and the module has not: the clock, randomness and the network.

import init, * as module from "./anchorhold_wasm.js";

let loading;

/** Loads the module, once. A failed attempt may be repeated. */
export function load(source) {
    loading ??= start(source).catch(error => {
        loading = undefined;
        throw error;
    });
    return loading;
}

async function start(source) {
    if (source === undefined && globalThis.process?.versions?.node) {
        const { readFile } = await import("node:fs/promises");
        source = await readFile(new URL("./anchorhold_wasm_bg.wasm", import.meta.url));
    }
    await init(source === undefined ? undefined : { module_or_path: source });
}

/** An unknown key of `accepted` is refused by the module; a misspelt option here would be a rule that nobody applies. */
function only(options, known) {
    for (const key of Object.keys(options)) {
        if (!known.includes(key)) throw new TypeError(`unknown option: ${key}`);
    }
    return options;
}

function time(at) {
    // Judged by the second, as certificates are.
    return `${(at ?? new Date()).toISOString().slice(0, 19)}Z`;
}

function bytes(value) {
    if (typeof value === "string") return fromHex(value);
    if (value instanceof Uint8Array) return value;
    throw new TypeError("expected bytes or hex digits");
}

/** The bytes of lower-case hex digits. */
export function fromHex(text) {
    if (text.length % 2 || !/^[0-9a-f]*$/.test(text)) throw new TypeError("not lower-case hex digits");
    return Uint8Array.from(text.match(/../g) ?? [], pair => parseInt(pair, 16));
}

/** Lower-case hex digits. */
export function toHex(value) {
    return Array.from(value, byte => byte.toString(16).padStart(2, "0")).join("");
}

/** 32 random bytes for one question. */
export function freshNonce() {
    return crypto.getRandomValues(new Uint8Array(32));
}

/** Judges an evidence bundle for the report data that was asked for. */
export async function verifyEvidence(bundle, options) {
    const { reportData, accepted, at } = only(options, ["reportData", "accepted", "at"]);
    await load();
    return JSON.parse(module.verifyEvidence(bundle, bytes(reportData), JSON.stringify(accepted), time(at)));
}

/** Judges an attestation document for the nonce that it was asked for with. */
export async function verifyDocument(document, options) {
    const known = ["nonce", "tlsKey", "endorsements", "accepted", "at", "target"];
    const { nonce, tlsKey, endorsements, accepted, at, target } = only(options, known);
    await load();
    const key = tlsKey === undefined ? undefined : bytes(tlsKey);
    return JSON.parse(
        module.verifyDocument(target ?? "document", document, bytes(nonce), key, endorsements, JSON.stringify(accepted), time(at)),
    );
}

/** Judges a receipt for the audit key of an accepted document. */
export async function verifyReceipt(receipt, options) {
    const { auditKey, request, response, receiptKey } = only(options, ["auditKey", "request", "response", "receiptKey"]);
    await load();
    const key = receiptKey === undefined ? undefined : bytes(receiptKey);
    return JSON.parse(module.verifyReceipt(receipt, bytes(auditKey), request, response, key));
}

/** Judges a signed note for a log's key (name+hash+key), and its text as a checkpoint. */
export async function verifyNote(note, { key }) {
    await load();
    return JSON.parse(module.verifyNote(note, key));
}

/** Judges one case of a folder of cases: every rule that was looked at. */
export async function judgeCase(entry, files) {
    await load();
    const vector = new module.VectorCase(JSON.stringify(entry));
    for (const [role, content] of Object.entries(files)) vector.file(role, content);
    return JSON.parse(vector.judge());
}

/** Seals one request to a body key. */
export async function sealRequest(bodyKey, options) {
    const known = ["method", "target", "contentType", "head", "body"];
    const { method, target, contentType, head, body } = only(options, known);
    await load();
    const entropy = crypto.getRandomValues(new Uint8Array(64));
    try {
        return new Sealed(
            module.sealRequest(bodyKey, method, target, contentType ?? "", head ?? new Uint8Array(), body, entropy),
        );
    } finally {
        entropy.fill(0);
    }
}

class Sealed {
    #request;

    constructor(request) {
        this.#request = request;
        this.headerName = module.SealedRequest.headerName();
        this.header = request.header();
        this.body = request.body();
    }

    /** What the guest put into the header of its response. */
    open({ status, contentType, header }) {
        return this.#request.open(status, contentType, header);
    }

    push(piece) {
        return this.#request.push(piece);
    }

    finish() {
        this.#request.finish();
    }
}

/**
 * A client of one server, for callers that cannot see its TLS key: each request is encrypted to a key that evidence names.
 * Nothing is sent before the server's document was accepted.
 */
export class Client {
    #url;
    #options;
    #attested;

    constructor(url, options) {
        const known = ["accepted", "endorsements", "at", "apiKey", "fetch"];
        this.#options = only(options, known);
        this.#url = new URL(url);
    }

    /** Asks for a document and judges it; throws when it is refused. */
    async attest() {
        const { accepted, endorsements, at } = this.#options;
        const nonce = freshNonce();
        const path = `/.well-known/anchorhold-attestation?nonce=${toHex(nonce)}`;
        const answer = await this.#send(new URL(path, this.#url), { redirect: "error" });
        if (answer.status !== 200) throw new Error(`attestation document refused with status ${answer.status}`);
        const document = new Uint8Array(await answer.arrayBuffer());
        const outcome = await verifyDocument(document, { nonce, accepted, endorsements, at, target: this.#url.origin });
        if (outcome.verdict !== "accepted") throw new Refused(outcome);
        this.#attested = outcome;
        return outcome;
    }

    #send(url, options) {
        return (this.#options.fetch ?? fetch)(url, options);
    }

    #isCurrent() {
        const now = this.#options.at ?? new Date();
        return this.#attested !== undefined && now < new Date(this.#attested.expires);
    }

    /** One request, sealed, and its response, opened. `path` is bound to the request. */
    async request(method, path, { contentType, body } = {}) {
        if (!this.#isCurrent()) await this.attest();
        const [bodyKey] = this.#attested.state.channel.body_keys;
        if (bodyKey === undefined) throw new Error("the server takes no encrypted bodies");
        const url = new URL(path, this.#url);
        const { apiKey } = this.#options;
        // In the encrypted head whoever ends TLS does not see it; the gateway takes it for the header `authorization`.
        const head = new TextEncoder().encode(apiKey === undefined ? "" : `Bearer ${apiKey}`);
        const target = url.pathname + url.search;
        const sealed = await sealRequest(bodyKey, { method, target, contentType, head, body });
        const headers = { [sealed.headerName]: sealed.header };
        if (contentType !== undefined) headers["content-type"] = contentType;
        const answer = await this.#send(url, { method, headers, body: body && sealed.body, redirect: "error" });
        return opened(sealed, answer);
    }
}

function opened(sealed, answer) {
    const header = answer.headers.get(sealed.headerName);
    // Without the header nobody knows who answered, whatever the status says.
    if (header === null) throw new Error(`the answer, status ${answer.status}, is not the guest's`);
    const contentType = answer.headers.get("content-type") ?? "";
    const head = sealed.open({ status: answer.status, contentType, header });
    const body = (answer.body ?? new Response("").body).pipeThrough(
        new TransformStream({
            transform(piece, out) {
                const plain = sealed.push(piece);
                if (plain.length > 0) out.enqueue(plain);
            },
            // A body that was cut off ends in an error, never as if it were whole.
            flush() {
                sealed.finish();
            },
        }),
    );
    const headers = new Headers({ "content-type": contentType });
    // The receipt is signed. Its key, for the caller alone, comes in the encrypted head.
    const receipt = answer.headers.get("x-anchorhold-receipt");
    if (receipt !== null) headers.set("x-anchorhold-receipt", receipt);
    if (head.length > 0) headers.set("x-anchorhold-receipt-key", new TextDecoder().decode(head));
    const empty = [204, 205, 304].includes(answer.status);
    return new Response(empty ? null : body, { status: answer.status, headers });
}

/** The server's document was refused. `outcome` has every rule. */
export class Refused extends Error {
    constructor(outcome) {
        const failed = outcome.checks.filter(check => check.outcome === "failed").map(check => check.code);
        super(`server refused: ${failed.join(", ")}`);
        this.name = "Refused";
        this.outcome = outcome;
    }
}
