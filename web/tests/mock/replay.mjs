// Recordings of the device in a page: every picture is a keyframe of one colour, which tells its second.
import { CODECS, keyframe, pictureSet, sequenceSet, SIDE } from './h264.mjs';

const HEAD_LEN = 34;
const PICTURE_MS = 40;
const SECOND_US = 1_000_000;
const START_CODE = [0, 0, 0, 1];
const SETS = [...START_CODE, ...sequenceSet(), ...START_CODE, ...pictureSet()];

/** The grey of a time, from 0 to 255. */
export function greyAt(wallUs) {
  return 40 + 16 * (Math.floor(wallUs / SECOND_US) % 12);
}

/** Plays what is wanted over a channel (crates/protocol/src/pc/replay.rs), at the speed of life and others. */
export class Player {
  command = 0;
  scale = 1;
  atUs = 0;
  presentationUs = 0;
  sent = 0;
  timer = undefined;
  told = false;

  constructor(channel) {
    this.channel = channel;
    channel.addEventListener('close', () => clearInterval(this.timer));
  }

  obey(message) {
    clearInterval(this.timer);
    if (message.type === 'pause' || message.type === 'live') return;
    this.tellForm();
    if (message.type === 'show') this.one(message.at);
    else if (message.type === 'step') {
      this.one((message.from ?? this.atUs) + (message.backwards ? -1 : 1) * PICTURE_MS * 1_000);
    } else if (message.pictures === 'keyframes') {
      // Keyframes lie two seconds apart.
      this.one(Math.floor(message.at / 2 / SECOND_US) * 2 * SECOND_US);
      this.say({ type: 'ended' });
    } else this.play(message);
  }

  one(wallUs) {
    this.command += 1;
    this.presentationUs += 1_000;
    this.unit(wallUs);
  }

  play({ at, scale_permille: permille }) {
    if (at !== undefined || permille < 0 !== this.scale < 0) this.command += 1;
    this.scale = permille / 1_000;
    const from = at ?? this.atUs;
    const [beginMs, begin] = [performance.now(), this.presentationUs + 1_000];
    let sent = -1;
    const send = () => {
      const due = Math.floor((performance.now() - beginMs) / PICTURE_MS);
      while (sent < due) {
        sent += 1;
        this.presentationUs = begin + sent * PICTURE_MS * 1_000;
        this.unit(from + sent * PICTURE_MS * 1_000 * this.scale);
      }
    };
    send();
    this.timer = setInterval(send, PICTURE_MS);
  }

  unit(wallUs) {
    this.atUs = Math.round(wallUs);
    this.sent += 1;
    const nal = keyframe([greyAt(this.atUs), 128, 128], this.sent % 2);
    const data = [...SETS, ...START_CODE, ...nal];
    const message = new Uint8Array(HEAD_LEN + data.length);
    const view = new DataView(message.buffer);
    // The first of a unit: a keyframe, shown, follows nothing.
    view.setUint8(0, 1);
    view.setUint8(1, 0b00_1110);
    view.setUint32(2, this.command);
    view.setBigInt64(6, BigInt(this.atUs));
    view.setBigInt64(14, BigInt(this.presentationUs));
    view.setBigInt64(22, BigInt(this.presentationUs));
    view.setUint32(30, data.length);
    message.set(data, HEAD_LEN);
    if (this.channel.readyState === 'open') this.channel.send(message);
  }

  tellForm() {
    if (this.told) return;
    this.told = true;
    const video = { codec: 'h264', codecs: CODECS, width: SIDE, height: SIDE };
    this.say({ type: 'stream', video, audio: null });
  }

  say(message) {
    if (this.channel.readyState === 'open') this.channel.send(JSON.stringify(message));
  }
}
