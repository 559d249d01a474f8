import createClient, { type Client } from "openapi-fetch";
import { good, JobEnded, type Transfer } from "./errors.js";
import { follow, type Followed, type Get } from "./follow.js";
import { persistent, RETRIES, type Retries } from "./retries.js";
import type { components, paths } from "./schema.js";

export { Webhook, WebhookVerificationError } from "standardwebhooks";
export { ApiError, good, JobEnded, type Problem, type Transfer } from "./errors.js";
export { isFinal } from "./follow.js";
export type { Retries } from "./retries.js";
export type { components, operations, paths } from "./schema.js";

type Schemas = components["schemas"];
type Files = "target" | "reference" | "target_mask" | "reference_mask" | "pictures" | "masks";
/** The parts of a submission, with pictures as blobs. */
export type Submission = Omit<Schemas["TransferRequest"], Files> & {
  target: Blob;
  reference: Blob;
  target_mask?: Blob;
  reference_mask?: Blob;
  /** Those that regions in `params` name, by these names. */
  pictures?: Record<string, Blob>;
  masks?: Record<string, Blob>;
};

export type Asset = Schemas["StoredAsset"];
export type Batch = Schemas["Batch"];
export type BatchResult = Schemas["BatchResult"];
export type Matching = Schemas["Matching"];
/** Many transfers. Its pictures are assets: `{ asset: id }`. */
export type BatchRequest = Schemas["BatchRequest"];

export interface Options {
  /** Where the API is. */
  baseUrl?: string;
  /** What `plumage keys create` printed. */
  key?: string;
  retries?: Partial<Retries>;
}

/** A client of one API. `api` has every operation, typed from the OpenAPI document, and tries again where that helps. */
export class Plumage {
  readonly api: Client<paths>;
  readonly #baseUrl: string;
  readonly #headers: Record<string, string>;
  readonly #fetch: (request: Request) => Promise<Response>;

  constructor({ baseUrl = "http://127.0.0.1:8000", key, retries }: Options = {}) {
    this.#baseUrl = baseUrl.replace(/\/$/, "");
    this.#headers = key ? { Authorization: `Bearer ${key}` } : {};
    this.#fetch = persistent({ ...RETRIES, ...retries });
    this.api = createClient<paths>({ baseUrl: this.#baseUrl, headers: this.#headers, fetch: this.#fetch });
  }

  /** Queues a job and returns its record. Submitting again with the same key finds the first job. */
  async submit(submission: Submission, idempotencyKey: string = crypto.randomUUID()): Promise<Transfer> {
    const answer = await this.api.POST("/v1/transfers", {
      params: { header: { "idempotency-key": idempotencyKey } },
      body: submission as unknown as Schemas["TransferForm"],
      bodySerializer: () => formOf(submission),
    });
    return good(answer) as Transfer;
  }

  /** The record at once and whenever it changes, to the final one. */
  follow(id: string): AsyncGenerator<Transfer, void, undefined> {
    return this.#follow<Transfer>(`/v1/transfers/${encodeURIComponent(id)}`);
  }

  /** Submits, follows to the end and fetches the picture. Raises ApiError, and JobEnded without a result. */
  async run(
    submission: Submission,
    onChange: (job: Transfer) => void = () => {},
  ): Promise<{ job: Transfer; picture: Blob }> {
    let job = await this.submit(submission);
    for await (job of this.follow(job.id)) onChange(job);
    if (job.status !== "succeeded") throw new JobEnded(job);
    return { job, picture: await this.result(job.id) };
  }

  /** Queues a job that finds matches and paints nothing. Its result is at `urls.result`, NumPy's .npz. */
  async match(submission: Omit<Submission, "output">, idempotencyKey: string = crypto.randomUUID()): Promise<Matching> {
    const answer = await this.api.POST("/v1/matches", {
      params: { header: { "idempotency-key": idempotencyKey } },
      body: submission as unknown as Schemas["MatchingForm"],
      bodySerializer: () => formOf(submission),
    });
    return good(answer) as Matching;
  }

  /** Keeps a picture for jobs that name it, or keeps it longer when it is there already. */
  async upload(picture: Blob): Promise<Asset> {
    const body = { file: picture };
    const answer = await this.api.POST("/v1/assets", {
      body: body as unknown as Schemas["AssetForm"],
      bodySerializer: () => formOf(body),
    });
    return good(answer) as Asset;
  }

  /** Queues all transfers of a batch, or none. */
  async submitBatch(body: BatchRequest, idempotencyKey: string = crypto.randomUUID()): Promise<Batch> {
    const params = { header: { "idempotency-key": idempotencyKey } };
    return good(await this.api.POST("/v1/batches", { params, body })) as Batch;
  }

  /** The batch at once and whenever its counts change, to its end. */
  followBatch(id: string): AsyncGenerator<Batch, void, undefined> {
    return this.#follow<Batch>(`/v1/batches/${encodeURIComponent(id)}`);
  }

  /** The batch when all of its jobs are over. */
  async batchEnd(id: string): Promise<Batch> {
    let batch!: Batch;
    for await (batch of this.followBatch(id));
    return batch;
  }

  /** The whole record of each job of a batch that is over. */
  async batchResults(id: string): Promise<BatchResult[]> {
    const answer = await this.api.GET("/v1/batches/{id}/results", { params: { path: { id } }, parseAs: "text" });
    const lines = (good(answer) as unknown as string).split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as BatchResult);
  }

  /** The finished picture, of the first seed or of this one. */
  async result(id: string, seed?: number): Promise<Blob> {
    const params = { path: { id }, query: { seed } };
    const answer = await this.api.GET("/v1/transfers/{id}/result", { params, parseAs: "blob" });
    return good(answer) as unknown as Blob;
  }

  #follow<T extends Followed>(path: string): AsyncGenerator<T, void, undefined> {
    const to = (path: string, headers: Record<string, string>): Request =>
      new Request(this.#baseUrl + path, { headers: { ...this.#headers, ...headers } });
    const once: Get = (path, headers) => fetch(to(path, headers));
    const patiently: Get = (path, headers) => this.#fetch(to(path, headers));
    return follow<T>(path, once, patiently);
  }
}

function formOf({ pictures, masks, ...parts }: Pick<Submission, "pictures" | "masks"> & object): FormData {
  const form = new FormData();
  for (const [name, picture] of Object.entries(pictures ?? {})) form.append(`picture_${name}`, picture, name);
  for (const [name, mask] of Object.entries(masks ?? {})) form.append(`mask_${name}`, mask, name);
  for (const [name, value] of Object.entries<unknown>(parts)) {
    if (value instanceof Blob) form.append(name, value, name);
    else if (Array.isArray(value)) for (const each of value) form.append(name, String(each));
    else if (value !== undefined) form.append(name, typeof value === "object" ? JSON.stringify(value) : String(value));
  }
  return form;
}
