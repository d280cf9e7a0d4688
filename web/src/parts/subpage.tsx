// A page below a view: the way back, and a heading that gets the focus, so that whoever followed a link by keyboard goes on here.
import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { moved } from "../router.ts";

interface Props {
  title: ComponentChildren;
  back: string;
  backLabel: string;
  children: ComponentChildren;
}

export function Subpage({ title, back, backLabel, children }: Props) {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (moved()) heading.current?.focus();
    return () => document.getElementById("main")?.focus();
  }, []);
  return (
    <div class="subpage">
      <p class="back">
        <a href={back}>← {backLabel}</a>
      </p>
      <h2 ref={heading} tabIndex={-1}>
        {title}
      </h2>
      {children}
    </div>
  );
}
