// Which level the next part is compressed at: as high as the processors manage with room to spare beside the link, and
// not at all where the link takes plain bytes faster than they can be compressed. Pure; facts come in, levels go out.
//
//   stored ◀──faster than level 1── 1 ◀──▶ 3 ◀──▶ 9      up: twice as fast as the link asks for; down: less than 1.25 times

/** 0 stands for frames that hold their bytes as they are. What lies between these levels gains less than it costs. */
export type Level = 0 | 1 | 3 | 9;
export const LEVELS: readonly Level[] = [0, 1, 3, 9];

/** Beyond this, in bytes a second, sending is cheaper than compressing on any machine of today. */
const FAST_LINK_BYTES_PER_S = 150_000_000;
/** To go up a level, the processors must be this much faster than the link then asks for; to stay, that much. */
const ROOM_TO_RISE = 2;
const ROOM_TO_STAY = 1.25;
/** What a level must bring over sending as it is, when it is not the link that slows it down. */
const WORTH_COMPRESSING = 1.5;
const WORTH_STAYING = 1.1;
/** Speed and gain beside level 1, until they were measured (docs/decisions/0009-compression.md). */
const ASSUMED: Readonly<Record<Level, { readonly speed: number; readonly ratio: number }>> = {
  0: { speed: Number.POSITIVE_INFINITY, ratio: 1 },
  1: { speed: 1, ratio: 1 },
  3: { speed: 0.75, ratio: 1.03 },
  9: { speed: 0.15, ratio: 1.1 },
};
/** Level 1 of one processor before anything was measured. */
const USUAL_BYTES_PER_S = 200_000_000;
const USUAL_RATIO = 2;
/** Weight of what was measured before. */
const KEPT = 0.8;

type Measured = { readonly bytesPerS: number; readonly ratio: number };

/** What is known of the levels, and which one is used. */
export type Levels = {
  readonly level: Level;
  /** Frames that are made at once. */
  readonly parallel: number;
  /** Whether bytes may be sent as they are. */
  readonly mayStore: boolean;
  /** Of one frame at a time. */
  readonly measured: Partial<Readonly<Record<Level, Measured>>>;
};

/** The start: level 1. */
export function startLevels(parallel: number, mayStore: boolean): Levels {
  return { level: 1, parallel, mayStore, measured: {} };
}

/** A frame was made at `level` in `ms`. */
export function frameMade(
  levels: Levels,
  frame: {
    readonly level: Level;
    readonly plain: number;
    readonly stored: number;
    readonly ms: number;
  },
): Levels {
  const { level, plain, stored, ms } = frame;
  if (level === 0 || plain === 0) return levels;
  const bytesPerS = (plain * 1000) / Math.max(ms, 0.01);
  const ratio = plain / stored;
  const before = levels.measured[level] ?? { bytesPerS, ratio };
  const mixed = {
    bytesPerS: before.bytesPerS * KEPT + bytesPerS * (1 - KEPT),
    ratio: before.ratio * KEPT + ratio * (1 - KEPT),
  };
  return { ...levels, measured: { ...levels.measured, [level]: mixed } };
}

/**
 * The level of the next part.
 * @param linkBytesPerS what the link takes; undefined before it was measured
 */
export function chooseLevel(levels: Levels, linkBytesPerS: number | undefined): Levels {
  if (linkBytesPerS === undefined || linkBytesPerS <= 0) return levels;
  if (levels.mayStore && sendsStored(levels, linkBytesPerS)) return { ...levels, level: 0 };
  const level = LEVELS.findLast((candidate) => {
    if (candidate === 0) return false;
    if (candidate === 1) return true;
    const room = candidate <= levels.level ? ROOM_TO_STAY : ROOM_TO_RISE;
    const { bytesPerS, ratio } = expected(levels, candidate);
    return bytesPerS * levels.parallel >= room * linkBytesPerS * ratio;
  });
  return { ...levels, level: level ?? 1 };
}

/** Whether plain bytes get through faster than level 1 gives them. */
function sendsStored(levels: Levels, linkBytesPerS: number): boolean {
  if (linkBytesPerS > FAST_LINK_BYTES_PER_S) return true;
  const { bytesPerS } = expected(levels, 1);
  const worth = levels.level === 0 ? WORTH_COMPRESSING : WORTH_STAYING;
  return bytesPerS * levels.parallel < worth * linkBytesPerS;
}

function expected({ measured }: Levels, level: Level): Measured {
  const known = measured[level];
  if (known !== undefined) return known;
  const first = measured[1] ?? { bytesPerS: USUAL_BYTES_PER_S, ratio: USUAL_RATIO };
  const { speed, ratio } = ASSUMED[level];
  return { bytesPerS: first.bytesPerS * speed, ratio: first.ratio * ratio };
}
