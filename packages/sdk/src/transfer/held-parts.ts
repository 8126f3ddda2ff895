// What the store holds of an upload, by object: the parts that need not be sent again (I2).
import { type ObjectProgress, type UploadStatus, isPutAtOnce } from "../protocol/index.ts";

export type HeldPart = { readonly size: number; readonly crc32: string };

/** What is held of one object. */
export type HeldObject = {
  /** Joined from its parts already, by a completion that was cut off. */
  readonly joined: boolean;
  /**
   * Joined, and the store knows the whole object's CRC-32: the completion compares it with the parts that are
   * named. Otherwise only readers notice (I1), and no parts are named, because others were joined.
   */
  readonly comparable?: boolean;
  /** The body of an object that was put at once. */
  readonly whole?: HeldPart & { readonly etag: string | undefined };
  /** Parts by number. */
  readonly parts: ReadonlyMap<number, HeldPart>;
};

export const NOTHING_HELD: HeldObject = { joined: false, parts: new Map() };

/** The store's account by object key. */
export function heldObjects(status: UploadStatus): ReadonlyMap<string, HeldObject> {
  return new Map(status.objects.map((object) => [object.key, heldObject(object)]));
}

/** The store's account of one object. */
export function heldObject(object: ObjectProgress): HeldObject {
  const { done, crc32, size, storedBytes = size, etag } = object;
  const parts = new Map(object.parts.map((part) => [part.part, part] as const));
  if (done && !isPutAtOnce(size) && parts.size === 0) {
    return { joined: true, comparable: crc32 !== undefined, parts };
  }
  if (done && crc32 !== undefined) {
    return { joined: false, whole: { size: storedBytes, crc32, etag }, parts };
  }
  return { joined: false, parts };
}
