// A field of an event by its path, as pipeline files write it: names joined by dots, array items in brackets.
import type { Json } from "../types.ts";

export function fieldOf(event: Json, path: string): Json | undefined {
  let found: Json | undefined = event;
  for (const step of steps(path)) {
    if (found === null || typeof found !== "object") return undefined;
    found = Array.isArray(found) ? found[Number(step)] : Object.hasOwn(found, step) ? found[step] : undefined;
  }
  return found;
}

export function steps(path: string): string[] {
  return path.split(/[.[\]]+/).filter((step) => step !== "");
}
