import { beforeAll, describe, expect, it } from 'vitest';
import type { PlayAnswer } from '../../src/api/types';
import { ProblemError } from '../../src/api/problem';
import { generate, sign, verify, type KeyPair } from '../../src/identity/ed25519';
import { puIdOf, sha256Hex, utf8 } from '../../src/identity/encoding';
import {
  answerBytes,
  checkMediaAnswer,
  checkPlayAnswer,
  dtlsFingerprint,
  offerBytes,
} from '../../src/play/verify';

const fp = (byte: string) => Array.from({ length: 32 }, () => byte).join(':');
const sdp = (...lines: string[]) => ['v=0', ...lines, ''].join('\r\n');
const withFp = (byte: string) => sdp(`a=fingerprint:sha-256 ${fp(byte)}`);

let device: KeyPair;
let play: PlayAnswer;

beforeAll(async () => {
  device = await generate();
  const pu = (await puIdOf(device.publicKey)) ?? '';
  play = {
    session: 's1',
    device: { domain: 'd', pu },
    camera: `${pu}.0`,
    token: 't',
    expires_at: 0,
    device_key: device.publicKey,
    signal_url: '',
    ice_servers: [],
    quic: [],
    rtsp_urls: [],
  };
});

const refused = async (work: Promise<void>) => {
  const error: unknown = await work.catch((e: unknown) => e);
  expect(error).toBeInstanceOf(ProblemError);
  expect((error as ProblemError).problem.type).toBe('security');
};

describe('fingerprint', () => {
  it('reads one value, in upper case', () => {
    expect(dtlsFingerprint(withFp('ab'))).toBe(fp('AB'));
    expect(dtlsFingerprint(sdp(`a=fingerprint:SHA-256 ${fp('ab')}`))).toBe(fp('AB'));
    const twice = sdp(`a=fingerprint:sha-256 ${fp('ab')}`, `a=fingerprint:sha-256 ${fp('AB')}`);
    expect(dtlsFingerprint(twice)).toBe(fp('AB'));
  });

  it('refuses two, none, other algorithms and nonsense', () => {
    const one = `a=fingerprint:sha-256 ${fp('ab')}`;
    expect(dtlsFingerprint(sdp())).toBeUndefined();
    expect(dtlsFingerprint(sdp(one, `a=fingerprint:sha-256 ${fp('cd')}`))).toBeUndefined();
    expect(dtlsFingerprint(sdp(one, `a=fingerprint:sha-1 ab:cd`))).toBeUndefined();
    expect(dtlsFingerprint(sdp(one, `a=Fingerprint:sha-256 ${fp('cd')}`))).toBeUndefined();
    expect(dtlsFingerprint(sdp('a=fingerprint:sha-256 ab'))).toBeUndefined();
    expect(dtlsFingerprint(sdp(`${one} ${fp('cd')}`))).toBeUndefined();
    expect(dtlsFingerprint(`v=0\r${one}\ra=fingerprint:sha-256 ${fp('cd')}`)).toBeUndefined();
  });
});

describe('play answer', () => {
  it('is taken for the camera that was asked for only', async () => {
    await checkPlayAnswer({ id: play.camera }, play);
    await refused(checkPlayAnswer({ id: `${'a'.repeat(26)}.0` }, play));
    await refused(checkPlayAnswer({ id: play.camera }, { ...play, camera: 'x.0' }));
    const other = await generate();
    await refused(checkPlayAnswer({ id: play.camera }, { ...play, device_key: other.publicKey }));
  });

  it('of an NVR is taken for the NVR that was asked for only', async () => {
    const { pu } = play.device;
    const id = `${'a'.repeat(26)}.0`;
    const there = { ...play, camera: `${pu}.1000` };
    await checkPlayAnswer({ id }, there, pu);
    await refused(checkPlayAnswer({ id }, there));
    await refused(checkPlayAnswer({ id }, there, 'b'.repeat(26)));
    await refused(checkPlayAnswer({ id }, { ...there, camera: id }, pu));
    const other = await generate();
    await refused(checkPlayAnswer({ id }, { ...there, device_key: other.publicKey }, pu));
  });
});

describe('media answer', () => {
  const answer = async (by: KeyPair, session: string, offered: string, answered: string) => ({
    sdp: withFp(answered),
    public_key: by.publicKey,
    signature: await sign(by, answerBytes(session, fp(offered), fp(answered))),
  });

  it('is taken when the device signed this very session and both fingerprints', async () => {
    await checkMediaAnswer(play, withFp('AA'), await answer(device, 's1', 'AA', 'BB'));
  });

  it('is refused when anything was swapped', async () => {
    const other = await generate();
    const good = await answer(device, 's1', 'AA', 'BB');
    const offer = withFp('AA');
    await refused(checkMediaAnswer(play, offer, { ...good, sdp: withFp('CC') }));
    await refused(checkMediaAnswer(play, withFp('DD'), good));
    await refused(checkMediaAnswer(play, offer, await answer(device, 's2', 'AA', 'BB')));
    await refused(checkMediaAnswer(play, offer, await answer(other, 's1', 'AA', 'BB')));
    const claimed = { ...(await answer(other, 's1', 'AA', 'BB')), public_key: device.publicKey };
    await refused(checkMediaAnswer(play, offer, claimed));
    await refused(checkMediaAnswer(play, offer, { ...good, signature: '' }));
    await refused(checkMediaAnswer(play, offer, { ...good, sdp: sdp() }));
  });
});

describe('signatures', () => {
  it('of the library that old browsers use verify too', async () => {
    const { getPublicKeyAsync, signAsync } = await import('@noble/ed25519');
    const { base64url } = await import('../../src/identity/encoding');
    const secret = new Uint8Array(32).fill(5);
    const publicKey = base64url(await getPublicKeyAsync(secret));
    const message = await offerBytes('s', 'token', fp('AA'));
    const byNoble: KeyPair = { kind: 'noble', secret, publicKey };
    const signature = await sign(byNoble, message);
    expect(signature).toBe(base64url(await signAsync(message, secret)));
    expect(await verify(publicKey, message, signature)).toBe(true);
    expect(await verify(publicKey, utf8('other'), signature)).toBe(false);
  });

  it('cover the token by its hash', async () => {
    const text = new TextDecoder().decode(await offerBytes('s', 'token', 'AA'));
    expect(text).toBe(`sightline-offer-v1\0s\0${await sha256Hex('token')}\0AA`);
  });
});
