// A room's models that meet conditions, page by page from the hub (docs/protocol/registry.md, Lists).
import type { HubClient } from "../hub-client/http.ts";
import {
  type ModelRow,
  ModelType,
  type RoomId,
  type RouteOutput,
  Tag,
  WaybillError,
  decodeValue,
  readMetricFilters,
} from "../protocol/index.ts";

/** What models must be, and in which order they come. */
export type ModelListQuery = {
  readonly type?: string | undefined;
  /** All of these. */
  readonly tags?: readonly string[] | undefined;
  /** Conditions such as `val_loss < 0.03`, with commas between them; all must hold. */
  readonly metrics?: string | undefined;
  /** Trained then or later. */
  readonly since?: Date | undefined;
  /** One of the model's aliases matches: `*` stands for any characters, `?` for one. */
  readonly alias?: string | undefined;
  /** `trained` (the default), `size`, `id`, a metric's name, or `metric:NAME`. */
  readonly sort?: string | undefined;
  /** By default newest, biggest, lowest id, and best value first. */
  readonly order?: "asc" | "desc" | undefined;
  /** Models at most; all by default. */
  readonly limit?: number | undefined;
};

type ModelListPage = RouteOutput<"listModels">;

/** Rows asked at once: a page of common models stays far below what a hub sends. */
const PAGE_ROWS = 250;

/**
 * The pages of a list, as the hub gives them, one request each. Throws `invalid_request` before the first one for what cannot be
 * asked.
 */
export async function* modelPages(
  hub: Pick<HubClient, "call">,
  room: RoomId,
  query: ModelListQuery = {},
  options: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<ModelListPage> {
  const asked = askedOf(query);
  let left = query.limit ?? Infinity;
  let cursor: string | undefined;
  do {
    const page = await hub.call(
      "listModels",
      {
        params: { room },
        query: {
          ...asked,
          limit: String(Math.min(PAGE_ROWS, left)),
          ...(cursor === undefined ? {} : { cursor }),
        },
      },
      options,
    );
    yield page;
    left -= page.models.length;
    cursor = page.next;
  } while (cursor !== undefined && left > 0);
}

/** The rows of all pages. */
export async function* listModels(
  ...args: Parameters<typeof modelPages>
): AsyncGenerator<ModelRow> {
  for await (const page of modelPages(...args)) yield* page.models;
}

/** The query as the route takes it. */
function askedOf({ type, tags = [], metrics, since, alias, sort, order, limit }: ModelListQuery) {
  if (limit !== undefined && !(Number.isSafeInteger(limit) && limit > 0)) {
    throw new WaybillError("invalid_request", `a limit of ${limit} is no number of models`);
  }
  if (metrics !== undefined) readMetricFilters(metrics, "metrics");
  const own = tags.map((tag) => decodeValue(Tag, tag, `tag "${tag}"`));
  return {
    ...(type === undefined ? {} : { type: decodeValue(ModelType, type, `type "${type}"`) }),
    ...(own.length === 0 ? {} : { tags: own.join(",") }),
    ...(metrics === undefined ? {} : { metrics }),
    ...(since === undefined ? {} : { since: since.toISOString() }),
    ...(alias === undefined ? {} : { alias }),
    ...(sort === undefined ? {} : { sort }),
    ...(order === undefined ? {} : { order }),
  };
}
