// Verifies a receipt of the audit log: RFC 9162 hashes, C2SP tlog-proof and signed-note. No page, no network.

import { sha256 } from "./sha256.js";

const utf8 = new TextEncoder();
const LEAF = new Uint8Array([0]);
const NODE = new Uint8Array([1]);
const CONTENT = utf8.encode("kubernaut.content.v1\n");
const HEADER = "c2sp.org/tlog-proof@v1";
const LOG_KEY = 1;
const WITNESS_KEY = 4;

export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

export function base64(text) {
  const binary = atob(text);
  if (btoa(binary) !== text) throw new Error("not base64 in canonical form");
  return Uint8Array.from(binary, (character) => character.charCodeAt(0));
}

const isEqual = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i]);

/** A public key from its line: name+id+base64. */
export function parseKey(vkey) {
  const [name, id, ...rest] = vkey.trim().split("+");
  const bytes = base64(rest.join("+"));
  const key = { name, id, algorithm: bytes[0], bytes: bytes.slice(1) };
  if (!name || bytes.length !== 33 || hex(sha256(utf8.encode(`${name}\n`), bytes).slice(0, 4)) !== id)
    throw new Error("this is no public key of a log (vkey): its parts do not fit each other");
  return key;
}

/** A proof and the checkpoint at its end; nothing is verified yet. */
export function parseProof(text) {
  const blank = text.indexOf("\n\n");
  const [header, ...lines] = text.slice(0, blank).split("\n");
  if (blank < 0 || header !== HEADER) throw new Error(`a proof begins with ${HEADER}`);
  if (lines[0]?.startsWith("extra ")) lines.shift();
  const index = /^index (0|[1-9]\d*)$/.exec(lines.shift() ?? "");
  if (!index) throw new Error("the proof names no leaf");
  const note = text.slice(blank + 2);
  const end = note.lastIndexOf("\n\n");
  if (end < 0) throw new Error("the proof has no signed checkpoint");
  const body = note.slice(0, end + 1);
  const [origin, size, root] = body.split("\n");
  if (!/^(0|[1-9]\d*)$/.test(size)) throw new Error("the checkpoint has no size");
  const signatures = note.slice(end + 2).split("\n").filter(Boolean).map((line) => {
    const [, name, encoded] = /^— (\S+) (\S+)$/.exec(line) ?? [];
    if (!name) throw new Error("the checkpoint has a line that is no signature");
    const bytes = base64(encoded);
    return { name, id: hex(bytes.slice(0, 4)), bytes: bytes.slice(4) };
  });
  return {
    index: BigInt(index[1]),
    hashes: lines.map(base64),
    checkpoint: { origin, size: BigInt(size), root: base64(root), body, signatures },
  };
}

/** The root that a leaf and the hashes of its inclusion proof lead to. */
export function rootOf(leaf, index, size, hashes) {
  if (index >= size) throw new Error(`a tree of ${size} leaves has no leaf ${index}`);
  let computed = leaf;
  let node = index;
  let last = size - 1n;
  for (const sibling of hashes) {
    if (sibling.length !== 32 || last === 0n) throw new Error("the proof has another number of hashes than the tree demands");
    if (node & 1n || node === last) {
      computed = sha256(NODE, sibling, computed);
      while (node && !(node & 1n)) {
        node >>= 1n;
        last >>= 1n;
      }
    } else {
      computed = sha256(NODE, computed, sibling);
    }
    node >>= 1n;
    last >>= 1n;
  }
  if (last !== 0n) throw new Error("the proof has another number of hashes than the tree demands");
  return computed;
}

/** Whether a key made the signature over a text; null where this browser cannot tell. */
async function isSigned(key, text, signature) {
  if (!globalThis.crypto?.subtle) return null;
  let imported;
  try {
    imported = await crypto.subtle.importKey("raw", key.bytes, { name: "Ed25519" }, false, ["verify"]);
  } catch {
    return null;
  }
  return crypto.subtle.verify({ name: "Ed25519" }, imported, signature, utf8.encode(text));
}

/**
 * Every step of the verification of a receipt, each with its state (good, bad or open) and what was compared.
 *
 * `shown` is what the page shows: the event's id and the hash of its canonical form. `keys` and `witnesses` are lines.
 */
export async function verify(receipt, shown, keys, witnesses = []) {
  const steps = [];
  const step = async (title, check) => {
    try {
      steps.push({ title, ...(await check()) });
    } catch (error) {
      steps.push({ title, state: "bad", detail: error.message });
    }
  };
  const event = utf8.encode(receipt.event);
  const good = (detail) => ({ state: "good", detail });
  const bad = (detail) => ({ state: "bad", detail });
  const open = (detail) => ({ state: "open", detail });

  await step("This page shows the event of the receipt", () =>
    hex(sha256(event)) === shown.digest
      ? good(`SHA-256 of the event ${shown.digest}`)
      : bad("The receipt is of other content than this page shows; load the page again."),
  );
  await step("The event is the one that was stored", () => {
    const content = sha256(CONTENT, event);
    const stored = base64(JSON.parse(receipt.entry).content_hash);
    return isEqual(content, stored)
      ? good(`content hash ${hex(stored)}`)
      : bad(`The event was changed after it was stored: its content hash is ${hex(content)}, the ledger has ${hex(stored)}.`);
  });
  await step("The ledger entry is of this event", () => {
    const [entry, named] = [JSON.parse(receipt.entry), JSON.parse(receipt.event)];
    const ids = [entry.event_id, named.event_id, shown.eventId];
    if (new Set(ids).size > 1) return bad(`Entry, event and page have different ids: ${ids.join(", ")}.`);
    if (entry.correlation_id !== named.correlation_id) return bad("Entry and event have different correlations.");
    if (BigInt(entry.sequence) !== parseProof(receipt.proof).index + 1n)
      return bad(`The entry says sequence ${entry.sequence}, the proof is of another leaf.`);
    return good(`sequence ${entry.sequence} of ledger ${entry.shard}`);
  });
  await step("The entry is in the tree of the checkpoint", () => {
    const { index, hashes, checkpoint } = parseProof(receipt.proof);
    const leaf = sha256(LEAF, utf8.encode(receipt.entry));
    const root = rootOf(leaf, index, checkpoint.size, hashes);
    return isEqual(root, checkpoint.root)
      ? good(`leaf ${hex(leaf)} leads over ${hashes.length} hashes to root ${hex(root)} of ${checkpoint.size} leaves`)
      : bad(`The ledger entry was changed: its proof leads to ${hex(root)}, the checkpoint has ${hex(checkpoint.root)}.`);
  });
  await step("The checkpoint is signed by the log", async () => {
    const { checkpoint } = parseProof(receipt.proof);
    const known = keys.map(parseKey).filter((key) => key.algorithm === LOG_KEY);
    for (const signature of checkpoint.signatures) {
      const key = known.find(({ name, id }) => name === signature.name && id === signature.id);
      if (!key) continue;
      if (key.name !== checkpoint.origin) return bad(`The checkpoint is of another log: ${checkpoint.origin}.`);
      const signed = await isSigned(key, checkpoint.body, signature.bytes);
      if (signed === null)
        return open("Not checked: this browser has no Ed25519, or the page came over plain HTTP from another machine.");
      return signed ? good(`Ed25519 signature by ${key.name}, key ${key.id}`) : bad(`The signature by ${key.name} is wrong.`);
    }
    return bad(`No key that is trusted here has signed it: ${known.map(({ name, id }) => `${name} ${id}`).join(", ") || "none is known"}.`);
  });
  for (const line of witnesses) {
    await step("A witness has seen the same tree", async () => {
      const { checkpoint } = parseProof(receipt.proof);
      const key = parseKey(line);
      const signature = checkpoint.signatures.find(({ name, id }) => name === key.name && id === key.id);
      if (!signature) return open(`${key.name} has not cosigned this checkpoint yet.`);
      const seconds = new DataView(signature.bytes.buffer, signature.bytes.byteOffset).getBigUint64(0);
      const text = `cosignature/v1\ntime ${seconds}\n${checkpoint.body}`;
      const signed = key.algorithm === WITNESS_KEY ? await isSigned(key, text, signature.bytes.slice(8)) : false;
      if (signed === null) return open(`Not checked: the cosignature by ${key.name}.`);
      const time = new Date(Number(seconds) * 1000).toISOString();
      return signed ? good(`cosigned by ${key.name} at ${time}`) : bad(`The cosignature by ${key.name} is wrong.`);
    });
  }
  return steps;
}
