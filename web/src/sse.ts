// A stream of server-sent events, read by fetch: EventSource sends no headers, and so no token.

export interface Frame {
  id: string | null;
  data: string | null;
}

/** What has come, each time that something has; empty where that was no whole frame. */
export async function* frames(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<Frame[], void> {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop() ?? "";
    yield parts.map(frame);
  }
}

function frame(text: string): Frame {
  const lines = text.split("\n");
  const field = (name: string) => lines.findLast((line) => line.startsWith(name))?.slice(name.length) ?? null;
  return { id: field("id: "), data: field("data: ") };
}
