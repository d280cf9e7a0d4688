// A table as every view has them: with a caption, its own scroll region that the keyboard reaches, and rows kept by key.
import type { ComponentChildren } from "preact";

export interface Column<T> {
  head: string;
  cell: (row: T) => ComponentChildren;
  /** Aligned as numbers are. */
  numeric?: boolean;
  /** Set in a type of equal widths. */
  code?: boolean;
}

interface Props<T> {
  /** Says what the table has; part of it for screen readers where `quiet`. */
  caption: string;
  quiet?: boolean;
  columns: Column<T>[];
  rows: readonly T[];
  keyOf: (row: T) => string | number;
  /** Instead of rows where there are none. */
  empty: string;
  id?: string;
  /** The row that is chosen. */
  current?: string | number | undefined;
}

export function Table<T>({ caption, quiet, columns, rows, keyOf, empty, id, current }: Props<T>) {
  const kind = (column: Column<T>) => (column.numeric ? "n" : column.code ? "code" : undefined);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
      <table id={id}>
        <caption class={quiet ? "quiet" : undefined}>{caption}</caption>
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column.head} scope="col" class={column.numeric ? "n" : undefined}>
                {column.head}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => {
            const key = keyOf(row);
            return (
              <tr key={key} data-key={key} aria-current={key === current ? "true" : undefined}>
                {columns.map((column) => (
                  <td key={column.head} class={kind(column)}>
                    {column.cell(row)}
                  </td>
                ))}
              </tr>
            );
          })}
          {rows.length === 0 && (
            <tr>
              <td colSpan={columns.length} class="note">
                {empty}
              </td>
            </tr>
          )}
        </tbody>
      </table>
    </div>
  );
}
