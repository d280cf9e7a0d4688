// The pipeline file that is being edited. It is no part of a view, so that it is there when one comes back from another part of the same pipeline.
import { computed, signal } from "@preact/signals";
import { get } from "../../api.ts";
import type { PipelineFile } from "../../types.ts";

export interface Texts {
  file: string;
  /** By the path that the file writes. */
  schemas: Record<string, string>;
}

export interface Draft {
  /** Null: it is new. */
  name: string | null;
  /** What the job had when the editing began; null where the pipeline is new. */
  version: string | null;
  before: Texts;
  now: Texts;
}

export const draft = signal<Draft | null>(null);

export const isChanged = computed(() => {
  const { value } = draft;
  return value !== null && (value.name === null || JSON.stringify(value.before) !== JSON.stringify(value.now));
});

/** Begins with what the job has. */
export function open({ name, text = "", version = "", schemas = {} }: PipelineFile): void {
  const texts = { file: text, schemas };
  draft.value = { name, version, before: texts, now: texts };
}

/** Goes on with the same text, over what the job has by now. */
export async function rebase(name: string): Promise<void> {
  const { text = "", version = "", schemas = {} } = await get<PipelineFile>(address(name));
  const { value } = draft;
  if (value?.name === name) draft.value = { ...value, version, before: { file: text, schemas } };
}

/** Changes one text: the file's, or that of a schema; null takes the schema away. */
export function edit(schema: string | null, text: string | null): void {
  const { value } = draft;
  if (value === null) return;
  const now = { ...value.now, schemas: { ...value.now.schemas } };
  if (schema === null) now.file = text ?? "";
  else if (text === null) delete now.schemas[schema];
  else now.schemas[schema] = text;
  draft.value = { ...value, now };
}

/** The name that the text gives its pipeline, where it can be seen without reading the whole. */
export function nameIn(file: string): string | null {
  return /^pipeline:[ \t]*["']?([a-z][a-z0-9_]*)/m.exec(file)?.[1] ?? null;
}

export function address(name: string): string {
  return `/pipelines/${encodeURIComponent(name)}`;
}
