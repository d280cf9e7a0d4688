// The newest alerts: of the whole job, or of one rule where the address names it.
import { useEffect, useRef } from "preact/hooks";
import { get, path } from "../../api.ts";
import { clock, group, time, value } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { useLoad } from "../../parts/load.ts";
import { OnOneLine } from "../../parts/event-table.tsx";
import { Refused } from "../../parts/said.tsx";
import { Table } from "../../parts/table.tsx";
import { place, setQuery, to } from "../../router.ts";
import type { Alert, Json } from "../../types.ts";
import { CLEARED_MS, raised } from "./raised.ts";

const ALERTS_MAX = 50;

export function Alerts() {
  const say = words().overview;
  const { query } = place.value;
  const [pipeline, alert, active] = ["pipeline", "alert", "active"].map((name) => query.get(name) ?? undefined);
  const call = path("/alerts", { pipeline, alert, active, limit: ALERTS_MAX });
  const { data, problem } = useLoad(
    () => get<{ alerts: Alert[]; next: string | null }>(call),
    [call, raised()],
    CLEARED_MS,
  );
  const section = useRef<HTMLElement>(null);
  // Whoever comes by a link to alerts wants to see them.
  useEffect(() => {
    if (query.size > 0) section.current?.scrollIntoView({ block: "start" });
  }, [alert, query.size > 0]);
  return (
    <section ref={section} id="alerts" class="card wide" aria-labelledby="h-alerts">
      <h2 id="h-alerts">{say.alerts}</h2>
      <p class="alert-filters">
        <label class="choice">
          <input
            type="checkbox"
            checked={active === "true"}
            onChange={(event) => setQuery({ active: event.currentTarget.checked ? "true" : undefined })}
          />{" "}
          {say.onlyStanding}
        </label>
        {alert !== undefined && (
          <span>
            {say.of(`${pipeline ?? ""}.${alert}`)} <a href={to("overview", [], { active })}>{say.allAlerts}</a>
          </span>
        )}
      </p>
      <Refused problem={problem} />
      <Table
        caption={say.alertsCaption}
        rows={data?.alerts ?? []}
        keyOf={(one) => one.alert_id}
        empty={data === null ? words().common.loading : say.noAlerts}
        columns={[
          {
            head: say.state,
            cell: (one) =>
              one.active ? (
                <span class="warn">{say.stands}</span>
              ) : (
                <span class="moment">{say.clearedAt(clock(one.cleared_at ?? ""))}</span>
              ),
          },
          { head: say.alert, cell: (one) => `${one.pipeline}.${one.alert}` },
          { head: say.key, cell: (one) => <OnOneLine text={keyOf(one.key)} /> },
          { head: say.raised, cell: (one) => <span class="moment">{time(one.raised_at).slice(0, 19)}</span> },
          { head: say.details, cell: (one) => <OnOneLine text={summary(one.details)} /> },
        ]}
      />
      {data !== null && data.next !== null && <p class="note">{say.more(data.alerts.length)}</p>}
    </section>
  );
}

function isObject(of: Json | undefined): of is Record<string, Json> {
  return typeof of === "object" && of !== null && !Array.isArray(of);
}

function keyOf(key: Json): string {
  return isObject(key) ? group(key, words().common.all) : value(key);
}

/** The figures that raised it; of an outlier only those of its metric. */
function summary(details: Json): string {
  if (!isObject(details)) return value(details);
  const pairs = (of: Record<string, Json>) => Object.entries(of).map(([name, one]) => `${name} ${value(one)}`);
  const { metrics, metric, event_count: _, value: outlier, ...rest } = details;
  if (typeof metric === "string") return [`${metric} ${value(outlier)}`, ...pairs(rest)].join(", ");
  return pairs(isObject(metrics) ? metrics : rest).join(", ");
}
