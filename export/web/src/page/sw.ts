/** Keeps the page for when there is no network, and isolates it, which threads need. */

/// <reference lib="webworker" />

export {};
declare const self: ServiceWorkerGlobalScope;
declare const __FILES__: string[]; // of the built page, but for what only some visitors need
declare const __BUILD__: string;

const CACHE = `edgecd-page-${__BUILD__}`;

self.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      await (await caches.open(CACHE)).addAll(__FILES__);
      await self.skipWaiting();
    })(),
  );
});

self.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      const old = (await caches.keys()).filter(
        (name) => name.startsWith("edgecd-page-") && name !== CACHE,
      );
      await Promise.all(old.map((name) => caches.delete(name)));
      await self.clients.claim();
    })(),
  );
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  const own = new URL(request.url).href.startsWith(self.registration.scope);
  if (request.method === "GET" && own) event.respondWith(answer(request));
});

/** The page itself from the cache; a bundle's files from the network (their hashes are the cache's keys). */
async function answer(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  const page = request.mode === "navigate" ? "./index.html" : request;
  const kept = await cache.match(page, { ignoreSearch: true });
  if (kept) return isolated(kept);
  const found = await fetch(request);
  if (found.ok && /\/assets\/[^/]+$/.test(request.url)) await cache.put(request, found.clone());
  return isolated(found);
}

function isolated(answer: Response): Response {
  if (answer.status === 0) return answer; // of another origin, and opaque
  const headers = new Headers(answer.headers);
  headers.set("Cross-Origin-Opener-Policy", "same-origin");
  headers.set("Cross-Origin-Embedder-Policy", "require-corp");
  headers.set("Cross-Origin-Resource-Policy", "same-origin");
  return new Response(answer.body, {
    status: answer.status,
    statusText: answer.statusText,
    headers,
  });
}
