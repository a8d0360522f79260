/** The last picture of each camera, in memory only: gone with the page and at sign-out. */

const pictures = new Map<string, HTMLCanvasElement>();

export function pictureOf(camera: string): HTMLCanvasElement | undefined {
  return pictures.get(camera);
}

export function storePicture(camera: string, source: HTMLCanvasElement): void {
  let kept = pictures.get(camera);
  if (!kept) {
    kept = document.createElement('canvas');
    pictures.set(camera, kept);
  }
  kept.width = source.width;
  kept.height = source.height;
  kept.getContext('2d')?.drawImage(source, 0, 0);
}

export function forgetPictures(): void {
  pictures.clear();
}
