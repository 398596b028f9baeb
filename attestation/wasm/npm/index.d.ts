// Types of index.js. Outcomes are the JSON of the command line and of the Python package; keys are only ever added.

/** What is accepted. What is not named is not. Unknown keys are refused. */
export interface Accepted {
    /** Launch digests in hex: MEASUREMENT of SEV-SNP, or MRTD of TDX, which is the firmware alone. */
    measurements?: string[];
    /** The lowest TCB of AMD's products, such as "genoa=10,0,23,84"; beside measurements only. */
    min_tcb?: string[];
    /** An appraisal profile, TOML; instead of measurements. */
    profile?: string;
    /** Machine lists, TOML. */
    machines?: string[];
    /** Roots in the place of the vendors', PEM. Under them nothing is protected. */
    dangerous_simulated_roots?: string;
}

export type Verdict = "accepted" | "not_authentic" | "endorsements_unavailable" | "not_acceptable";

export interface Check {
    code: string;
    stage: string;
    outcome: "passed" | "failed" | "skipped";
    wanted: string;
    observed: string;
    source?: { part: string; offset: number; length: number };
    device?: number;
}

export interface Evaluation {
    format: string;
    at: string;
    tee: string;
    verdict: Verdict;
    simulated: boolean;
    measurement: string | null;
    product: string | null;
    tcb: string | null;
    expires: string | null;
    checks: Check[];
    profile?: { id: string; version: number; digest: string };
}

export interface VerificationDocument {
    format: string;
    target: string;
    at: string;
    verdict: Verdict;
    simulated: boolean;
    document_digest: string;
    measurement: string | null;
    product: string | null;
    tcb: string | null;
    keys: { tls_key: string; release_key: string; audit_key: string } | null;
    state: {
        models: { id: string; version: number; manifest_digest: string }[];
        policy_digest: string | null;
        audit: { origin: string; tree_size: number; root_hash: string };
        channel: { authenticator_key: string; body_keys: string[] };
    } | null;
    expires: string | null;
    checks: Check[];
}

export interface ReceiptVerification {
    format: string;
    verdict: Verdict;
    receipt: Record<string, unknown> | null;
    checks: Check[];
}

/** Bytes, or lower-case hex digits. */
export type Bytes = Uint8Array | string;

/** Loads the module, once. Every function does so by itself; call it to choose the source or the moment. */
export function load(source?: BufferSource | WebAssembly.Module | URL | Response | Promise<Response>): Promise<void>;

export function fromHex(text: string): Uint8Array;
export function toHex(bytes: Uint8Array): string;
/** 32 random bytes for one question. */
export function freshNonce(): Uint8Array;

/** Judges an evidence bundle (JSON) for the report data that was asked for. */
export function verifyEvidence(
    bundle: Uint8Array,
    options: { reportData: Bytes; accepted: Accepted; at?: Date },
): Promise<Evaluation>;

/**
 * Judges an attestation document for the nonce that it was asked for with. Without tlsKey, as in a browser, nothing is known of the
 * connection, and only keys that the document names may be relied on. endorsements is an evidence bundle (JSON).
 */
export function verifyDocument(
    document: Uint8Array,
    options: { nonce: Bytes; tlsKey?: Bytes; endorsements?: Uint8Array; accepted: Accepted; at?: Date; target?: string },
): Promise<VerificationDocument>;

/** Judges a receipt for the audit key of an accepted document and, where all three are given, for the bodies of the request. */
export function verifyReceipt(
    receipt: string,
    options: { auditKey: Bytes; request?: Uint8Array; response?: Uint8Array; receiptKey?: Bytes },
): Promise<ReceiptVerification>;

/** Judges a signed note for a log's key (name+hash+key), and its text as a checkpoint. */
export function verifyNote(note: Uint8Array, options: { key: string }): Promise<{ signed: boolean; checkpoint: boolean }>;

/** Judges one case of a folder of cases (MANIFEST.md): every rule that was looked at. */
export function judgeCase(entry: object, files: Record<string, Uint8Array>): Promise<Check[]>;

export interface Sealed {
    readonly headerName: string;
    readonly header: string;
    readonly body: Uint8Array;
    /** Begins the response, once. Gives what the guest put into the header; throws when the guest did not make it. */
    open(response: { status: number; contentType: string; header: string }): Uint8Array;
    /** The next piece of the body; cut anywhere. */
    push(piece: Uint8Array): Uint8Array;
    /** The end; throws when the body was cut off. */
    finish(): void;
}

/** Seals one request to a body key out of an accepted document; target is the path with its query. */
export function sealRequest(
    bodyKey: string,
    options: { method: string; target: string; contentType?: string; head?: Uint8Array; body?: Uint8Array },
): Promise<Sealed>;

/** A client of one server; every request is encrypted to a key that evidence names. */
export class Client {
    constructor(
        url: string,
        options: { accepted: Accepted; endorsements?: Uint8Array; at?: Date; apiKey?: string; fetch?: typeof fetch },
    );
    /** Asks for a document and judges it; throws Refused. */
    attest(): Promise<VerificationDocument>;
    /** One request and its response, decrypted. Attests first where it has to. */
    request(method: string, path: string, options?: { contentType?: string; body?: Uint8Array }): Promise<Response>;
}

export class Refused extends Error {
    readonly outcome: VerificationDocument;
}
