// Which worker people mean: by its name, its id, or a beginning of that.
import type { HubClient } from "@waybill/sdk/hub-client";
import { PeerId, type RoomId, WaybillError, type WorkerInfo } from "@waybill/sdk/protocol";
import * as v from "valibot";
import type { Context } from "../context.ts";

/** The worker a name, an id or a beginning of one means. */
export async function workerMeant(
  context: Context,
  hub: HubClient,
  room: RoomId,
  text: string,
): Promise<PeerId> {
  const whole = v.safeParse(PeerId, text);
  // It may be away: the hub knows those it has a mode of.
  if (whole.success) return whole.output;
  const matches = workersMeant(await workersOf(context, hub, room), text);
  const [only] = matches;
  if (only === undefined) {
    throw new WaybillError("not_found", `no worker ${text} is connected to room ${room}`, {
      hint: "see `waybill worker ls`; one that is away is named by its whole id",
    });
  }
  if (matches.length === 1) return only.workerId;
  const shown = matches.map(({ name, workerId }) => `${workerId} (${name})`).join(", ");
  throw new WaybillError("conflict", `${text} may be ${shown}`, { hint: "give the worker's id" });
}

/** Workers of that name, or else those whose id begins with the text (with or without `p_`). */
function workersMeant(workers: readonly WorkerInfo[], text: string): WorkerInfo[] {
  const named = workers.filter(({ name }) => name === text);
  if (named.length > 0) return named;
  return workers.filter(
    ({ workerId }) => workerId.startsWith(text) || workerId.startsWith(`p_${text}`),
  );
}

/** Workers that are connected to the room. */
export async function workersOf(
  { signal }: Context,
  hub: HubClient,
  room: RoomId,
): Promise<readonly WorkerInfo[]> {
  return (await hub.call("listWorkers", { params: { room } }, { signal })).workers;
}
