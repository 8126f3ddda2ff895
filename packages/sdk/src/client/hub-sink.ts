// An upload's sink: the hub keeps the account, signs and has the store copy; the bytes go to the store.
import type { ByteTransport } from "../platform/index.ts";
import {
  type ArtifactId,
  type ArtifactName,
  type ArtifactRecord,
  type CopiedPart,
  type PartToCopy,
  type PartToSign,
  type RoomId,
  type UploadId,
  type UploadPlan,
  type UploadPurpose,
  type UploadStatus,
  WaybillError,
} from "../protocol/index.ts";
import { createPresignedPut } from "../s3/index.ts";
import { retry } from "../timing/index.ts";
import type { JoinedObject, Permits, Sink, SinkOptions } from "../transfer/index.ts";
import type { HubCalls } from "./push.ts";

export type HubSinkInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly transport: ByteTransport;
  readonly purpose: UploadPurpose;
  readonly name: ArtifactName;
  /** How long the hub may be away. */
  readonly retryForMs: number;
  /** Told of waits between tries of completing, which no call of the hub's client makes by itself. */
  readonly onRetry?: ((error: unknown, waitMs: number) => void) | undefined;
};

export class HubSink implements Sink {
  readonly id: string;
  readonly put: Sink["put"];
  /** The completion was refused: something is missing or not what it should be. */
  refused = false;
  /** The artifact that was to be completed. */
  artifact: ArtifactId | undefined;
  readonly #init: HubSinkInit;
  #upload: UploadId | undefined;
  #storeOrigin: string | undefined;
  /** The session was opened by this sink, and nothing was signed or copied for it: giving it up takes from nobody. */
  #isUntouched = false;

  constructor(init: HubSinkInit) {
    this.#init = init;
    this.id = `room ${init.room}`;
    this.put = createPresignedPut(init.transport);
  }

  get tripMs(): number | undefined {
    return this.#init.hub.tripMs;
  }

  expect(bodies: number): void {
    if (this.#storeOrigin !== undefined) this.#init.transport.warm?.(this.#storeOrigin, bodies);
  }

  async begin(plan: UploadPlan, { signal }: SinkOptions): Promise<UploadStatus> {
    const { hub, room, retryForMs } = this.#init;
    const input = { params: { room }, body: plan };
    const answer = await hub.call("beginUpload", input, { signal, retryForMs });
    const { status, resumed } = answer;
    this.#storeOrigin = answer.storeOrigin;
    this.#upload = status.upload;
    this.#isUntouched = !resumed;
    return status;
  }

  status({ signal }: SinkOptions): Promise<UploadStatus> {
    const { hub, retryForMs } = this.#init;
    return hub.call("showUpload", { params: this.#inUpload() }, { signal, retryForMs });
  }

  async authorise(parts: readonly PartToSign[], { signal }: SinkOptions): Promise<Permits> {
    const { hub, retryForMs } = this.#init;
    this.#isUntouched = false;
    const input = { params: this.#inUpload(), body: { parts: [...parts] } };
    return hub.call("signParts", input, { signal, retryForMs });
  }

  async copy(
    copies: readonly PartToCopy[],
    { signal }: SinkOptions,
  ): Promise<readonly CopiedPart[]> {
    const { hub, retryForMs } = this.#init;
    this.#isUntouched = false;
    const input = { params: this.#inUpload(), body: { copies: [...copies] } };
    const { copied } = await hub.call("copyParts", input, { signal, retryForMs });
    return copied;
  }

  complete(
    artifact: ArtifactId,
    objects: readonly JoinedObject[],
    { signal }: SinkOptions,
  ): Promise<ArtifactRecord> {
    const { hub, name, retryForMs, onRetry } = this.#init;
    this.artifact = artifact;
    const body = {
      artifact,
      name,
      objects: objects.map(({ key, parts }) => ({ key, parts: [...parts] })),
    };
    const input = { params: this.#inUpload(), body };
    const once = async () => {
      try {
        return await hub.call("completeUpload", input, { signal, retryForMs: 0 });
      } catch (error) {
        if (!(error instanceof WaybillError)) throw error;
        if (error.code !== "conflict" && error.code !== "digest_mismatch") throw error;
        // Asking again would not change it; sending what is missing does.
        this.refused = true;
        throw new WaybillError("conflict", error.message, {
          cause: error,
          ...(error.hint === undefined ? {} : { hint: error.hint }),
        });
      }
    };
    return retry(once, { forMs: retryForMs, signal, capMs: 2000, onRetry });
  }

  /** The room's own artifact in place of the upload; undefined when its bytes would have to move. */
  async adopt(artifact: ArtifactId, { signal }: SinkOptions): Promise<ArtifactRecord | undefined> {
    const { hub, room, purpose, name, retryForMs } = this.#init;
    if (purpose.kind !== "dataset") return undefined;
    const options = { signal, retryForMs };
    let record: ArtifactRecord;
    try {
      const input = { params: { room, artifact }, body: { name, keep: purpose.keep } };
      record = await hub.call("adoptArtifact", input, options);
    } catch (error) {
      if (error instanceof WaybillError && NOT_ADOPTED.has(error.code)) return undefined;
      throw error;
    }
    // Somebody else's session, or one of an earlier run, is not ours to give up.
    if (!this.#isUntouched) return record;
    await hub.call("abortUpload", { params: this.#inUpload() }, options).catch((error: unknown) => {
      if (!(error instanceof WaybillError)) throw error;
    });
    return record;
  }

  #inUpload(): { readonly room: RoomId; readonly upload: UploadId } {
    if (this.#upload === undefined) throw new WaybillError("internal", "upload was not begun");
    return { room: this.#init.room, upload: this.#upload };
  }
}

/** Refusals of an adoption after which the tree is pushed. */
export const NOT_ADOPTED: ReadonlySet<string> = new Set([
  "conflict",
  "not_found",
  "expired",
  "forbidden",
]);
