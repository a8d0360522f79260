/** The claim code printed on a camera (crates/model/src/claim.rs). */

import { base32, isBase32, sha256, utf8 } from './encoding';

export const CLAIM_LENGTH = 44;
const PU_LENGTH = 26;
const CHECK_LENGTH = 2;

export type ClaimState =
  | { state: 'empty' }
  | { state: 'foreign_character'; character: string }
  | { state: 'short'; missing: number }
  | { state: 'long'; extra: number }
  | { state: 'wrong_check' }
  | { state: 'complete'; code: string; pu: string };

/** What was typed without spaces and dashes, with look-alikes read as the letters they stand for. */
export function normalizeClaim(typed: string): string {
  const text = typed.toLowerCase().replace(/[\s\-‐-―]/g, '');
  return text.replace(/0/g, 'o').replace(/1/g, 'l').replace(/8/g, 'b');
}

/** Groups of four, as printed. */
export function formatClaim(typed: string): string {
  return (normalizeClaim(typed).match(/.{1,4}/g) ?? []).join('-');
}

/** The claim code in a QR code's text: bare, or in a link `…#/bind?code=…`. */
export function claimFromText(text: string): string {
  const inLink = /[?&#]code=([^&#\s]+)/.exec(text);
  if (!inLink?.[1]) return text.trim();
  try {
    return decodeURIComponent(inLink[1]);
  } catch {
    return inLink[1];
  }
}

/** How far a code being typed is from being one. */
export async function checkClaim(typed: string): Promise<ClaimState> {
  const text = normalizeClaim(typed);
  if (text === '') return { state: 'empty' };
  for (const character of text) {
    if (!isBase32(character)) return { state: 'foreign_character', character };
  }
  if (text.length < CLAIM_LENGTH) return { state: 'short', missing: CLAIM_LENGTH - text.length };
  if (text.length > CLAIM_LENGTH) return { state: 'long', extra: text.length - CLAIM_LENGTH };
  const body = text.slice(0, CLAIM_LENGTH - CHECK_LENGTH);
  if ((await checkCharacters(body)) !== text.slice(-CHECK_LENGTH)) return { state: 'wrong_check' };
  return { state: 'complete', code: formatClaim(text), pu: text.slice(0, PU_LENGTH) };
}

/** The two characters that a code ends with. */
export async function checkCharacters(body: string): Promise<string> {
  const digest = await sha256(utf8(`sightline-claim-check-v1\0${body}`));
  return base32(digest.subarray(0, 5)).slice(0, CHECK_LENGTH);
}
