/** What sessions share of WebRTC: one certificate, codec choice, server lists. */

import type { Capabilities, IceServer, VideoCodec } from '../api/types';

let made: Promise<RTCCertificate> | undefined;

/** The page's DTLS certificate, made once: making one takes longer than a round trip. */
export function certificate(): Promise<RTCCertificate> {
  const ecdsa: EcKeyGenParams = { name: 'ECDSA', namedCurve: 'P-256' };
  made ??= RTCPeerConnection.generateCertificate(ecdsa);
  return made;
}

/** Whether this browser can play at all. */
export function canPlay(): boolean {
  return typeof RTCPeerConnection === 'function' && decodable().length > 0;
}

const MIME: Record<VideoCodec, string> = { h264: 'video/h264', h265: 'video/h265' };

function decodable(): VideoCodec[] {
  const codecs = RTCRtpReceiver.getCapabilities('video')?.codecs ?? [];
  return (['h264', 'h265'] as const).filter((name) =>
    codecs.some((c) => c.mimeType.toLowerCase() === MIME[name]),
  );
}

/** What this browser states when it asks for media (A7.0). */
export function capabilities(): Capabilities {
  return { video_codecs: decodable() };
}

/** Offers only what cameras send: a short offer travels and parses faster. */
export function codecPreferences(transceiver: RTCRtpTransceiver): void {
  const wanted = ['video/h264', 'video/h265', 'video/rtx'];
  const codecs = (RTCRtpReceiver.getCapabilities('video')?.codecs ?? []).filter((c) =>
    wanted.includes(c.mimeType.toLowerCase()),
  );
  if (codecs.some((c) => c.mimeType.toLowerCase() !== 'video/rtx')) {
    transceiver.setCodecPreferences(codecs);
  }
}

export function toRtcIceServers(servers: IceServer[]): RTCIceServer[] {
  return servers
    .filter((s) => s.urls.length > 0)
    .map(({ urls, username, credential }) => ({
      urls,
      ...(username ? { username } : {}),
      ...(credential ? { credential } : {}),
    }));
}
