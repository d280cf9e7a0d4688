// Dead letters as a table; each leads to its page.
import { time } from "../format.ts";
import { words } from "../i18n/words.ts";
import { to } from "../router.ts";
import type { DeadLetter } from "../types.ts";
import { OnOneLine, short } from "./event-table.tsx";
import { Table } from "./table.tsx";

interface Props {
  id: string;
  caption: string;
  quiet?: boolean;
  letters: readonly DeadLetter[];
  empty: string;
}

export function LetterTable({ id, caption, quiet, letters, empty }: Props) {
  const say = words().letters;
  return (
    <Table
      id={id}
      caption={caption}
      quiet={quiet === true}
      rows={letters}
      keyOf={(letter) => letter.offset}
      empty={empty}
      columns={[
        {
          head: say.letter,
          cell: ({ offset }) => (
            <a href={to("letters", [String(offset)])} aria-label={say.open(offset)}>
              {offset}
            </a>
          ),
        },
        { head: say.received, cell: ({ received_at }) => <span class="moment">{time(received_at).slice(0, 19)}</span> },
        { head: say.reason, cell: ({ reason }) => <span class="reason">{reason}</span> },
        { head: words().common.topic, cell: ({ topic }) => topic ?? say.noTopic },
        { head: say.detail, code: true, cell: ({ detail }) => <OnOneLine text={short(detailOf(detail))} /> },
        {
          head: say.state,
          cell: ({ retried_as, topic }) =>
            retried_as === null ? say.states.open : <RetryLink offset={retried_as} topic={topic} />,
        },
      ]}
    />
  );
}

/** Of the event as a whole the pointer is empty. */
export function detailOf(detail: string): string {
  return detail.replace(/^: /, "");
}

interface RetryLinkProps {
  offset: number;
  topic: string | null;
  label?: string;
}

/** To the event that was sent in a letter's place. */
export function RetryLink({ offset, topic, label }: RetryLinkProps) {
  const address = to("events", ["at", String(offset)], { topic: topic ?? "" });
  return <a href={address}>{label ?? words().letters.retriedAs(offset)}</a>;
}
