// From what is stored to a registry of the newest format (docs/protocol/registry-storage.md §1): which format it is, what an
// older one lacked, what a newer one forbids. Thousands of entries are validated in slices, so that a hub serves its
// other rooms in between.
import {
  AliasMove,
  type JournalRecord,
  ModelEntry,
  REGISTRY_FORMAT_VERSION,
  Registry,
  Tombstone,
  WaybillError,
  decodeValue,
  messageOf,
} from "../protocol/index.ts";
import * as v from "valibot";
import { carryUnknown } from "./carry-unknown.ts";
import { contradictionIn, damagedRegistry } from "./damage.ts";
import { withRecords } from "./journal.ts";

/** A document as some hub has written it, before its members are looked at. */
const Envelope = v.looseObject({
  format: v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  models: v.record(v.string(), v.unknown()),
  tombstones: v.optional(v.record(v.string(), v.unknown()), {}),
  alias_history: v.array(v.unknown()),
});

type Stored = Record<string, unknown>;

/** Called often during long work; gives way to others when it is time. */
type Pause = () => Promise<void>;

/** What turns a document of one format into one of the next. */
const MIGRATIONS: readonly { readonly from: number; readonly migrate: (doc: Stored) => Stored }[] =
  [
    {
      // Format 2 added revisions, tombstones and retention. All of them have a beginning.
      from: 1,
      migrate: (doc) => ({
        revision: 0,
        write: "",
        tombstones: {},
        retention: {},
        ...doc,
        format: 2,
      }),
    },
  ];

/**
 * The registry that `text` is, of the newest format; members this version does not know come along. Throws
 * `unsupported_version` when a newer version wrote it, `registry_damaged` when nobody can have.
 */
export async function decodeRegistry(
  text: string,
  room: string,
  pause: Pause = async () => {},
): Promise<Registry> {
  try {
    const stored = migrated(parsed(text), room);
    const { models, tombstones, alias_history } = stored;
    const registry: Registry = {
      ...decodeShell(stored),
      models: await decodeAll(ModelEntry, models, "model", pause),
      tombstones: await decodeAll(Tombstone, tombstones, "tombstone", pause),
      alias_history: [],
    };
    for (const [i, move] of alias_history.entries()) {
      if (i % SLICE_ITEMS === 0) await pause();
      registry.alias_history.push(decodeKept(AliasMove, move, `alias_history.${i}`));
    }
    const contradiction = contradictionIn(registry, room);
    if (contradiction !== undefined) throw damagedRegistry(room, contradiction);
    return registry;
  } catch (error) {
    if (!(error instanceof WaybillError) || error.code !== "invalid_request") throw error;
    throw damagedRegistry(room, messageOf(error), error);
  }
}

/** The document without its models, tombstones and history; throws `invalid_request`. */
function decodeShell(stored: Readonly<Record<string, unknown>>): Registry {
  const shell = { ...stored, models: {}, tombstones: {}, alias_history: [] };
  return decodeKept(Registry, shell, "document");
}

/**
 * The registry after writes that followed one another, oldest first; throws `invalid_request` when what they say does
 * not make a registry.
 */
export function applyRecords(registry: Registry, records: readonly JournalRecord[]): Registry {
  const applied = withRecords(registry, records);
  if (records.every(({ changes }) => Object.keys(changes.fields).length === 0)) return applied;
  const { models, tombstones, alias_history } = applied;
  return { ...decodeShell(applied), models, tombstones, alias_history };
}

/** A value of a schema with the members it does not know; throws `invalid_request`. */
export function decodeKept<T>(
  schema: v.GenericSchema<unknown, T>,
  value: unknown,
  what: string,
): T {
  return carryUnknown(value, decodeValue(schema, value, what));
}

/** Looks at the clock so often. */
const SLICE_ITEMS = 32;

async function decodeAll<T>(
  schema: v.GenericSchema<unknown, T>,
  values: Readonly<Record<string, unknown>>,
  what: string,
  pause: Pause,
): Promise<Record<string, T>> {
  const decoded: Record<string, T> = {};
  for (const [i, [key, value]] of Object.entries(values).entries()) {
    if (i % SLICE_ITEMS === 0) await pause();
    decoded[key] = decodeKept(schema, value, `${what} ${key}`);
  }
  return decoded;
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new WaybillError("invalid_request", "it is not JSON", { cause });
  }
}

function migrated(value: unknown, room: string): v.InferOutput<typeof Envelope> {
  const { format } = decodeValue(v.looseObject({ format: v.number() }), value, "document");
  if (format > REGISTRY_FORMAT_VERSION) {
    throw new WaybillError(
      "unsupported_version",
      `the registry of room ${room} has format ${format}; this hub knows formats up to ${REGISTRY_FORMAT_VERSION}`,
      { hint: "upgrade this hub: a newer one has written to the room" },
    );
  }
  let doc = decodeValue(Envelope, value, "document") as Stored;
  for (const { from, migrate } of MIGRATIONS) if (doc["format"] === from) doc = migrate(doc);
  return decodeValue(Envelope, doc, "document");
}
