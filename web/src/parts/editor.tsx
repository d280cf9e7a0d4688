// A text with line numbers, colours and marks where something is wrong. Until its script is there, or where it cannot be had, a plain text field.
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import type { Handle, Mark } from "../editor/codemirror.ts";

export type { Mark };

/** Where the cursor is to go. A new one for each time that it is to go there. */
export interface Jump {
  line: number;
  column: number;
}

interface Props {
  label: string;
  text: string;
  marks: Mark[];
  onChange: (text: string) => void;
  jump: Jump | null;
  /** Takes the focus, where nothing else has it. */
  focus?: boolean;
}

export function Editor({ label, text, marks, onChange, jump, focus = false }: Props) {
  const place = useRef<HTMLDivElement>(null);
  const field = useRef<HTMLTextAreaElement>(null);
  const editor = useRef<Handle | null>(null);
  const newest = useRef({ text, marks, onChange });
  newest.current = { text, marks, onChange };

  useEffect(() => {
    let over = false;
    import("../editor/codemirror.ts").then(
      ({ mount }) => {
        if (over || place.current === null || field.current === null) return;
        const active = document.activeElement;
        const takesFocus = active === field.current || (focus && active === document.body);
        editor.current = mount(place.current, {
          label,
          text: newest.current.text,
          onChange: (changed) => newest.current.onChange(changed),
        });
        editor.current.setMarks(newest.current.marks);
        field.current.hidden = true;
        place.current.hidden = false;
        if (takesFocus) editor.current.focus();
      },
      () => {}, // The plain field stays.
    );
    return () => {
      over = true;
      editor.current?.destroy();
      editor.current = null;
    };
  }, [label]);

  // At once: were it a moment later, somebody might have written on, and would lose it.
  useLayoutEffect(() => editor.current?.setText(text), [text]);
  useEffect(() => editor.current?.setMarks(marks), [JSON.stringify(marks)]);
  useEffect(() => {
    if (jump !== null) editor.current?.goTo(jump.line, jump.column);
  }, [jump]);

  return (
    <div class="editor">
      <div ref={place} class="code-place" hidden />
      <textarea
        ref={field}
        aria-label={label}
        spellcheck={false}
        value={text}
        onInput={(event) => onChange(event.currentTarget.value)}
      />
    </div>
  );
}
