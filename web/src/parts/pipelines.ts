// The job's pipelines, which seldom change.
import { get } from "../api.ts";
import type { Pipeline } from "../types.ts";
import { type Loaded, useLoad } from "./load.ts";

/** The list brings all files. */
const PIPELINES_MS = 30_000;

export function usePipelines(): Loaded<{ pipelines: Pipeline[] }> {
  return useLoad((signal) => get<{ pipelines: Pipeline[] }>("/pipelines", { signal }), [], PIPELINES_MS);
}
