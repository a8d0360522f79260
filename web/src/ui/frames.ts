export interface FrameMetadata {
  presentationTime: number;
  rtpTimestamp?: number;
}

/** Calls for every frame that comes to the screen; gives a function that stops it. */
export function onFrames(
  video: HTMLVideoElement,
  callback: (metadata: FrameMetadata) => void,
): () => void {
  let stopped = false;
  if (!('requestVideoFrameCallback' in HTMLVideoElement.prototype)) {
    // Older browsers: the position moves when a frame came; its RTP timestamp stays unknown.
    const moved = () => callback({ presentationTime: performance.now() });
    video.addEventListener('timeupdate', moved);
    video.addEventListener('loadeddata', moved);
    return () => {
      video.removeEventListener('timeupdate', moved);
      video.removeEventListener('loadeddata', moved);
    };
  }
  const next = (_now: number, metadata: VideoFrameCallbackMetadata) => {
    if (stopped) return;
    video.requestVideoFrameCallback(next);
    callback(metadata);
  };
  video.requestVideoFrameCallback(next);
  return () => {
    stopped = true;
  };
}
