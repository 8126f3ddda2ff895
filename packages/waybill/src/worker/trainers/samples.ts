// Images a trainer shows along the way. Each is read at once (trainers write over their files), kept in the
// spool, stored in the room, and only then announced. Nothing about a sample can fail a job.
import { mkdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { join, resolve, sep } from "node:path";
import {
  type JobId,
  LIMITS,
  type NewJobEvent,
  type RoomId,
  WaybillError,
  isAbort,
  messageOf,
} from "@waybill/sdk/protocol";
import type { SampleImage } from "@waybill/sdk/swarm";
import type { HubCalls } from "../ports.ts";
import { readSmall } from "./regular-file.ts";

export type SamplesInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly job: JobId;
  /** Directory for samples on their way. */
  readonly spoolDir: string;
  /** Directories a sample may lie in; relative paths are looked for in each in turn. */
  readonly roots: readonly string[];
  readonly digest: (bytes: Uint8Array) => string;
  readonly append: (event: NewJobEvent) => void;
  /** Shows an image to live viewers while it is on its way to the store. */
  readonly show: (image: SampleImage) => void;
  readonly signal: AbortSignal;
};

/**
 * Samples on their way, on the disk; a trainer that makes more while the hub is away loses the newer ones. Trainers show a hundred at
 * their end, and leave a hundred thumbnails.
 */
const MAX_WAITING = 256;

/** What a live viewer is told of a file's name, in UTF-16 units. */
const MAX_SERIES = 1024;

type ImageType = { readonly extension: string; readonly mime: string };

export class Samples {
  readonly #init: SamplesInit;
  #waiting = 0;
  #taken = 0;
  #uploads: Promise<void> = Promise.resolve();

  constructor(init: SamplesInit) {
    this.#init = init;
  }

  /** Takes the file a `sample` line names. */
  take(file: string, data: Readonly<Record<string, unknown>>): void {
    if (this.#waiting >= MAX_WAITING) {
      this.#say(file, `${MAX_WAITING} samples are still being stored`);
      return;
    }
    this.#waiting += 1;
    const kept = this.#keep(file);
    // Rejections are handled where it is awaited, after the uploads before it.
    kept.catch(() => undefined);
    this.#uploads = this.#uploads
      .then(async () => this.#store(await kept, data))
      .catch((error: unknown) => {
        if (!isAbort(error)) this.#say(file, messageOf(error));
      })
      .finally(() => {
        this.#waiting -= 1;
      });
  }

  /** Resolves when every sample taken so far is announced or given up. */
  async settled(): Promise<void> {
    await this.#uploads;
  }

  async #keep(file: string): Promise<Kept> {
    const path = await this.#find(file);
    const bytes = await readSmall(path, LIMITS.sampleBytes);
    const type = imageType(bytes);
    if (type === undefined) {
      throw new WaybillError("invalid_request", "it is not a PNG, JPEG, WebP or GIF image");
    }
    const name = `${this.#init.digest(bytes)}.${type.extension}`;
    // A place of its own: the same image may be on its way several times, and each is removed when it is stored.
    this.#taken += 1;
    const place = join(this.#init.spoolDir, `${this.#taken}-${name}`);
    await mkdir(this.#init.spoolDir, { recursive: true });
    await writeFile(place, bytes);
    this.#init.show({
      file: name,
      series: file.slice(0, MAX_SERIES),
      mime: type.mime,
      bytes: bytes.length,
      content: bytes,
    });
    return { name, place, mime: type.mime, bytes: bytes.length };
  }

  async #store(kept: Kept, data: Readonly<Record<string, unknown>>): Promise<void> {
    const { hub, room, job, signal, append } = this.#init;
    const bytes = new Uint8Array(await readFile(kept.place));
    await hub.call(
      "putSample",
      { params: { room, job, file: kept.name } },
      { bytes, signal, retryForMs: Number.POSITIVE_INFINITY },
    );
    await rm(kept.place, { force: true });
    append({
      type: "sample",
      data: { ...data },
      file: kept.name,
      mime: kept.mime,
      bytes: kept.bytes,
    });
  }

  async #find(file: string): Promise<string> {
    for (const root of this.#init.roots) {
      const inside = await realpath(root);
      const path = await realpath(resolve(inside, file)).catch(() => undefined);
      if (path !== undefined && path.startsWith(inside + sep)) return path;
    }
    throw new WaybillError(
      "not_found",
      "there is no such file in WAYBILL_OUTPUT or the working directory",
    );
  }

  #say(file: string, why: string): void {
    const name = file.length > 200 ? `${file.slice(0, 200)}…` : file;
    this.#init.append({
      type: "log",
      stream: "waybill",
      line: `sample ${name} was not kept: ${why}`,
    });
  }
}

type Kept = {
  readonly name: string;
  readonly place: string;
  readonly mime: string;
  readonly bytes: number;
};

/** By the first bytes: names lie. PNG §5.2, JFIF SOI marker, RIFF/WEBP container, GIF87a/89a. */
function imageType(bytes: Uint8Array): ImageType | undefined {
  const text = Buffer.from(bytes.subarray(0, 12)).toString("latin1");
  if (text.startsWith("\u0089PNG\r\n\u001A\n")) return { extension: "png", mime: "image/png" };
  if (text.startsWith("\u00FF\u00D8\u00FF")) return { extension: "jpg", mime: "image/jpeg" };
  if (text.startsWith("GIF87a") || text.startsWith("GIF89a"))
    return { extension: "gif", mime: "image/gif" };
  if (text.startsWith("RIFF") && text.slice(8) === "WEBP")
    return { extension: "webp", mime: "image/webp" };
  return undefined;
}
