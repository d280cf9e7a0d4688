// How wide an element is, for a picture that is drawn to measure.
import { useEffect, useRef, useState } from "preact/hooks";
import type { RefObject } from "preact";

export function useWidth<E extends Element>(first: number): [RefObject<E | null>, number] {
  const element = useRef<E>(null);
  const [width, setWidth] = useState(first);
  useEffect(() => {
    if (element.current === null) return;
    const watch = new ResizeObserver(([entry]) => entry && setWidth(Math.max(entry.contentRect.width, 100)));
    watch.observe(element.current);
    return () => watch.disconnect();
  }, []);
  return [element, width];
}
