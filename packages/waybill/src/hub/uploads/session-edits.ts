// How a session's document changes while somebody works on it, but for parts: pure, for compare-and-swap.
//
// A session may have two pushers whose bytes differ. Nothing that is stored is ever deleted for one of them, because
// the other may complete with it meanwhile; what one wants otherwise is marked here first, and a completion that does
// not know a mark does not count.
import { type ArtifactRecord, type UploadPlan, WaybillError } from "@waybill/sdk/protocol";
import { isDeepStrictEqual } from "node:util";
import type { UploadDoc } from "./upload-doc.ts";

const DAY_MS = 86_400_000;

export type Times = { readonly nowMs: number; readonly ttlMs: number };

/** Whether more than half of its time is left. */
export function hasTime({ expiresAt }: UploadDoc, { nowMs, ttlMs }: Times): boolean {
  return Date.parse(expiresAt) - nowMs > ttlMs / 2;
}

/**
 * The session with its time begun again; the same document when it has enough left, or may have no more. One whose
 * artifact has expired is open again: what the store still has need not be sent.
 */
export function renewed(doc: UploadDoc, times: Times): UploadDoc {
  const { nowMs, ttlMs } = times;
  if (hasTime(doc, times)) return doc;
  const expiresAt = new Date(nowMs + ttlMs).toISOString();
  const { record, ...rest } = doc;
  if (record === undefined || doc.place === "rooms") return { ...doc, expiresAt };
  // Objects that outlive the store's own cleaning rule would be taken from under the record.
  const young = nowMs - Date.parse(doc.createdAt) < ttlMs + 5 * DAY_MS;
  const isOver = Date.parse(doc.expiresAt) <= nowMs;
  if (isOver) return { ...rest, state: "open", expiresAt, multipart: {} };
  return young ? { ...doc, expiresAt, record: { ...record, expiresAt } } : doc;
}

/** One fingerprint is one push; how it cuts its objects is up to whoever opened it. */
export function assertSamePush(known: UploadPlan, plan: UploadPlan): void {
  const essence = ({ purpose, bytes }: UploadPlan) => ({ purpose, bytes });
  if (isDeepStrictEqual(essence(known), essence(plan))) return;
  throw new WaybillError("conflict", "the fingerprint belongs to an upload of other bytes", {
    hint: "push again; if it happens again, report it",
  });
}

/** A completed session whose record has another name; the same document when that is its name. */
export function recordNamed(doc: UploadDoc, name: ArtifactRecord["name"]): UploadDoc {
  const { record } = doc;
  return record === undefined || record.name === name
    ? doc
    : { ...doc, record: { ...record, name } };
}

/** Etags of objects by key; undefined where it was not looked at. */
export type Etags = ReadonlyMap<string, string | undefined>;

/** A body that was asked for in the place of the one with an etag. */
export type Replacement = { readonly key: string; readonly etag: string };

/** Joined objects are to be sent anew, if the session still means the uploads they were joined from. */
export function withAnew(known: UploadDoc, read: UploadDoc, wrong: ReadonlyMap<string, string>) {
  const keys = [...wrong.keys()].filter((key) => known.multipart[key] === read.multipart[key]);
  if (keys.length === 0) return undefined;
  const multipart = Object.entries(known.multipart).filter(([key]) => !keys.includes(key));
  const anew = { ...known.anew };
  for (const key of keys) anew[key] = wrong.get(key) ?? "";
  return { ...known, multipart: Object.fromEntries(multipart), anew };
}

/** URLs that replace these bodies may be used until then; marks that are over go. */
export function withReplacing(
  known: UploadDoc,
  replacements: readonly Replacement[],
  { nowMs, untilMs }: { readonly nowMs: number; readonly untilMs: number },
): UploadDoc {
  const replacing: Record<string, Record<string, number>> = {};
  for (const [key, etags] of Object.entries(known.replacing ?? {})) {
    const left = Object.entries(etags).filter(([, until]) => until > nowMs);
    if (left.length > 0) replacing[key] = Object.fromEntries(left);
  }
  for (const { key, etag } of replacements) {
    replacing[key] = { ...replacing[key], [etag]: untilMs };
  }
  return { ...known, replacing };
}

/**
 * Throws `conflict` when what a completion has read may have changed since, or may change later: somebody has marked an
 * object, or holds a URL that replaces a body the completion counts on.
 */
export function assertUncontested(
  known: UploadDoc,
  read: UploadDoc,
  etags: Etags,
  nowMs: number,
): void {
  if (!isDeepStrictEqual(known.anew ?? {}, read.anew ?? {})) throw contested(read);
  for (const [key, marks] of Object.entries(known.replacing ?? {})) {
    const etag = etags.get(key);
    if (!etags.has(key)) continue;
    const isMarked = Object.entries(marks).some(
      ([marked, until]) => until > nowMs && (etag === undefined || etag === marked),
    );
    if (isMarked) throw contested(read, key);
  }
}

function contested({ upload }: UploadDoc, key?: string): WaybillError {
  const what = key === undefined ? "its objects" : key;
  return new WaybillError("conflict", `another push of upload ${upload} is replacing ${what}`, {
    hint: "push again; if it happens again, under another fingerprint",
  });
}
