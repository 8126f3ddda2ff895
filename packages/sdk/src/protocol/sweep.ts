// A sweep: jobs that are submitted to be compared. The model with the best value of the metric has the tag `best-of-sweep`.
import * as v from "valibot";

export const Sweep = v.object({
  /** Models are compared with those whose sweep is the same in all three members. */
  name: v.pipe(
    v.string(),
    v.regex(/^[A-Za-z0-9._-]{1,64}$/, "not a sweep's name (1–64 of A–Z, a–z, 0–9, '.', '_', '-')"),
  ),
  metric: v.pipe(v.string(), v.minLength(1), v.maxLength(128)),
  /** Whether the least or the greatest value is the best. */
  mode: v.optional(v.picklist(["min", "max"]), "min"),
});
export type Sweep = v.InferOutput<typeof Sweep>;
