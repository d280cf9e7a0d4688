// Names and what they are: as a line of facts, or as figures that are seen from afar.
import type { ComponentChildren } from "preact";

export type Fact = readonly [name: string, of: ComponentChildren];

export function Facts({ of }: { of: readonly Fact[] }) {
  return (
    <dl class="facts">
      {of.map(([name, what]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{what}</dd>
        </div>
      ))}
    </dl>
  );
}

export interface Figure {
  name: string;
  text: string;
  /** Below it, in a small type. */
  note?: string | undefined;
  id?: string;
  /** More of it, where one points at it. */
  title?: string | undefined;
}

export function Figures({ of, label }: { of: readonly Figure[]; label: string }) {
  return (
    <dl class="figures wide" aria-label={label}>
      {of.map(({ name, text, note, id, title }) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd title={title}>
            <span id={id}>{text}</span>
            {note !== undefined && <small>{note}</small>}
          </dd>
        </div>
      ))}
    </dl>
  );
}
