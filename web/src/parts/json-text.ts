// JSON as text: laid out on lines of its own with every token as it was written (JSON.parse would round large integers and forget a name that stands
// twice), and where in it the value of a JSON pointer (RFC 6901) stands.

/** From and to, in characters of the laid out text. */
export type Span = readonly [number, number];

export interface Layout {
  text: string;
  /** By JSON pointer; the whole is "". */
  values: Map<string, Span>;
  /** The members' names with their quotes, by the pointer of their value. */
  names: Map<string, Span>;
}

/** Deeper than any event may nest. */
const DEPTH_MAX = 200;
const TOKEN = /\s*([{}[\],:]|"(?:[^"\\]|\\.)*"|[^\s{}[\],:"]+)/y;

/** Null where the text is no JSON, or nests too deep. */
export function layout(source: string): Layout | null {
  try {
    JSON.parse(source);
  } catch {
    return null;
  }
  const writer = new Writer(source);
  return writer.value("", 0) ? { text: writer.text, values: writer.values, names: writer.names } : null;
}

/** Knows that the source is JSON; `value` gives false where it nests too deep. */
class Writer {
  text = "";
  readonly values = new Map<string, Span>();
  readonly names = new Map<string, Span>();
  private at = 0;

  constructor(private readonly source: string) {}

  value(pointer: string, depth: number): boolean {
    if (depth > DEPTH_MAX) return false;
    const start = this.text.length;
    const token = this.next();
    this.text += token;
    if (token === "{" || token === "[") {
      const close = token === "{" ? "}" : "]";
      if (this.peek() === close) this.text += this.next();
      else if (!this.members(pointer, depth + 1, token === "{")) return false;
    }
    this.values.set(pointer, [start, this.text.length]);
    return true;
  }

  private members(pointer: string, depth: number, named: boolean): boolean {
    for (let index = 0; ; index += 1) {
      this.line(depth);
      let step = String(index);
      if (named) {
        const name = this.next();
        step = escaped(JSON.parse(name) as string);
        this.names.set(`${pointer}/${step}`, [this.text.length, this.text.length + name.length]);
        this.next();
        this.text += `${name}: `;
      }
      if (!this.value(`${pointer}/${step}`, depth)) return false;
      const after = this.next();
      if (after !== ",") {
        this.line(depth - 1);
        this.text += after;
        return true;
      }
      this.text += after;
    }
  }

  private line(depth: number): void {
    this.text += `\n${"  ".repeat(depth)}`;
  }

  private next(): string {
    TOKEN.lastIndex = this.at;
    const token = TOKEN.exec(this.source)?.[1] ?? "";
    this.at = TOKEN.lastIndex;
    return token;
  }

  private peek(): string {
    const before = this.at;
    const token = this.next();
    this.at = before;
    return token;
  }
}

/** A name as a step of a pointer. */
export function escaped(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

/** The text at a pointer, as it was written there but for its indentation. */
export function textAt(source: string, pointer: string): string | null {
  const laid = layout(source);
  const span = laid?.values.get(pointer);
  if (laid === null || span === undefined) return null;
  const indent = /[^\n]*$/.exec(laid.text.slice(0, span[0]))?.[0].match(/^ */)?.[0] ?? "";
  return laid.text.slice(...span).replaceAll(`\n${indent}`, "\n");
}
