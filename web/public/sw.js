// Service worker: keeps the page's own files, so that the app starts at once and also without a
// network. It never keeps what the API answers. The build replaces the next line.
const FILES = [];
const VERSION = 'dev';

const CACHE = `sightline-${VERSION}`;

self.addEventListener('install', (event) => {
  event.waitUntil(
    caches
      .open(CACHE)
      .then((cache) =>
        cache.addAll(['/', ...FILES].map((f) => new Request(f, { cache: 'reload' }))),
      )
      .then(() => self.skipWaiting()),
  );
});

self.addEventListener('activate', (event) => {
  event.waitUntil(
    caches
      .keys()
      .then((names) =>
        Promise.all(
          names
            .filter((n) => n.startsWith('sightline-') && n !== CACHE)
            .map((n) => caches.delete(n)),
        ),
      )
      .then(() => self.clients.claim()),
  );
});

self.addEventListener('fetch', (event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== 'GET' || url.origin !== self.location.origin) return;
  if (FILES.includes(url.pathname)) {
    // Names of these files change with their content.
    event.respondWith(caches.match(event.request).then((hit) => hit ?? fetch(event.request)));
  } else if (event.request.mode === 'navigate' && url.pathname === '/') {
    // The newest page when there is a network, the kept one otherwise.
    event.respondWith(
      fetch(event.request)
        .then((response) => {
          if (response.ok) {
            const copy = response.clone();
            event.waitUntil(caches.open(CACHE).then((cache) => cache.put('/', copy)));
          }
          return response;
        })
        .catch(() => caches.match('/').then((hit) => hit ?? Response.error())),
    );
  }
});
