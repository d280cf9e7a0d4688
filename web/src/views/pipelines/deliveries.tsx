// What a webhook has sent, and what it has not.
import { get, path } from "../../api.ts";
import { number, time, value } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { useLoad } from "../../parts/load.ts";
import { Refused } from "../../parts/said.tsx";
import { Table } from "../../parts/table.tsx";
import type { Json } from "../../types.ts";

const EVERY_MS = 3_000;
const DELIVERIES_MAX = 100;

interface Delivery {
  delivery_id: string;
  state: "waiting" | "delivered" | "given_up";
  attempts: number;
  last_at: string | null;
  last_error: string | null;
  body: Json;
}

export function Deliveries({ pipeline, webhook }: { pipeline: string; webhook: string }) {
  const say = words().pipelines;
  const call = path("/webhooks", { pipeline, webhook, limit: DELIVERIES_MAX });
  const { data, problem } = useLoad(() => get<{ deliveries: Delivery[] }>(call), [call], EVERY_MS);
  return (
    <section class="card">
      <Refused problem={problem} />
      <Table
        id="deliveries"
        caption={say.webhook(webhook)}
        rows={data?.deliveries ?? []}
        keyOf={(one) => one.delivery_id}
        empty={data === null ? words().common.loading : words().common.none}
        columns={[
          {
            head: say.state,
            cell: ({ state }) => <span class={state === "delivered" ? undefined : "warn"}>{say.states[state]}</span>,
          },
          { head: say.attempts, numeric: true, cell: (one) => number(one.attempts) },
          { head: say.lastAt, cell: (one) => (one.last_at === null ? "–" : time(one.last_at)) },
          { head: say.error, cell: (one) => <bdi>{one.last_error ?? ""}</bdi> },
          { head: say.body, code: true, cell: (one) => value(one.body) },
        ]}
      />
    </section>
  );
}
