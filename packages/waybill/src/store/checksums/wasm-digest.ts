/**
 * Checksums Node has no native code for, from hash-wasm: CRC-32C 1.0 GB/s, CRC-64/NVME 0.7–0.9,
 * XXH64 3.3, XXH3 1.5–1.8 on the development machine (tables in plain JavaScript: 0.8 and 0.5).
 * Each running digest owns a WebAssembly instance; finished ones are kept for the next stream.
 */
import {
  createCRC32,
  createCRC64,
  createXXHash128,
  createXXHash3,
  createXXHash64,
  type IHasher,
} from "hash-wasm";
import type { RunningDigest } from "./running-digest.ts";

/** Reflected polynomials: Castagnoli's, and NVMe's. */
const CASTAGNOLI = 0x82f63b78;
const NVME = "9a6c9329ac4bc9b5";

const factories = {
  CRC32C: () => createCRC32(CASTAGNOLI),
  CRC64NVME: () => createCRC64(NVME),
  XXHASH64: () => createXXHash64(),
  XXHASH3: () => createXXHash3(),
  XXHASH128: () => createXXHash128(),
} as const satisfies Record<string, () => Promise<IHasher>>;

export type WasmAlgorithm = keyof typeof factories;

/** Idle instances kept of each algorithm: as many as one client uploads parts at once. */
const MAX_IDLE = 16;
const idle = new Map<WasmAlgorithm, IHasher[]>();

export function isWasmAlgorithm(name: string): name is WasmAlgorithm {
  return Object.hasOwn(factories, name);
}

/** Starts a digest. An abandoned one needs no clean-up. */
export async function startWasmDigest(algorithm: WasmAlgorithm): Promise<RunningDigest> {
  const hasher = idle.get(algorithm)?.pop() ?? (await factories[algorithm]());
  hasher.init();
  return {
    update(data) {
      hasher.update(data);
    },
    digest() {
      const digest = Buffer.from(hasher.digest("binary"));
      const kept = idle.get(algorithm) ?? [];
      if (kept.length < MAX_IDLE) kept.push(hasher);
      idle.set(algorithm, kept);
      return digest;
    },
  };
}
