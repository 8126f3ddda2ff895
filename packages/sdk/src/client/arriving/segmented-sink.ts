// A sink that puts the parts of multipart objects as segments, which others can read at once, and has the store make
// parts of them while the push goes on (docs/protocol/arriving.md §2). Whatever it cannot do so is done the usual way.
//
//   put segment ─▶ queued ─▶ taken (64 at a time, one call after the other)
//                              └── refused ─▶ no more segments; the completion is refused once and the rest is sent
import {
  type ArtifactId,
  type ArtifactRecord,
  type CopiedPart,
  LIMITS,
  MANIFEST_KEY,
  type PartToCopy,
  type PartToSign,
  type RoomId,
  type SegmentToTake,
  type SignedPart,
  type UploadPlan,
  type UploadStatus,
  WaybillError,
} from "../../protocol/index.ts";
import type { JoinedObject, Permits, PutOptions, Sink, SinkOptions } from "../../transfer/index.ts";
import type { HubSink } from "../hub-sink.ts";
import type { HubCalls } from "../push.ts";
import type { Announced } from "./announcer.ts";

export type SegmentedSinkInit = {
  readonly inner: HubSink;
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly retryForMs: number;
  /** Announces an upload that was begun, and waits while it is held back. */
  readonly announce: (status: UploadStatus, options: SinkOptions) => Promise<Announced>;
  /** Told when a segment could not be taken: the next sink should not try. */
  readonly onRefused: (reason: string) => void;
};

export class SegmentedSink implements Sink {
  readonly id: string;
  readonly #init: SegmentedSinkInit;
  /** What the permits of segments were asked for. */
  readonly #segments = new WeakMap<SignedPart, PartToSign>();
  readonly #queue: SegmentToTake[] = [];
  #status: UploadStatus | undefined;
  #isOn = false;
  #refusal: string | undefined;
  #error: unknown;
  #taking: Promise<void> | undefined;

  constructor(init: SegmentedSinkInit) {
    this.#init = init;
    this.id = init.inner.id;
  }

  /** The completion was refused: something is missing or not what it should be. */
  get tripMs(): number | undefined {
    return this.#init.inner.tripMs;
  }

  expect(bodies: number): void {
    this.#init.inner.expect?.(bodies);
  }

  get refused(): boolean {
    return this.#refusal !== undefined || this.#init.inner.refused;
  }

  get artifact(): ArtifactId | undefined {
    return this.#init.inner.artifact;
  }

  async begin(plan: UploadPlan, options: SinkOptions): Promise<UploadStatus> {
    const status = await this.#init.inner.begin(plan, options);
    this.#status = status;
    if (status.state !== "open") return status;
    const { segments, wasHeld } = await this.#init.announce(status, options);
    this.#isOn = segments;
    // Somebody else may have sent parts of it meanwhile (I2).
    return wasHeld ? this.#init.inner.status(options) : status;
  }

  status(options: SinkOptions): Promise<UploadStatus> {
    return this.#init.inner.status(options);
  }

  async authorise(parts: readonly PartToSign[], options: SinkOptions): Promise<Permits> {
    const isSegment = ({ key, part }: PartToSign) => this.#isOn && part > 0 && key !== MANIFEST_KEY;
    const asSegments = parts.filter(isSegment);
    const asParts = parts.filter((part) => !isSegment(part));
    const answers = await Promise.all([
      ...(asParts.length === 0 ? [] : [this.#init.inner.authorise(asParts, options)]),
      ...(asSegments.length === 0 ? [] : [this.#authoriseSegments(asSegments, options)]),
    ]);
    return {
      parts: answers.flatMap((answer) => answer.parts),
      validForMs: Math.min(...answers.map(({ validForMs }) => validForMs)),
    };
  }

  async put(permit: SignedPart, body: Uint8Array, options: PutOptions): Promise<void> {
    if (this.#error !== undefined) throw this.#error;
    await this.#init.inner.put(permit, body, options);
    const segment = this.#segments.get(permit);
    if (segment === undefined) return;
    this.#queue.push(segment);
    this.#take(options.signal);
  }

  copy(copies: readonly PartToCopy[], options: SinkOptions): Promise<readonly CopiedPart[]> {
    return this.#init.inner.copy(copies, options);
  }

  async complete(
    artifact: ArtifactId,
    objects: readonly JoinedObject[],
    options: SinkOptions,
  ): Promise<ArtifactRecord> {
    while (this.#taking !== undefined) await this.#taking;
    if (this.#error !== undefined) throw this.#error;
    if (this.#refusal !== undefined) {
      throw new WaybillError(
        "conflict",
        `the store made no parts of some segments: ${this.#refusal}`,
        { hint: "those parts are sent again" },
      );
    }
    return this.#init.inner.complete(artifact, objects, options);
  }

  adopt(artifact: ArtifactId, options: SinkOptions): Promise<ArtifactRecord | undefined> {
    return this.#init.inner.adopt(artifact, options);
  }

  async #authoriseSegments(
    parts: readonly PartToSign[],
    { signal }: SinkOptions,
  ): Promise<Permits> {
    const { hub, retryForMs } = this.#init;
    const input = { params: this.#inUpload(), body: { parts: [...parts] } };
    const permits = await hub.call("signSegments", input, { signal, retryForMs });
    const byName = new Map(parts.map((one) => [`${one.part}/${one.key}`, one]));
    for (const permit of permits.parts) {
      const segment = byName.get(`${permit.part}/${permit.key}`);
      if (segment !== undefined) this.#segments.set(permit, segment);
    }
    return permits;
  }

  /** Has everything that is queued taken; one call at a time. */
  #take(signal: AbortSignal): void {
    this.#taking ??= this.#takeAll(signal)
      .catch((error: unknown) => {
        this.#error = error;
      })
      .finally(() => {
        this.#taking = undefined;
        // What was queued at the very end.
        if (this.#queue.length > 0 && this.#error === undefined) this.#take(signal);
      });
  }

  async #takeAll(signal: AbortSignal): Promise<void> {
    const { hub, retryForMs } = this.#init;
    while (this.#queue.length > 0) {
      const segments = this.#queue.splice(0, LIMITS.copyBatch);
      const input = { params: this.#inUpload(), body: { segments } };
      const { copied } = await hub.call("takeSegments", input, { signal, retryForMs });
      const refused = copied.find((one) => !one.copied);
      if (refused === undefined) continue;
      this.#isOn = false;
      this.#refusal ??= refused.reason ?? "it said no more";
      this.#init.onRefused(this.#refusal);
    }
  }

  #inUpload() {
    if (this.#status === undefined) throw new WaybillError("internal", "upload was not begun");
    return { room: this.#init.room, upload: this.#status.upload };
  }
}
