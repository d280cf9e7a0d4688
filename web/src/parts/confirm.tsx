// A question before something that cannot be undone. The browser keeps the focus within it and gives it back when it closes.
import { useEffect, useRef } from "preact/hooks";
import { words } from "../i18n/words.ts";

interface Props {
  question: string;
  /** What is done. */
  act: string;
  onAct: () => void;
  onClose: () => void;
}

/** Open for as long as it is there. */
export function Confirm({ question, act, onAct, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    dialog.current?.showModal();
    return () => before instanceof HTMLElement && before.focus();
  }, []);
  return (
    <dialog ref={dialog} onClose={onClose} aria-labelledby="question">
      <p id="question">{question}</p>
      <div class="row">
        <button type="button" class="danger" onClick={onAct}>
          {act}
        </button>
        <button type="button" onClick={() => dialog.current?.close()}>
          {words().common.cancel}
        </button>
      </div>
    </dialog>
  );
}
