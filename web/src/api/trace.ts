/**
 * W3C Trace Context: everything that one click causes in the centre and the camera is one trace.
 * The page reports no spans of its own; the parent that it names stands for the click.
 */

/** A `traceparent` of a new trace. */
export function newTrace(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(24));
  // All zeros would mean no trace and no span.
  const [trace, span] = [bytes.subarray(0, 16), bytes.subarray(16)];
  for (const part of [trace, span]) if (part.every((byte) => byte === 0)) part[0] = 1;
  return `00-${hex(trace)}-${hex(span)}-01`;
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
