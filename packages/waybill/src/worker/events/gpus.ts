// GPUs as `nvidia-smi` reports them; machines without it have none.
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import type { Gpu, SystemSample } from "@waybill/sdk/protocol";
import { hasCode } from "../data-dir/files.ts";

const run = promisify(execFile);
/** A driver that hangs answers never; the sample goes without its GPUs then. */
const TIMEOUT_MS = 5000;

export type GpuReader = {
  list(): Promise<Gpu[]>;
  sample(): Promise<SystemSample["gpus"]>;
};

/** Reads GPUs with this program; where it is not installed it is tried once. */
export function createGpuReader(program = "nvidia-smi", timeoutMs = TIMEOUT_MS): GpuReader {
  let absent = false;
  const query = async (fields: string): Promise<string[][]> => {
    if (absent) return [];
    try {
      const args = [`--query-gpu=${fields}`, "--format=csv,noheader,nounits"];
      const { stdout } = await run(program, args, {
        timeout: timeoutMs,
        // One that waits for its driver heeds nothing else.
        killSignal: "SIGKILL",
      });
      return parseRows(stdout);
    } catch (error) {
      absent = hasCode(error, "ENOENT");
      return [];
    }
  };
  return {
    list: async () => (await query("name,memory.total")).map((row) => gpuOf(row)),
    sample: async () => {
      const rows = await query(
        "name,memory.total,utilization.gpu,memory.used,temperature.gpu,power.draw",
      );
      return rows.map((row) => {
        const temperatureC = numberOf(row[4]);
        const powerW = numberOf(row[5]);
        return {
          ...gpuOf(row),
          utilisation: (numberOf(row[2]) ?? 0) / 100,
          memoryUsedMb: numberOf(row[3]) ?? 0,
          ...(temperatureC === undefined ? {} : { temperatureC }),
          ...(powerW === undefined ? {} : { powerW }),
        };
      });
    },
  };
}

function parseRows(text: string): string[][] {
  return text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => line.split(",").map((cell) => cell.trim()));
}

function gpuOf(row: readonly string[]): Gpu {
  return { name: row[0] ?? "GPU", memoryMb: numberOf(row[1]) ?? 0 };
}

/** `[N/A]` and `[Not Supported]` are not numbers. */
function numberOf(text: string | undefined): number | undefined {
  const value = Number.parseFloat(text ?? "");
  return Number.isFinite(value) ? value : undefined;
}
