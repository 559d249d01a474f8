import { EventSourceParserStream } from "eventsource-parser/stream";
import { ApiError, type Transfer } from "./errors.js";
import { retryAfterMs, sleep } from "./retries.js";

/** Broken streams in a row, none of which brought an event, after which polling takes over. */
const STREAMS = 3;
const PAUSE_MS = 500;
const POLL_MS = 1000;
const FINAL = new Set<string>(["succeeded", "failed", "canceled", "expired"]);

/** What can be followed: the record of a job or of a batch. */
export type Followed = { finished_at: string | null };

export const isFinal = (job: Transfer): boolean => FINAL.has(job.status);

/** Sends a GET to this path of the API, once. */
export type Get = (path: string, headers: Record<string, string>) => Promise<Response>;

/** The record at once and whenever it changes, to the final one: from its event stream, else by polling.
 *
 * `once` sends a request, `patiently` sends it again where that helps. */
export async function* follow<T extends Followed>(
  path: string,
  once: Get,
  patiently: Get,
): AsyncGenerator<T, void, undefined> {
  let seen = "";
  for (let broken = 0; broken < STREAMS; ) {
    const before = seen;
    try {
      for await (const event of events<T>(path, once, seen)) {
        seen = event.id;
        yield event.record;
        if (event.record.finished_at !== null) return;
      }
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) throw error;
    }
    broken = seen === before ? broken + 1 : 0;
    await sleep(PAUSE_MS);
  }
  yield* polled<T>(path, patiently);
}

async function* events<T>(path: string, once: Get, seen: string): AsyncGenerator<{ id: string; record: T }> {
  const headers: Record<string, string> = seen ? { "Last-Event-ID": seen } : {};
  const response = await once(`${path}/events`, headers);
  if (!response.ok || !response.body) throw await refusal(response);
  const stream = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const reader = stream.getReader();
  try {
    for (let next = await reader.read(); !next.done; next = await reader.read()) {
      yield { id: next.value.id ?? "", record: JSON.parse(next.value.data) as T };
    }
  } finally {
    await reader.cancel();
  }
}

async function* polled<T extends Followed>(path: string, patiently: Get): AsyncGenerator<T> {
  for (let tag = ""; ; ) {
    const response = await patiently(path, tag ? { "If-None-Match": tag } : {});
    if (response.status >= 400) throw await refusal(response);
    tag = response.headers.get("etag") ?? "";
    if (response.status !== 304) {
      const record = (await response.json()) as T;
      yield record;
      if (record.finished_at !== null) return;
    }
    await sleep(retryAfterMs(response) ?? POLL_MS);
  }
}

async function refusal(response: Response): Promise<ApiError> {
  const problem = await response.json().catch(() => undefined);
  return new ApiError(response.status, problem?.code ? problem : undefined);
}
