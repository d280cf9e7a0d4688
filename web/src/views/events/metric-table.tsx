// The rows that an event went into.
import { get, Problem } from "../../api.ts";
import { group, number, time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { OnOneLine } from "../../parts/event-table.tsx";
import { useLoad } from "../../parts/load.ts";
import { Refused } from "../../parts/said.tsx";
import { Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { Row } from "../../types.ts";

/** Each is a question of its own. */
const ROWS_MAX = 20;
const AGAIN_MS = 5_000;

/** A row that is not there (yet) is known by its id alone. */
interface Found {
  id: string;
  row: Row | null;
}

export function MetricTable({ ids }: { ids: string[] }) {
  const say = words();
  const wanted = ids.slice(0, ROWS_MAX);
  const { data, problem } = useLoad((signal) => rowsOf(wanted, signal), [wanted.join()], AGAIN_MS);
  return (
    <>
      <Refused problem={problem} />
      <Table
        id="metrics"
        caption={say.events.metrics}
        quiet
        rows={data ?? wanted.map((id): Found => ({ id, row: null }))}
        keyOf={({ id }) => id}
        empty={say.events.noMetrics}
        columns={[
          {
            head: say.events.window,
            cell: ({ id, row }) => (
              <a href={to("windows", [id])}>{row === null ? id : `${row.pipeline}.${row.window}`}</a>
            ),
          },
          {
            head: say.events.group,
            cell: ({ row }) => <OnOneLine text={row === null ? "–" : group(row.group, say.common.all)} />,
          },
          {
            head: say.events.start_,
            cell: ({ row }) => (row === null ? "–" : <span class="moment">{time(row.window_start)}</span>),
          },
          {
            head: say.common.eventCount,
            numeric: true,
            cell: ({ row }) => (row === null ? "–" : number(row.event_count)),
          },
          {
            head: say.events.state,
            cell: ({ row }) => (row === null ? "–" : row.closed ? say.windows.closed : say.windows.open),
          },
        ]}
      />
      {ids.length > ROWS_MAX && <p class="note">{say.events.moreMetrics(ids.length - ROWS_MAX)}</p>}
    </>
  );
}

async function rowsOf(ids: string[], signal: AbortSignal): Promise<Found[]> {
  const found: Found[] = [];
  for (const id of ids) {
    try {
      found.push({ id, row: await get<Row>(`/windows/${id}`, { signal }) });
    } catch (error) {
      if (!(error instanceof Problem && error.status === 404)) throw error;
      found.push({ id, row: null });
    }
  }
  return found;
}
