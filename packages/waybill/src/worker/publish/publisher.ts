// From a directory of files to a model others can name: reserve an id, push and verify the bytes, enter them in
// the registry. Every step may be repeated after a crash; the job's outcome is told to the hub by the runner.
import {
  type ArtifactId,
  type JobAssignment,
  type JobEventOf,
  type ModelEntry,
  type ModelId,
  ArtifactName,
  WaybillError,
  directModelPrefix,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import { describeJob, seedOf } from "@waybill/sdk/registry";
import { delay } from "@waybill/sdk/timing";
import { isStale } from "../errors.ts";
import type { HubCalls, StorePort, TransferPort, TransferProgress } from "../ports.ts";
import { hubLost } from "./hub-lost.ts";

export type PublisherInit = {
  readonly hub: HubCalls;
  readonly transfer: TransferPort;
  readonly assignment: JobAssignment;
  readonly digest: (bytes: Uint8Array) => string;
  /** The object store by the worker's own credentials, if it has any. */
  readonly store: StorePort | undefined;
  /** The hub has to be away for so long before the model goes to the store without it. */
  readonly hubLostMs: number;
  /** What a former daemon has put there and not told the hub of, and who notes that. */
  readonly stored: Pushed | undefined;
  readonly onStored: (stored: Pushed) => Promise<void>;
  /** The id that was reserved, when a former daemon knew it, and who notes it. */
  readonly model: ModelId | undefined;
  readonly onReserved: (model: ModelId) => void;
};

export type PublishRequest = {
  readonly output: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly stoppedEarly: boolean;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: TransferProgress) => void;
  /** The bytes are in the store; resolves before the registry is asked to name them. */
  readonly onPushed: (pushed: Pushed) => Promise<void>;
  readonly onWarning: (line: string) => void;
};

export type Pushed = {
  readonly artifact: ArtifactId;
  readonly bytes: number;
  readonly sentBytes: number;
  readonly seconds: number;
};

/** The model and where it lies, as the `published` event says it. */
export type Published = Omit<JobEventOf<"published">, "seq" | "time" | "attempt">;

/** The pushed model, or the one an earlier attempt has published. */
type Brought =
  | { readonly model: ModelId; readonly pushed: Pushed }
  | { readonly former: ModelEntry };

const FOREVER = Number.POSITIVE_INFINITY;
/** Between tries of a push that failed in a way that may pass. */
const PUSH_AGAIN_MS = 1000;

export class Publisher {
  readonly #init: PublisherInit;
  #model: Promise<ModelId> | undefined;
  #reserved: ModelId | undefined;

  constructor(init: PublisherInit) {
    this.#init = init;
    this.#reserved = init.model;
    if (init.model !== undefined) this.#model = Promise.resolve(init.model);
  }

  /** Asks for the model's id while the trainer still runs; `publish` uses the answer. */
  reserveEarly(signal: AbortSignal): void {
    if (this.#model !== undefined) return;
    const reserved = this.#reserve(signal);
    this.#model = reserved;
    reserved.catch(() => {
      // Asked again, and reported, when it is needed.
      if (this.#model === reserved) this.#model = undefined;
    });
  }

  /** The id that is reserved for the model, once that is known. */
  get reserved(): ModelId | undefined {
    return this.#reserved;
  }

  /** Publishes the output; throws what cannot be mended by trying again, `stale_attempt`, or the signal's reason. */
  async publish(request: PublishRequest): Promise<Published> {
    const { signal } = request;
    const reserved = await (this.#model ?? this.#reserve(signal));
    const brought = await this.#bring(reserved, request);
    if ("former" in brought) {
      const { former } = brought;
      request.onWarning(`the model of an earlier attempt is in the registry already: ${former.id}`);
      return publishedAs(former);
    }
    const { model, pushed } = brought;
    await request.onPushed(pushed);
    request.signal.throwIfAborted();
    return publishedAs(await this.#register(model, pushed.artifact, request));
  }

  /** What an earlier attempt entered before its worker was lost: the job has its one result then (I5). */
  async #formerResult(model: ModelId, signal: AbortSignal): Promise<ModelEntry | undefined> {
    const { hub, assignment } = this.#init;
    const { room, job, attempt } = assignment;
    if (attempt === 1) return undefined;
    try {
      const options = { signal, retryForMs: FOREVER };
      const found = await hub.call("showModel", { params: { room, model } }, options);
      return found.model.training.job === job ? found.model : undefined;
    } catch (error) {
      if (error instanceof WaybillError && error.code === "not_found") return undefined;
      throw error;
    }
  }

  /** Through the hub, unless an earlier attempt has published already. */
  async #throughHub(reserved: ModelId, request: PublishRequest): Promise<Brought> {
    const former = await this.#formerResult(reserved, request.signal);
    return former === undefined ? this.#pushed(reserved, request) : { former };
  }

  /** An earlier attempt may have filled the folder and been lost before it said so: this one gets a folder of its own. */
  async #pushed(model: ModelId, request: PublishRequest): Promise<Brought> {
    try {
      return { model, pushed: await this.#push(model, request) };
    } catch (error) {
      const filled = error instanceof WaybillError && error.code === "conflict";
      if (!filled || this.#init.assignment.attempt === 1) throw error;
      const own = await this.#reserve(request.signal, this.#init.assignment.attempt);
      return { model: own, pushed: await this.#push(own, request) };
    }
  }

  async #reserve(signal: AbortSignal, attempt?: number): Promise<ModelId> {
    const { hub, assignment, digest } = this.#init;
    const { room, job, spec } = assignment;
    const description = new TextEncoder().encode(describeJob(assignment, attempt));
    const body = { digest: digest(description), owner: job, modelType: spec.modelType };
    const options = { signal, retryForMs: FOREVER };
    const { model } = await hub.call("reserveModel", { params: { room }, body }, options);
    if (attempt === undefined) {
      this.#reserved = model;
      this.#init.onReserved(model);
    }
    return model;
  }

  /** Through the hub; straight to the store when that is away and the worker can. */
  async #bring(model: ModelId, request: PublishRequest): Promise<Brought> {
    const { store, hub, hubLostMs, stored } = this.#init;
    if (stored !== undefined) return this.#record(model, stored, request);
    if (store === undefined) return this.#throughHub(model, request);
    const over = new AbortController();
    const signal = AbortSignal.any([request.signal, over.signal]);
    const lost = hubLost(hub, hubLostMs, signal).then(() => "lost" as const);
    const bringing = this.#throughHub(model, { ...request, signal });
    try {
      const first = await Promise.race([bringing, lost]);
      if (first !== "lost") return first;
    } finally {
      over.abort();
      await Promise.allSettled([bringing, lost]);
    }
    request.signal.throwIfAborted();
    return this.#record(model, await this.#store(store, model, request), request);
  }

  async #store(store: StorePort, model: ModelId, request: PublishRequest): Promise<Pushed> {
    const { room, job, attempt, spec } = this.#init.assignment;
    const { modelType } = spec;
    const { signal, onProgress } = request;
    request.onWarning("the hub cannot be reached: the model goes straight to the object store");
    const pushed = await store.upload({
      room,
      dir: request.output,
      prefix: directModelPrefix({ room, model, modelType, attempt }),
      name: v.parse(ArtifactName, `${modelType}_${model}`),
      purpose: { kind: "model", model, modelType, job, attempt },
      signal,
      onProgress,
    });
    for (const warning of pushed.warnings) request.onWarning(warning);
    const { artifact, bytes, sentBytes, seconds } = pushed;
    await this.#init.onStored({ artifact, bytes, sentBytes, seconds });
    return { artifact, bytes, sentBytes, seconds };
  }

  /** Tells the hub, as soon as it is back, what lies in the store. */
  async #record(model: ModelId, pushed: Pushed, request: PublishRequest): Promise<Brought> {
    const { hub, assignment, store } = this.#init;
    const { room, job, attempt, spec } = assignment;
    const { modelType } = spec;
    const { signal } = request;
    const body = { artifact: pushed.artifact, modelType, job, attempt };
    try {
      const input = { params: { room, model }, body };
      await hub.call("recordModel", input, { signal, retryForMs: FOREVER });
      return { model, pushed };
    } catch (error) {
      const code = error instanceof WaybillError ? error.code : undefined;
      if (code !== "stale_attempt" && code !== "conflict") throw error;
      // Nobody will ever record it.
      const prefix = directModelPrefix({ room, model, modelType, attempt });
      await store?.remove(prefix, signal).catch(() => undefined);
      if (code === "stale_attempt") throw error;
      // Filled by an earlier attempt, or not whole: the hub is back, and the output is still here.
      return this.#throughHub(model, request);
    }
  }

  async #push(model: ModelId, request: PublishRequest): Promise<Pushed> {
    const { transfer, assignment } = this.#init;
    const { room, job, attempt, spec } = assignment;
    for (let tries = 0; ; tries++) {
      try {
        const pushed = await transfer.push({
          room,
          dir: request.output,
          name: v.parse(ArtifactName, `${spec.modelType}_${model}`),
          purpose: { kind: "model", model, modelType: spec.modelType, job, attempt },
          parent: spec.parent,
          signal: request.signal,
          onProgress: request.onProgress,
        });
        for (const warning of pushed.warnings) request.onWarning(warning);
        return pushed;
      } catch (error) {
        if (!(error instanceof WaybillError) || !error.retryable) throw error;
        if (tries === 0) request.onWarning(`pushing the model is tried again: ${error.message}`);
        await delay(PUSH_AGAIN_MS, request.signal);
      }
    }
  }

  /** A model is worth more than its alias: one that was protected or taken meanwhile is left out, loudly. */
  async #register(
    model: ModelId,
    artifact: ArtifactId,
    request: PublishRequest,
  ): Promise<ModelEntry> {
    const { alias } = this.#init.assignment.spec;
    try {
      return await this.#enter(model, artifact, request, true);
    } catch (error) {
      const refused =
        error instanceof WaybillError && (error.code === "forbidden" || error.code === "conflict");
      if (alias === undefined || !refused || isStale(error)) throw error;
      const entry = await this.#enter(model, artifact, request, false);
      request.onWarning(`the model was published without the alias ${alias}: ${error.message}`);
      return entry;
    }
  }

  async #enter(
    model: ModelId,
    artifact: ArtifactId,
    request: PublishRequest,
    withAlias: boolean,
  ): Promise<ModelEntry> {
    const { hub, assignment } = this.#init;
    const { room, job, attempt, spec } = assignment;
    const seed = seedOf(spec);
    return hub.call(
      "publishModel",
      {
        params: { room },
        body: {
          id: model,
          artifact,
          model_type: spec.modelType,
          ...(withAlias && spec.alias !== undefined ? { alias: spec.alias } : {}),
          tags: spec.tags,
          ...(spec.notes === undefined ? {} : { notes: spec.notes }),
          training: {
            job,
            attempt,
            ...(spec.dataset === undefined ? {} : { dataset: spec.dataset }),
            ...(spec.datasetName === undefined ? {} : { dataset_name: spec.datasetName }),
            ...(spec.parent === undefined ? {} : { parent_model: spec.parent }),
            ...(spec.code === undefined ? {} : { code: spec.code }),
            ...(spec.runName === undefined ? {} : { run_name: spec.runName }),
            ...(seed === undefined ? {} : { seed }),
            ...(spec.sweep === undefined ? {} : { sweep: spec.sweep }),
            trained_by: assignment.submittedBy,
            stopped_early: request.stoppedEarly,
            metrics: { ...request.data },
            config: spec.config,
          },
        },
      },
      { signal: request.signal, retryForMs: FOREVER },
    );
  }
}

function publishedAs(entry: ModelEntry): Published {
  return {
    type: "published",
    model: entry.id,
    modelType: entry.model_type,
    artifact: entry.artifact,
    bytes: entry.storage.size_bytes,
    ...(entry.alias === undefined ? {} : { alias: entry.alias }),
    tags: entry.tags,
    s3Path: entry.storage.s3_path,
  };
}
