// The steps by which a job's output becomes a model of its room. Each may be repeated after a crash: the same owner with the
// same description has the same id again, what is in the store is not sent again, and a job has one result.
import {
  ArtifactName,
  type JobAssignment,
  type ModelEntry,
  type ModelId,
  type ModelType,
  WaybillError,
} from "@waybill/sdk/protocol";
import { describeJob } from "@waybill/sdk/registry";
import { delay } from "@waybill/sdk/timing";
import * as v from "valibot";
import type { HubCalls, TransferPort, TransferProgress } from "../ports.ts";
import type { PushedTree } from "./keep-output.ts";
import type { Pushed } from "./publish-types.ts";

export type ModelStepsInit = {
  readonly hub: HubCalls;
  readonly transfer: TransferPort;
  readonly assignment: JobAssignment;
  readonly digest: (bytes: Uint8Array) => string;
  /** Takes what was pushed into this machine's cache; never rejects. */
  readonly keep?: (tree: PushedTree) => Promise<void>;
};

type PushRequest = {
  readonly model: ModelId;
  readonly modelType: ModelType;
  readonly dir: string;
  /** What the parent model has is copied, not sent. */
  readonly parent?: ModelId | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: TransferProgress) => void;
  readonly onWarning: (line: string) => void;
};

/** Nothing that can be mended by waiting ends a job that has been trained. */
export const FOREVER = Number.POSITIVE_INFINITY;
/** Between tries of a push that failed in a way that may pass. */
const PUSH_AGAIN_MS = 1000;

export class ModelSteps {
  readonly #init: ModelStepsInit;
  /** Of this process; a pipeline has several. */
  readonly #pushed: PushedTree[] = [];

  constructor(init: ModelStepsInit) {
    this.#init = init;
  }

  /** The id of the job's model of a type; with `attempt` one that no other attempt has. */
  async reserve(modelType: ModelType, signal: AbortSignal, attempt?: number): Promise<ModelId> {
    const { hub, assignment, digest } = this.#init;
    const { room, job, spec } = assignment;
    const text = describeJob({ job, spec: { ...spec, modelType } }, attempt);
    const body = { digest: digest(new TextEncoder().encode(text)), owner: job, modelType };
    const options = { signal, retryForMs: FOREVER };
    return (await hub.call("reserveModel", { params: { room }, body }, options)).model;
  }

  /** What an earlier attempt entered before its worker was lost: the job has its one result then (I5). */
  async formerResult(model: ModelId, signal: AbortSignal): Promise<ModelEntry | undefined> {
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

  /** An earlier attempt may have filled the folder and been lost before it said so: this one gets a folder of its own. */
  async pushOwn(
    request: PushRequest,
  ): Promise<{ readonly model: ModelId; readonly pushed: Pushed }> {
    const { model, modelType, signal } = request;
    const { attempt } = this.#init.assignment;
    try {
      return { model, pushed: await this.push(request) };
    } catch (error) {
      const filled = error instanceof WaybillError && error.code === "conflict";
      if (!filled || attempt === 1) throw error;
      const own = await this.reserve(modelType, signal, attempt);
      return { model: own, pushed: await this.push({ ...request, model: own }) };
    }
  }

  /** Has what was pushed kept in this machine's cache, when the registry names it. */
  async keep(): Promise<void> {
    for (const tree of this.#pushed.splice(0)) await this.#init.keep?.(tree);
  }

  async push(request: PushRequest): Promise<Pushed> {
    const { transfer, assignment } = this.#init;
    const { room, job, attempt } = assignment;
    const { model, modelType, dir, parent, signal, onProgress, onWarning } = request;
    for (let tries = 0; ; tries++) {
      try {
        const pushed = await transfer.push({
          room,
          dir,
          name: v.parse(ArtifactName, `${modelType}_${model}`),
          purpose: { kind: "model", model, modelType, job, attempt },
          parent,
          signal,
          onProgress,
        });
        for (const warning of pushed.warnings) onWarning(warning);
        const { artifact, manifest } = pushed;
        if (manifest !== undefined) this.#pushed.push({ artifact, manifest, dir });
        return pushed;
      } catch (error) {
        if (!(error instanceof WaybillError) || !error.retryable) throw error;
        if (tries === 0) onWarning(`pushing the model is tried again: ${error.message}`);
        await delay(PUSH_AGAIN_MS, signal);
      }
    }
  }
}
