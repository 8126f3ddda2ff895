// Moves an alias back to where it pointed before its last move: looks at its history and asks for exactly that
// (docs/protocol/registry.md, N4).
import type { HubClient } from "../hub-client/http.ts";
import { type Alias, type AliasMoved, type RoomId, WaybillError } from "../protocol/index.ts";

export type AliasRollbackOptions = {
  readonly room: RoomId;
  readonly alias: Alias;
  readonly why?: string | undefined;
  /** What the caller calls themselves. */
  readonly by?: string | undefined;
  readonly signal?: AbortSignal | undefined;
};

/** Records of protection between two moves, at most, that one look passes over. */
const LOOK_BACK = 100;

/** Throws `conflict` when there is nothing to go back to or somebody moves it meanwhile, `not_found` when it never moved or the model was removed. */
export async function rollbackAlias(
  hub: Pick<HubClient, "call">,
  { room, alias, why, by, signal }: AliasRollbackOptions,
): Promise<AliasMoved> {
  const params = { room, alias };
  const query = { limit: String(LOOK_BACK) };
  const { moves } = await hub.call("aliasHistory", { params, query }, { signal });
  const last = moves.find(({ protection }) => protection === undefined);
  if (last === undefined) {
    throw new WaybillError("not_found", `alias ${alias} never pointed at a model`, {
      hint: `point it at one: \`waybill alias set ${alias} MODEL\``,
    });
  }
  if (last.from === undefined) {
    throw new WaybillError("conflict", `alias ${alias} pointed at nothing before its last move`, {
      hint: `remove it with \`waybill alias rm ${alias}\``,
    });
  }
  const body = {
    expect: last.to ?? ("none" as const),
    to: last.from,
    ...(why === undefined ? {} : { why }),
    ...(by === undefined ? {} : { by }),
  };
  return hub.call("rollbackAlias", { params, body }, { signal });
}
