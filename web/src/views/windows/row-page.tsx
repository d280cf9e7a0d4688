// One row: its facts, the events behind it, and how late events changed it.
import { get, path } from "../../api.ts";
import { group, number, time, value } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { EventTable } from "../../parts/event-table.tsx";
import { Facts, Figures } from "../../parts/facts.tsx";
import { useLoad } from "../../parts/load.ts";
import { More } from "../../parts/more.tsx";
import { usePages } from "../../parts/pages.ts";
import { Said } from "../../parts/said.tsx";
import { Subpage } from "../../parts/subpage.tsx";
import { Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { EventPage, Json, Row, StoredEvent } from "../../types.ts";
import { RowState } from "./row-table.tsx";

/** A row that is not there yet, or may still change, is asked for this often. */
const AGAIN_MS = 2_000;
const EVENTS_PAGE = 50;
const REVISIONS_MAX = 50;

export function RowPage({ id }: { id: string }) {
  const say = words();
  const { data: row, problem } = useLoad((signal) => get<Row>(`/windows/${id}`, { signal }), [id], AGAIN_MS);
  const back = row === null ? to("windows") : to("windows", [row.pipeline, row.window]);
  return (
    <Subpage
      title={row === null ? say.windows.row : <bdi>{`${row.window} · ${group(row.group, say.common.all)}`}</bdi>}
      back={back}
      backLabel={say.windows.back}
    >
      <Said data={row} problem={problem} wait={say.windows.wait} />
      {row !== null && (
        <>
          <Values row={row} />
          {row.revision > 0 && <Revisions row={row} />}
          <Lineage row={row} />
        </>
      )}
    </Subpage>
  );
}

function Values({ row }: { row: Row }) {
  const say = words().windows;
  const values: [string, Json][] = [...Object.entries(row.values), [words().common.eventCount, row.event_count]];
  return (
    <>
      <Figures
        label={say.values}
        of={values.map(([name, of]) =>
          typeof of === "number" ? { name, text: precise(of), title: String(of) } : { name, text: value(of) },
        )}
      />
      <Facts
        of={[
          ...Object.entries(row.group).map(([name, of]) => [name, <bdi>{value(of)}</bdi>] as const),
          [say.pipeline, row.pipeline],
          [say.start, time(row.window_start)],
          [say.ends, time(row.window_end)],
          [say.state, <RowState row={{ ...row, before: null }} />],
          [say.identity, <code>{row.metric_id}</code>],
        ]}
      />
    </>
  );
}

/** More digits than tables have. */
const precise = (of: number) => (Number.isInteger(of) ? number(of) : String(Number(of.toPrecision(7))));

function Lineage({ row }: { row: Row }) {
  const say = words().windows;
  // More events have come where the row counts more.
  const pages = usePages<StoredEvent, EventPage>(
    path(`/windows/${row.metric_id}/events`, { limit: EVENTS_PAGE }),
    (answer) => ({ items: answer.events, next: answer.next }),
    (event) => event.offset,
    [row.event_count, row.revision],
  );
  const audit = pages.first === null ? "" : say.audit[pages.first.audit];
  return (
    <section class="card" aria-labelledby="h-lineage">
      <h3 id="h-lineage">{say.events}</h3>
      {audit !== "" && <p class="note">{audit}</p>}
      {pages.first !== null && (
        <EventTable id="lineage" caption={say.events} quiet events={pages.items} empty={say.noEvents} />
      )}
      <More pages={pages} />
    </section>
  );
}

/** Each publication of a closed row is an event, where its window has a topic and the audit keeps it. */
interface Publication {
  revision: number;
  values: Record<string, Json>;
  at: string;
}

function Revisions({ row }: { row: Row }) {
  const say = words().windows;
  const { data } = useLoad(
    (signal) => get<EventPage>(path("/events", { q: row.metric_id, limit: REVISIONS_MAX }), { signal }),
    [row.metric_id, row.revision],
  );
  const found = (data?.events ?? []).flatMap((event) => publication(row, event));
  found.sort((a, b) => a.revision - b.revision);
  if (found.length < 2) return null;
  return (
    <section class="card">
      <h3>{say.revisions}</h3>
      <Table
        id="revisions"
        caption={say.revisions}
        quiet
        rows={found}
        keyOf={(one) => one.revision}
        empty=""
        columns={[
          { head: say.revision, cell: (one) => one.revision },
          { head: say.received, cell: (one) => time(one.at) },
          ...Object.keys(row.values).map((name) => ({
            head: name,
            numeric: true,
            cell: (one: Publication) => <Against name={name} of={one} all={found} />,
          })),
        ]}
      />
    </section>
  );
}

/** A value, marked where the publication before had another. */
function Against({ name, of, all }: { name: string; of: Publication; all: Publication[] }) {
  const before = all[all.indexOf(of) - 1];
  const text = value(of.values[name]);
  return before !== undefined && value(before.values[name]) !== text ? <mark>{text}</mark> : <>{text}</>;
}

function publication(row: Row, { event, received_at }: StoredEvent): Publication[] {
  if (event === null || typeof event !== "object" || Array.isArray(event)) return [];
  const { metric_id, revision } = event;
  return metric_id === row.metric_id && typeof revision === "number"
    ? [{ revision, values: event, at: received_at }]
    : [];
}
