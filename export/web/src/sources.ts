/** Where the files of a bundle come from, and that they are what the manifest says. */

import { BundleError, need } from "./errors.js";
import { MANIFEST } from "./manifest.js";
import type { FileRecord } from "./manifest.js";

/** Told while a file arrives: bytes so far, of how many (0: unknown). */
export type Progress = (name: string, done: number, total: number) => void;

/** A bundle's files by name. `record` is what the manifest says of the file; null of itself. */
export interface Source {
  read(
    name: string,
    record: FileRecord | null,
    progress: Progress,
  ): Promise<Uint8Array<ArrayBuffer>>;
  /** Keep a file that was found good, for the next time. */
  keep?(name: string, record: FileRecord | null, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
}

/** Files behind an address, such as `https://example.org/bundle/`.
 *
 * With a `cache` (from `caches.open`) a file is kept under its hash, and not fetched again; the
 * manifest is fetched anew where there is a network.
 */
export function fromUrl(url: string | URL, options: { cache?: Cache; base?: string } = {}): Source {
  const folder = new URL(url, options.base ?? globalThis.location?.href);
  if (!folder.pathname.endsWith("/")) folder.pathname += "/";
  const addressOf = (name: string): URL => {
    const address = new URL(name, folder);
    address.search = folder.search; // signed addresses
    return address;
  };
  const keyOf = (name: string, record: FileRecord | null): string =>
    record ? `https://sha256.invalid/${record.sha256}` : addressOf(name).href;
  return {
    async read(name, record, progress) {
      const address = addressOf(name);
      const kept = await options.cache?.match(keyOf(name, record));
      if (kept && record) return new Uint8Array(await kept.arrayBuffer());
      let answer: Response;
      try {
        answer = await fetch(address, { cache: "no-cache" });
        need(answer.ok, `${address}: the server answers ${answer.status}`);
      } catch (error) {
        if (kept) return new Uint8Array(await kept.arrayBuffer()); // offline
        if (error instanceof BundleError) throw error;
        throw new BundleError(`${address}: cannot be fetched (${(error as Error).message})`);
      }
      const most = record?.sizeBytes ?? 1 << 20;
      return readAll(answer, most, (done) => progress(name, done, record?.sizeBytes ?? 0));
    },
    async keep(name, record, bytes) {
      // Where there is no room it works all the same, but for the next time.
      await options.cache?.put(keyOf(name, record), new Response(bytes)).catch(() => undefined);
    },
  };
}

/** Files that a person chose or dropped. */
export function fromFiles(files: Iterable<File>): Source {
  const named = new Map([...files].map((file) => [file.name, file]));
  return {
    async read(name, record, progress) {
      const file = named.get(name);
      need(
        file,
        record
          ? `${name} is missing: choose all files of the bundle`
          : `this is not a bundle: it has no ${MANIFEST}`,
      );
      need(
        !record || file.size === record.sizeBytes,
        `${name} has ${file.size} bytes, not the ${record?.sizeBytes} of the manifest`,
      );
      const bytes = new Uint8Array(await file.arrayBuffer());
      progress(name, bytes.length, bytes.length);
      return bytes;
    },
  };
}

/** Throw BundleError unless the bytes are the manifest's. */
export async function checkFile(
  name: string,
  bytes: Uint8Array<ArrayBuffer>,
  record: FileRecord,
): Promise<void> {
  const size = bytes.length;
  need(
    size === record.sizeBytes,
    `${name} has ${size} bytes, not the ${record.sizeBytes} of the manifest`,
  );
  need(
    (await sha256(bytes)) === record.sha256,
    `${name} has been changed or damaged: its SHA-256 is not the manifest's`,
  );
}

async function sha256(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  need(
    globalThis.crypto?.subtle,
    "hashes can be checked on https or localhost only: open the page there",
  );
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The body of an answer, which may not be longer than `most` bytes. */
async function readAll(
  answer: Response,
  most: number,
  progress: (done: number) => void,
): Promise<Uint8Array<ArrayBuffer>> {
  const reader = answer.body?.getReader();
  if (!reader) return new Uint8Array(await answer.arrayBuffer());
  let bytes = new Uint8Array(
    Math.min(most, Number(answer.headers.get("content-length")) || 1 << 16),
  );
  let done = 0;
  for (;;) {
    const { value, done: over } = await reader.read();
    if (over) break;
    if (done + value.length > most) {
      await reader.cancel();
      throw new BundleError(`${answer.url} is longer than the manifest says`);
    }
    if (done + value.length > bytes.length) {
      const wider = new Uint8Array(Math.min(most, Math.max(2 * bytes.length, done + value.length)));
      wider.set(bytes.subarray(0, done));
      bytes = wider;
    }
    bytes.set(value, done);
    done += value.length;
    progress(done);
  }
  return bytes.length === done ? bytes : bytes.slice(0, done);
}
