// A topic's JSON Schema as the fields of a form: its leaves, with what each may hold and a sensible value.
import type { Json, Topic } from "../../types.ts";

type Schema = { [name: string]: Json };

/** Deeper parts of an event are written as JSON. */
const DEPTH_MAX = 8;
/** References that lead to references. */
const REFERENCES_MAX = 16;

export interface Field {
  /** Names from the event's top down to it. */
  path: string[];
  /** The same, as pipeline files write it. */
  name: string;
  required: boolean;
  kind: "text" | "integer" | "number" | "choice" | "json";
  /** Of a choice. */
  choices: Json[];
  minimum: number | undefined;
  maximum: number | undefined;
  pattern: string | undefined;
  description: string | undefined;
  /** Gives the field of each new event a value of its own: ids and times. */
  fresh: (() => Json) | null;
}

export function fieldsOf(topic: Topic): Field[] {
  return isObject(topic.schema) ? leaves(topic.schema, topic.schema, topic, [], true) : [];
}

function leaves(schema: Schema, root: Schema, topic: Topic, path: string[], required: boolean): Field[] {
  const known = resolve(schema, root);
  const properties = known["properties"];
  if (isObject(properties) && path.length < DEPTH_MAX) {
    const wanted = Array.isArray(known["required"]) ? known["required"] : [];
    return Object.entries(properties).flatMap(([name, inner]) =>
      isObject(inner) ? leaves(inner, root, topic, [...path, name], required && wanted.includes(name)) : [],
    );
  }
  return path.length === 0 ? [] : [field(known, topic, path, required)];
}

function field(schema: Schema, topic: Topic, path: string[], required: boolean): Field {
  const name = path.join(".");
  const types = [schema["type"]].flat().filter((type) => type !== "null");
  const type = types.length === 1 ? types[0] : undefined;
  const choices = Array.isArray(schema["enum"]) ? schema["enum"] : "const" in schema ? [schema["const"] ?? null] : null;
  const numbered = (key: string) => (typeof schema[key] === "number" ? schema[key] : undefined);
  const worded = (key: string) => (typeof schema[key] === "string" ? schema[key] : undefined);
  return {
    path,
    name,
    required,
    kind: choices !== null || type === "boolean" ? "choice" : kindOf(type),
    choices: choices ?? (type === "boolean" ? [true, false] : []),
    minimum: numbered("minimum"),
    maximum: numbered("maximum"),
    pattern: worded("pattern"),
    description: worded("description"),
    fresh: freshOf(schema, topic, name, type),
  };
}

function kindOf(type: Json | undefined): Field["kind"] {
  if (type === "integer" || type === "number") return type;
  return type === "string" ? "text" : "json";
}

/** Times go by what the topic's example has: text, or a number in the unit of its size. */
function freshOf(schema: Schema, topic: Topic, name: string, type: Json | undefined): Field["fresh"] {
  if (name === topic.time && type !== "string") {
    const example = at(topic.example, name.split("."));
    return typeof example === "number" ? () => nowLike(example) : null;
  }
  if (schema["format"] === "date-time" || name === topic.time) return () => new Date().toISOString();
  const id = name === topic.id && type === "string";
  return schema["format"] === "uuid" || (id && !("pattern" in schema)) ? uuid : null;
}

function nowLike(example: number): number {
  const now = Date.now();
  if (example > 1e17) return now * 1e6;
  if (example > 1e14) return now * 1e3;
  return example > 1e11 ? now : now / 1e3;
}

function resolve(schema: Schema, root: Schema): Schema {
  let found: Json = schema;
  for (let i = 0; i < REFERENCES_MAX; i++) {
    const reference: Json | undefined = isObject(found) ? found["$ref"] : undefined;
    if (typeof reference !== "string" || !reference.startsWith("#")) break;
    found = at(root, reference.slice(1).split("/").filter(Boolean)) ?? {};
  }
  return isObject(found) ? found : {};
}

/** A new event: the topic's example, with an id and a time of its own. */
export function newEvent(topic: Topic, fields: Field[]): Json {
  return refreshed(structuredClone(topic.example ?? {}), fields, new Set());
}

/** The event with new ids and times, but for the fields that somebody has written. */
export function refreshed(event: Json, fields: Field[], written: ReadonlySet<string>): Json {
  let made = event;
  for (const { path, name, fresh } of fields) {
    if (fresh !== null && !written.has(name)) made = put(made, path, fresh());
  }
  return made;
}

export function at(value: Json | undefined, path: string[]): Json | undefined {
  return path.reduce<Json | undefined>(
    (found, name) => (isObject(found) && Object.hasOwn(found, name) ? found[name] : undefined),
    value,
  );
}

/** A copy with another value at this place; undefined takes the place away. */
export function put(value: Json, [name, ...rest]: string[], to: Json | undefined): Json {
  if (name === undefined) return to ?? null;
  const object: Schema = isObject(value) ? { ...value } : {};
  const inner = rest.length === 0 ? to : put(object[name] ?? {}, rest, to);
  if (inner === undefined) delete object[name];
  // An own property whatever its name: a schema may have a field `__proto__`.
  else Object.defineProperty(object, name, { value: inner, enumerable: true, configurable: true, writable: true });
  return object;
}

export function isObject(value: Json | undefined): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** crypto.randomUUID is there on secure origins only. */
export function uuid(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = ((bytes[6] ?? 0) & 15) | 64;
  bytes[8] = ((bytes[8] ?? 0) & 63) | 128;
  const hex = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
