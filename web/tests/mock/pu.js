// A device in a browser page, for tests: sends a drawn clock and a tone over WebRTC, signs as a
// PU does, verifies the offer's signature.
import { Player } from './replay.mjs';

const pair = await crypto.subtle.generateKey('Ed25519', false, ['sign', 'verify']);
const b64 = (bytes) =>
  btoa(String.fromCharCode(...new Uint8Array(bytes)))
    .replace(/\+/g, '-')
    .replace(/\//g, '_')
    .replace(/=+$/, '');
const publicKey = b64(await crypto.subtle.exportKey('raw', pair.publicKey));

const canvas = document.getElementById('picture');
const context = canvas.getContext('2d');
setInterval(() => {
  const now = new Date();
  const sky = context.createLinearGradient(0, 0, 0, 720);
  sky.addColorStop(0, '#31597a');
  sky.addColorStop(1, '#9fb7a4');
  context.fillStyle = sky;
  context.fillRect(0, 0, 1280, 720);
  context.fillStyle = '#5a4a3a';
  context.fillRect(420, 240, 440, 480);
  context.fillStyle = '#c98b4b';
  context.fillRect(560, 380, 160, 340);
  context.fillStyle = '#fff';
  context.font = '64px monospace';
  context.fillText(now.toISOString().slice(11, 23), 40, 90);
  context.beginPath();
  context.arc(100 + ((now.getTime() / 10) % 1080), 640, 30, 0, 7);
  context.fill();
}, 40);
const video = canvas.captureStream(25).getVideoTracks()[0];
const audioContext = new AudioContext();
const oscillator = audioContext.createOscillator();
oscillator.frequency.value = 440;
const destination = audioContext.createMediaStreamDestination();
oscillator.connect(destination);
oscillator.start();
const audio = destination.stream.getAudioTracks()[0];

const socket = new WebSocket(`ws://${location.host}/mock-pu`);
socket.onopen = () => {
  socket.send(JSON.stringify({ hello: publicKey }));
  document.title = 'ready';
};
const sessions = new Map();
window.sessions = sessions;
window.offers = 0;

socket.onmessage = async ({ data }) => {
  const message = JSON.parse(data);
  const pc = sessions.get(message.session);
  if (message.type === 'offer') await answer(message);
  else if (message.type === 'candidate' && pc && message.candidate) {
    await pc.addIceCandidate({ candidate: message.candidate, sdpMLineIndex: 0 }).catch(() => {});
  } else if (message.type === 'end' && pc) {
    pc.close();
    sessions.delete(message.session);
  }
};

const fingerprint = (sdp) => /a=fingerprint:sha-256 (\S+)/i.exec(sdp)[1].toUpperCase();
const utf8 = (text) => new TextEncoder().encode(text);

async function offerIsSigned({ session, offer }) {
  const raw = (text) =>
    Uint8Array.from(atob(text.replace(/-/g, '+').replace(/_/g, '/')), (c) => c.charCodeAt(0));
  const key = await crypto.subtle.importKey('raw', raw(offer.client_key), 'Ed25519', false, [
    'verify',
  ]);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', utf8(offer.token)));
  const hex = [...hash].map((b) => b.toString(16).padStart(2, '0')).join('');
  const bytes = utf8(`sightline-offer-v1\0${session}\0${hex}\0${fingerprint(offer.sdp)}`);
  return crypto.subtle.verify('Ed25519', key, raw(offer.signature), bytes);
}

async function answer(message) {
  const { session, offer } = message;
  window.offers += 1;
  if (!(await offerIsSigned(message))) {
    const problem = { type: 'invalid_token', detail: 'the offer is not signed' };
    socket.send(JSON.stringify({ type: 'refused', session, problem }));
    return;
  }
  let pc = sessions.get(session);
  if (!pc) {
    pc = new RTCPeerConnection();
    sessions.set(session, pc);
    pc.onicecandidate = ({ candidate }) =>
      candidate &&
      socket.send(JSON.stringify({ type: 'candidate', session, candidate: candidate.candidate }));
    pc.ondatachannel = ({ channel }) =>
      channel.label.startsWith('sightline-replay/') ? replay(channel) : control(channel);
  }
  await pc.setRemoteDescription({ type: 'offer', sdp: offer.sdp });
  for (const transceiver of pc.getTransceivers()) {
    if (transceiver.sender.track) continue;
    transceiver.direction = 'sendonly';
    const kind = transceiver.receiver.track.kind;
    await transceiver.sender.replaceTrack(kind === 'video' ? video : audio);
  }
  await pc.setLocalDescription();
  const sdp = pc.localDescription.sdp;
  const bytes = utf8(
    `sightline-answer-v1\0${session}\0${fingerprint(offer.sdp)}\0${fingerprint(sdp)}`,
  );
  const signature = b64(await crypto.subtle.sign('Ed25519', pair.privateKey, bytes));
  socket.send(
    JSON.stringify({ type: 'answer', session, answer: { sdp, public_key: publicKey, signature } }),
  );
}

/** Recordings: notes what is wanted. */
window.replays = [];
/** Whether they are shown as well. */
window.playsBack = false;
function replay(channel) {
  const wanted = [];
  window.replays.push({ channel, wanted });
  const player = new Player(channel);
  channel.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    wanted.push(message);
    if (window.playsBack) player.obey(message);
  };
}

function control(channel) {
  const say = (message) => channel.readyState === 'open' && channel.send(JSON.stringify(message));
  window.control = say;
  const serving = (choice) => ({
    type: 'serving',
    stream: {
      tier: choice.tier ?? 'main',
      keyframes_only: choice.mode === 'keyframes',
      transcoded: choice.mode === 'exact',
      codec: 'h264',
      width: choice.width ?? 1280,
      height: choice.height ?? 720,
      reason: 'mock',
    },
  });
  channel.onopen = () => say(serving({ mode: 'auto' }));
  channel.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === 'ping') {
      const pu_time = Math.round((performance.timeOrigin + performance.now()) * 1000);
      say({ type: 'pong', cu_time: message.cu_time, pu_time });
    }
    if (message.type === 'set_quality') {
      window.lastQuality = message.quality;
      say(serving(message.quality));
    }
  };
}
