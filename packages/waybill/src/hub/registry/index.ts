// The hub's side of the model registry.
export { createRegistryArea } from "./registry-area.ts";
export { withFindableArtifacts } from "./findable.ts";
export { createRetentionArea } from "./retention-area.ts";
export { careHandlers } from "./care-handlers.ts";
export { keepJournal } from "./journal-keeper.ts";
