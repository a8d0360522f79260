// Prints what the first load weighs compressed, and fails above the limit.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, gzipSync } from 'node:zlib';

const LIMIT_BYTES = 150_000;
const dist = join(import.meta.dirname, '..', 'dist');
const html = readFileSync(join(dist, 'index.html'), 'utf8');

// The page, and what it names: scripts, preloaded modules, style sheets. Icons and the service
// worker come after the first paint, and languages and scanners only when they are used.
const files = [...html.matchAll(/<(?:script|link)\b[^>]*?(?:src|href)="(\/assets\/[^"]+)"/g)].map(
  (m) => m[1],
);
let total = 0;
for (const name of ['/index.html', ...files]) {
  const bytes = readFileSync(join(dist, name));
  const gzip = gzipSync(bytes).length;
  total += gzip;
  console.log(
    `${name.padEnd(36)} ${String(bytes.length).padStart(7)} B, gzip ${String(gzip).padStart(6)} B, ` +
      `brotli ${String(brotliCompressSync(bytes).length).padStart(6)} B`,
  );
}
console.log(`first load: ${(total / 1000).toFixed(1)} kB gzip of ${LIMIT_BYTES / 1000} kB`);
if (files.length === 0 || total > LIMIT_BYTES) {
  console.error('the first load is too heavy, or index.html names no script');
  process.exit(1);
}
