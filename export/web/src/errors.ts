/** A bundle that breaks the format, or an input that cannot be answered: one line for people. */
export class BundleError extends Error {
  override name = "BundleError";
}

/** Throw a BundleError with these words unless `holds`. */
export function need(holds: unknown, words: string): asserts holds {
  if (!holds) throw new BundleError(words);
}
