/**
 * Ed25519 (RFC 8032) by WebCrypto where the browser has it, else by `@noble/ed25519`, which is
 * fetched only then.
 */

import { base64url, fromBase64url } from './encoding';

type Bytes = Uint8Array<ArrayBuffer>;

/** A signing key; `kind` says whether scripts could read it out. */
export type KeyPair =
  | { kind: 'webcrypto'; privateKey: CryptoKey; publicKey: string }
  | { kind: 'noble'; secret: Bytes; publicKey: string };

let native: Promise<boolean> | undefined;

/** Whether WebCrypto knows Ed25519 here. */
export function hasNative(): Promise<boolean> {
  native ??= crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']).then(
    () => true,
    () => false,
  );
  return native;
}

const noble = () => import('@noble/ed25519');

export async function generate(): Promise<KeyPair> {
  if (await hasNative()) {
    const pair = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
    const raw = await crypto.subtle.exportKey('raw', pair.publicKey);
    return {
      kind: 'webcrypto',
      privateKey: pair.privateKey,
      publicKey: base64url(new Uint8Array(raw)),
    };
  }
  const { getPublicKeyAsync } = await noble();
  const secret = crypto.getRandomValues(new Uint8Array(32));
  return { kind: 'noble', secret, publicKey: base64url(await getPublicKeyAsync(secret)) };
}

export async function sign(pair: KeyPair, message: Bytes): Promise<string> {
  switch (pair.kind) {
    case 'webcrypto':
      return base64url(
        new Uint8Array(await crypto.subtle.sign('Ed25519', pair.privateKey, message)),
      );
    case 'noble':
      return base64url(await (await noble()).signAsync(message, pair.secret));
  }
}

/** Whether `signature` over `message` was made with `publicKey`; malformed text counts as no. */
export async function verify(
  publicKey: string,
  message: Bytes,
  signature: string,
): Promise<boolean> {
  const key = fromBase64url(publicKey);
  const sig = fromBase64url(signature);
  if (key?.length !== 32 || sig?.length !== 64) return false;
  try {
    if (await hasNative()) {
      const imported = await crypto.subtle.importKey('raw', key, 'Ed25519', false, ['verify']);
      return await crypto.subtle.verify('Ed25519', imported, sig, message);
    }
    return await (await noble()).verifyAsync(sig, message, key, { zip215: false });
  } catch {
    return false;
  }
}
