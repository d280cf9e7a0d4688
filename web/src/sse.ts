// A stream of server-sent events, read by fetch: EventSource sends no headers, and so no token.
import { ask, noAnswer } from "./api.ts";

export interface Frame {
  id: string | null;
  data: string | null;
}

/**
 * What has come, each time that something has; empty where that was no whole frame. The server is never silent for `silenceMs`: where it is, the
 * connection is lost, even if nobody has said so.
 */
export async function* stream(
  address: string,
  silenceMs: number,
  options: RequestInit & { signal?: AbortSignal } = {},
): AsyncGenerator<Frame[], void> {
  const silence = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, silence.signal]) : silence.signal;
  const giveUp = () => silence.abort(noAnswer());
  let timer = setTimeout(giveUp, silenceMs);
  try {
    const { body } = await ask(address, { ...options, signal });
    if (body === null) return;
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(timer);
      timer = setTimeout(giveUp, silenceMs);
      const parts = (rest + value).split("\n\n");
      rest = parts.pop() ?? "";
      yield parts.map(frame);
    }
  } catch (error) {
    // That is how a browser says that a connection broke off.
    throw error instanceof TypeError ? noAnswer() : error;
  } finally {
    clearTimeout(timer);
    // Whoever stops reading has the connection closed.
    silence.abort();
  }
}

function frame(text: string): Frame {
  const lines = text.split("\n");
  const field = (name: string) => lines.findLast((line) => line.startsWith(name))?.slice(name.length) ?? null;
  return { id: field("id: "), data: field("data: ") };
}
