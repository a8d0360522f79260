/** Phone numbers in international form (ITU-T E.164). */

import type { Key } from '../i18n';

export type PhoneCheck = { ok: true; phone: string } | { ok: false; why: Key };

/** The number as the centre takes it, or what is wrong with it. */
export function checkPhone(typed: string): PhoneCheck {
  // Full-width digits and plus come from East Asian keyboards.
  const text = typed.normalize('NFKC').replace(/[\s\-().·‐-―]/g, '');
  if (/^00/.test(text) || /^\+0/.test(text)) return { ok: false, why: 'signin.phone_zero' };
  if (!text.startsWith('+')) return { ok: false, why: 'signin.phone_plus' };
  if (!/^\+\d*$/.test(text)) return { ok: false, why: 'signin.phone_chars' };
  if (text.length < 8) return { ok: false, why: 'signin.phone_short' };
  if (text.length > 16) return { ok: false, why: 'signin.phone_long' };
  return { ok: true, phone: text };
}

/** What this client is called in lists, such as "Chromium on Linux". */
export function clientName(): string {
  const agent = navigator.userAgent;
  const browser =
    /(Firefox|Edg|OPR|Chrome|Safari)\//
      .exec(agent)?.[1]
      ?.replace('Edg', 'Edge')
      .replace('OPR', 'Opera') ?? 'Browser';
  const system = /Android|iPhone|iPad|Windows|Mac OS X|Linux/.exec(agent)?.[0] ?? '';
  return system ? `${browser} on ${system}` : browser;
}
