// A list that changes by itself is held while somebody points at it or has the focus in it, so that nothing moves away from under a hand.
import type { TargetedFocusEvent } from "preact";
import { useState } from "preact/hooks";

export interface Hold<T> {
  /** The items as they were when they were held, or as they are. */
  shown: T;
  held: boolean;
  /** For the element around the list. */
  handlers: {
    onMouseEnter: () => void;
    onMouseLeave: () => void;
    onFocusIn: () => void;
    onFocusOut: (event: TargetedFocusEvent<HTMLElement>) => void;
  };
}

export function useHold<T>(items: T): Hold<T> {
  const [held, setHeld] = useState<{ items: T } | null>(null);
  const hold = () => setHeld((before) => before ?? { items });
  const letGo = () => setHeld(null);
  return {
    shown: held === null ? items : held.items,
    held: held !== null,
    handlers: {
      onMouseEnter: hold,
      onMouseLeave: letGo,
      onFocusIn: hold,
      onFocusOut: (event) => {
        const next = event.relatedTarget;
        if (!(next instanceof Node && event.currentTarget.contains(next))) letGo();
      },
    },
  };
}
