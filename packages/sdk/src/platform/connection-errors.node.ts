// Failures of a connection in words, and which of them may pass.
import { WaybillError, messageOf } from "../protocol/index.ts";

/** The other side did not prove who it is, or does not speak TLS: waiting does not help. */
const DISTRUST =
  /^(?:CERT_|ERR_TLS_CERT|ERR_SSL_WRONG_VERSION|ERR_SSL_UNSUPPORTED|ERR_SSL_PACKET_LENGTH|ERR_SSL_HTTP_REQUEST|ERR_SSL_.*ALERT|ERR_SSL_TLSV1|SELF_SIGNED|DEPTH_ZERO|UNABLE_TO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE|EPROTO$)/;
const NAME_ERRORS = new Set(["ENOTFOUND", "EAI_AGAIN", "EAI_NODATA", "EAI_NONAME", "EAI_FAIL"]);

/** Why a connection to `host` failed, as an error of ours. */
export function connectionError(host: string, cause: unknown): WaybillError {
  if (cause instanceof WaybillError) return cause;
  const code = codeOf(cause);
  const init = { cause };
  if (code !== undefined && NAME_ERRORS.has(code)) {
    return new WaybillError("unreachable", `the name of ${host} could not be resolved (${code})`, {
      ...init,
      hint: "check the spelling and this machine's DNS",
    });
  }
  if (code !== undefined && DISTRUST.test(code)) {
    return new WaybillError("forbidden", `no trusted TLS with ${host}: ${wordsOf(cause)}`, {
      ...init,
      hint: "check the address and this machine's clock; a certificate of your own authority goes into NODE_EXTRA_CA_CERTS",
    });
  }
  return new WaybillError("unreachable", `connection to ${host} failed (${wordsOf(cause)})`, init);
}

/** Why a proxy could not be used; names it and how to do without. */
export function proxyError(proxy: string, host: string, cause: unknown): WaybillError {
  const inner = connectionError(proxy, cause);
  return new WaybillError(inner.code, `proxy ${proxy} for ${host}: ${inner.message}`, {
    cause,
    hint: "it is named by HTTPS_PROXY, HTTP_PROXY or ALL_PROXY; NO_PROXY exempts hosts",
  });
}

/** A proxy's refusal of a tunnel or of a request. */
export function proxyRefusal(proxy: string, host: string, status: number): WaybillError {
  if (status === 407) {
    return new WaybillError("forbidden", `proxy ${proxy} asks for credentials (407)`, {
      hint: "put them into its URL: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT",
    });
  }
  const passes = status >= 500 || status === 429 || status === 408;
  return new WaybillError(
    passes ? "unreachable" : "forbidden",
    `proxy ${proxy} refused to connect to ${host} (${status})`,
    { hint: "if the host is reachable without it, name it in NO_PROXY" },
  );
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined;
}

/** Several addresses fail with an AggregateError, whose own message is empty. */
function wordsOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) {
    return [...new Set(error.errors.map(messageOf))].join("; ");
  }
  return messageOf(error) || (codeOf(error) ?? "for an unknown reason");
}
