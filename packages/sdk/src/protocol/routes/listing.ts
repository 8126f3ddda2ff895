// Parameters of routes that list.
import * as v from "valibot";

/** Rows in one answer. */
export const LIST_LIMIT = 1000;

/** A query's `limit`: 1 to `LIST_LIMIT`. */
export const LimitText = v.pipe(
  v.string(),
  v.regex(/^\d{1,9}$/, "not a number of rows"),
  v.transform(Number),
  v.minValue(1),
  v.maxValue(LIST_LIMIT),
);

/** Matches names: `*` stands for any characters, `?` for one. */
export const Pattern = v.pipe(
  v.string(),
  v.regex(
    /^[A-Za-z0-9._*?-]{1,64}$/,
    "not a pattern of names (letters, digits, '.', '_', '-', '*', '?')",
  ),
);
