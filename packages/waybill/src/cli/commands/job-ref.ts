// Which job a word means: its id, or a beginning or end of it that only one of the room's recent jobs has.
import type { HubClient } from "@waybill/sdk/hub-client";
import { JobId, type RoomId, WaybillError, decodeValue } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";

/** Ids begin with their time: fewer characters say little. */
const LEAST = 3;
/** Jobs that are looked at; older ones are named in full. */
const RECENT = 500;

export async function roomAndJob(
  context: Context,
  text: string,
): Promise<{ room: RoomId; job: JobId }> {
  const room = await context.room();
  const whole = v.safeParse(JobId, text);
  if (whole.success) return { room, job: whole.output };
  return { room, job: await abbreviated(context, await context.client(room), room, text) };
}

async function abbreviated(
  { signal }: Context,
  hub: HubClient,
  room: RoomId,
  text: string,
): Promise<JobId> {
  const part = partOf(text);
  const query = { limit: String(RECENT) };
  const { jobs } = await hub.call("listJobs", { params: { room }, query }, { signal });
  const matches = jobsMeant(
    jobs.map(({ job }) => job),
    part,
  );
  const [only] = matches;
  if (only === undefined) {
    throw new WaybillError(
      "not_found",
      `no recent job of room ${room} begins or ends with ${part}`,
      {
        hint: "see `waybill job ls`",
      },
    );
  }
  if (matches.length === 1) return only;
  const shown = matches.slice(0, 6).join(", ");
  const rest = matches.length > 6 ? ` and ${matches.length - 6} more` : "";
  throw new WaybillError("conflict", `${text} may be ${shown}${rest}`, {
    hint: "give more characters",
  });
}

/** What a cut id is compared by. Throws `invalid_request` for what is part of no id, or of too many. */
export function partOf(text: string): string {
  const part = text.toLowerCase().replace(/^j_/, "");
  // Words that are no part of any id get the format's own message.
  if (!/^[0-9a-hjkmnp-tv-z]+$/.test(part)) decodeValue(JobId, text, `job "${text}"`);
  if (part.length >= LEAST) return part;
  throw new WaybillError(
    "invalid_request",
    `"${text}" may be many jobs: give at least ${LEAST} characters of its id`,
  );
}

/** Ids that begin or end with `part`, without their `j_`. */
export function jobsMeant(ids: readonly JobId[], part: string): JobId[] {
  return ids.filter((id) => id.startsWith(`j_${part}`) || id.endsWith(part));
}
