// Other implementations on the vectors of body encryption: npm's `ehbp` for EHBP, and for anchorhold-body/1 an independent reading of
// attestation/body-encryption/PROTOCOL.md over npm's `hpke` and the platform's WebCrypto.
//
// usage: node body_encryption_peer.mjs MODULES [record]
//
// MODULES is a folder in which `npm install ehbp@0.1.7` was run. `record` makes new requests of EHBP, after which the test of the crate
// has to run with WRITE_VECTORS=1 to answer them, and this script again to open the answers.

import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';
import { resolve } from 'node:path';
import assert from 'node:assert/strict';

const [modules, action] = process.argv.slice(2);
const require = createRequire(pathToFileURL(resolve(modules, 'package.json')));
const load = async (name) => import(pathToFileURL(require.resolve(name)));
const { CipherSuite } = await load('hpke');
const noble = await load('@panva/hpke-noble');
const { Identity, deriveResponseKeys } = await load('ehbp');

const folder = new URL('../vectors/body-encryption/', import.meta.url);
const read = (name) => JSON.parse(readFileSync(new URL(name, folder)));
const hex = (bytes) => Buffer.from(bytes).toString('hex');
const unhex = (text) => new Uint8Array(Buffer.from(text, 'hex'));
const utf8 = (text) => new TextEncoder().encode(text);
const concat = (...parts) => new Uint8Array(Buffer.concat(parts));
const sha256 = async (bytes) => new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
const suite = (kem) => new CipherSuite(
  { x25519: noble.KEM_DHKEM_X25519_HKDF_SHA256, 'x-wing': noble.KEM_MLKEM768_X25519 }[kem],
  noble.KDF_HKDF_SHA256, noble.AEAD_AES_256_GCM);

// anchorhold-body/1

const digestOfItems = (...items) => sha256(concat(...items.flatMap((item) => {
  const length = new Uint8Array(8);
  new DataView(length.buffer).setBigUint64(0, BigInt(item.length));
  return [length, item];
})));

class Refused extends Error {}
const demand = (holds, rule) => { if (!holds) throw new Refused(rule); };

class FrameKey {
  static async of(material) {
    const self = new FrameKey();
    self.key = await crypto.subtle.importKey('raw', material.slice(0, 32), 'AES-GCM', false, ['decrypt']);
    self.base = material.slice(32);
    self.sequence = 0n;
    return self;
  }

  async open(additionalData, bytes, rule) {
    const iv = this.base.slice();
    const view = new DataView(iv.buffer);
    view.setBigUint64(4, view.getBigUint64(4) ^ this.sequence);
    this.sequence += 1n;
    try {
      return new Uint8Array(await crypto.subtle.decrypt({ name: 'AES-GCM', iv, additionalData }, this.key, bytes));
    } catch {
      throw new Refused(rule);
    }
  }
}

async function openBody(key, body) {
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const parts = [];
  for (let at = 0, ended = false; ;) {
    if (ended) { demand(at === body.length, 'Appended'); return concat(...parts); }
    demand(body.length - at >= 4, 'Truncated');
    const prefix = view.getUint32(at);
    const length = prefix & 0x7fffffff;
    demand(length >= 17 && length <= 65552, 'FrameLength');
    demand(body.length - at - 4 >= length, 'Truncated');
    const plain = await key.open(body.slice(at, at + 4), body.slice(at + 4, at + 4 + length), 'Frame');
    const mark = plain.findLastIndex((byte) => byte !== 0);
    demand(mark >= 0 && plain[mark] === 0x80, 'Frame');
    parts.push(plain.slice(0, mark));
    ended = prefix >>> 31 === 1;
    at += 4 + length;
  }
}

function decode(text) {
  demand(/^[A-Za-z0-9_-]*$/.test(text), 'Header');
  const bytes = new Uint8Array(Buffer.from(text, 'base64url'));
  demand(Buffer.from(bytes).toString('base64url') === text, 'Header');
  return bytes;
}

// Returns the head, the body and what the response hangs on.
async function openRequest(vector, message) {
  const bytes = decode(message.header);
  const known = { 0x0020: ['x25519', 32], 0x647a: ['x-wing', 1120] }[bytes[2] << 8 | bytes[3]];
  demand(bytes[0] === 1 && bytes[1] <= 1 && known, 'Header');
  const [kem, encBytes] = known;
  const clear = 12 + encBytes;
  demand(bytes.length >= clear + 16 && bytes.length <= clear + 1024 + 16, 'Header');
  const keyId = (await sha256(utf8(`${vector.kem}:${vector.public_key}`))).slice(0, 8);
  assert.equal(hex(keyId), vector.key_id);
  demand(kem === vector.kem && hex(bytes.slice(4, 12)) === vector.key_id, 'OtherKey');
  const pair = await suite(kem).DeriveKeyPair(unhex(vector.seed), true);
  assert.equal(hex(await suite(kem).SerializePublicKey(pair.publicKey)), vector.public_key);
  const enc = bytes.slice(12, clear);
  const bound = await digestOfItems(utf8(message.method), utf8(message.target), utf8(message.content_type));
  const info = concat(utf8('anchorhold-body/1'), bound);
  const context = await suite(kem).SetupRecipient(pair, enc, { info });
  const key = await FrameKey.of(await context.Export(utf8('anchorhold-body/1 request'), 44));
  const head = await key.open(bytes.slice(0, clear), bytes.slice(clear), 'Head');
  const secret = await context.Export(utf8('anchorhold-body/1 response'), 32);
  const body = bytes[1] === 1 ? await openBody(key, unhex(message.body)) : null;
  return { head, body, enc, secret };
}

async function openResponse({ enc, secret }, message) {
  const bytes = decode(message.header);
  demand(bytes[0] === 1 && bytes[1] <= 1 && bytes.length >= 50 && bytes.length <= 50 + 1024, 'Header');
  const status = new Uint8Array([message.status >> 8, message.status & 0xff]);
  const bound = await digestOfItems(status, utf8(message.content_type));
  const ikm = await crypto.subtle.importKey('raw', secret, 'HKDF', false, ['deriveBits']);
  const salt = concat(enc, bytes.slice(2, 34));
  const info = concat(utf8('anchorhold-body/1 response'), bound);
  const material = await crypto.subtle.deriveBits({ name: 'HKDF', hash: 'SHA-256', salt, info }, ikm, 44 * 8);
  const key = await FrameKey.of(new Uint8Array(material));
  const head = await key.open(bytes.slice(0, 34), bytes.slice(34), 'Head');
  return { head, body: bytes[1] === 1 ? await openBody(key, unhex(message.body)) : null };
}

function arrives({ head, body }, message) {
  assert.equal(hex(head), message.head);
  assert.equal(body && hex(body), message.chunks && message.chunks.join(''));
}

async function body1() {
  const vectors = read('anchorhold-body-1.json');
  const opened = {};
  for (const vector of vectors) {
    opened[vector.name] = await openRequest(vector, vector.request);
    arrives(opened[vector.name], vector.request);
    arrives(await openResponse(opened[vector.name], vector.response), vector.response);
  }
  const refused = read('anchorhold-body-1-refused.json');
  for (const { name, of, side, message, error } of refused) {
    const vector = vectors.find((vector) => vector.name === of);
    const open = side === 'request' ? openRequest(vector, message) : openResponse(opened[of], message);
    const outcome = await open.then(() => 'accepted', (refusal) => {
      if (!(refusal instanceof Refused)) throw refusal;
      return refusal.message;
    });
    assert.equal(outcome, error, `${of}, ${side}: ${name}`);
  }
  console.log(`anchorhold-body/1: ${vectors.length} exchanges opened, ${refused.length} messages refused, each for its reason`);
}

// EHBP

async function record() {
  const seed = '5e'.repeat(32);
  const pair = await suite('x25519').DeriveKeyPair(unhex(seed), true);
  const publicKey = hex(await suite('x25519').SerializePublicKey(pair.publicKey));
  const server = await Identity.fromPublicKeyHex(publicKey);
  const vectors = [];
  for (const [plaintext, chunks, nonce] of [
    ['{"model":"m"}', ['{"choices":[]}'], '4e'],
    ['x'.repeat(300), ['data: one\n\n', 'data: two\n\n', 'data: [DONE]\n\n'], '6e'],
    ['\u{1f600}', [], '00'],
  ]) {
    const sent = new Request('https://guest.example/v1/chat/completions', { method: 'POST', body: plaintext });
    const { request, context } = await server.encryptRequestWithContext(sent);
    const secret = await context.senderContext.Export(utf8('ehbp response'), 32);
    vectors.push({
      kem: 'x25519', seed, public_key: publicKey, key_config: hex(await server.marshalConfig()),
      request: {
        plaintext: hex(utf8(plaintext)), header: request.headers.get('Ehbp-Encapsulated-Key'),
        body: hex(new Uint8Array(await request.arrayBuffer())),
      },
      response: { exported_secret: hex(secret), header: nonce.repeat(32), chunks: chunks.map((chunk) => hex(utf8(chunk))), body: '' },
    });
  }
  writeFileSync(new URL('ehbp.json', folder), JSON.stringify(vectors, null, 2) + '\n');
}

async function ehbp() {
  const vectors = read('ehbp.json');
  for (const { public_key, key_config, request, response } of vectors) {
    const server = await Identity.unmarshalPublicConfig(unhex(key_config));
    assert.equal(await server.getPublicKeyHex(), public_key);
    const enc = unhex(request.header);
    const km = await deriveResponseKeys(unhex(response.exported_secret), enc, unhex(response.header));
    const stream = server.createDecryptStream(new Response(unhex(response.body)).body, km);
    assert.equal(hex(await new Response(stream).arrayBuffer()), response.chunks.join(''));
  }
  console.log(`EHBP: ${vectors.length} responses opened by npm's ehbp`);
}

if (action === 'record') {
  await record();
} else {
  await body1();
  await ehbp();
}
