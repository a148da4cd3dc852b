/** What page and worker say to each other. */

import type { About, Answers } from "./engine.js";

export interface Settings {
  threads: number;
  webgpu: boolean;
}

export type Request =
  | { id: number; ask: "load"; files: File[] | null; url: string | null; settings: Settings }
  | { id: number; ask: "predict"; inputs: Record<string, string>[]; threshold: number | null }
  | { id: number; ask: "verify" };

export interface Results {
  load: About;
  predict: Answers;
  verify: number;
}

export type Reply =
  | { id: number; result: unknown }
  | { id: number; error: string }
  | { progress: [name: string, done: number, total: number] };
