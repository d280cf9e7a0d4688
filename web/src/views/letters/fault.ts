// Where in a refused event its fault is, from what the detail says: a byte of the line, or a JSON pointer.
import { escaped, layout, type Layout, type Span } from "../../parts/json-text.ts";
import { steps } from "../../parts/path.ts";
import type { DeadLetter } from "../../types.ts";

export interface Marked {
  text: string;
  /** In the text; null where the detail names no place that is there. */
  mark: Span | null;
}

/** `timePath` is where the letter's topic has its time: that is what is wrong with a late event. */
export function faultOf(letter: DeadLetter, timePath: string | undefined): Marked {
  const byte = /^byte (\d+): /.exec(letter.detail)?.[1];
  if (byte !== undefined) return { text: letter.body, mark: tokenAt(letter.body, Number(byte)) };
  const laid = layout(letter.body);
  if (laid === null) return { text: letter.body, mark: null };
  if (letter.reason === "late") {
    const pointer = steps(timePath ?? "")
      .map((step) => `/${escaped(step)}`)
      .join("");
    return { text: laid.text, mark: pointer === "" ? null : (laid.values.get(pointer) ?? null) };
  }
  return { text: laid.text, mark: placeIn(laid, letter.detail) };
}

/** The token that begins at this byte; what is at the end of the line where nothing does. */
function tokenAt(text: string, byte: number): Span | null {
  const bytes = new TextEncoder().encode(text);
  if (byte > bytes.length) return null;
  const from = new TextDecoder().decode(bytes.subarray(0, byte)).length;
  const token = /"(?:[^"\\\n]|\\.)*"|[\w.+-]+|[^]/y;
  token.lastIndex = from;
  return [from, from + (token.exec(text)?.[0].length ?? 0)];
}

function placeIn(laid: Layout, detail: string): Span | null {
  // A name within the pointer may hold what ends the pointer.
  for (let end = detail.indexOf(": "); end >= 0; end = detail.indexOf(": ", end + 1)) {
    const pointer = detail.slice(0, end);
    const value = laid.values.get(pointer);
    if (value !== undefined) return withinValue(laid, pointer, value, detail.slice(end + 2));
    const parent = laid.values.get(pointer.slice(0, Math.max(0, pointer.lastIndexOf("/"))));
    if (pointer.startsWith("/") && parent !== undefined && detail.slice(end + 2).startsWith("missing"))
      return opening(parent);
  }
  // What is wrong with the event as a whole has no pointer before it.
  const whole = laid.values.get("");
  const place = whole === undefined ? null : withinValue(laid, "", whole, detail);
  return place === whole ? null : place;
}

/** What is wrong with an object may be one member that is there, or one that is not. */
function withinValue(laid: Layout, pointer: string, value: Span, what: string): Span {
  if (/ is a required property$/.test(what)) return opening(value);
  const surplus = /\(['"](.+?)['"](?:, ['"]|,? .*(?:was|were) unexpected\)| (?:was|were) unexpected)/.exec(what)?.[1];
  const member = surplus === undefined ? undefined : `${pointer}/${escaped(surplus)}`;
  const name = member === undefined ? undefined : laid.names.get(member);
  const held = member === undefined ? undefined : laid.values.get(member);
  if (name !== undefined && held !== undefined) return [name[0], held[1]];
  // The text of an object that is wrong as a whole would be the whole picture.
  return value;
}

/** The bracket in which something is missing. */
const opening = ([from]: Span): Span => [from, from + 1];
