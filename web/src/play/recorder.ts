/** Pictures and recordings to files of the person's choice; nothing leaves the device. */

// A recording that cannot be streamed to disk is held in memory up to this size.
const MEMORY_LIMIT_BYTES = 500_000_000;

interface FileSink {
  write: (blob: Blob) => Promise<void>;
  close: () => Promise<void>;
}

interface SavePicker {
  showSaveFilePicker?: (options: { suggestedName: string }) => Promise<{
    createWritable: () => Promise<FileSink>;
  }>;
}

/** Why a recording ended. */
export type RecordingEnd = 'asked' | 'interrupted';

/** A file name from a camera's name and a time, the present one unless told. */
export function fileName(camera: string, extension: string, at = new Date()): string {
  const name = camera.replace(/[^\p{L}\p{N}_-]+/gu, '-').replace(/^-+|-+$/g, '') || 'camera';
  const pad = (n: number) => String(n).padStart(2, '0');
  const date = `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())}`;
  const time = `${pad(at.getHours())}${pad(at.getMinutes())}${pad(at.getSeconds())}`;
  return `${name}_${date}_${time}.${extension}`;
}

/** The name of a picture by when it was taken, in microseconds since 1970; now unless told. */
export function pictureName(camera: string, atUs: number | undefined): string {
  return fileName(camera, 'png', atUs === undefined ? undefined : new Date(atUs / 1_000));
}

/** Saves the frame on the screen in the stream's own size. */
export async function saveSnapshot(
  picture: HTMLVideoElement | HTMLCanvasElement,
  name: string,
): Promise<boolean> {
  const canvas = document.createElement('canvas');
  const isVideo = picture instanceof HTMLVideoElement;
  canvas.width = isVideo ? picture.videoWidth : picture.width;
  canvas.height = isVideo ? picture.videoHeight : picture.height;
  if (canvas.width === 0) return false;
  canvas.getContext('2d')?.drawImage(picture, 0, 0);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (!blob) return false;
  download(blob, name);
  return true;
}

function download(blob: Blob, name: string): void {
  const url = URL.createObjectURL(blob);
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const TYPES = [
  { mime: 'video/mp4;codecs=avc1.640028,opus', extension: 'mp4' },
  { mime: 'video/mp4;codecs=avc1.640028,mp4a.40.2', extension: 'mp4' },
  { mime: 'video/mp4', extension: 'mp4' },
  { mime: 'video/webm;codecs=vp9,opus', extension: 'webm' },
  { mime: 'video/webm', extension: 'webm' },
];

/** One recording. */
export class Recorder {
  readonly ended: Promise<RecordingEnd>;
  private readonly startedMs = performance.now();
  private asked = false;
  private chunks: Blob[] = [];
  private held = 0;
  private writing: Promise<void> = Promise.resolve();

  /** Starts recording; `undefined` when the person chose no file. */
  static async start(
    stream: MediaStream,
    name: (extension: string) => string,
  ): Promise<Recorder | undefined> {
    if (typeof MediaRecorder !== 'function') throw new Error('MediaRecorder');
    const type = TYPES.find((t) => MediaRecorder.isTypeSupported(t.mime));
    if (!type) throw new Error('MediaRecorder');
    const suggestedName = name(type.extension);
    let sink: FileSink | undefined;
    try {
      const picker = window as SavePicker;
      sink = await (await picker.showSaveFilePicker?.({ suggestedName }))?.createWritable();
    } catch (error) {
      if (error instanceof DOMException && error.name === 'AbortError') return undefined;
      // No picker in this context: the file is downloaded at the end.
    }
    return new Recorder(new MediaRecorder(stream, { mimeType: type.mime }), sink, suggestedName);
  }

  private constructor(
    private readonly recorder: MediaRecorder,
    private readonly sink: FileSink | undefined,
    private readonly name: string,
  ) {
    recorder.ondataavailable = ({ data }) => this.take(data);
    this.ended = new Promise((resolve, reject) => {
      recorder.onerror = () => this.recorder.stop();
      recorder.onstop = () => {
        this.finish().then(
          () => resolve(this.asked ? 'asked' : 'interrupted'),
          (error: unknown) => reject(error instanceof Error ? error : new Error(String(error))),
        );
      };
    });
    this.ended.catch(() => undefined);
    recorder.start(1000);
  }

  get seconds(): number {
    return (performance.now() - this.startedMs) / 1000;
  }

  async stop(): Promise<void> {
    this.asked = true;
    if (this.recorder.state !== 'inactive') this.recorder.stop();
    await this.ended.catch(() => undefined);
  }

  private take(data: Blob): void {
    const { sink } = this;
    if (sink) {
      this.writing = this.writing.then(() => sink.write(data));
      this.writing.catch(() => this.recorder.state !== 'inactive' && this.recorder.stop());
      return;
    }
    this.chunks.push(data);
    this.held += data.size;
    if (this.held > MEMORY_LIMIT_BYTES && this.recorder.state !== 'inactive') this.recorder.stop();
  }

  private async finish(): Promise<void> {
    if (this.sink) {
      await this.writing;
      await this.sink.close();
    } else download(new Blob(this.chunks, { type: this.recorder.mimeType }), this.name);
    this.chunks = [];
  }
}
