// Heads of HTTP/1.1 messages: requests written, answers read (RFC 9112).
import { WaybillError } from "../protocol/index.ts";

/** Response heads of object stores are below 4 KiB. */
export const MAX_HEAD_BYTES = 64 * 1024;

export type Head = {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: ReadonlyMap<string, string>;
  /** How the body ends (RFC 9112 §6.3). */
  readonly framing: "none" | "chunked" | "close" | { readonly bytes: number };
  /** Whether the connection may carry another request after the body. */
  readonly mayKeep: boolean;
  /** How long the server says it keeps an idle connection, in milliseconds. */
  readonly keepMs: number | undefined;
};

/** Reads the lines of an answer's head. Throws `unreachable` when it is not one. */
export function parseHead(lines: readonly string[], host: string): Head {
  const match = /^HTTP\/1\.([01]) (\d{3})/.exec(lines[0] ?? "");
  if (match === null) {
    throw new WaybillError("unreachable", `${host} did not answer in HTTP/1.1`);
  }
  const headers = new Map<string, string>();
  for (const line of lines.slice(1)) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).trim().toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = headers.get(name);
    if (name === "content-length" && before !== undefined && before !== value) {
      throw new WaybillError("unreachable", `${host} answered with two lengths of one body`);
    }
    const several = before !== undefined && name !== "content-length";
    headers.set(name, several ? `${before}, ${value}` : value);
  }
  const status = Number(match[2]);
  const framing = framingOf(status, headers, host);
  const wishes = headers.get("connection")?.toLowerCase() ?? "";
  const lasting = match[1] === "1" ? !wishes.includes("close") : wishes.includes("keep-alive");
  const seconds = /(?:^|[,\s])timeout=(\d{1,6})/.exec(headers.get("keep-alive") ?? "")?.[1];
  return {
    status,
    headers,
    framing,
    mayKeep: lasting && framing !== "close",
    keepMs: seconds === undefined ? undefined : Number(seconds) * 1000,
  };
}

function framingOf(
  status: number,
  headers: ReadonlyMap<string, string>,
  host: string,
): Head["framing"] {
  if (status < 200 || status === 204 || status === 304) return "none";
  if (headers.get("transfer-encoding")?.toLowerCase().includes("chunked") === true) {
    return "chunked";
  }
  const length = headers.get("content-length");
  if (length === undefined) return "close";
  if (!/^\d{1,15}$/.test(length)) {
    throw new WaybillError("unreachable", `${host} answered with the length "${length}"`);
  }
  return { bytes: Number(length) };
}

/**
 * The head of a request; `absolute` names the whole URL, as proxies want it. Throws `invalid_request` for a
 * header with a line break.
 */
export function requestText(
  method: string,
  url: URL,
  headers: Readonly<Record<string, string>>,
  absolute: boolean,
): string {
  const path = `${url.pathname}${url.search}`;
  const lines = [
    `${method} ${absolute ? `http://${url.host}${path}` : path} HTTP/1.1`,
    `host: ${url.host}`,
  ];
  for (const [name, value] of Object.entries(headers)) {
    if (/[\r\n]/.test(name + value)) {
      throw new WaybillError("invalid_request", `header ${name} holds a line break`);
    }
    lines.push(`${name}: ${value}`);
  }
  return `${lines.join("\r\n")}\r\n\r\n`;
}
