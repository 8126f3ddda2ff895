// Errors as answers: one JSON shape, the code's status, and nothing a caller should not see.
import { type ErrorBody, WaybillError, isAbort } from "@waybill/sdk/protocol";

export type ErrorAnswer = {
  readonly status: number;
  readonly body: ErrorBody;
  readonly headers: Readonly<Record<string, string>>;
};

/** The answer for anything that was thrown; what is not a `WaybillError` stays in the hub's log. */
export function errorAnswer(error: unknown, requestId: string): ErrorAnswer {
  const known = asWaybillError(error, requestId);
  const { code, message, hint, retryAfterMs, status } = known;
  return {
    status,
    body: { error: { code, message, ...(hint === undefined ? {} : { hint }) } },
    headers: {
      ...(retryAfterMs === undefined ? {} : { "retry-after": secondsText(retryAfterMs) }),
      ...(status === 401 ? { "www-authenticate": 'DPoP algs="EdDSA"' } : {}),
    },
  };
}

function secondsText(ms: number): string {
  return String(Math.max(1, Math.ceil(ms / 1000)));
}

function asWaybillError(error: unknown, requestId: string): WaybillError {
  if (error instanceof WaybillError) return error;
  if (isAbort(error)) return new WaybillError("timeout", "the request was given up");
  return new WaybillError("internal", `the hub failed at request ${requestId}`, {
    cause: error,
    hint: "the hub's log says more under this request id",
  });
}
