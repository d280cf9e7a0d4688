// The events of one correlation: a picture to scale in time, and the same as a table.
import { path } from "../../api.ts";
import { duration, time } from "../../format.ts";
import { words } from "../../i18n/words.ts";
import { eventAddress, OnOneLine, remaining, short } from "../../parts/event-table.tsx";
import { More } from "../../parts/more.tsx";
import { usePages } from "../../parts/pages.ts";
import { Subpage } from "../../parts/subpage.tsx";
import { Table } from "../../parts/table.tsx";
import { to } from "../../router.ts";
import type { EventPage, StoredEvent } from "../../types.ts";
import { Timeline } from "./timeline.tsx";

const PAGE = 200;
const AGAIN_MS = 3_000;

export function Story({ correlation }: { correlation: string }) {
  const say = words();
  const pages = usePages<StoredEvent, EventPage>(
    path("/events", { correlation, limit: PAGE }),
    ({ events, next }) => ({ items: events, next }),
    (event) => event.offset,
    [],
    AGAIN_MS,
  );
  const events = [...pages.items].sort((a, b) => Date.parse(a.time) - Date.parse(b.time) || a.offset - b.offset);
  const [first, last] = [events[0], events.at(-1)];
  const start = first === undefined ? 0 : Date.parse(first.time);
  const span = last === undefined ? 0 : Date.parse(last.time) - start;
  return (
    <Subpage title={<bdi>{say.events.story(correlation)}</bdi>} back={to("events")} backLabel={say.events.back}>
      {events.length > 0 && (
        <section class="card">
          <p class="note">{say.events.timeline(events.length, duration(span))}</p>
          <Timeline events={events} start={start} span={span} />
        </section>
      )}
      <section class="card long">
        {pages.first !== null && (
          <Table
            id="story"
            caption={say.events.storyCaption}
            rows={events}
            keyOf={(event) => event.offset}
            empty={say.events.noStory}
            columns={[
              { head: say.events.after, numeric: true, cell: (event) => duration(Date.parse(event.time) - start) },
              { head: say.events.time, cell: (event) => <span class="moment">{time(event.time).slice(0, 23)}</span> },
              { head: say.common.topic, cell: (event) => event.topic },
              {
                head: say.events.event,
                code: true,
                cell: (event) => (
                  <a href={eventAddress(event)}>
                    <bdi class="line id">{event.event_id}</bdi>
                  </a>
                ),
              },
              { head: say.events.content, code: true, cell: (event) => <OnOneLine text={short(remaining(event))} /> },
            ]}
          />
        )}
        <More pages={pages} />
      </section>
    </Subpage>
  );
}
