// Comes by an artifact's tree: holds it when it is sound, fills it when it is not here or spoilt, and waits while another
// process fills it (docs/protocol/cache.md).
import type { ArtifactId } from "@waybill/sdk/protocol";
import { delay } from "@waybill/sdk/timing";
import type { CacheParts, CacheRoom } from "./cache-room.ts";
import { type Filled, Filling, type PullInto } from "./filling.ts";
import { FILL, HOLD, type Place } from "./lease-machine.ts";
import { LeaseRun } from "./lease-run.ts";
import { treeState } from "./tree-state.ts";

type ObtainInit = {
  readonly parts: CacheParts;
  readonly room: CacheRoom;
  readonly artifact: ArtifactId;
  readonly pull: PullInto;
  readonly signal?: AbortSignal | undefined;
  /** Whether a reader has found it wrong. */
  readonly isSuspect: () => boolean;
  readonly onFilled: () => void;
  readonly unlease: (nonce: string) => Promise<void>;
};

/** A process that waits for another's filling looks about this often whether it is done; at random, so that two part. */
const WAIT_MS = 200;

/** The tree, held until its `release()`. Throws `storage_full` when the disk has no room for it, and what `pull` throws. */
export async function obtainTree(init: ObtainInit): Promise<Filled> {
  const { parts, room, artifact, pull, signal } = init;
  const { volume, log } = parts;
  const startMs = performance.now();
  const dir = volume.path("artifacts", artifact, "files");
  let bytes = 0;
  let isSpoilt = false;
  const look = async (): Promise<Place> => {
    const ready = await volume.ready(artifact);
    bytes = ready?.bytes ?? 0;
    const isSound =
      ready !== undefined && !init.isSuspect() && (await treeState(dir)) === ready.state;
    if (ready !== undefined && !isSound && !isSpoilt) {
      isSpoilt = true;
      log("warn", `cache: ${artifact.slice(0, 12)} was changed; what is wrong is fetched again`);
    }
    if (isSound) return "sound";
    return (await volume.hasPlace(artifact)) ? "spoilt" : "absent";
  };
  for (;;) {
    const hold = new LeaseRun({ ...parts, artifact, look, signal });
    const isHeld = (await hold.run(HOLD)) === "held";
    const filling = isHeld ? undefined : new Filling(parts, room, artifact, pull, signal);
    const run =
      filling === undefined
        ? hold
        : new LeaseRun({
            ...parts,
            artifact,
            look,
            signal,
            fill: (filler) => filling.fill(filler),
            discard: () => filling.discard(),
          });
    const outcome = filling === undefined ? "held" : await run.run(FILL);
    switch (outcome) {
      case "filled":
      case "held": {
        filling?.done();
        await volume.noteUse(artifact);
        const release = () => init.unlease(run.nonce);
        const { pulled } = filling ?? {};
        if (pulled !== undefined) {
          init.onFilled();
          const { seconds, sources } = pulled;
          return { dir, bytes: pulled.bytes, seconds, sources, release };
        }
        const seconds = (performance.now() - startMs) / 1000;
        return { dir, bytes, seconds, sources: { cache: bytes }, release };
      }
      case "failed": {
        const alone = filling?.withoutPlace;
        if (alone !== undefined) return alone;
        await filling?.leave();
        if (!run.isLost) throw run.error;
        continue;
      }
      default:
        // Another process fills it.
        await delay(WAIT_MS * (0.5 + Math.random()), signal);
    }
  }
}
