// Decides, at one offset of an object, what the next part is: one that is held, one the store can copy, or
// one to send. Pure. The rule: parts begin at units; one that does not end its object has `minBytes`.
//
//   object   ├───────┬──────────────────┬────────┬───────┤
//   known    │ sent? │  matches a base  │  new   │ held  │
//   parts    │ send ≥ min │   copy      │ send   │ held  │
import type { HeldObject, HeldPart } from "./held-parts.ts";
import { type PartRule, partNumberAt } from "./upload-plan.ts";

const MIB = 1024 * 1024;
/** Larger held parts (of other programs) are sent again: one that differs would have to fit into memory. */
const MAX_HELD_BYTES = 32 * MIB;
/** A copy that is refused is read into memory and sent. */
const COPY_BYTES = 16 * MIB;

/** A stretch of the new object and the bytes of a base that equal it, when there are some. */
export type MatchRun = {
  readonly start: number;
  readonly size: number;
  readonly from?: CopySource;
};

/** Where a copy comes from: bytes `start` … of a stored object of an artifact. */
export type CopySource = { readonly base: number; readonly key: string; readonly start: number };

export type Cut =
  | { readonly type: "held"; readonly size: number; readonly held: HeldPart }
  | { readonly type: "copy"; readonly size: number; readonly from: CopySource }
  | { readonly type: "send"; readonly size: number };

export type CutInput = {
  /** Where the part begins; a multiple of the unit. */
  readonly offset: number;
  readonly objectBytes: number;
  readonly rule: PartRule;
  readonly held: HeldObject;
  /** Size the link asks for. */
  readonly wantedBytes: number;
};

/** The next part where nothing can be copied: known before its bytes are read. */
export function cutPart(input: CutInput): Cut {
  return heldAt(input) ?? { type: "send", size: sendBytes(input, heldStops(input)) };
}

/**
 * The next part of an object whose bytes are compared with bases. `runs` cover the object from `offset` or
 * before without gaps, `ended` when to its end. Undefined: more must be known first.
 */
export function cutMatched(
  input: CutInput,
  runs: readonly MatchRun[],
  ended: boolean,
): Cut | undefined {
  const held = heldAt(input);
  if (held !== undefined) return held;
  const { offset, rule, objectBytes } = input;
  const known = ended ? objectBytes : knownEnd(runs, offset);
  const stops = heldStops(input);
  const copy = firstCopy(input, runs, ended);
  if (copy?.start === offset) {
    const skip = offset - copy.run.start;
    const from = { ...copy.run.from, start: copy.run.from.start + skip };
    return copy.ready ? { type: "copy", size: copy.size, from } : undefined;
  }
  if (copy !== undefined) {
    // Whether or not the run becomes a copy: a part may end where it would begin.
    const size = sendBytes(input, [...stops, copy.start]);
    return offset + size <= known ? { type: "send", size } : undefined;
  }
  const size = sendBytes(input, stops);
  // A run may begin right behind what is known; a part that ends there is worth the wait.
  const lookahead = ended || rule.equalBytes !== undefined ? 0 : rule.minBytes;
  return offset + size + lookahead <= known ? { type: "send", size } : undefined;
}

/** Bytes from `offset` on that will be copied however the object goes on: nobody needs them in memory. */
export function copiedAhead(input: CutInput, runs: readonly MatchRun[], ended: boolean): number {
  const copy = firstCopy(input, runs, ended);
  return copy?.start === input.offset ? copy.certain : 0;
}

/** The held part that begins here. */
function heldAt({ offset, objectBytes, rule, held }: CutInput): Cut | undefined {
  const part = held.parts.get(partNumberAt(offset, rule));
  if (part === undefined || !obeys(part.size, { offset, objectBytes, rule })) return undefined;
  return { type: "held", size: part.size, held: part };
}

function obeys(
  size: number,
  { offset, objectBytes, rule }: Pick<CutInput, "offset" | "objectBytes" | "rule">,
): boolean {
  const most = Math.max(MAX_HELD_BYTES, rule.minBytes);
  if (size <= 0 || size > most || offset + size > objectBytes) return false;
  if (offset + size === objectBytes)
    return rule.equalBytes === undefined || size <= rule.equalBytes;
  if (rule.equalBytes !== undefined) return size === rule.equalBytes;
  return size % rule.unitBytes === 0 && size >= Math.min(rule.minBytes, MIN_HELD_BYTES);
}

/** S3's least: what other runs may have cut. */
const MIN_HELD_BYTES = 5 * MIB;

/** Where held parts begin that a part from here could end at. */
function heldStops({ offset, objectBytes, rule, held }: CutInput): number[] {
  const stops: number[] = [];
  for (const [number, { size }] of held.parts) {
    const start = (number - 1) * rule.unitBytes;
    if (start < offset + rule.minBytes) continue;
    if (obeys(size, { offset: start, objectBytes, rule })) stops.push(start);
  }
  return stops;
}

/** Bytes of a part to send from `offset`: the wanted size, less where a stop or the object's end is near. */
function sendBytes(input: CutInput, stops: readonly number[]): number {
  const { offset, objectBytes, rule, wantedBytes } = input;
  const rest = objectBytes - offset;
  if (rule.equalBytes !== undefined) return Math.min(rule.equalBytes, rest);
  const wanted = Math.max(rule.minBytes, floorTo(wantedBytes, rule.unitBytes));
  const stop = Math.min(
    objectBytes,
    ...stops.filter((start) => start >= offset + rule.minBytes && start < objectBytes),
  );
  const gap = stop - offset;
  if (gap <= wanted) return gap;
  // What is left before a stop must be a part, too; at the object's end it may be shorter.
  if (stop === objectBytes || gap >= wanted + rule.minBytes) return Math.min(wanted, rest);
  const half = floorTo(gap / 2, rule.unitBytes);
  return half >= rule.minBytes ? half : gap;
}

type Copy = {
  readonly run: MatchRun & { readonly from: CopySource };
  readonly start: number;
  readonly size: number;
  /** Of those, what is a copy already; 0 while the run may not become one. */
  readonly certain: number;
  /** False while the run may still grow into a copy, or into a larger one. */
  readonly ready: boolean;
};

/** The first stretch that can be copied, or may turn out to be. */
function firstCopy(input: CutInput, runs: readonly MatchRun[], ended: boolean): Copy | undefined {
  const { offset, rule, objectBytes } = input;
  const step = rule.equalBytes ?? rule.unitBytes;
  const least = rule.equalBytes ?? rule.minBytes;
  const most = rule.equalBytes ?? Math.max(least, floorTo(COPY_BYTES, rule.unitBytes));
  for (const [index, run] of runs.entries()) {
    const { from } = run;
    const end = run.start + run.size;
    if (from === undefined || end <= offset) continue;
    // A part that is sent before the copy has its least size.
    const start = run.start <= offset ? offset : Math.max(ceilTo(run.start, step), offset + least);
    if (start >= objectBytes) continue;
    const open = !ended && index === runs.length - 1;
    const toEnd = end === objectBytes;
    const length = (toEnd ? end : floorTo(end, step)) - start;
    const fits = length >= least || (toEnd && length > 0);
    if (!fits && !open) continue;
    // Equal shares, so that no rest is too small to be copied.
    const share = ceilTo(length / Math.max(1, Math.ceil(length / most)), step);
    const size = open && !toEnd ? most : Math.min(share, length);
    const ready = fits && (!open || toEnd || length >= most + least);
    return {
      run: { ...run, from },
      start,
      size,
      certain: fits ? Math.min(length, size) : 0,
      ready,
    };
  }
  return undefined;
}

/** How far from `offset` the runs reach. */
function knownEnd(runs: readonly MatchRun[], offset: number): number {
  const last = runs.at(-1);
  return last === undefined ? offset : last.start + last.size;
}

/** Adds a run; one that goes on where the last ended, in the same base object, makes it longer. */
export function addRun(runs: MatchRun[], run: MatchRun): void {
  if (run.size === 0) return;
  const last = runs.at(-1);
  if (last !== undefined && continues(last, run)) {
    runs[runs.length - 1] = { ...last, size: last.size + run.size };
  } else runs.push(run);
}

function continues(last: MatchRun, run: MatchRun): boolean {
  if (last.from === undefined || run.from === undefined) return last.from === run.from;
  const { base, key, start } = last.from;
  return run.from.base === base && run.from.key === key && run.from.start === start + last.size;
}

function floorTo(value: number, step: number): number {
  return Math.floor(value / step) * step;
}

function ceilTo(value: number, step: number): number {
  return Math.ceil(value / step) * step;
}
