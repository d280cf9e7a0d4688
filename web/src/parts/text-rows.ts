// How high a text field is at first, so that its text can be read whole.
const ROWS_MIN = 6;
const ROWS_MAX = 26;
/** A long line is broken about here. */
const LINE_CHARS = 60;

export function rowsOf(text: string): number {
  const rows = text.split("\n").reduce((sum, line) => sum + Math.max(1, Math.ceil(line.length / LINE_CHARS)), 1);
  return Math.min(ROWS_MAX, Math.max(ROWS_MIN, rows));
}
