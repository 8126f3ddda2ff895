// The room's model registry: pure edits, and the loop that stores them without losing anybody's.
export {
  aliasesOf,
  assertMovable,
  emptyRegistry,
  latestAlias,
  removedModel,
  resolveModel,
  type Edited,
  type Editor,
} from "./edits.ts";
export { moveAlias, protectAlias, removeAlias, rollbackAlias } from "./alias-moves.ts";
export { aliasHistory, listAliases } from "./alias-lists.ts";
export { assertPeoplesTags, editTags, setNote, tagModels } from "./tags-and-notes.ts";
export { queryModels, type ModelPage, type ModelQuery, type PageRequest } from "./query.ts";
export {
  compareModels,
  type AskedDirections,
  type ComparedMetric,
  type ComparedValue,
  type Comparison,
} from "./compare.ts";
export { flatConfig } from "./flat-config.ts";
export { lineageOf, modelDetails } from "./lineage.ts";
export {
  configText,
  describeJob,
  describeTraining,
  seedOf,
  type TrainingDescription,
} from "./training-description.ts";
export { addModel, addModels, resultOfJob } from "./publications.ts";
export { metricDirection } from "./metric-direction.ts";
export {
  casUpdate,
  type CasEdit,
  type CasOptions,
  type ConditionalDocument,
} from "./cas-update.ts";
export { GroupCommit, type Commit, type GroupCommitInit, type GroupEdit } from "./group-commit.ts";
export { pinModel, unpinModel } from "./pins.ts";
export { changeRetention, hasRules, planRetention, type RetentionPlan } from "./retention.ts";
export {
  applyRetention,
  askRemoval,
  beginPurge,
  cancelPurge,
  duePurges,
  endPurge,
  folderNeededBy,
  removeModels,
  restoreModel,
} from "./tombstones.ts";
export { contradictionIn, damagedRegistry } from "./damage.ts";
export { encodeRegistry } from "./encode.ts";
export { recordOf, revised } from "./journal.ts";
export { applyRecords, decodeKept, decodeRegistry } from "./migrate.ts";
export {
  planRebuild,
  withoutLostAliases,
  type RebuildPlan,
  type RecordName,
  type Remains,
  type WriteName,
} from "./rebuild.ts";
export { publishedNotice, type ModelPublished } from "./published-notice.ts";
