// One error class for the whole project. A code decides the HTTP status, the CLI's exit code and
// whether trying again can help; messages are for people and never parsed.
import * as v from "valibot";

type CodeFacts = {
  /** HTTP status a hub answers with. */
  readonly status: number;
  /** Whether the same call may succeed later without anything being changed by the user. */
  readonly retryable: boolean;
  /** Exit code of the CLI: 1 failed, 2 usage, 3 not authorised, 4 not found, 5 conflict, 6 unreachable. */
  readonly exit: 1 | 2 | 3 | 4 | 5 | 6;
};

/** Every error code there is; `docs/protocol/errors.md` is checked against this table. */
export const ERROR_CODES = {
  invalid_request: { status: 400, retryable: false, exit: 2 },
  unsafe_path: { status: 400, retryable: false, exit: 2 },
  unauthorized: { status: 401, retryable: false, exit: 3 },
  token_expired: { status: 401, retryable: false, exit: 3 },
  forbidden: { status: 403, retryable: false, exit: 3 },
  not_found: { status: 404, retryable: false, exit: 4 },
  conflict: { status: 409, retryable: false, exit: 5 },
  upload_completed: { status: 409, retryable: false, exit: 5 },
  stale_attempt: { status: 409, retryable: false, exit: 5 },
  expired: { status: 410, retryable: false, exit: 4 },
  precondition_failed: { status: 412, retryable: true, exit: 5 },
  too_large: { status: 413, retryable: false, exit: 2 },
  unsupported_version: { status: 426, retryable: false, exit: 1 },
  rate_limited: { status: 429, retryable: true, exit: 6 },
  internal: { status: 500, retryable: true, exit: 1 },
  storage_failed: { status: 502, retryable: true, exit: 6 },
  registry_damaged: { status: 503, retryable: true, exit: 1 },
  storage_full: { status: 507, retryable: false, exit: 1 },
  unreachable: { status: 503, retryable: true, exit: 6 },
  timeout: { status: 504, retryable: true, exit: 6 },
  url_expired: { status: 403, retryable: true, exit: 6 },
  digest_mismatch: { status: 422, retryable: true, exit: 1 },
  source_changed: { status: 409, retryable: false, exit: 1 },
  no_source_left: { status: 502, retryable: true, exit: 6 },
  local_io: { status: 500, retryable: false, exit: 1 },
  trainer_failed: { status: 500, retryable: false, exit: 1 },
} as const satisfies Record<string, CodeFacts>;

export type ErrorCode = keyof typeof ERROR_CODES;

type WaybillErrorInit = {
  /** What the user can do about it: one sentence or a command. */
  readonly hint?: string;
  readonly cause?: unknown;
  /** Server's wish in milliseconds (`Retry-After`). */
  readonly retryAfterMs?: number;
};

/** The error every part of Waybill throws. Cancellation is not one: it stays the platform's `AbortError`. */
export class WaybillError extends Error {
  override readonly name = "WaybillError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retryAfterMs: number | undefined;

  constructor(code: ErrorCode, message: string, init: WaybillErrorInit = {}) {
    super(message, init.cause === undefined ? undefined : { cause: init.cause });
    this.code = code;
    this.hint = init.hint;
    this.retryAfterMs = init.retryAfterMs;
  }

  get status(): number {
    return ERROR_CODES[this.code].status;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }

  get exitCode(): number {
    return ERROR_CODES[this.code].exit;
  }
}

const codes = Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]];

/** Body of every answer that is not 2xx. */
export const ErrorBody = v.object({
  error: v.object({
    code: v.picklist(codes),
    message: v.string(),
    hint: v.optional(v.string()),
  }),
});
export type ErrorBody = v.InferOutput<typeof ErrorBody>;

/** Whether trying the same thing again may help; unknown errors are not retried. */
export function isRetryable(error: unknown): boolean {
  return error instanceof WaybillError && error.retryable;
}

/** Whether the error is the platform's cancellation. */
export function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** One line of text for anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Marks a switch as complete: a new member of the union does not compile until it is handled. */
export function assertNever(value: never): never {
  throw new WaybillError("internal", `unhandled case: ${JSON.stringify(value)}`);
}
