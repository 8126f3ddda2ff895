// From a directory of files to a model others can name: reserve an id, push and verify the bytes, enter them in
// the registry. Every step may be repeated after a crash; the job's outcome is told to the hub by the runner.
import {
  ArtifactName,
  type ModelEntry,
  type ModelId,
  WaybillError,
  directModelPrefix,
  partTypesOf,
} from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { StorePort } from "../ports.ts";
import { hubLost } from "./hub-lost.ts";
import { FOREVER, ModelSteps, type ModelStepsInit } from "./model-steps.ts";
import { PipelinePublisher } from "./pipeline-publisher.ts";
import { enterWithAlias, publicationOf, publishedAs, withoutAlias } from "./publication.ts";
import type { PublishRequest, Published, Pushed } from "./publish-types.ts";

export type PublisherInit = ModelStepsInit & {
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

/** The pushed model, or the one an earlier attempt has published. */
type Brought =
  | { readonly model: ModelId; readonly pushed: Pushed }
  | { readonly former: ModelEntry };

export class Publisher {
  readonly #init: PublisherInit;
  readonly #steps: ModelSteps;
  #model: Promise<ModelId> | undefined;
  #reserved: ModelId | undefined;

  constructor(init: PublisherInit) {
    this.#init = init;
    this.#steps = new ModelSteps(init);
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
    const { modelType } = this.#init.assignment.spec;
    const types = partTypesOf(modelType);
    if (types !== undefined) {
      return new PipelinePublisher({ ...this.#init, steps: this.#steps }).publish(
        reserved,
        types,
        request,
      );
    }
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

  /** Keeps what was published in this machine's cache. */
  async keep(): Promise<void> {
    await this.#steps.keep();
  }

  /** Through the hub, unless an earlier attempt has published already. */
  async #throughHub(reserved: ModelId, request: PublishRequest): Promise<Brought> {
    const former = await this.#steps.formerResult(reserved, request.signal);
    if (former !== undefined) return { former };
    const { modelType, parent } = this.#init.assignment.spec;
    const { output: dir } = request;
    return this.#steps.pushOwn({ ...request, model: reserved, modelType, dir, parent });
  }

  async #reserve(signal: AbortSignal): Promise<ModelId> {
    const model = await this.#steps.reserve(this.#init.assignment.spec.modelType, signal);
    this.#reserved = model;
    this.#init.onReserved(model);
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

  async #register(
    model: ModelId,
    artifact: Pushed["artifact"],
    request: PublishRequest,
  ): Promise<ModelEntry> {
    const { hub, assignment } = this.#init;
    const { room, spec } = assignment;
    const made = { model, modelType: spec.modelType, artifact };
    const publication = publicationOf(assignment, made, request);
    const options = { signal: request.signal, retryForMs: FOREVER };
    const enter = (withAlias: boolean) => {
      const body = withAlias ? publication : withoutAlias(publication);
      return hub.call("publishModel", { params: { room }, body }, options);
    };
    return enterWithAlias(assignment, enter, request.onWarning);
  }
}
