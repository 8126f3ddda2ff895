// Tags that Waybill gives by itself (docs/protocol/registry.md, Automatic tags). Their names are reserved, so that whoever reads a tag
// knows who gave it: nobody else adds or removes one of these.
import { type ArtifactId, Tag } from "./ids.ts";
import * as v from "valibot";

/** The model's training was told to stop before its trainer ended by itself. */
export const INTERRUPTED_TAG = v.parse(Tag, "interrupted");
/** Of the models of a sweep, the one with the best value of the sweep's metric. */
export const BEST_OF_SWEEP_TAG = v.parse(Tag, "best-of-sweep");

/** `dataset-` and the first 8 digits of the artifact a model was trained on. */
export function datasetTag(dataset: ArtifactId): Tag {
  return v.parse(Tag, `dataset-${dataset.slice(0, 8)}`);
}

const DATASET_TAG = /^dataset-[0-9a-f]{8}$/;

/** Whether a tag is one of those Waybill gives and takes; any other was given by people. */
export function isAutomaticTag(tag: string): boolean {
  return tag === INTERRUPTED_TAG || tag === BEST_OF_SWEEP_TAG || DATASET_TAG.test(tag);
}
