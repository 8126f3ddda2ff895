// Several models that are one: every part is pushed and verified under an id of its own, then the pipeline, and all of them
// enter the registry in one conditional write (registry.md, Pipelines).
import { join } from "node:path";
import type { ModelEntry, ModelId, ModelPublication, ModelType } from "@waybill/sdk/protocol";
import { WaybillError } from "@waybill/sdk/protocol";
import type { StorePort, TransferProgress } from "../ports.ts";
import { hubLost } from "./hub-lost.ts";
import { FOREVER, type ModelSteps, type ModelStepsInit } from "./model-steps.ts";
import { type PartMade, layOutPipeline } from "./pipeline-output.ts";
import { enterWithAlias, publicationOf, publishedAs, withoutAlias } from "./publication.ts";
import type { PublishRequest, Published, Pushed } from "./publish-types.ts";

export type PipelinePublisherInit = Pick<ModelStepsInit, "hub" | "assignment"> & {
  readonly steps: ModelSteps;
  readonly store: StorePort | undefined;
  readonly hubLostMs: number;
};

type Made = { readonly model: ModelId; readonly pushed: Pushed };

export class PipelinePublisher {
  readonly #init: PipelinePublisherInit;

  constructor(init: PipelinePublisherInit) {
    this.#init = init;
  }

  /** As `Publisher.publish`; `types` of the parts, in the order they run in. */
  async publish(
    reserved: ModelId,
    types: readonly ModelType[],
    request: PublishRequest,
  ): Promise<Published> {
    const over = new AbortController();
    const watching = this.#tellWhenLost(request, AbortSignal.any([request.signal, over.signal]));
    try {
      return await this.#publish(reserved, types, request);
    } finally {
      over.abort();
      await watching;
    }
  }

  async #publish(
    reserved: ModelId,
    types: readonly ModelType[],
    request: PublishRequest,
  ): Promise<Published> {
    const { assignment, steps } = this.#init;
    const { modelType } = assignment.spec;
    const { output, signal } = request;
    const former = await steps.formerResult(reserved, signal);
    if (former !== undefined) {
      request.onWarning(`the model of an earlier attempt is in the registry already: ${former.id}`);
      return publishedAs(former, await this.#partsOf(former, signal));
    }
    const startMs = performance.now();
    const onProgress = summed(request.onProgress);
    const bring = async (model: ModelId, type: ModelType, dir: string): Promise<Made> =>
      steps.pushOwn({ ...request, model, modelType: type, dir, onProgress: onProgress(type) });
    const parts = await Promise.all(
      types.map(async (type) => {
        const id = await steps.reserve(type, signal);
        return { type, ...(await bring(id, type, join(output, type))) };
      }),
    );
    const named: PartMade[] = parts.map(({ type, model, pushed }) => ({
      model_type: type,
      model,
      artifact: pushed.artifact,
    }));
    const whole = await bring(reserved, modelType, await layOutPipeline(output, modelType, named));
    const all = [...parts, whole].map(({ pushed }) => pushed);
    await request.onPushed({
      artifact: whole.pushed.artifact,
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      sentBytes: all.reduce((sum, { sentBytes }) => sum + sentBytes, 0),
      seconds: (performance.now() - startMs) / 1000,
    });
    signal.throwIfAborted();
    return this.#enter(whole, named, request);
  }

  async #enter(
    { model, pushed }: Made,
    named: readonly PartMade[],
    request: PublishRequest,
  ): Promise<Published> {
    const { hub, assignment } = this.#init;
    const { room, spec } = assignment;
    const { modelType } = spec;
    const made = { model, modelType, artifact: pushed.artifact };
    const parts = named.map(({ model_type, model: id }) => ({ model_type, model: id }));
    const whole = { ...publicationOf(assignment, made, request), pipeline: { parts } };
    const options = { signal: request.signal, retryForMs: FOREVER };
    const enter = async (withAlias: boolean) => {
      const models = [
        ...named.map((part) => partOf(whole, part)),
        withAlias ? whole : withoutAlias(whole),
      ];
      return hub.call("publishModels", { params: { room }, body: { models } }, options);
    };
    const { models } = await enterWithAlias(assignment, enter, request.onWarning);
    const entry = models.at(-1);
    if (entry === undefined) throw new WaybillError("internal", "the hub entered nothing");
    return publishedAs(entry, models.slice(0, -1));
  }

  async #partsOf({ pipeline }: ModelEntry, signal: AbortSignal): Promise<ModelEntry[]> {
    const { hub, assignment } = this.#init;
    const { room } = assignment;
    const options = { signal, retryForMs: FOREVER };
    const shown = (pipeline?.parts ?? []).map(({ model }) =>
      hub.call("showModel", { params: { room, model } }, options),
    );
    return (await Promise.all(shown)).map(({ model }) => model);
  }

  /** Several models cannot be entered as one by a worker alone: the job waits, and says what for. */
  async #tellWhenLost({ onWarning }: PublishRequest, signal: AbortSignal): Promise<void> {
    const { store, hub, hubLostMs, assignment } = this.#init;
    if (store === undefined) return;
    try {
      await hubLost(hub, hubLostMs, signal);
      const { modelType } = assignment.spec;
      onWarning(
        `the hub cannot be reached: a ${modelType} model waits for it, only single models go straight to the object store`,
      );
    } catch {
      // It was there all the time.
    }
  }
}

/** What the registry is told of a part: it has no name, tag or sweep of its own, and of the metrics those that begin with its type. */
function partOf(
  whole: ModelPublication,
  { model, model_type, artifact }: PartMade,
): ModelPublication {
  const { sweep: _sweep, parent_model: _parent, metrics, ...training } = whole.training;
  return {
    id: model,
    artifact,
    model_type,
    tags: [],
    training: { ...training, metrics: metricsOf(metrics, model_type) },
  };
}

/** `centroid/val_loss` is the centroid's `val_loss`. */
function metricsOf(metrics: Readonly<Record<string, unknown>>, type: ModelType) {
  const own = Object.entries(metrics).flatMap(([key, value]) =>
    key.startsWith(`${type}/`) ? [[key.slice(type.length + 1), value] as const] : [],
  );
  return Object.fromEntries(own);
}

/** Progress of several pushes as that of one. */
function summed(onProgress: (progress: TransferProgress) => void) {
  const each = new Map<string, TransferProgress>();
  return (name: string) => (progress: TransferProgress) => {
    each.set(name, progress);
    const all = [...each.values()];
    onProgress({
      bytes: all.reduce((sum, { bytes }) => sum + bytes, 0),
      total: all.reduce((sum, { total }) => sum + total, 0),
    });
  };
}
