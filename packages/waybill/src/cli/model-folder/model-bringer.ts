// Brings models into a room without a job. The id follows from type, configuration, run and content, so that bringing the
// same again, by whomever, ends with the same model; content that is a model of this type already is not brought twice.
import {
  type Alias,
  type ArtifactId,
  ArtifactName,
  type ModelEntry,
  type ModelId,
  type ModelPublication,
  type ModelType,
  type Registry,
  type RoomId,
  type Tag,
  WaybillError,
  decodeValue,
} from "@waybill/sdk/protocol";
import path from "node:path";
import { blake3Hex } from "@waybill/sdk/platform";
import { describeTraining, removedModel } from "@waybill/sdk/registry";
import { hashTree } from "@waybill/sdk/transfer";
import type { Context } from "../context.ts";
import { pushPath } from "../commands/push.ts";
import { personName } from "../live.ts";
import { TransferView } from "../render/transfer-view.ts";
import { type Detected, tagsOf } from "./detected.ts";
import type { ModelFolder } from "./folder.ts";
import type { CardFacts } from "./model-card.ts";

export type FoundModel = {
  readonly folder: ModelFolder;
  readonly modelType: ModelType;
  readonly detected: Detected;
  /** The card of the export that the folder is. */
  readonly card: CardFacts | undefined;
};

/** What people ask for beside what the folder says. */
export type Wishes = {
  readonly alias?: Alias | undefined;
  readonly tags: readonly Tag[];
  readonly notes?: string | undefined;
  readonly runName?: string | undefined;
  readonly parent?: ModelId | undefined;
  readonly dataset?: { readonly id: ArtifactId; readonly name: ArtifactName } | undefined;
};

/** A model whose bytes are in the room: one that the registry has, or what to tell it. */
export type Brought = {
  readonly id: ModelId;
  readonly modelType: ModelType;
  readonly artifact: ArtifactId;
  readonly sentBytes: number;
} & ({ readonly entry: ModelEntry } | { readonly publication: ModelPublication });

/** Ids are reserved for whoever imports this content, not for one of them. */
const OWNER = "import";

export class ModelBringer {
  readonly #context: Context;
  readonly #room: RoomId;

  constructor(context: Context, room: RoomId) {
    this.#context = context;
    this.#room = room;
  }

  /** Hashes, reserves and pushes. Throws `not_found` when the same content was removed and can be restored. */
  async bring(found: FoundModel, wishes: Wishes, parts: readonly Brought[] = []): Promise<Brought> {
    const { folder, modelType } = found;
    const name = decodeValue(ArtifactName, modelType, "a model's name");
    const artifact = await this.#hash(folder, name);
    const facts = this.#factsOf(found, artifact);
    const hub = await this.#client();
    const room = this.#room;
    const { signal } = this.#context;
    const registry = await hub.call("readRegistry", { params: { room } }, { signal });
    const there = sameContent(registry, modelType, artifact, found.card?.model);
    if (there !== undefined)
      return { id: there.id, modelType, artifact, sentBytes: 0, entry: there };
    const runName = wishes.runName ?? facts.runName;
    const description = describeTraining({
      type: modelType,
      config: facts.config,
      runName,
      seed: facts.seed,
      content: artifact,
      again: removedBefore(registry, modelType, artifact) || undefined,
    });
    const body = {
      digest: blake3Hex(new TextEncoder().encode(description)),
      owner: OWNER,
      modelType,
    };
    const { model: id } = await hub.call("reserveModel", { params: { room }, body }, { signal });
    const sentBytes = await this.#push(folder, id, modelType);
    const publication: ModelPublication = {
      id,
      artifact,
      model_type: modelType,
      ...(wishes.alias === undefined ? {} : { alias: wishes.alias }),
      tags: [...new Set([...facts.tags, ...wishes.tags])],
      ...optional("notes", wishes.notes ?? facts.notes),
      ...(parts.length === 0
        ? {}
        : {
            pipeline: {
              parts: parts.map((part) => ({ model_type: part.modelType, model: part.id })),
            },
          }),
      training: {
        trained_by: personName(),
        metrics: facts.metrics,
        config: facts.config,
        ...facts.lineage,
        ...(wishes.dataset === undefined
          ? {}
          : { dataset: wishes.dataset.id, dataset_name: wishes.dataset.name }),
        ...optional("parent_model", wishes.parent),
        ...optional("run_name", runName),
        ...optional("seed", facts.seed),
        imported: facts.imported,
      },
    };
    return { id, modelType, artifact, sentBytes, publication };
  }

  /** Enters what is new in one write, the last one being what was asked for; gives one that was there what is wished. */
  async enter(
    brought: readonly Brought[],
    wishes: Wishes,
  ): Promise<{ readonly entry: ModelEntry; readonly existed: boolean }> {
    const hub = await this.#client();
    const params = { room: this.#room };
    const options = { signal: this.#context.signal };
    const last = brought.at(-1);
    if (last === undefined) throw new WaybillError("internal", "nothing was brought");
    if ("entry" in last) return { entry: await this.#wish(last.entry, wishes), existed: true };
    const models = brought.flatMap((one) => ("publication" in one ? [one.publication] : []));
    if (models.length === 1)
      return {
        entry: await hub.call("publishModel", { params, body: last.publication }, options),
        existed: false,
      };
    const entered = await hub.call("publishModels", { params, body: { models } }, options);
    const entry = entered.models.at(-1);
    if (entry === undefined) throw new WaybillError("internal", "published nothing");
    return { entry, existed: false };
  }

  async #wish(entry: ModelEntry, { alias, tags }: Wishes): Promise<ModelEntry> {
    const hub = await this.#client();
    const room = this.#room;
    const options = { signal: this.#context.signal };
    if (alias !== undefined) {
      const body = { model: entry.id, why: "imported again" };
      await hub.call("setAlias", { params: { room, alias }, body }, options);
    }
    const params = { room, model: entry.id };
    if (tags.length > 0) {
      await hub.call("editTags", { params, body: { add: [...tags], remove: [] } }, options);
    }
    return (await hub.call("showModel", { params }, options)).model;
  }

  async #hash({ scan, source }: ModelFolder, name: ArtifactName): Promise<ArtifactId> {
    const { output, signal } = this.#context;
    const view = new TransferView({ output, label: `hash ${path.basename(source)}` });
    try {
      const onProgress = (bytes: number) =>
        view.tick({ bytes, total: scan.bytes, sentBytes: 0, saved: {}, retries: 0 });
      return (await hashTree(scan, { name, signal, onProgress })).artifact;
    } finally {
      view.stop();
    }
  }

  /** Bytes sent. A folder that an earlier try has filled is left as it is: the registry asks for its record. */
  async #push({ scan }: ModelFolder, model: ModelId, modelType: ModelType): Promise<number> {
    const purpose = { kind: "model" as const, model, modelType };
    const name = `${modelType}_${model}`;
    try {
      const pushed = await pushPath(this.#context, this.#room, scan.root, { name, purpose, scan });
      return pushed.sentBytes;
    } catch (error) {
      if (error instanceof WaybillError && error.code === "conflict") return 0;
      throw error;
    }
  }

  /** What a card says counts for the files it was written for, and for no others. */
  #factsOf({ folder, detected, card }: FoundModel, artifact: ArtifactId) {
    const from = path.basename(folder.source);
    if (card?.artifact === artifact) {
      const { dataset, dataset_name, code } = card;
      return {
        config: card.config,
        metrics: card.metrics,
        tags: tagsOf(card.tags).tags,
        notes: card.notes,
        runName: card.run_name,
        seed: card.seed,
        lineage: {
          ...optional("dataset", dataset),
          ...optional("dataset_name", dataset_name),
          ...optional("code", code),
        },
        imported: { format: "waybill", from: `model ${card.model} of room ${card.room}` },
      };
    }
    if (card !== undefined) {
      const what = `the files are not those of model ${card.model} any more: its card is left out`;
      this.#context.output.note(`note: ${what}`);
    }
    const { config, metrics, tags, notes, runName, seed, format } = detected;
    return { config, metrics, tags, notes, runName, seed, lineage: {}, imported: { format, from } };
  }

  #client() {
    return this.#context.client(this.#room);
  }
}

/** A model of the same type and content: the one a card names, or else the oldest. */
function sameContent(
  { models }: Registry,
  type: ModelType,
  artifact: ArtifactId,
  named: ModelId | undefined,
): ModelEntry | undefined {
  const same = Object.values(models)
    .filter((model) => model.artifact === artifact && model.model_type === type)
    .toSorted((a, b) => (a.training.trained_at < b.training.trained_at ? -1 : 1));
  return same.find(({ id }) => id === named) ?? same[0];
}

/** How many models of this content were removed. Throws `not_found` when one of them can be restored instead. */
function removedBefore(registry: Registry, type: ModelType, artifact: ArtifactId): number {
  const removed = Object.values(registry.tombstones).filter(
    ({ entry }) => entry.artifact === artifact && entry.model_type === type,
  );
  const held = removed.find(({ state }) => state === "held");
  if (held !== undefined) throw removedModel(registry, held.entry.id);
  return removed.length;
}

/** The member, unless there is no value. */
function optional<K extends string, V>(key: K, value: V | undefined): Partial<Record<K, V>> {
  return value === undefined ? {} : ({ [key]: value } as Partial<Record<K, V>>);
}
