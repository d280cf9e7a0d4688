// A dialog over the page. The browser keeps the focus in it, closes it at Escape, and gives the focus back.
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { words } from "../i18n/words.ts";

interface Props {
  title: string;
  children: ComponentChildren;
  /** What the button that does it says. */
  act: string;
  onAct: () => void;
  onClose: () => void;
  /** What it does cannot be undone. */
  dangerous?: boolean;
  /** It is being done. */
  busy?: boolean;
}

export function Dialog({ title, children, act, onAct, onClose, dangerous, busy }: Props) {
  const element = useRef<HTMLDialogElement>(null);
  const name = useId();
  useEffect(() => {
    const dialog = element.current;
    const before = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={element}
      aria-labelledby={name}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={name}>{title}</h2>
      {children}
      <p class="actions">
        <button type="button" onClick={onClose}>
          {words().common.cancel}
        </button>
        <button type="button" class={dangerous ? "danger" : "main"} disabled={busy} onClick={onAct}>
          {act}
        </button>
      </p>
    </dialog>
  );
}
