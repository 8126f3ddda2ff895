// Models that meet conditions, a page at a time.
import * as v from "valibot";
import { ModelType, RoomId, Tag, Timestamp } from "../ids.ts";
import { MetricFilters } from "../metric-condition.ts";
import { ModelRow } from "../naming.ts";
import { LimitText, Pattern } from "./listing.ts";
import { ALL, route } from "./route.ts";

/** Tags with commas between them, which no tag holds. */
const Tags = v.pipe(
  v.string(),
  v.transform((text) => text.split(",")),
  v.array(Tag),
  v.maxLength(32),
);

export const MODEL_LIST_ROUTES = {
  listModels: route({
    method: "GET",
    path: "/v1/rooms/:room/models",
    roles: ALL,
    summary: "Models that meet every condition, sorted, a page at a time",
    params: v.object({ room: RoomId }),
    query: v.object({
      type: v.optional(ModelType),
      /** All of these, with commas between them. */
      tags: v.optional(Tags),
      /** All of these, with commas between them, such as `val_loss<0.03,acc>0.9`. */
      metrics: v.optional(MetricFilters),
      /** Trained at this time or later. */
      since: v.optional(Timestamp),
      /** One of its aliases matches; `*` stands for any characters, `?` for one. */
      alias: v.optional(Pattern),
      /** `trained` (the default), `size`, `id` or a metric's name; `metric:NAME` for a metric called like the former. */
      sort: v.optional(v.pipe(v.string(), v.minLength(1), v.maxLength(128))),
      /** By default newest, biggest, lowest id and best value first. Models without the metric come last either way. */
      order: v.optional(v.picklist(["asc", "desc"])),
      limit: v.optional(LimitText),
      /** `next` of the page before. */
      cursor: v.optional(v.pipe(v.string(), v.maxLength(2048))),
    }),
    response: v.object({
      models: v.array(ModelRow),
      /** Models that meet the conditions, on all pages. */
      total: v.number(),
      /** Absent on the last page. */
      next: v.optional(v.string()),
    }),
  }),
} as const;
