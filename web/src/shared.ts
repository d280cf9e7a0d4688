// One stream for all pages of a browser that somebody sees: a browser opens no more than six connections to a host over HTTP/1.1, so that six streams
// would leave none for questions. One page at a time holds a lock, reads, and tells the others. Where there are no locks (they need https or localhost)
// each page reads for itself.

/** What the reading page tells the others: a snapshot as it came, or why there is none. */
export type News = { snapshot: string } | { lost: string };

/** A page that holds the lock and has said nothing for this long is stuck: another takes its place. The reader gives a silent server up much sooner. */
const STUCK_MS = 15_000;

/**
 * Hears the stream of this name, read by this page or another, until `over`.
 *
 * `read` reads it and tells what comes; it ends, or fails, with the connection. Then this ends so too, and another page may try.
 */
export async function share(
  name: string,
  read: (tell: (news: News) => void, over: AbortSignal) => Promise<void>,
  hear: (news: News) => void,
  over: AbortSignal,
): Promise<void> {
  const { locks } = navigator as { locks?: LockManager };
  const ended = new AbortController();
  const mine = AbortSignal.any([over, ended.signal]);
  if (locks === undefined) return read(hear, mine);
  const channel = new BroadcastChannel(name);
  const stuck = new AbortController();
  let timer = setTimeout(() => stuck.abort(), STUCK_MS);
  channel.onmessage = ({ data }: MessageEvent<News>) => {
    clearTimeout(timer);
    timer = setTimeout(() => stuck.abort(), STUCK_MS);
    hear(data);
  };
  const lead = () => {
    clearTimeout(timer);
    channel.onmessage = null;
    const tell = (news: News) => {
      channel.postMessage(news);
      hear(news);
    };
    return read(tell, mine).catch((error: unknown) => {
      if (!mine.aborted) channel.postMessage({ lost: String(error instanceof Error ? error.message : error) });
      throw error;
    });
  };
  try {
    const patience = AbortSignal.any([over, stuck.signal]);
    await locks.request(name, { signal: patience }, lead).catch((error: unknown) => {
      if (over.aborted || !stuck.signal.aborted) throw error;
      return locks.request(name, { steal: true }, lead);
    });
  } finally {
    clearTimeout(timer);
    channel.close();
    // Whoever has lost the lock to another reads no further.
    ended.abort();
  }
}
