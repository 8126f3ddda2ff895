// What a user of the SDK does with artifacts: push a tree, pull it back, watch a job.
export { pushArtifact, type HubCalls, type PushOptions, type PushResult } from "./push.ts";
export {
  pushAnnounced,
  type AnnouncedPushOptions,
  type AnnouncedPushResult,
} from "./arriving/announced-push.ts";
export { DIRECT_BELOW_BYTES, type Via } from "./arriving/choose-via.ts";
export { JobHold, type JobHoldInit, type UploadHold } from "./arriving/job-hold.ts";
export { type TreePeers } from "./arriving/peer-route.ts";
export { helloProof } from "../http/index.ts";
export { holderSources, type HolderChoice } from "./holders/find-holders.ts";
export { pullArtifact, type PullOptions, type PullResult } from "./pull.ts";
export { readCurves, type MetricCurve } from "./metric-curves.ts";
export { rollbackAlias } from "./alias-rollback.ts";
export { modelPages, type ModelListQuery } from "./model-list.ts";
export { type ReceivedSample } from "./sample-receiver.ts";
export { type ReceivedCommand } from "./command-job.ts";
export { newEta, nextEta, remainingMs, type EtaState } from "./eta.ts";
export { type Skipped, type WatchItem } from "./event-merge.ts";
export { watchJob } from "./watch-job.ts";
export { type WatchDeps, type WatchOptions } from "./watch-options.ts";
export { type HubTransport, type WatchPath } from "./watch-path.ts";
export {
  type GrowingTree,
  LocalTreeSource,
  localTree,
  type PullProgress,
  type Source,
  type SourceFactory,
  type SourceKind,
  type SourceReport,
  type Preference,
  LinkBook,
  type UploadProgress,
} from "../transfer/index.ts";
