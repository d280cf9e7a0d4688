// JSON laid out, or text as it came, with a place in it marked.
import { useEffect, useRef } from "preact/hooks";
import { layout, type Span } from "./json-text.ts";

/** Longer texts are shown without colours: each name of a member would be an element. */
const COLOURED_MAX = 40_000;

interface Props {
  /** Says what it is. */
  label: string;
  text: string;
  /** The marked place in `text`, which is shown as it is where there is one. */
  mark?: Span | null;
  /** What the marked place is, for screen readers. */
  markLabel?: string;
}

/** A JSON text, laid out; anything else as it is. */
export function JsonView({ label, text }: Props) {
  return <Marked label={label} text={layout(text)?.text ?? text} />;
}

export function Marked({ label, text, mark, markLabel }: Props) {
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    const box = place.current?.closest("pre");
    // Within its own box: the page stays where it is.
    if (box && place.current) box.scrollTop = place.current.offsetTop - box.clientHeight / 2;
  }, [mark?.[0]]);
  const [from, to] = mark ?? [text.length, text.length];
  return (
    <pre class="json" tabIndex={0} role="region" aria-label={label}>
      <Names text={text.slice(0, from)} />
      {mark && (
        <mark ref={place} aria-label={markLabel}>
          {text.slice(from, to) || " "}
        </mark>
      )}
      <Names text={text.slice(to)} />
    </pre>
  );
}

/** A line's first string that a colon follows is a name, in a text that was laid out. */
const NAME = /^( *)("(?:[^"\\\n]|\\.)*")(?=:)/gm;

function Names({ text }: { text: string }) {
  if (text.length > COLOURED_MAX) return <>{text}</>;
  const parts = text.split(NAME);
  return (
    <>
      {parts.map((part, index) =>
        index % 3 === 2 ? (
          <span key={index} class="name">
            {part}
          </span>
        ) : (
          part
        ),
      )}
    </>
  );
}
