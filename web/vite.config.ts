import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';

/** Writes the list of built files into the service worker. */
function serviceWorker(): Plugin {
  return {
    name: 'service-worker',
    apply: 'build',
    writeBundle(options, bundle) {
      const files = Object.keys(bundle)
        .filter((name) => name.startsWith('assets/'))
        .map((name) => `/${name}`)
        .sort();
      const path = join(options.dir ?? 'dist', 'sw.js');
      const version = createHash('sha256').update(files.join()).digest('hex').slice(0, 12);
      const text = readFileSync(path, 'utf8')
        .replace('const FILES = [];', `const FILES = ${JSON.stringify(files)};`)
        .replace("const VERSION = 'dev';", `const VERSION = '${version}';`);
      writeFileSync(path, text);
    },
  };
}

export default defineConfig({
  plugins: [serviceWorker()],
  build: {
    target: 'es2022',
    // Inline files would need `data:` in the page's content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: {
    proxy: {
      '/api': process.env['SIGHTLINE_CENTRE'] ?? 'http://127.0.0.1:8080',
      '/cs': { target: process.env['SIGHTLINE_CENTRE'] ?? 'http://127.0.0.1:8080', ws: true },
    },
  },
});
