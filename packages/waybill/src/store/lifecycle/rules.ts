/**
 * Lifecycle rules: which objects expire and which unfinished uploads are given up. Pure; reads
 * S3's `LifecycleConfiguration` and answers what a rule says about one object at one time.
 */
import {
  child,
  childrenNamed,
  childText,
  malformed,
  parseXml,
  type XmlElement,
} from "../http/xml-reader.ts";
import { S3Error } from "../s3-error.ts";

export interface LifecycleRule {
  readonly id: string;
  readonly enabled: boolean;
  readonly prefix: string;
  readonly tags: readonly (readonly [key: string, value: string])[];
  /** Exclusive bounds in bytes. */
  readonly largerThan: number | undefined;
  readonly smallerThan: number | undefined;
  readonly expiration:
    | { readonly kind: "days"; readonly days: number }
    | { readonly kind: "date"; readonly time: number }
    | undefined;
  /** Days after which an unfinished upload is aborted. */
  readonly abortUploadsDays: number | undefined;
}

/** An object as far as rules look at it. */
export interface LifecycleSubject {
  readonly key: string;
  readonly bytes: number;
  readonly modified: number;
  readonly tags: Readonly<Record<string, string>>;
}

export const DAY_MS = 24 * 60 * 60 * 1000;
/** S3's bounds. */
const MAX_RULES = 1000;
const MAX_ID_LENGTH = 255;

/**
 * Reads a `LifecycleConfiguration`.
 *
 * @param newId names a rule that came without an id
 * @throws S3Error `MalformedXML`, `InvalidArgument`, `NotImplemented` (transitions)
 */
export function parseLifecycle(source: string, newId: () => string): LifecycleRule[] {
  const rules = childrenNamed(parseXml(source, "LifecycleConfiguration"), "Rule");
  if (rules.length === 0 || rules.length > MAX_RULES) throw malformed();
  const ids = new Set<string>();
  return rules.map((rule) => {
    const parsed = parseRule(rule, newId);
    if (ids.has(parsed.id))
      throw invalid("Rule ID must be unique. Found same ID for more than one rule");
    ids.add(parsed.id);
    return parsed;
  });
}

function parseRule(rule: XmlElement, newId: () => string): LifecycleRule {
  for (const name of ["Transition", "NoncurrentVersionTransition"]) {
    if (child(rule, name)) {
      throw new S3Error("NotImplemented", {
        message: "There is one storage class: no transitions.",
      });
    }
  }
  const id = childText(rule, "ID")?.trim() || newId();
  if (id.length > MAX_ID_LENGTH) throw invalid("ID length should not exceed allowed limit of 255");
  const status = childText(rule, "Status")?.trim();
  if (status !== "Enabled" && status !== "Disabled") throw malformed();
  const expiration = parseExpiration(child(rule, "Expiration"));
  const abort = child(rule, "AbortIncompleteMultipartUpload");
  const acts = ["Expiration", "AbortIncompleteMultipartUpload", "NoncurrentVersionExpiration"];
  if (!acts.some((name) => child(rule, name))) {
    throw invalid("At least one action needs to be specified in a rule");
  }
  return {
    id,
    enabled: status === "Enabled",
    ...parseFilter(rule),
    expiration,
    abortUploadsDays:
      abort && positive(childText(abort, "DaysAfterInitiation"), "DaysAfterInitiation"),
  };
}

type Filter = Pick<LifecycleRule, "prefix" | "tags" | "largerThan" | "smallerThan">;

function parseFilter(rule: XmlElement): Filter {
  const filter = child(rule, "Filter");
  const direct = childText(rule, "Prefix");
  if (filter && direct !== undefined) throw malformed();
  if (!filter && direct === undefined) throw malformed();
  const source = (filter && child(filter, "And")) ?? filter;
  const bytes = (name: string): number | undefined => {
    const value = source && childText(source, name);
    if (value === undefined) return undefined;
    if (!/^\d{1,15}$/.test(value.trim())) throw malformed();
    return Number(value);
  };
  const tags = (source ? childrenNamed(source, "Tag") : []).map((tag) => {
    return [childText(tag, "Key") ?? "", childText(tag, "Value") ?? ""] as const;
  });
  return {
    prefix: direct ?? (source && childText(source, "Prefix")) ?? "",
    tags,
    largerThan: bytes("ObjectSizeGreaterThan"),
    smallerThan: bytes("ObjectSizeLessThan"),
  };
}

function parseExpiration(element: XmlElement | undefined): LifecycleRule["expiration"] {
  if (!element) return undefined;
  const days = childText(element, "Days");
  const date = childText(element, "Date");
  const marker = childText(element, "ExpiredObjectDeleteMarker");
  if ([days, date, marker].filter((one) => one !== undefined).length !== 1) throw malformed();
  if (days !== undefined) return { kind: "days", days: positive(days, "Days") };
  // Delete markers do not exist without versions: nothing to expire.
  if (date === undefined) return undefined;
  const time = Date.parse(date.trim());
  if (Number.isNaN(time)) throw malformed();
  if (time % DAY_MS !== 0) throw invalid("'Date' must be at midnight GMT");
  return { kind: "date", time };
}

function positive(text: string | undefined, name: string): number {
  const value = text?.trim() ?? "";
  if (!/^-?\d{1,9}$/.test(value)) throw malformed();
  if (Number(value) > 0) return Number(value);
  throw invalid(`'${name}' for Expiration action must be a positive integer`);
}

function invalid(message: string): S3Error {
  return new S3Error("InvalidArgument", { message });
}

/** True when a rule is for this object, whatever its age. */
function appliesTo(rule: LifecycleRule, subject: LifecycleSubject): boolean {
  return (
    rule.enabled &&
    subject.key.startsWith(rule.prefix) &&
    (rule.largerThan === undefined || subject.bytes > rule.largerThan) &&
    (rule.smallerThan === undefined || subject.bytes < rule.smallerThan) &&
    rule.tags.every(([key, value]) => subject.tags[key] === value)
  );
}

/**
 * When a rule ends an object: days count from its modification and are rounded up to the next
 * midnight UTC, as S3 does.
 *
 * @returns milliseconds since 1970; undefined when the rule leaves it alone
 */
export function expiryTime(rule: LifecycleRule, subject: LifecycleSubject): number | undefined {
  if (!rule.expiration || !appliesTo(rule, subject)) return undefined;
  if (rule.expiration.kind === "date") return rule.expiration.time;
  return nextMidnight(subject.modified + rule.expiration.days * DAY_MS);
}

/** When a rule aborts an upload begun at `initiated`; undefined when it leaves it alone. */
export function abortTime(rule: LifecycleRule, key: string, initiated: number): number | undefined {
  if (!rule.enabled || rule.abortUploadsDays === undefined) return undefined;
  if (!key.startsWith(rule.prefix)) return undefined;
  return nextMidnight(initiated + rule.abortUploadsDays * DAY_MS);
}

function nextMidnight(time: number): number {
  return Math.ceil(time / DAY_MS) * DAY_MS;
}
