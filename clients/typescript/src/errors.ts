import type { components } from "./schema.js";

export type Problem = components["schemas"]["ProblemDetails"];
export type Transfer = components["schemas"]["Transfer"];

/** The API refused. `code` is stable; `problem` names the offending fields and the request. */
export class ApiError extends Error {
  readonly code: string;
  constructor(
    readonly status: number,
    readonly problem?: Problem,
  ) {
    super(problem ? `${problem.code}: ${problem.detail}` : `answered ${status}`);
    this.name = "ApiError";
    this.code = problem?.code ?? "http_error";
  }
}

/** The job is over and has no result; `job.status` says how it ended. */
export class JobEnded extends Error {
  constructor(readonly job: Transfer) {
    super(`job ${job.id} ${job.status}${job.error ? `: ${job.error.message}` : ""}`);
    this.name = "JobEnded";
  }
}

/** The body of an answer below 400. Raises ApiError for any other. */
export function good<T>(answer: { data?: T; error?: unknown; response: Response }): T {
  if (answer.response.ok) return answer.data as T;
  const problem = answer.error as Partial<Problem> | undefined;
  throw new ApiError(answer.response.status, typeof problem?.code === "string" ? (problem as Problem) : undefined);
}
