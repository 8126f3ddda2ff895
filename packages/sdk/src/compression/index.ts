// Objects stored as zstd frames, one for each shard: which, at what level, and back.
export { type Compress, chooseEncoded } from "./choose-objects.ts";
export { discard } from "./discard.ts";
export { decodeFrame, decodeFrames, type FramesToDecode } from "./frame-decoder.ts";
export { LEVELS, type Level, type Levels, chooseLevel, frameMade, startLevels } from "./levels.ts";
export { readStoredRun } from "./stored-run.ts";
export { storedContent, storedFrame, storedFrameBytes } from "./stored-frame.ts";
