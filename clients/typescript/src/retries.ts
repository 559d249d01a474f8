/** Tries after the first, with pauses that double from `firstMs` to `longestMs`; a `Retry-After` counts instead. */
export interface Retries {
  times: number;
  firstMs: number;
  longestMs: number;
  /** A longer `Retry-After` is not waited for: the answer is returned at once. */
  patienceMs: number;
}

export const RETRIES: Retries = { times: 5, firstMs: 500, longestMs: 20_000, patienceMs: 60_000 };
const RETRIED = new Set([429, 502, 503, 504]);

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Milliseconds of a `Retry-After` in seconds; undefined without one. */
export function retryAfterMs(response: Response): number | undefined {
  const given = response.headers.get("retry-after") ?? "";
  return /^\d+$/.test(given) ? Number(given) * 1000 : undefined;
}

/** A `fetch` that tries again. Only for requests that can be repeated without harm, as all of this client's can. */
export function persistent(retries: Retries): (request: Request) => Promise<Response> {
  return async (request) => {
    for (let attempt = 1; ; attempt++) {
      const longest = Math.min(retries.longestMs, retries.firstMs * 2 ** (attempt - 1));
      let pauseMs = longest * (0.5 + Math.random() / 2);
      try {
        const response = await fetch(request.clone());
        const hint = retryAfterMs(response);
        const again = RETRIED.has(response.status) || (response.status === 409 && hint !== undefined);
        if (!again || attempt > retries.times || (hint ?? 0) > retries.patienceMs) return response;
        pauseMs = hint ?? pauseMs;
        await response.body?.cancel();
      } catch (error) {
        if (request.signal.aborted || attempt > retries.times) throw error;
      }
      await sleep(pauseMs);
    }
  };
}
