// Rows as a table; each leads to its events.
import { useState } from "preact/hooks";
import { group, number, time, value } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { OnOneLine } from "../../parts/event-table.tsx";
import { useHold } from "../../parts/hold.ts";
import { type Column, Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { Json } from "../../types.ts";
import type { Choice, ShownRow } from "./rows.ts";

/** Rows that the table has at first, and as many again at each "More". */
const STEP = 50;

interface Props {
  rows: ShownRow[];
  /** The group's. */
  fields: string[];
  choice: Choice;
  /** Asks for rows of the time span that are not loaded. */
  more: (() => void) | null;
}

export function RowTable({ rows: newest, fields, choice, more }: Props) {
  const say = words();
  const { shown: rows, handlers } = useHold(newest);
  const [shown, setShown] = useState(STEP);
  const filtered = Object.keys(choice.group).length > 0 || choice.from !== "" || choice.to !== "";
  return (
    <section class="card long">
      <div {...handlers}>
        <Table
          id="rows"
          caption={say.windows.rows}
          rows={rows.slice(0, shown)}
          keyOf={(row) => row.metric_id}
          empty={filtered ? say.windows.noRowsHere : say.windows.noRows}
          columns={columns(rows, fields)}
        />
      </div>
      {rows.length > 0 && (
        <div class="more">
          <span class="note">{say.common.shown(Math.min(shown, rows.length), shown < rows.length)}</span>
          {shown < rows.length && (
            <button type="button" onClick={() => setShown(shown + STEP)}>
              {say.common.more}
            </button>
          )}
        </div>
      )}
      {more !== null && (
        <div class="more">
          <span class="note">{say.windows.moreRows}</span>
          <button type="button" onClick={more}>
            {say.common.more}
          </button>
        </div>
      )}
    </section>
  );
}

function columns(rows: ShownRow[], fields: string[]): Column<ShownRow>[] {
  const say = words().windows;
  const metrics = [...new Set(rows.flatMap((row) => Object.keys(row.values)))];
  const isNumeric = (of: (row: ShownRow) => Json | undefined) =>
    rows.every((row) => typeof of(row) === "number" || of(row) === null || of(row) === undefined);
  return [
    {
      head: say.start,
      cell: (row) => (
        <a
          href={to("windows", [row.metric_id])}
          aria-label={say.behind(group(row.group, words().common.all), time(row.window_start))}
        >
          <span class="moment">{time(row.window_start)}</span>
        </a>
      ),
    },
    ...fields.map((name): Column<ShownRow> => {
      return {
        head: name,
        numeric: isNumeric((row) => row.group[name]),
        cell: (row) => <OnOneLine text={value(row.group[name])} />,
      };
    }),
    ...metrics.map((name): Column<ShownRow> => {
      return {
        head: name,
        numeric: isNumeric((row) => row.values[name]),
        cell: (row) => <Cell of={row.values[name]} />,
      };
    }),
    { head: words().common.eventCount, numeric: true, cell: (row) => number(row.event_count) },
    { head: say.state, cell: (row) => <RowState row={row} /> },
  ];
}

/** Rounded, and exactly where one points at it. */
function Cell({ of }: { of: Json | undefined }) {
  const text = value(of);
  const exact = typeof of === "number" ? String(of) : text;
  return exact === text ? <OnOneLine text={text} /> : <span title={exact}>{text}</span>;
}

export function RowState({ row }: { row: Pick<ShownRow, "closed" | "revision" | "values" | "before"> }) {
  const say = words().windows;
  const changed = row.before === null ? "" : changes(row.before.values, row.values);
  return (
    <>
      <span class={row.closed ? "closed" : "open"}>{row.closed ? say.closed : say.open}</span>
      {row.revision > 0 && <span class="revised">{say.revised(row.revision)}</span>}
      {changed !== "" && <span class="note"> {say.changed(changed)}</span>}
    </>
  );
}

/** What was otherwise, as it was. */
function changes(before: Record<string, Json>, now: Record<string, Json>): string {
  const names = Object.keys(before).filter((name) => JSON.stringify(before[name]) !== JSON.stringify(now[name]));
  return names.map((name) => `${name} ${value(before[name])}`).join(", ");
}
