import { describe, expect, it } from 'vitest';
import { checkCharacters, checkClaim, claimFromText, formatClaim } from '../../src/identity/claim';
import { base32, base64url, fromBase64url, puIdOf } from '../../src/identity/encoding';
import { checkPhone } from '../../src/identity/phone';

async function validCode(): Promise<string> {
  const pu = base32(new Uint8Array(16).fill(7));
  const body = pu + base32(new Uint8Array(10).fill(9));
  return body + (await checkCharacters(body));
}

describe('encoding', () => {
  it('writes base32 as RFC 4648 does, in lower case', () => {
    const text = (s: string) => base32(new TextEncoder().encode(s));
    expect(text('foobar')).toBe('mzxw6ytboi');
    expect(text('f')).toBe('my');
    expect(base32(new Uint8Array(16))).toHaveLength(26);
  });

  it('reads and writes base64url, and refuses what is none', () => {
    const bytes = Uint8Array.from([250, 251, 252, 253, 254]);
    expect(fromBase64url(base64url(bytes))).toEqual(bytes);
    for (const bad of ['a', 'a+b=', 'ä', 'ab c']) expect(fromBase64url(bad)).toBeUndefined();
  });

  it('derives a device id from a key, and none from something else', async () => {
    // crates/model: the first 128 bits of SHA-256 over 32 bytes 0x03.
    expect(await puIdOf(base64url(new Uint8Array(32).fill(3)))).toBe('msfklrlz7myphcxxitmx23wiia');
    expect(await puIdOf('AAAA')).toBeUndefined();
  });
});

describe('claim code', () => {
  it('takes a code however it is typed', async () => {
    const code = await validCode();
    const typed = ` ${code.toUpperCase().replace(/O/g, '0').replace(/L/g, '1').replace(/B/g, '8')} `;
    const check = await checkClaim(typed.replace(/(.{5})/g, '$1 '));
    expect(check).toEqual({ state: 'complete', code: formatClaim(code), pu: code.slice(0, 26) });
  });

  it('says what is missing or wrong', async () => {
    const code = await validCode();
    const wrong = (code.startsWith('a') ? 'b' : 'a') + code.slice(1);
    expect(await checkClaim('')).toEqual({ state: 'empty' });
    expect(await checkClaim(code.slice(0, 40))).toEqual({ state: 'short', missing: 4 });
    expect(await checkClaim(`${code}abc`)).toEqual({ state: 'long', extra: 3 });
    expect(await checkClaim('ab!')).toEqual({ state: 'foreign_character', character: '!' });
    expect(await checkClaim(wrong)).toEqual({ state: 'wrong_check' });
  });

  it('finds the code in a link', () => {
    expect(claimFromText('https://x.example/#/bind?code=abcd-efgh')).toBe('abcd-efgh');
    expect(claimFromText('https://x.example/#/bind?a=1&code=ab%2Dcd&b=2')).toBe('ab-cd');
    expect(claimFromText(' abcd ')).toBe('abcd');
    expect(claimFromText('?code=%E0%A4%A')).toBe('%E0%A4%A');
  });
});

describe('phone number', () => {
  it('takes what people type', () => {
    for (const typed of ['+44 7700 900123', '+86-138-0013-8000', '＋８６１３８００１３８０００']) {
      expect(checkPhone(typed).ok).toBe(true);
    }
  });

  it('says what is wrong', () => {
    const why = (typed: string) => {
      const check = checkPhone(typed);
      return check.ok ? 'ok' : check.why;
    };
    expect(why('07700 900123')).toBe('signin.phone_plus');
    expect(why('0044 7700 900123')).toBe('signin.phone_zero');
    expect(why('+44 abc')).toBe('signin.phone_chars');
    expect(why('+44 12')).toBe('signin.phone_short');
    expect(why('+1234567890123456')).toBe('signin.phone_long');
  });
});
