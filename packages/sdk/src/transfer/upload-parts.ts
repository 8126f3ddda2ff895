// The parts of an upload by their number in the order of reading: what was read, and what each waits or travels with.
import {
  type PartToCopy,
  type PartToSign,
  type SignedPart,
  type UploadStatus,
  WaybillError,
} from "../protocol/index.ts";
import { type HeldObject, heldObject } from "./held-parts.ts";
import type { MatchBases } from "./matching-reader.ts";
import type { ReadPart } from "./part-reader.ts";
import type { JoinedObject, Permits } from "./sink.ts";
import type { PartBody } from "./tree-bytes.ts";

export class UploadParts {
  readonly #held: ReadonlyMap<string, HeldObject>;
  readonly #parts: ReadPart[] = [];
  readonly #bodies = new Map<number, PartBody>();
  readonly #permits = new Map<number, SignedPart>();
  /** Etags of stored bodies that are not ours, by key. */
  readonly #replaces = new Map<string, string>();
  readonly #errors = new Map<number, unknown>();

  constructor(held: ReadonlyMap<string, HeldObject>) {
    this.#held = held;
    for (const [key, { whole }] of held) {
      if (whole?.etag !== undefined) this.#replaces.set(key, whole.etag);
    }
  }

  /** Numbers a part; its body is kept until it is released. */
  add({ body, ...part }: ReadPart): number {
    const id = this.#parts.push(part) - 1;
    if (body !== undefined) this.#bodies.set(id, body);
    return id;
  }

  /** A part that was read once more, with its body. */
  replace(id: number, { body, ...part }: ReadPart): void {
    this.#parts[id] = part;
    if (body !== undefined) this.#bodies.set(id, body);
  }

  get(id: number): ReadPart {
    const part = this.#parts[id];
    if (part === undefined) throw new WaybillError("internal", `no part number ${id}`);
    return part;
  }

  /** What the sink is asked to sign. */
  toSign(id: number): PartToSign {
    const { key, part, size, crc32, plainBytes } = this.get(id);
    const etag = part === 0 ? this.#replaces.get(key) : undefined;
    return {
      key,
      part,
      size,
      crc32,
      ...(plainBytes === undefined ? {} : { plainBytes }),
      ...(etag === undefined ? {} : { replaces: etag }),
    };
  }

  /** Keeps the permits of these parts. Throws `storage_failed` when one is missing. */
  permit(ids: readonly number[], { parts }: Permits, sink: string): void {
    const byPart = new Map(parts.map((one) => [nameOf(one), one] as const));
    for (const id of ids) {
      const part = this.get(id);
      const permit = byPart.get(nameOf(part));
      if (permit === undefined) {
        throw new WaybillError("storage_failed", `${sink} did not sign ${part.key}`);
      }
      this.#permits.set(id, permit);
    }
  }

  /** What a signed part travels with. */
  toPut(id: number): { readonly body: Uint8Array; readonly permit: SignedPart } {
    const body = this.#bodies.get(id)?.bytes;
    const permit = this.#permits.get(id);
    if (body === undefined || permit === undefined) {
      throw new WaybillError("internal", `part ${id} has no body or permit`);
    }
    return { body, permit };
  }

  failed(id: number, error: unknown): void {
    this.#errors.set(id, error);
  }

  /** Why it failed last. */
  errorOf(id: number): unknown {
    return this.#errors.get(id);
  }

  /** Compares a part that was refused because something is stored there with what that is: whether it is ours. */
  isStored(id: number, status: UploadStatus): boolean {
    const { key, size, crc32 } = this.get(id);
    const object = status.objects.find((one) => one.key === key);
    const whole = object === undefined ? undefined : heldObject(object).whole;
    if (object?.etag === undefined) this.#replaces.delete(key);
    else this.#replaces.set(key, object.etag);
    return whole?.size === size && whole.crc32 === crc32;
  }

  toCopy(id: number, bases: MatchBases | undefined): PartToCopy {
    const { key, part, size, crc32, from } = this.get(id);
    const artifact = from === undefined ? undefined : bases?.bases[from.base]?.artifact;
    if (from === undefined || artifact === undefined) {
      throw new WaybillError("internal", `part ${id} has no base`);
    }
    return { key, part, size, crc32, from: { artifact, key: from.key, start: from.start } };
  }

  /** Of parts that were to be copied, those that were and those that were not. */
  sortCopied(
    ids: readonly number[],
    answers: readonly { readonly key: string; readonly part: number; readonly copied: boolean }[],
  ): { readonly ids: readonly number[]; readonly refused: readonly number[] } {
    const done = new Set(answers.filter(({ copied }) => copied).map(nameOf));
    const isDone = (id: number) => done.has(nameOf(this.get(id)));
    return { ids: ids.filter(isDone), refused: ids.filter((id) => !isDone(id)) };
  }

  /** Forgets everything of a part but what it is. */
  release(id: number): void {
    this.#bodies.get(id)?.release();
    this.#bodies.delete(id);
    this.#permits.delete(id);
    this.#errors.delete(id);
  }

  /** Every part of every object, but of those that were joined already and cannot be compared. */
  joined(): JoinedObject[] {
    const objects = new Map<string, { part: number; crc32: string }[]>();
    for (const { key, part, crc32 } of this.#parts) {
      const held = this.#held.get(key);
      if (held?.joined === true && held.comparable !== true) continue;
      const parts = objects.get(key) ?? [];
      parts.push({ part, crc32 });
      objects.set(key, parts);
    }
    return [...objects].map(([key, parts]) => ({ key, parts }));
  }
}

function nameOf({ key, part }: { readonly key: string; readonly part: number }): string {
  return `${part}/${key}`;
}
