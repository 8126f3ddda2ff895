// The peers of the room that serve an artifact, as sources that are asked before the store (docs/protocol/data-server.md §3).
import type { ByteTransport } from "../../platform/index.ts";
import {
  type ArtifactId,
  type Holder,
  type PeerId,
  type RoomId,
  WaybillError,
} from "../../protocol/index.ts";
import { delay } from "../../timing/index.ts";
import type { LinkBook, Preference, SourceFactory } from "../../transfer/index.ts";
import type { HubCalls } from "../push.ts";
import { HolderSource, type ServingPeer } from "./holder-source.ts";

/** Which peers that serve are asked. */
export type HolderChoice = {
  /** `all`; those that have it `whole`, and none that would fetch it; or `none`. Default `all`. */
  readonly which?: "all" | "whole" | "none";
  /** This process's own peer, which is not asked. */
  readonly without?: PeerId | undefined;
};

type FindInit = {
  readonly hub: HubCalls;
  readonly room: RoomId;
  readonly artifact: ArtifactId;
  readonly choice: HolderChoice;
  readonly signal: AbortSignal | undefined;
};

/** A hub that takes longer to say who has it is not waited for. It has just said what the artifact is. */
const ASK_MS = 10_000;
/** Where money counts, a holder has so long to answer before the store is asked; one in the same network needs a tenth. */
const HEAD_START_MS = 300;

/** Asks the hub; empty when it cannot say. Throws nothing but the signal's reason. */
export async function findHolders(init: FindInit): Promise<readonly Holder[]> {
  const { hub, room, artifact, choice, signal } = init;
  if (choice.which === "none") return [];
  const { without } = choice;
  const late = AbortSignal.timeout(ASK_MS);
  try {
    const { holders } = await hub.call(
      "showHolders",
      { params: { room, artifact }, query: without === undefined ? {} : { without } },
      { signal: signal === undefined ? late : AbortSignal.any([signal, late]), retryForMs: 0 },
    );
    return choice.which === "whole" ? holders.filter(({ fills }) => fills !== true) : holders;
  } catch (error) {
    signal?.throwIfAborted();
    if (late.aborted || error instanceof WaybillError) return [];
    throw error;
  }
}

/** A source for each, waited for a moment unless time is all that counts; a cache beside us as long as it may take to answer. */
export function holderSources(
  holders: readonly ServingPeer[],
  use: {
    readonly transport: ByteTransport;
    readonly links: LinkBook;
    readonly prefer: Preference | undefined;
  },
): SourceFactory[] {
  return holders.map((holder) => async ({ artifact, map }) => {
    const { transport, links, prefer } = use;
    const source = new HolderSource({ holder, artifact, map, transport, links });
    if (prefer !== "fast") {
      const enough = new AbortController();
      const waited = delay(HEAD_START_MS, enough.signal).catch(() => undefined);
      await (source.isWorthWaitingFor ? source.proven : Promise.race([source.proven, waited]));
      enough.abort();
    }
    return source;
  });
}
