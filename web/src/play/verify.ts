/**
 * What must hold before a frame of a camera is shown: the answer comes from the device whose key
 * hashes to the camera's id, and its certificate is the one that this device signed. A centre that
 * swaps certificates or devices is found out here.
 */

import type { Camera, PlayAnswer } from '../api/types';
import { problemError } from '../api/problem';
import { puIdOf, sha256Hex, utf8 } from '../identity/encoding';
import { verify } from '../identity/ed25519';
import type { MediaAnswer } from './messages';

/**
 * The value of the `a=fingerprint:sha-256` lines of an SDP, in upper case; `undefined` when there
 * is none, when two differ, or when another algorithm is named (`ps::dtls_fingerprint`).
 */
export function dtlsFingerprint(sdp: string): string | undefined {
  let found: string | undefined;
  for (const line of sdp.split(/\r\n|\r|\n/)) {
    // Attribute names are matched without regard to case here, so that no parser laxer than ours
    // could take a line that we did not see.
    const match = /^\s*a\s*=\s*fingerprint\s*:(.*)$/i.exec(line);
    if (!match) continue;
    const [algorithm, value, ...rest] = (match[1] ?? '').trim().split(/\s+/);
    if (algorithm?.toLowerCase() !== 'sha-256' || !value || rest.length > 0) return undefined;
    const upper = value.toUpperCase();
    if (!/^([0-9A-F]{2}:){31}[0-9A-F]{2}$/.test(upper)) return undefined;
    if (found !== undefined && found !== upper) return undefined;
    found = upper;
  }
  return found;
}

/** What the client signs (`ps::offer_bytes`). */
export async function offerBytes(session: string, token: string, offered: string) {
  return utf8(`sightline-offer-v1\0${session}\0${await sha256Hex(token)}\0${offered}`);
}

/** What the device signs (`ps::answer_bytes`). */
export function answerBytes(session: string, offered: string, answered: string) {
  return utf8(`sightline-answer-v1\0${session}\0${offered}\0${answered}`);
}

/** Device part of a camera id. */
export function puOfCamera(camera: string): string {
  return camera.slice(0, camera.indexOf('.'));
}

/** Checks that a play answer speaks of the camera that was asked for, or of the NVR. */
export async function checkPlayAnswer(
  camera: Pick<Camera, 'id'>,
  answer: PlayAnswer,
  recorder?: string,
): Promise<void> {
  const pu = recorder ?? puOfCamera(camera.id);
  // An NVR counts the cameras that it records by numbers of its own.
  const isNamed =
    recorder === undefined ? answer.camera === camera.id : puOfCamera(answer.camera) === recorder;
  if (!isNamed || answer.device.pu !== pu) {
    throw problemError('security', `the centre named ${answer.camera} in place of ${camera.id}`);
  }
  if ((await puIdOf(answer.device_key)) !== pu) {
    throw problemError('security', `the key that the centre named is not the key of device ${pu}`);
  }
}

/** Checks a device's answer; must pass before `setRemoteDescription`. */
export async function checkMediaAnswer(
  play: PlayAnswer,
  offerSdp: string,
  answer: MediaAnswer,
): Promise<void> {
  if (answer.public_key !== play.device_key) {
    throw problemError('security', 'the answer was signed with another key than the camera’s');
  }
  const offered = dtlsFingerprint(offerSdp);
  const answered = dtlsFingerprint(answer.sdp);
  if (!offered || !answered) {
    throw problemError('security', 'the answer names no certificate, or several different ones');
  }
  const bytes = answerBytes(play.session, offered, answered);
  if (!(await verify(play.device_key, bytes, answer.signature))) {
    throw problemError('security', 'the camera did not sign the certificate that was presented');
  }
}
