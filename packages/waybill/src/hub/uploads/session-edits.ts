// How a session's document changes while somebody works on it, but for parts: pure, for compare-and-swap.
import { type UploadPlan, WaybillError } from "@waybill/sdk/protocol";
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

/** The document under another name; the same document when that is its name. */
export function renamed(doc: UploadDoc, name: UploadPlan["name"]): UploadDoc {
  if (doc.plan.name === name && (doc.record?.name ?? name) === name) return doc;
  const { record, ...rest } = doc;
  const plan = { ...doc.plan, name };
  return record === undefined ? { ...rest, plan } : { ...rest, plan, record: { ...record, name } };
}
