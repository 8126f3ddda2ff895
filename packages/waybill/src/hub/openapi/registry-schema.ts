// The schema of a stored registry as JSON Schema, printed from the schema hubs read it with
// (docs/protocol/registry-storage.md). Committed beside that page; a test holds the two together.
import { toJsonSchema } from "@valibot/to-json-schema";
import {
  AliasMove,
  JournalRecord,
  ModelEntry,
  REGISTRY_FORMAT_VERSION,
  Registry,
  Retention,
  Tombstone,
} from "@waybill/sdk/protocol";

/** Where every hub serves it; another format has another path. */
export const REGISTRY_SCHEMA_PATH = `/schemas/registry-${REGISTRY_FORMAT_VERSION}.json`;

/** Records of the journal are among its definitions, as `JournalRecord`. */
export function registrySchema(): Record<string, unknown> {
  const { $schema, ...registry } = toJsonSchema(Registry, {
    target: "draft-2020-12",
    // Checks that JSON Schema cannot say are in the page's words.
    errorMode: "ignore",
    typeMode: "output",
    definitions: { AliasMove, JournalRecord, ModelEntry, Retention, Tombstone },
  });
  return {
    $schema,
    $id: REGISTRY_SCHEMA_PATH,
    title: `Waybill registry, format ${REGISTRY_FORMAT_VERSION} and older`,
    description:
      "A room's manifest.json. Whoever writes it keeps members that are not named here as they are.",
    ...registry,
  };
}
