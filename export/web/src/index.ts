/** Runs edgecd bundles: text in, label and probabilities out. The format is in ../BUNDLE.md. */

export { Classifier, loadBundle } from "./classifier.js";
export type { Input, LoadOptions, Prediction } from "./classifier.js";
export { BundleError } from "./errors.js";
export { fromFiles, fromUrl } from "./sources.js";
export type { Progress, Source } from "./sources.js";
export type { Manifest } from "./manifest.js";
