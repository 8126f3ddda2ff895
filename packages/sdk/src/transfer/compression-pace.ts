// What a push knows of compressing: shared by its objects, one after the other.
import { type Level, type Levels, startLevels } from "../compression/index.ts";
import { zstd } from "../platform/index.ts";

/** The level that a push compresses at now, and what it learned of the parts that are held. */
export type CompressionPace = { levels: Levels; lastHeld: Level | undefined; heldMisses: number };

/** @param mayStore whether frames may hold bytes as they are where the link is faster than compressing */
export function startCompression(mayStore: boolean): CompressionPace {
  const levels = startLevels(zstd.parallel, mayStore);
  return {
    levels: zstd.canCompress ? levels : { ...levels, level: 0 },
    lastHeld: undefined,
    heldMisses: 0,
  };
}
