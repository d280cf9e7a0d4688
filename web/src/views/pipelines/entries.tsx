// The entries of a keyed view.
import { get, path } from "../../api.ts";
import { number, time, value } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { useLoad } from "../../parts/load.ts";
import { Refused } from "../../parts/said.tsx";
import { Table } from "../../parts/table.tsx";
import type { Json } from "../../types.ts";

const EVERY_MS = 3_000;
const ENTRIES_MAX = 200;

interface Entry {
  key: string;
  value: Json;
  events: number;
  time: string;
}

export function Entries({ view }: { view: string }) {
  const say = words().pipelines;
  const call = path(`/views/${encodeURIComponent(view)}`, { limit: ENTRIES_MAX });
  const { data, problem } = useLoad(() => get<{ entries: Entry[] }>(call), [call], EVERY_MS);
  return (
    <section class="card">
      <Refused problem={problem} />
      <Table
        id="entries"
        caption={say.view(view)}
        rows={data?.entries ?? []}
        keyOf={(entry) => entry.key}
        empty={data === null ? words().common.loading : words().common.none}
        columns={[
          { head: say.key, cell: (entry) => <bdi>{entry.key}</bdi> },
          { head: say.values, code: true, cell: (entry) => value(entry.value) },
          { head: words().common.eventCount, numeric: true, cell: (entry) => number(entry.events) },
          { head: say.newest, cell: (entry) => time(entry.time) },
        ]}
      />
    </section>
  );
}
