// Everything both ends of a wire must agree on: ids, messages, limits, versions, error codes. No I/O.
export {
  PROTOCOL_VERSION,
  ARTIFACT_FORMAT_VERSION,
  REGISTRY_FORMAT_VERSION,
  LIMITS,
} from "./version.ts";
export {
  WaybillError,
  ERROR_CODES,
  ErrorBody,
  type ErrorCode,
  isRetryable,
  isAbort,
  messageOf,
  assertNever,
} from "./errors.ts";
export {
  RoomId,
  PeerId,
  JobId,
  ArtifactId,
  Digest,
  UploadId,
  ModelId,
  ModelType,
  ModelRef,
  Alias,
  Tag,
  ArtifactName,
  Timestamp,
  ByteCount,
  Crc32Base64,
  newJobId,
  randomText,
  cryptoRandom,
} from "./ids.ts";
export {
  BEST_OF_SWEEP_TAG,
  INTERRUPTED_TAG,
  datasetTag,
  isAutomaticTag,
} from "./automatic-tags.ts";
export { KNOWN_MODEL_TYPES, meantModelType, partTypesOf } from "./model-types.ts";
export { Sweep } from "./sweep.ts";
export {
  MetricFilters,
  MetricGate,
  readMetricFilters,
  readMetricGate,
  type MetricCondition,
} from "./metric-condition.ts";
export { judgeMetric, metricOf, type Judgement } from "./metric-judgement.ts";
export { AliasInfo, AliasMoved, AliasRecord, AliasState, ModelRow } from "./naming.ts";
export { decodeJson, decodeValue, describeIssues } from "./codec.ts";
export {
  ROLES,
  Role,
  InviteRole,
  InviteCode,
  PublicKey,
  TokenClaims,
  Label,
  WorkerKeyInfo,
  PeerInfo,
  PeerSignature,
  KeyAgreement,
  IcePolicy,
} from "./access.ts";
export {
  Layout,
  PACK_KEY,
  MANIFEST_KEY,
  ArtifactFile,
  ArtifactManifest,
  ArtifactRecord,
  StoredEncoding,
} from "./artifact.ts";
export {
  WorkerKind,
  Gpu,
  WorkerCapabilities,
  WorkerInfo,
  WorkerMode,
  Requirements,
  broughtBy,
  unmetRequirement,
} from "./workers.ts";
export { type Condition, parseCondition, unmetCondition } from "./where.ts";
export {
  JOB_STATES,
  JobState,
  isTerminal,
  CommandName,
  Adjusted,
  Adjustment,
  MAX_ADJUSTED,
  MAX_ADJUSTMENT,
  SystemSample,
  JobEvent,
  type JobEventOf,
  type NewJobEvent,
  JobCommand,
} from "./events.ts";
export {
  JobSpec,
  JobDoc,
  JobWish,
  JobAssignment,
  ProgressFormat,
  ResumePoint,
  DEFAULT_MAX_ATTEMPTS,
} from "./jobs.ts";
export {
  TRAINER_ENV,
  parseTrainerLine,
  type TrainerMessage,
  type TrainerRequest,
} from "./trainer.ts";
export {
  ModelEntry,
  AliasMove,
  Registry,
  ModelPublication,
  Pipeline,
  Pin,
  Reason,
  Retention,
  Tombstone,
} from "./registry.ts";
export { GcItem, GcKept, GcReport, Removal } from "./retention.ts";
export { RetentionChange } from "./routes/retention-routes.ts";
export { JournalRecord, RegistryChanges, RegistryReport } from "./registry-journal.ts";
export {
  directModelPrefix,
  ObjectKey,
  UploadPurpose,
  ObjectEncoding,
  PlannedObject,
  UploadPlan,
  ObjectProgress,
  PartRule,
  UploadStatus,
  UploadSummary,
  PartToSign,
  PartToCopy,
  CopiedPart,
  SignedPart,
  SignedRead,
  isPutAtOnce,
  partOffset,
  unitBytesFor,
} from "./uploads.ts";
export { INLINE_MANIFEST_BYTES, INLINE_READS, Reading, ReadableArtifact } from "./reading.ts";
export {
  ANNOUNCED_MANIFEST_BYTES,
  AnnouncedPush,
  DirectAddress,
  DirectAddresses,
  HttpAddress,
  PeerAddress,
  ResolvedArtifact,
  Segment,
  ArrivingObject,
  Arriving,
  SegmentName,
  SignedSegment,
  SegmentToTake,
} from "./arriving.ts";
export { Lineage, LineageEdge, type LineageModel, LineageNode, ModelDetails } from "./lineage.ts";
export { DATA_PORT, Holder, Serving } from "./data-server.ts";
export { canonicalJson, type JsonValue } from "./canonical-json.ts";
export {
  RECEIPT_TYP,
  ReceiptPayload,
  ReceiptHeader,
  ReceiptSignature,
  ReceiptJws,
  ReceiptKey,
} from "./receipt.ts";
export {
  PeerToHub,
  HubToPeer,
  Negotiation,
  IceServer,
  RelayBudget,
  BYE,
  type ByeCode,
  CLOSE,
} from "./signaling.ts";
export {
  BULK_HEADER_BYTES,
  type BulkFrame,
  decodeBulkFrame,
  encodeBulkFrame,
  writeDataHeader,
} from "./bulk-frame.ts";
export {
  BULK_CHANNEL,
  CONTROL_CHANNEL,
  ControlMessage,
  EVENT_WINDOW,
  LeftOut,
  LiveSample,
} from "./control.ts";
export { TreeOffer } from "./tree.ts";
export {
  ROUTES,
  ROUTE_NAMES,
  routeOf,
  signalingPath,
  type Route,
  type RouteName,
  type RouteInput,
  type RouteParams,
  type RouteQuery,
  type RouteBody,
  type RouteOutput,
} from "./routes.ts";
